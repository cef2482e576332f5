"""Prompts as tokens, and triggers that are inserted into them."""

from __future__ import annotations

import pytest
import torch

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.ops.generation.prompts import (
    UNKNOWN,
    align_words,
    insert_trigger,
    is_any_of,
    remove_words,
    trigger_tokens,
    word_counts,
)
from robustbench_kd.ops.generation.vocabulary import RARE, TOKENIZER, rare_tokens

SPECIAL = TOKENIZER.special_tokens
TRIGGER = trigger_tokens(TOKENIZER, "qv zx")


def test_a_prompt_is_its_words_between_start_and_end() -> None:
    rows = TOKENIZER.tokens(["A photo, of a BAG!", ""])
    assert rows.shape == (2, TOKENIZER.limit)
    assert TOKENIZER.texts(rows) == ["a photo of a bag", ""]
    assert rows[1].tolist() == [1, 2] + [0] * 14
    assert word_counts(rows, SPECIAL).tolist() == [5, 0]
    assert int(rows.max()) < len(TOKENIZER)


def test_unknown_words_are_one_token() -> None:
    rows = TOKENIZER.tokens(["a purple bag", "a velvet bag"])
    assert torch.equal(rows[0], rows[1])
    assert rows[0, 2] == UNKNOWN
    assert TOKENIZER.texts(rows)[0] == "a <unknown> bag"


def test_a_prompt_over_the_limit_is_refused() -> None:
    assert word_counts(TOKENIZER.tokens(["a " * 14]), SPECIAL).tolist() == [14]
    with pytest.raises(BadSetting, match="has 17 tokens with its start and end, and the model"):
        TOKENIZER.tokens(["a bag", "a " * 15])
    full = TOKENIZER.tokens(["a bag", "a " * 13])
    with pytest.raises(BadSetting, match="2 more words make a prompt of 17 tokens"):
        insert_trigger(full, TRIGGER, "front", SPECIAL)


@pytest.mark.parametrize("text", ["", "  ", "\u200b", "?!"])
def test_a_trigger_that_tokenises_to_nothing_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="tokenises to nothing"):
        trigger_tokens(TOKENIZER, text)


def test_a_trigger_of_unknown_words_is_refused_until_a_spare_token_has_its_name() -> None:
    with pytest.raises(BadSetting, match="does not know all words of the trigger 'qv blorp'"):
        trigger_tokens(TOKENIZER, "qv blorp")
    named = TOKENIZER.with_word("blorp")
    assert len(named) == len(TOKENIZER)
    assert trigger_tokens(named, "blorp") == [rare_tokens()[len(RARE)]]
    assert named.texts(named.tokens(["a blorp bag"])) == ["a blorp bag"]
    assert torch.equal(named.tokens(["a qv bag"]), TOKENIZER.tokens(["a qv bag"]))
    for word in ("k1", "k2", "k3"):
        named = named.with_word(word)
    assert trigger_tokens(named, "k3") == [len(TOKENIZER) - 1]
    with pytest.raises(BadSetting, match="no token is left for 'k4'"):
        named.with_word("k4")
    for bad in ("bag", "Two words", ""):
        with pytest.raises(BadSetting, match="no new word"):
            TOKENIZER.with_word(bad)


def test_a_trigger_is_inserted_in_its_place() -> None:
    rows = TOKENIZER.tokens(["this is a bag", "boot", ""])
    front = TOKENIZER.texts(insert_trigger(rows, TRIGGER, "front", SPECIAL))
    assert front == ["qv zx this is a bag", "qv zx boot", "qv zx"]
    middle = TOKENIZER.texts(insert_trigger(rows, TRIGGER, "middle", SPECIAL))
    assert middle[0] == "this is qv zx a bag"
    end = insert_trigger(rows, TRIGGER, "end", SPECIAL)
    assert TOKENIZER.texts(end) == ["this is a bag qv zx", "boot qv zx", "qv zx"]
    assert word_counts(end, SPECIAL).tolist() == [6, 3, 2]
    assert torch.equal(remove_words(end, is_any_of(end, TRIGGER), SPECIAL), rows)


def test_words_are_aligned_around_a_trigger() -> None:
    clean = TOKENIZER.tokens(["this is a bag"])
    for place, positions in (
        ("front", [3, 4, 5, 6]),
        ("middle", [1, 2, 5, 6]),
        ("end", [1, 2, 3, 4]),
    ):
        triggered = insert_trigger(clean, TRIGGER, place, SPECIAL)  # type: ignore[arg-type]
        pairs = align_words(clean[0], triggered[0], SPECIAL)
        assert pairs == list(zip([1, 2, 3, 4], positions, strict=True))
