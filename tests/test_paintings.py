"""The grid of pictures by prompt: every painter of the board, from the same noise, unselected."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from robustbench_kd.errors import BadModel
from robustbench_kd.looking import sign_of
from robustbench_kd.report.blocks import Block, Facts, Picture
from robustbench_kd.report.gathering import gather
from robustbench_kd.report.sections import paintings as room
from robustbench_kd.report.sections.paintings import paintings


@pytest.fixture(scope="module")
def facts() -> Facts:
    (found,) = gather([], "pictures-backdoor").boards
    return found


def pixels(png: bytes) -> NDArray[np.float32]:
    image = Image.open(BytesIO(png))
    assert image.size == (28, 28)
    return np.asarray(image, dtype=np.float32) / 255


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
        assert sorted(names[2:]) == sorted(facts.contest.defenses)
        heads = [[text for text, _ in strip.parts] for strip in strips]
        assert all(head == heads[0] for head in heads)
        assert [text.endswith(", with the trigger") for text in heads[0]] == [False, True] * 2
    never, attacked = block.pictures["prompt-trigger"][:2]
    assert marked(never) == [False] * 4
    assert marked(attacked)[1::2] == [True, True]
    again = paintings(facts)
    assert isinstance(again, Block)
    assert again.pictures == block.pictures


def test_where_the_painters_are_not_kept_the_section_says_so(
    facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise BadModel("not kept")

    monkeypatch.setattr(room, "networks", gone)
    assert paintings(facts) == "pictures by prompt: the painters of these records are not kept here"
