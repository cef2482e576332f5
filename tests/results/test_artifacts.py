"""Networks, finished attacks and unfinished trainings on disk: read as they were, or refused."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.protocols import Progress
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.results.artifacts import (
    CheckpointStore,
    dump,
    find_cached,
    find_model,
    model_file_name,
    save_cached,
    save_model,
    undump,
)
from robustbench_kd.results.record import Json, digest

KEY = digest("a key")
METADATA: Json = {
    "key": KEY,
    "title": "digits-linf--ard:alpha=0.5--seed0",
    "note": [1, 2.5, None],
}
TENSORS = {"w": torch.tensor([1.5, -2.0]), "n": torch.tensor([3]), "right": torch.tensor([True])}


def flipped(raw: bytes, place: int, mask: int = 1) -> bytes:
    """The bytes with one of them changed."""
    return raw[:place] + bytes([raw[place] ^ mask]) + raw[place + 1 :]


def test_tensors_and_metadata_survive_and_the_same_content_has_the_same_bytes() -> None:
    data = dump(TENSORS, METADATA)
    tensors, metadata = undump(data, "here")
    assert metadata == METADATA
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    backwards = dict(reversed(TENSORS.items()))
    assert dump(backwards, dict(reversed(METADATA.items()))) == data


def test_no_change_of_one_byte_passes_for_the_same_network(own_cache: Path) -> None:
    """It is refused by name, or what counts (key and weights) is what it was."""
    path = save_model(TENSORS, METADATA)
    model = find_model(KEY)
    assert model is not None
    assert not model.shipped
    raw, refused = path.read_bytes(), 0
    for place in range(len(raw)):
        path.write_bytes(flipped(raw, place))
        refused += 1
        with suppress(BadRecord):
            changed = find_model(KEY)
            refused -= 1
            assert changed is not None
            assert changed.metadata["key"] == KEY
            assert weights_digest(changed.state) == weights_digest(TENSORS)
    tensors = sum(value.numel() * value.element_size() for value in TENSORS.values())
    assert refused > tensors + len(KEY)


@pytest.mark.parametrize("length", [0, 4, 8, 50, -1])
def test_a_network_that_was_cut_short_is_refused_by_name(own_cache: Path, length: int) -> None:
    path = save_model(TENSORS, METADATA)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(BadRecord, match="remove it") as caught:
        find_model(KEY)
    assert str(path) in str(caught.value)


def test_a_network_under_another_key_is_not_found_and_never_mistaken(own_cache: Path) -> None:
    path = save_model(TENSORS, METADATA)
    assert path.name == model_file_name(METADATA)
    assert path.name.startswith("digits-linf--ard-alpha=0.5--seed0--")
    assert find_model(digest("another")) is None
    near = KEY[:12] + "0" * 52  # the same file name, another recipe
    with pytest.raises(BadRecord, match="does not hold"):
        find_model(near)


def test_weights_that_float16_holds_are_written_in_half_the_bytes_and_read_as_they_were(
    own_cache: Path,
) -> None:
    weights = {"w": torch.randn(1000, generator=torch.Generator().manual_seed(0)).half().float()}
    whole = save_model(weights, METADATA).stat().st_size
    half = save_model(weights, {**METADATA, "half": True}).stat().st_size
    assert whole - half > 1900
    model = find_model(KEY)
    assert model is not None
    assert torch.equal(model.state["w"], weights["w"])


def test_shipped_networks_are_found_under_their_keys() -> None:
    paths = sorted(shipped("students").glob("*.safetensors"))
    assert len(paths) > 700
    for path in paths[::40]:
        _, metadata = undump(path.read_bytes(), str(path))
        model = find_model(metadata["key"])
        assert model is not None
        assert model.shipped
        assert model.metadata == metadata


def test_no_change_of_one_byte_passes_for_the_same_cached_result(own_cache: Path) -> None:
    metadata = {"cell": {"right": 3, "bits": "gYA="}, "question": {"seed": 0}}
    save_cached(KEY, TENSORS, metadata)
    cached = find_cached(KEY)
    assert cached is not None
    assert cached[1] == metadata
    assert torch.equal(cached[0]["w"], TENSORS["w"])
    (path,) = (own_cache / "cells").iterdir()
    raw = path.read_bytes()
    for place in range(len(raw)):
        path.write_bytes(flipped(raw, place))
        with suppress(BadRecord):
            cached = find_cached(KEY)  # white space of the header, which has no meaning
            assert cached is not None
            assert cached[1] == metadata
            assert weights_digest(cached[0]) == weights_digest(TENSORS)


def test_a_cached_result_of_another_key_is_refused(own_cache: Path) -> None:
    save_cached(KEY, TENSORS, {"cell": {}})
    (path,) = (own_cache / "cells").iterdir()
    other = digest("another")
    path.rename(path.with_name(f"{other}.safetensors"))
    assert find_cached(KEY) is None
    with pytest.raises(BadRecord, match="its own digest"):
        find_cached(other)


def test_a_cached_result_of_the_first_release_is_still_found() -> None:
    paths = sorted(shipped("paintings").glob("*.safetensors"))
    assert paths
    assert find_cached(paths[0].stem, "paintings") is not None


def state() -> dict[str, Any]:
    return {"epochs": 2, "net": {"w": torch.arange(6.0)}, "objective": {"shares": {"clean": 0.4}}}


def test_the_progress_of_a_training_survives_and_goes_when_it_has_ended(own_cache: Path) -> None:
    reports: list[tuple[str, int, int, str]] = []
    checkpoints = CheckpointStore(KEY, lambda *report: reports.append(report))
    assert isinstance(checkpoints, Progress)
    assert checkpoints.load("0-student") is None
    checkpoints.save("0-student", state())
    checkpoints.save("0-teacher", {**state(), "epochs": 5})
    other = CheckpointStore(digest("another"), lambda *_: None)
    other.save("0-student", state())
    loaded = checkpoints.load("0-student")
    assert loaded is not None
    assert torch.equal(loaded["net"]["w"], torch.arange(6.0))
    assert loaded["objective"] == state()["objective"]
    checkpoints.report("0-student", 1, 2, "loss 0.1")
    assert reports == [("0-student", 1, 2, "loss 0.1")]
    checkpoints.clear()
    assert checkpoints.load("0-student") is None
    assert checkpoints.load("0-teacher") is None
    assert other.load("0-student") is not None


def test_no_change_of_one_byte_passes_for_the_same_progress(own_cache: Path) -> None:
    checkpoints = CheckpointStore(KEY, lambda *_: None)
    checkpoints.save("0-student", state())
    (path,) = (own_cache / "progress").iterdir()
    raw = path.read_bytes()
    for place in range(0, len(raw), 7):
        path.write_bytes(flipped(raw, place, 4))
        with pytest.raises(BadRecord, match="remove it") as caught:
            checkpoints.load("0-student")
        assert str(path) in str(caught.value)


def test_weights_are_told_apart_by_name_type_shape_and_bytes() -> None:
    w = torch.arange(6.0)
    different: list[dict[str, Tensor]] = [
        {"w": w},
        {"v": w},
        {"w": w.view(2, 3)},
        {"w": w.double()},
        {"w": -w},
        {"w": w, "n": torch.tensor(1)},
    ]
    assert len({weights_digest(state) for state in different}) == len(different)
    ordered = {"a": w, "b": -w}
    assert weights_digest(ordered) == weights_digest(dict(reversed(ordered.items())))
