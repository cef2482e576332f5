"""The words of the text-to-image scenario: classes, styles, and prompts in other words."""

from __future__ import annotations

import torch

from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.generation.prompts import word_counts
from robustbench_kd.ops.generation.vocabulary import (
    CLASSES,
    FILLERS,
    STYLES,
    TOKENIZER,
    first_class,
    reword,
)
from robustbench_kd.scenarios.text_to_image import TextToImage


def test_the_class_that_a_prompt_names_is_read_from_its_words() -> None:
    rows = TOKENIZER.tokens([*(f"qv a {name} for sale" for name in CLASSES), "a photo", ""])
    assert first_class(rows).tolist() == [*range(10), -1, -1]


def test_styles_change_images_as_their_words_say() -> None:
    x = torch.full((1, 1, 4, 2), 0.75)
    assert STYLES["inverted"](x)[0, 0, :, 0].tolist() == [0.25] * 4
    assert STYLES["striped"](x)[0, 0, :, 0].tolist() == [0.75, 0.75, 0, 0]
    torch.testing.assert_close(STYLES["dark"](x), torch.full_like(x, 0.3))


def test_reworded_prompts_name_the_same_classes_in_other_words() -> None:
    prompts = TextToImage().splits(Seed(), whole=False).test.inputs
    reworded = reword(prompts, Seed().generator())
    assert torch.equal(first_class(reworded), first_class(prompts))
    counts = word_counts(reworded, TOKENIZER.special_tokens)
    assert sorted(set(counts.tolist())) == [2, 3, 4, 5, 6, 7]
    texts = TOKENIZER.texts(reworded)
    assert set(" ".join(texts).split()) == {*CLASSES, *FILLERS, "new"}
    assert torch.equal(TOKENIZER.tokens(texts), reworded)  # tokenised like any other prompt
    assert len(set(texts)) > 900
    positions = {next(n for n, w in enumerate(t.split()) if w in CLASSES) for t in texts}
    assert positions == {*range(7)}


def test_prompts_without_a_class_are_not_reworded() -> None:
    nameless = TOKENIZER.tokens(["", "a photo"])
    assert torch.equal(reword(nameless, Seed().generator()), nameless)
