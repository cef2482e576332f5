"""Trained networks, finished attacks and unfinished trainings on disk, as safetensors."""

from __future__ import annotations

import hashlib
import json
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
from robustbench_kd.core.io import read_bytes, write_whole
from robustbench_kd.core.paths import cache, shipped
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.results.record import Json, canonical, digest

REMOVE = "remove it to have it made again"


def dump(tensors: Mapping[str, Tensor], card: Json) -> bytes:
    """Tensors and one card as safetensors; the same bytes for the same content."""
    solid = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return save(solid, {"robustbench_kd": canonical(card)})


def undump(data: bytes, where: str) -> tuple[dict[str, Tensor], Json]:
    """The tensors and the card.

    Raises:
        BadRecord: where the bytes are no such file.
    """
    try:
        head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        card: Json = json.loads(head.get("__metadata__", {}).get("robustbench_kd", "{}"))
        return load(data), card
    except (SafetensorError, ValueError, TypeError, AttributeError, KeyError) as why:
        raise BadRecord(f"{where} is damaged: {why}; {REMOVE}") from why


@dataclass(frozen=True)
class Kept:
    """A network from disk: its weights, its card, and whether it shipped with the package."""

    state: dict[str, Tensor]
    card: Json
    shipped: bool


def net_name(card: Json) -> str:
    """``fashion-linf--ard--seed0--0123456789ab.safetensors``: readable, and unique by its key."""
    slug = re.sub(r"[^a-z0-9.=-]+", "-", card["title"].lower()).strip("-")
    return f"{slug}--{card['key'][:12]}.safetensors"


def save_net(state: Mapping[str, Tensor], card: Json, folder: Path | None = None) -> Path:
    """Keeps a trained network under the key on its card.

    A card that says ``half`` is about weights that float16 holds exactly; so they are written.
    """
    path = (folder or cache() / "nets") / net_name(card)
    written = _cast(state, torch.float16) if card.get("half") else state
    write_whole(path, dump(written, {**card, "weights": weights_digest(state)}))
    return path


def _cast(state: Mapping[str, Tensor], kind: torch.dtype) -> dict[str, Tensor]:
    return {k: v.to(kind) if v.is_floating_point() else v for k, v in state.items()}


def find_net(key: str) -> Kept | None:
    """The network of this key: from the package first, then from earlier runs.

    Raises:
        BadRecord: where a file of that key is damaged or holds other weights than its card says.
    """
    for folder in (shipped("students"), cache() / "nets"):
        for path in sorted(folder.glob(f"*--{key[:12]}.safetensors")):
            state, card = undump(read_bytes(path), str(path))
            state = _cast(state, torch.float32) if card.get("half") else state
            if card.get("key") != key or card.get("weights") != weights_digest(state):
                raise BadRecord(f"{path} does not hold the weights on its card; {REMOVE}")
            return Kept(state, card, folder == shipped("students"))
    return None


def save_cell(key: str, tensors: Mapping[str, Tensor], card: Json, folder: str = "cells") -> None:
    """Keeps what was computed under a key, so that a run that was cut off goes on after it."""
    sealed = {**card, "seal": _seal(key, tensors, card)}
    write_whole(cache() / folder / f"{key}.safetensors", dump(tensors, sealed))


def find_cell(key: str, folder: str = "cells") -> tuple[dict[str, Tensor], Json] | None:
    """What was computed under this key: from the package first, then from earlier runs.

    Raises:
        BadRecord: where the file is damaged, or was made for another question.
    """
    name = f"{key}.safetensors"
    paths = (shipped(folder) / name, cache() / folder / name)
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        return None
    tensors, card = undump(read_bytes(path), str(path))
    if card.pop("seal", None) != _seal(key, tensors, card):
        raise BadRecord(f"{path} does not match its own digest; {REMOVE}")
    return tensors, card


def _seal(key: str, tensors: Mapping[str, Tensor], card: Json) -> str:
    return digest({"key": key, "tensors": weights_digest(tensors), "card": card})


@dataclass(frozen=True)
class Keeper:
    """Progress of a training on disk: the state after the last whole epoch, by run and stage."""

    run: str
    say: Callable[[str, int, int, str], None]

    def _path(self, key: str) -> Path:
        return cache() / "progress" / f"{self.run[:16]}-{re.sub('[^a-z0-9-]', '-', key)}.pt"

    def load(self, key: str) -> dict[str, Any] | None:
        path = self._path(key)
        if not path.exists():
            return None
        seal, _, body = read_bytes(path).partition(b"\n")
        if seal != hashlib.sha256(body).hexdigest().encode():
            raise BadRecord(f"{path} does not match its own digest; {REMOVE}")
        state: dict[str, Any] = torch.load(BytesIO(body), weights_only=True)
        return state

    def save(self, key: str, state: dict[str, Any]) -> None:
        buffer = BytesIO()
        torch.save(state, buffer)
        body = buffer.getvalue()
        seal = hashlib.sha256(body).hexdigest().encode()  # torch.load would miss a flipped bit
        write_whole(self._path(key), seal + b"\n" + body)

    def tell(self, key: str, done: int, total: int, note: str) -> None:
        self.say(key, done, total, note)

    def clear(self) -> None:
        """Removes the states: the run has ended and its network is kept."""
        for path in (cache() / "progress").glob(f"{self.run[:16]}-*.pt"):
            path.unlink(missing_ok=True)
