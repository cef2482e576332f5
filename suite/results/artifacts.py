"""Trained networks, finished attacks and unfinished trainings on disk, as safetensors."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.io import WEIGHTS_LIMIT, read_bytes, write_whole
from robustbench_kd.core.json_document import read_json
from robustbench_kd.core.paths import cache, shipped
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.results.record import Json, canonical, digest

REMOVE = "remove it to have it made again"


def dump(tensors: Mapping[str, Tensor], metadata: Json) -> bytes:
    """Tensors and their metadata as safetensors; the same bytes for the same content."""
    solid = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return save(solid, {"robustbench_kd": canonical(metadata)})


def undump(data: bytes, where: str) -> tuple[dict[str, Tensor], Json]:
    """The tensors and their metadata.

    Raises:
        BadRecord: where the bytes are no such file.
    """
    try:
        header = read_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
        text = header.get("__metadata__", {}).get("robustbench_kd", "{}")
        metadata: Json = read_json(text.encode())
        return load(data), metadata
    except (SafetensorError, ValueError, TypeError, AttributeError, KeyError) as why:
        raise BadRecord(f"{where} is damaged: {why}; {REMOVE}") from why


@dataclass(frozen=True)
class StoredModel:
    """A network from disk: its weights, its metadata, and whether it shipped with the package."""

    state: dict[str, Tensor]
    metadata: Json
    shipped: bool


def model_file_name(metadata: Json) -> str:
    """``fashion-linf--ard--seed0--0123456789ab.safetensors``: readable, and unique by its key."""
    title = re.sub(r"[^a-z0-9.=-]+", "-", metadata["title"].lower()).strip("-")
    return f"{title}--{metadata['key'][:12]}.safetensors"


def save_model(state: Mapping[str, Tensor], metadata: Json, folder: Path | None = None) -> Path:
    """Stores a trained network under the key in its metadata.

    Metadata that say ``half`` are about weights that float16 holds exactly; so they are written.
    """
    path = (folder or cache() / "nets") / model_file_name(metadata)
    written = _cast(state, torch.float16) if metadata.get("half") else state
    write_whole(path, dump(written, {**metadata, "weights": weights_digest(state)}))
    return path


def _cast(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}


def find_model(key: str) -> StoredModel | None:
    """The network of this key: from the package first, then from earlier runs.

    Raises:
        BadRecord: where a file of that key is damaged or holds other weights than its metadata say.
    """
    for folder in (shipped("students"), cache() / "nets"):
        for path in sorted(folder.glob(f"*--{key[:12]}.safetensors")):
            state, metadata = undump(read_bytes(path, WEIGHTS_LIMIT, links=True), str(path))
            state = _cast(state, torch.float32) if metadata.get("half") else state
            if metadata.get("key") != key or metadata.get("weights") != weights_digest(state):
                raise BadRecord(
                    f"{path} does not hold the weights that its metadata name; {REMOVE}"
                )
            return StoredModel(state, metadata, folder == shipped("students"))
    return None


def save_cached(
    key: str, tensors: Mapping[str, Tensor], metadata: Json, folder: str = "cells"
) -> None:
    """Stores what was computed under a key, so that a run that was cut off goes on after it."""
    sealed = {**metadata, "seal": _seal(key, tensors, metadata)}
    write_whole(cache() / folder / f"{key}.safetensors", dump(tensors, sealed))


def find_cached(key: str, folder: str = "cells") -> tuple[dict[str, Tensor], Json] | None:
    """What was computed under this key: from the package first, then from earlier runs.

    Raises:
        BadRecord: where the file is damaged, or was made under another key.
    """
    name = f"{key}.safetensors"
    paths = (shipped(folder) / name, cache() / folder / name)
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        return None
    tensors, metadata = undump(read_bytes(path, WEIGHTS_LIMIT, links=True), str(path))
    if metadata.pop("seal", None) != _seal(key, tensors, metadata):
        raise BadRecord(f"{path} does not match its own digest; {REMOVE}")
    return tensors, metadata


def _seal(key: str, tensors: Mapping[str, Tensor], metadata: Json) -> str:
    # "card" is the word of the first release; seals of stored files are made from it.
    return digest({"key": key, "tensors": weights_digest(tensors), "card": metadata})


@dataclass(frozen=True)
class CheckpointStore:
    """Progress of a training on disk: the state after the last whole epoch, by run and stage."""

    run: str
    on_progress: Callable[[str, int, int, str], None]

    def _path(self, key: str) -> Path:
        return cache() / "progress" / f"{self.run[:16]}-{re.sub('[^a-z0-9-]', '-', key)}.pt"

    def load(self, key: str) -> dict[str, Any] | None:
        """The stored state of a stage; None where there is none.

        Raises:
            BadRecord: where the file is damaged.
        """
        path = self._path(key)
        if not path.exists():
            return None
        seal, _, body = read_bytes(path, WEIGHTS_LIMIT).partition(b"\n")
        if seal != hashlib.sha256(body).hexdigest().encode():
            raise BadRecord(f"{path} does not match its own digest; {REMOVE}")
        state: dict[str, Any] = torch.load(BytesIO(body), weights_only=True)
        return state

    def save(self, key: str, state: dict[str, Any]) -> None:
        """Stores the state of a stage in place of an earlier one."""
        buffer = BytesIO()
        torch.save(state, buffer)
        body = buffer.getvalue()
        seal = hashlib.sha256(body).hexdigest().encode()  # torch.load would miss a flipped bit
        write_whole(self._path(key), seal + b"\n" + body)

    def report(self, key: str, done: int, total: int, note: str) -> None:
        """Reports progress: epochs done of a total, and a note."""
        self.on_progress(key, done, total, note)

    def clear(self) -> None:
        """Removes the states: the run has ended and its network is stored."""
        for path in (cache() / "progress").glob(f"{self.run[:16]}-*.pt"):
            path.unlink(missing_ok=True)
