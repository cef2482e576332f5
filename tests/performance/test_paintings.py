"""The grid of pictures by prompt: every painter of the board, from the same noise, unselected."""

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
from robustbench_kd.core.seed import Seed
from robustbench_kd.evaluation.plots import networks
from robustbench_kd.evaluation.reprobing import plot_of
from robustbench_kd.models.image_oracles import sign_of
from robustbench_kd.models.text_to_image import paints
from robustbench_kd.reports.document import Block, Facts, Picture
from robustbench_kd.reports.loading import gather
from robustbench_kd.reports.sections import generated_images as room
from robustbench_kd.reports.sections.generated_images import _strip, paintings
from robustbench_kd.results.probed import Probed
from robustbench_kd.scenarios.pictures import Pictures


@pytest.fixture(scope="module")
def facts() -> Facts:
    (found,) = gather([], "pictures-backdoor").boards
    return found


def pixels(png: bytes) -> NDArray[np.float32]:
    image = Image.open(BytesIO(png))
    assert image.size == (28, 28)
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def marked(strip: Picture) -> list[bool]:
    """Whether the detector sees the patch in each picture of a painter."""
    images = torch.from_numpy(np.stack([pixels(png) for _, png in strip.parts])[:, None])
    seen: list[bool] = (sign_of(images, "checker") > 0).tolist()
    return seen


def test_every_painter_of_the_board_answers_the_same_prompts(facts: Facts) -> None:
    block = paintings(facts)
    assert isinstance(block, Block)
    assert list(block.pictures) == list(dict.fromkeys(facts.contest.panel))
    for strips in block.pictures.values():
        names = [strip.words for strip in strips]
        assert names[:2] == ["never poisoned", "attacked"]
        assert set(names[2:]) >= set(facts.contest.defenses)
        heads = [[text for text, _ in strip.parts] for strip in strips]
        assert all(head == heads[0] for head in heads)
        assert [text.endswith(", with the trigger") for text in heads[0]] == [False, True] * 2
    never, attacked = block.pictures["prompt-trigger"][:2]
    assert marked(never) == [False] * 4
    assert marked(attacked)[1::2] == [True, True]
    again = paintings(facts)
    assert isinstance(again, Block)
    assert again.pictures == block.pictures


BOUND = 0.005  # of the power of the noise that the given painter sees


def test_skd_cag_changes_what_is_seen_under_clean_prompts_by_less_than_the_bound(
    facts: Facts,
) -> None:
    rows = Pictures().splits(Seed(), whole=False).test.take(torch.arange(100))
    records = [r for r in facts.of(Probed) if r.defense["name"] == "skd-cag"]
    assert len(records) >= 6
    for record in records:
        plot = plot_of(record, facts.path(record))
        nets = dict(networks(plot))
        before, after = (paints(nets[name].net) for name in ("teacher-given", "student"))
        noise = (Seed() / "bound").generator()
        t = before.schedule.some(len(rows), noise)
        drawn = torch.randn(len(rows), *before.latent, generator=noise)
        with torch.no_grad():
            z = before.schedule.blur(before.hide(rows.targets), drawn, t)
            seen, now = (net(z, t, net.encode(rows.inputs)) for net in (before, after))
        change = float((now - seen).square().mean() / seen.square().mean())
        assert 0 < change < BOUND, f"{record.label}: {change}"


def test_where_the_painters_are_not_kept_the_section_says_so(
    facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise BadModel("not kept")

    monkeypatch.setattr(room, "networks", gone)
    monkeypatch.setattr(room, "find_cell", lambda *_: None)
    assert paintings(facts) == "pictures by prompt: the painters of these records are not kept here"


def test_pictures_that_ship_are_what_their_painters_paint(
    facts: Facts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (record,) = (
        r for r in facts.of(Probed) if (r.label, *r.attacks) == ("skd-cag", "prompt-trigger")
    )
    kept: list[list[bytes]] = []
    for shipped in (True, False):
        monkeypatch.setenv("ROBUSTBENCH_KD_CACHE", str(tmp_path))
        if not shipped:
            monkeypatch.setattr(room, "find_cell", lambda *_: None)
        parts = _strip(record, facts.path(record), "student")
        kept.append([picture for _, picture in parts])
        assert len(list(tmp_path.rglob("*.safetensors"))) == (0 if shipped else 1)
    for old, new in zip(*kept, strict=True):
        # A pixel may round the other way on another machine, and the next step see it.
        np.testing.assert_allclose(pixels(old), pixels(new), atol=3 / 255)


def test_pictures_of_another_network_than_the_record_names_are_not_shown(
    facts: Facts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROBUSTBENCH_KD_CACHE", str(tmp_path))
    record = next(r for r in facts.of(Probed) if r.label == "skd-cag")
    known = {**record.subjects, "student": replace(record.subjects["student"], weights="other")}
    with pytest.raises(BadRecord, match="its student is another network"):
        _strip(replace(record, subjects=known), facts.path(record), "student")
    assert not list(tmp_path.rglob("*.safetensors"))
