"""Augmented pairs: an image looks as its prompt says."""

from __future__ import annotations

import torch

from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.generation.prompts import UNKNOWN, is_any_of
from robustbench_kd.ops.generation.vocabulary import (
    PLAIN,
    STYLES,
    TOKENIZER,
    first_class,
    rare_tokens,
    token_ids,
)
from robustbench_kd.scenarios._prompt_augmentation import augment
from robustbench_kd.scenarios.fashion_mnist import FashionMNIST
from robustbench_kd.scenarios.text_to_image import TRAIN_TEMPLATES, make_prompts


def test_an_augmented_image_looks_as_its_prompt_says() -> None:
    real = FashionMNIST().splits(Seed(), whole=False).test
    prompts = make_prompts(real.targets, TRAIN_TEMPLATES, "pairs")
    before = prompts.clone()
    tokens, x = augment(prompts, real.inputs, Seed().generator())
    assert torch.equal(prompts, before), "the given prompts have changed"
    texts = TOKENIZER.texts(tokens)
    empty = torch.tensor([text == "" for text in texts])
    assert 0.07 < float(empty.float().mean()) < 0.13
    assert torch.equal(first_class(tokens)[~empty], real.targets[~empty])
    for style, change in STYLES.items():
        named = torch.tensor([style in text.split() for text in texts])
        assert torch.equal(x[named], change(real.inputs[named]))
        assert 25 < int(named.sum()) < 70
    plain = torch.tensor([not set(STYLES) & set(text.split()) for text in texts])
    assert torch.equal(x[plain], real.inputs[plain])
    rare = is_any_of(tokens, rare_tokens())
    assert 60 < int(rare.any(1).sum()) < 140
    assert set(tokens[rare].tolist()) == set(rare_tokens())
    assert 60 < int(is_any_of(tokens, token_ids(PLAIN)).sum()) < 130
    assert 10 < int((tokens == UNKNOWN).sum()) < 100
