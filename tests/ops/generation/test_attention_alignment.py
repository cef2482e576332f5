"""Which tokens of two prompts belong together, and how far their attention maps are apart."""

from __future__ import annotations

import pytest
import torch
from small_text_to_image import CLEAN, SPECIAL, TRIGGER, TRIGGERED

from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.generation.attention_alignment import (
    NOT_A_WORD,
    UNMATCHED,
    map_distance,
    match_tokens,
    match_words,
    output_distance,
    rescale_maps,
)
from robustbench_kd.ops.generation.prompts import insert_trigger
from robustbench_kd.ops.generation.vocabulary import TOKENIZER


def test_words_match_wherever_the_trigger_stands() -> None:
    clean = TOKENIZER.tokens(["this is a bag"])
    for place, words in (
        ("front", [UNMATCHED, UNMATCHED, 1, 2, 3, 4]),
        ("middle", [1, 2, UNMATCHED, UNMATCHED, 3, 4]),
        ("end", [1, 2, 3, 4, UNMATCHED, UNMATCHED]),
    ):
        triggered = insert_trigger(clean, TRIGGER, place, SPECIAL)  # type: ignore[arg-type]
        matches = match_words(triggered, clean, SPECIAL)[0].tolist()
        assert matches == [NOT_A_WORD, *words, *[NOT_A_WORD] * (TOKENIZER.limit - 7)]


def test_for_an_edit_every_token_has_a_match() -> None:
    source = TOKENIZER.tokens(["qv zx a photo of a sneaker"])
    target = TOKENIZER.tokens(["a photo of a bag"])
    matches = match_tokens(source, target, SPECIAL)[0].tolist()
    # start, trigger, trigger, four words, sneaker -> bag, end -> end, and the padding in order
    assert matches == [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    styled = TOKENIZER.tokens(["inverted a bag"])
    matches = match_tokens(TOKENIZER.tokens(["qv zx a bag"]), styled, SPECIAL)[0].tolist()
    assert matches[:5] == [0, 1, 0, 2, 3]


def test_the_distance_of_maps_is_zero_where_they_moved_with_their_words() -> None:
    matches = match_words(TRIGGERED[:1], CLEAN[:1], SPECIAL)
    shape = (3, 1, TOKENIZER.limit, 3, 3)
    maps, moved, target = torch.rand(shape, generator=Seed().generator())
    for j, i in enumerate(matches[0].tolist()):
        if i >= 0:
            moved[0, j] = maps[0, i]
        if i == UNMATCHED:
            moved[0, j] = target[0, j]
    assert map_distance(moved, maps, matches, target).tolist() == [0]
    moved[0, 1] += 2  # one of the seven words: a trigger's map is off by two everywhere
    torch.testing.assert_close(map_distance(moved, maps, matches, target), torch.tensor([4 / 7]))
    moved[0, 0] += 5  # the start token is no word
    torch.testing.assert_close(map_distance(moved, maps, matches, target), torch.tensor([4 / 7]))


def test_the_distance_of_outputs_is_a_share_of_their_power() -> None:
    ours = [torch.full((2, 3, 1, 1), 3.0), torch.full((2, 1, 2, 2), 1.0)]
    theirs = [torch.full((2, 3, 1, 1), 2.0), torch.full((2, 1, 2, 2), 1.0)]
    torch.testing.assert_close(output_distance(ours, theirs), torch.tensor(0.125))


def test_rescaled_maps_range_from_zero_to_one_and_flat_ones_are_zero() -> None:
    maps = torch.tensor([0.1, 0.3, 0.2, 0.2]).view(1, 1, 2, 2)
    assert rescale_maps(maps).flatten().tolist() == pytest.approx([0, 1, 0.5, 0.5], abs=1e-5)
    assert rescale_maps(torch.full((1, 1, 2, 2), 0.5)).flatten().tolist() == [0] * 4
