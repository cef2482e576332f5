"""What is on disk is written whole or not at all, and read or refused by name."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import ledger
import pytest
import torch
from torch import Tensor

from robustbench_kd.core.errors import BadRecord, SaveFailed
from robustbench_kd.core.io import expect_writable, read_bytes, write_whole
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.statistics.bitset import pack, unpack
from robustbench_kd.results.artifacts import (
    Keeper,
    dump,
    find_cell,
    find_net,
    net_name,
    save_cell,
    save_net,
    undump,
)
from robustbench_kd.results.record import Json, Record, Share, digest, parse
from robustbench_kd.results.store import load_record, load_records, record_path, save_record

KEY = digest("a key")
CARD: Json = {"key": KEY, "title": "digits-linf--ard:alpha=0.5--seed0", "note": [1, 2.5, None]}
TENSORS = {"w": torch.tensor([1.5, -2.0]), "n": torch.tensor([3]), "right": torch.tensor([True])}


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# ------------------------------------------------------------------------------------------ files


def test_a_file_is_written_and_its_folder_made(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b" / "file", b"one")
    write_whole(tmp_path / "a" / "b" / "file", b"two")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"two"
    assert inside(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("old", [b"old", None], ids=["over an old file", "anew"])
def test_a_full_disk_leaves_the_old_file_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, old: bytes | None
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real_open = Path.open

    def opened(self: Path, *rest: Any, **named: Any) -> Any:
        file = real_open(self, *rest, **named)

        class Half:
            """Takes half of what is written, and then the disk is full."""

            def __enter__(self) -> Half:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def write(self, data: bytes) -> None:
                file.write(data[: len(data) // 2])
                file.flush()
                full()

        return Half()

    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(Path, "open", opened)
        elif step == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(Path, "replace", full)
        with pytest.raises(SaveFailed, match=r"No space left on device.*free some space") as caught:
            write_whole(path, b"new content")
    assert caught.value.exit_code == 6
    assert str(path) in str(caught.value)
    assert inside(tmp_path) == ([] if old is None else ["file"])
    assert old is None or path.read_bytes() == old


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("here")
    with pytest.raises(SaveFailed, match="taken"):
        write_whole(tmp_path / "taken" / "file", b"x")
    with pytest.raises(SaveFailed, match="not a folder"):
        expect_writable(tmp_path / "taken" / "deeper")
    expect_writable(tmp_path / "not" / "there" / "yet")
    assert inside(tmp_path) == ["taken"]


def test_the_part_of_a_dead_process_is_swept_and_that_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".old.{dead.pid}.part").write_bytes(b"half")
    (tmp_path / f".other.{os.getppid()}.part").write_bytes(b"half")
    (tmp_path / ".huge.99999999999999999999999.part").write_bytes(b"half")
    (tmp_path / "mine.1.part").write_bytes(b"not hidden, so not ours")
    write_whole(tmp_path / "file", b"x")
    assert inside(tmp_path) == [f".other.{os.getppid()}.part", "file", "mine.1.part"]


def test_what_a_killed_writer_leaves_is_no_file_and_goes_with_the_next(tmp_path: Path) -> None:
    """Killed between the write and the rename, as by kill -9."""
    code = (
        "import os, sys; from pathlib import Path; from robustbench_kd import files\n"
        "os.fsync = lambda number: os.kill(os.getpid(), 9)\n"
        "files.write_whole(Path(sys.argv[1]), b'x' * 999)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], timeout=60)
    assert ran.returncode == -9
    assert len(inside(tmp_path)) == 1
    assert not (tmp_path / "file").exists()
    write_whole(tmp_path / "file", b"y")
    assert inside(tmp_path) == ["file"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRecord, match=r"cannot read .*nowhere: No such file"):
        read_bytes(tmp_path / "nowhere")


# ------------------------------------------------------------------------- networks and the like


def test_tensors_and_card_survive_and_the_same_content_has_the_same_bytes() -> None:
    data = dump(TENSORS, CARD)
    tensors, card = undump(data, "here")
    assert card == CARD
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    backwards = dict(reversed(TENSORS.items()))
    assert dump(backwards, dict(reversed(CARD.items()))) == data


def test_no_change_of_one_byte_passes_for_the_same_network(own_cache: Path) -> None:
    """It is refused by name, or what counts (key and weights) is what it was."""
    path = save_net(TENSORS, CARD)
    found = find_net(KEY)
    assert found is not None
    assert not found.shipped
    raw, refused = path.read_bytes(), 0
    for place in range(len(raw)):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        refused += 1
        with suppress(BadRecord):
            kept = find_net(KEY)
            refused -= 1
            assert kept is not None
            assert kept.card["key"] == KEY
            assert weights_digest(kept.state) == weights_digest(TENSORS)
    tensors = sum(value.numel() * value.element_size() for value in TENSORS.values())
    assert refused > tensors + len(KEY)


@pytest.mark.parametrize("keep", [0, 4, 8, 50, -1])
def test_a_network_that_was_cut_short_is_refused_by_name(own_cache: Path, keep: int) -> None:
    path = save_net(TENSORS, CARD)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadRecord, match="remove it") as caught:
        find_net(KEY)
    assert str(path) in str(caught.value)


def test_a_network_under_another_key_is_not_found_and_never_mistaken(own_cache: Path) -> None:
    path = save_net(TENSORS, CARD)
    assert path.name == net_name(CARD)
    assert path.name.startswith("digits-linf--ard-alpha=0.5--seed0--")
    assert find_net(digest("another")) is None
    near = KEY[:12] + "0" * 52  # the same file name, another question
    with pytest.raises(BadRecord, match="does not hold"):
        find_net(near)


def test_no_change_of_one_byte_passes_for_the_same_cell(own_cache: Path) -> None:
    card = {"cell": {"right": 3, "bits": "gYA="}, "question": {"seed": 0}}
    save_cell(KEY, TENSORS, card)
    found = find_cell(KEY)
    assert found is not None
    assert found[1] == card
    assert torch.equal(found[0]["w"], TENSORS["w"])
    (path,) = (own_cache / "cells").iterdir()
    raw = path.read_bytes()
    for place in range(len(raw)):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with suppress(BadRecord):
            kept = find_cell(KEY)  # white space of the header, which says nothing
            assert kept is not None
            assert kept[1] == card
            assert weights_digest(kept[0]) == weights_digest(TENSORS)


def test_a_cell_of_another_question_is_refused(own_cache: Path) -> None:
    save_cell(KEY, TENSORS, {"cell": {}})
    (path,) = (own_cache / "cells").iterdir()
    other = digest("another")
    path.rename(path.with_name(f"{other}.safetensors"))
    assert find_cell(KEY) is None
    with pytest.raises(BadRecord, match="its own digest"):
        find_cell(other)


def state() -> dict[str, Any]:
    return {"epochs": 2, "net": {"w": torch.arange(6.0)}, "objective": {"shares": {"clean": 0.4}}}


def test_the_progress_of_a_training_survives_and_goes_when_it_has_ended(own_cache: Path) -> None:
    heard: list[tuple[str, int, int, str]] = []
    keeper = Keeper(KEY, lambda *what: heard.append(what))
    assert keeper.load("0-student") is None
    keeper.save("0-student", state())
    keeper.save("0-teacher", {**state(), "epochs": 5})
    other = Keeper(digest("another"), lambda *what: None)
    other.save("0-student", state())
    loaded = keeper.load("0-student")
    assert loaded is not None
    assert torch.equal(loaded["net"]["w"], torch.arange(6.0))
    assert loaded["objective"] == state()["objective"]
    keeper.tell("0-student", 1, 2, "loss 0.1")
    assert heard == [("0-student", 1, 2, "loss 0.1")]
    keeper.clear()
    assert keeper.load("0-student") is None
    assert keeper.load("0-teacher") is None
    assert other.load("0-student") is not None


def test_no_change_of_one_byte_passes_for_the_same_progress(own_cache: Path) -> None:
    keeper = Keeper(KEY, lambda *what: None)
    keeper.save("0-student", state())
    (path,) = (own_cache / "progress").iterdir()
    raw = path.read_bytes()
    for place in range(0, len(raw), 7):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 4]) + raw[place + 1 :])
        with pytest.raises(BadRecord, match="remove it") as caught:
            keeper.load("0-student")
        assert str(path) in str(caught.value)


# ---------------------------------------------------------------------------------------- records


def record() -> Record:
    """Twelve examples, ten right when untouched, five under attack; two cells ask 30 images."""
    clean, robust = ledger.first(10, 12), ledger.first(5, 12)
    wide = tuple(ledger.cell(name, ledger.first(25, 30)) for name in ("untouched", "fgsm"))
    return ledger.made("ard", robust, clean=clean, wide=wide)


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    original = record()
    path = save_record(original, b"evidence", tmp_path)
    assert path == record_path(original, tmp_path)
    assert load_record(path) == original
    assert load_records(tmp_path) == [original]
    assert path.with_suffix(".safetensors").read_bytes() == b"evidence"
    assert len(inside(tmp_path)) == 2


def test_a_record_is_never_without_its_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evidence goes first: where it cannot be written, there is no record."""
    written: list[str] = []
    from robustbench_kd.results import store

    def watched(path: Path, data: bytes) -> None:
        written.append(path.suffix)
        raise SaveFailed("full")

    monkeypatch.setattr(store, "write_whole", watched)
    with pytest.raises(SaveFailed):
        save_record(record(), b"evidence", tmp_path)
    assert written == [".safetensors"]
    assert inside(tmp_path) == []


def test_the_same_claim_has_the_same_name_whatever_time_it_took(tmp_path: Path) -> None:
    slow = ledger.made("ard", ledger.first(5, 12), spent={"cpu_seconds": 99.0})
    quick = ledger.made("ard", ledger.first(5, 12))
    assert record_path(slow, tmp_path) == record_path(quick, tmp_path)
    assert slow.id != quick.id
    assert record_path(record(), tmp_path) != record_path(quick, tmp_path)


def test_no_change_of_one_character_of_a_record_is_read(tmp_path: Path) -> None:
    path = save_record(record(), b"", tmp_path)
    raw = path.read_bytes()
    for place in range(0, len(raw), 3):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        try:
            same = json.loads(changed) == json.loads(raw)
        except ValueError:
            same = False
        if not same:
            path.write_bytes(changed)
            with pytest.raises(BadRecord) as caught:
                load_record(path)
            assert str(path) in str(caught.value)


def forged(body: Json) -> str:
    """The record with a digest that fits what it now claims."""
    plain = {name: value for name, value in body.items() if name != "id"}
    return json.dumps({**plain, "id": digest(plain)})


def test_a_forgery_that_changes_nothing_is_read() -> None:
    """So that what is refused below is refused for its change."""
    assert parse(forged(record().json()), "here") == record()


@pytest.mark.parametrize("part", ["cells", "wide"])
@pytest.mark.parametrize(
    "change",
    [
        {"right": 1},
        {"count": 1},
        {"count": -1},
        {"forward": -100},
        {"backward": -100},
    ],
    ids=str,
)
def test_a_count_that_was_changed_is_refused_even_under_a_new_digest(
    part: str, change: dict[str, int]
) -> None:
    cells = len(record().json()[part])
    for place in range(cells):
        body = record().json()
        for name, by in change.items():
            body[part][place][name] += by
        with pytest.raises(BadRecord, match="here"):
            parse(forged(body), "here")


@pytest.mark.parametrize("part", ["cells", "wide"])
def test_a_bit_that_was_flipped_is_refused_even_under_a_new_digest(part: str) -> None:
    for place, cell in enumerate(record().json()[part]):
        for example in range(cell["count"]):
            body = record().json()
            flags = unpack(cell["bits"], cell["count"])
            flags[example] = not flags[example]
            body[part][place]["bits"] = pack(flags)
            with pytest.raises(BadRecord, match="here"):
                parse(forged(body), "here")


def test_two_bits_that_change_places_are_refused_even_under_a_new_digest() -> None:
    """The count of the attack stays what it was; the worst case does not."""
    body = record().json()
    flags = unpack(body["cells"][1]["bits"], 12)
    flags[0], flags[11] = flags[11], flags[0]
    body["cells"][1]["bits"] = pack(flags)
    with pytest.raises(BadRecord, match="worst case"):
        parse(forged(body), "here")


@pytest.mark.parametrize("name", ["hits", "count", "low", "high"])
def test_a_worst_case_that_was_changed_is_refused_even_under_a_new_digest(name: str) -> None:
    body = record().json()
    body["robust"][name] += 1 if name in ("hits", "count") else 0.001
    with pytest.raises(BadRecord, match="worst case"):
        parse(forged(body), "here")


def test_an_example_made_robust_is_refused_even_under_a_new_digest() -> None:
    body = record().json()
    flags = unpack(body["robust"]["bits"], 12)
    flags[6] = True
    body["robust"] = {**body["robust"], "bits": pack(flags), "hits": 6}
    with pytest.raises(BadRecord, match="worst case"):
        parse(forged(body), "here")


def test_a_panel_without_attacks_or_of_another_size_is_refused() -> None:
    body = record().json()
    body["cells"] = []
    with pytest.raises(BadRecord, match="worst case"):
        parse(forged(body), "here")
    body = record().json()
    body["data"]["count"] = 13
    with pytest.raises(BadRecord, match="another number of examples"):
        parse(forged(body), "here")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no record"),
        ("[]", "is no record"),
        ("null", "is no record"),
        ('{"schema": "robustbench-kd.record/1"}', "is no record"),
        ('{"schema": "robustbench-kd.record/99", "id": ""}', "this version reads"),
        ("{}", "schema None"),
    ],
)
def test_what_is_no_record_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadRecord, match=says):
        parse(text, "here")


def test_unknown_and_missing_fields_are_refused() -> None:
    body = record().json()
    with pytest.raises(BadRecord, match="colour"):
        parse(forged({**body, "colour": "red"}), "here")
    del body["threat"]
    with pytest.raises(BadRecord, match="threat"):
        parse(forged(body), "here")


def test_a_record_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(BadRecord, match=r"odd\.json is no record"):
        load_record(tmp_path / "odd.json")


def test_a_share_prints_its_interval() -> None:
    assert str(Share(0, 500)) == "0.0 [0.0, 0.8]"
    assert str(Share(450, 500)) == "90.0 [87.1, 92.3]"


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
    one = {"a": w, "b": -w}
    assert weights_digest(one) == weights_digest(dict(reversed(one.items())))
