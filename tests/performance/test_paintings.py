"""Generated images of a report: every model of the leaderboard, from the same noise, unselected."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from robustbench_kd.core.errors import BadModel, BadRecord
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.seed import Seed
from robustbench_kd.evaluation.rebuild import rebuild
from robustbench_kd.models.image_oracles import effect_scores
from robustbench_kd.models.text_to_image import as_text_to_image
from robustbench_kd.reports.document import Block, BoardRecords, ImageStrip
from robustbench_kd.reports.loading import load_boards
from robustbench_kd.reports.sections import generated_images as section
from robustbench_kd.reports.sections.generated_images import generated_images, images_by_attack
from robustbench_kd.results.artifacts import find_cached
from robustbench_kd.results.record import Record
from robustbench_kd.scenarios.text_to_image import TextToImage


@pytest.fixture(scope="module")
def board() -> BoardRecords:
    (board,) = load_boards([], "t2i-backdoor").boards
    return board


def record_of(board: BoardRecords, label: str) -> Record:
    """The record of a defense under the first attack of the leaderboard."""
    (record,) = (
        record
        for record in board.records
        if (record.label, record.attack_labels) == (label, ["prompt-trigger"])
    )
    return record


def pixels(png: bytes) -> NDArray[np.float32]:
    image = Image.open(BytesIO(png))
    assert image.size == (28, 28)
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def shows_patch(strip: ImageStrip) -> list[bool]:
    """Whether the detector finds the attacker's patch in each image of a model."""
    images = torch.from_numpy(np.stack([pixels(png) for _, png in strip.images])[:, None])
    flags: list[bool] = (effect_scores(images, "checker") > 0).tolist()
    return flags


def test_every_model_of_the_leaderboard_answers_the_same_prompts(board: BoardRecords) -> None:
    block = images_by_attack(board)
    assert isinstance(block, Block)
    assert list(block.strips) == list(board.leaderboard.attacks)
    for strips in block.strips.values():
        names = [strip.caption for strip in strips]
        assert names[:2] == ["not poisoned", "attacked"]
        assert set(names[2:]) >= set(board.leaderboard.defenses)
        prompts = [[text for text, _ in strip.images] for strip in strips]
        assert all(texts == prompts[0] for texts in prompts)
        assert [text.endswith(", with the trigger") for text in prompts[0]] == [False, True] * 2
    not_poisoned, attacked = block.strips["prompt-trigger"][:2]
    assert shows_patch(not_poisoned) == [False] * 4
    assert shows_patch(attacked)[1::2] == [True, True]
    again = images_by_attack(board)
    assert isinstance(again, Block)
    assert again.strips == block.strips


def test_every_shipped_file_is_found_by_its_key(
    board: BoardRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: set[str] = set()

    def listed(key: str, folder: str) -> object:
        keys.add(key)
        return find_cached(key, folder)

    monkeypatch.setattr(section, "find_cached", listed)
    images_by_attack(board)
    assert keys == {path.stem for path in shipped("paintings").glob("*.safetensors")}


BOUND = 0.005  # of the power of the noise that the attacked model predicts


def test_skd_cag_changes_predictions_under_clean_prompts_by_less_than_the_bound(
    board: BoardRecords,
) -> None:
    rows = TextToImage().splits(Seed(), whole=False).test.take(torch.arange(100))
    records = [record for record in board.records if record.defense["name"] == "skd-cag"]
    assert len(records) >= 6
    for record in records:
        models = rebuild(record, board.path(record)).models
        before, after = (
            as_text_to_image(models[role].net) for role in ("teacher-given", "student")
        )
        noise = (Seed() / "bound").generator()
        t = before.schedule.sample_steps(len(rows), noise)
        drawn = torch.randn(len(rows), *before.latent, generator=noise)
        with torch.no_grad():
            z = before.schedule.add_noise(before.to_latents(rows.targets), drawn, t)
            given, repaired = (net(z, t, net.encode(rows.inputs)) for net in (before, after))
        change = float((repaired - given).square().mean() / given.square().mean())
        assert 0 < change < BOUND, f"{record.label}: {change}"


def test_where_the_models_are_not_stored_the_section_says_so(
    board: BoardRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise BadModel("not stored")

    monkeypatch.setattr(section, "rebuild", missing)
    monkeypatch.setattr(section, "find_cached", lambda *_: None)
    assert images_by_attack(board) == (
        "generated images: the models of these records are not stored here"
    )


def test_shipped_images_are_what_their_models_generate(
    board: BoardRecords, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record = record_of(board, "skd-cag")
    monkeypatch.setenv("ROBUSTBENCH_KD_CACHE", str(tmp_path))
    from_package = generated_images(record, board.path(record), "student")
    assert not list(tmp_path.rglob("paintings/*.safetensors"))
    monkeypatch.setattr(section, "find_cached", lambda *_: None)
    generated = generated_images(record, board.path(record), "student")
    assert len(list(tmp_path.rglob("paintings/*.safetensors"))) == 1
    for (prompt, old), (same_prompt, new) in zip(from_package, generated, strict=True):
        assert prompt == same_prompt
        # A pixel may round the other way on another machine, and the next step see it.
        np.testing.assert_allclose(pixels(old), pixels(new), atol=3 / 255)


def test_images_of_another_network_than_the_record_names_are_not_shown(
    board: BoardRecords, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROBUSTBENCH_KD_CACHE", str(tmp_path))
    record = record_of(board, "skd-cag")
    models = {**record.models, "student": {**record.student, "weights": "other"}}
    with pytest.raises(BadRecord, match="other weights than those stored here of its student"):
        generated_images(replace(record, models=models), board.path(record), "student")
    assert not list(tmp_path.rglob("paintings/*.safetensors"))
