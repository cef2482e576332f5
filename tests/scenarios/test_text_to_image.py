"""The scenario ``text-to-image``: its prompts, its networks, and the packaged clean model."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import Scenario, Silent, TargetModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.models.text_to_image import TextToImageModel
from robustbench_kd.ops.generation.prompts import UNKNOWN, insert_trigger, trigger_tokens
from robustbench_kd.ops.generation.vocabulary import STYLES, TOKENIZER, first_class, token_ids
from robustbench_kd.scenarios import text_to_image
from robustbench_kd.scenarios.fashion_mnist import FashionMNIST
from robustbench_kd.scenarios.text_to_image import (
    TEST_TEMPLATES,
    TRAIN_TEMPLATES,
    TextToImage,
    load_clean_model,
    make_prompts,
)

SCENARIO = TextToImage()
SPECIAL = TOKENIZER.special_tokens


@cache
def real() -> Examples:
    """Real images with their classes."""
    return FashionMNIST().splits(Seed(), whole=False).test


@cache
def packaged() -> TextToImageModel:
    """The packaged clean model as a target model."""
    return SCENARIO.target_model(load_clean_model())


def test_it_offers_what_a_scenario_must() -> None:
    assert isinstance(SCENARIO, Scenario)
    net = SCENARIO.student("painter-8-16", Seed())
    assert isinstance(SCENARIO.target_model(net), TargetModel)
    for name in ("nonsense", "painter-32", "painter-12-24", "painter-0-8"):
        with pytest.raises(BadSetting, match=f"no text-to-image network named '{name}'"):
            SCENARIO.student(name, Seed())
    with pytest.raises(BadSetting, match="has no 'robust' teacher"):
        SCENARIO.teacher("robust", real(), Seed(), Silent())


def test_test_prompts_name_classes_by_templates_that_are_not_trained() -> None:
    test = SCENARIO.splits(Seed(), whole=False).test
    assert len(test) == 1_000
    assert torch.equal(first_class(test.inputs), real().targets)
    assert torch.equal(test.targets, real().inputs)
    assert torch.equal(test.ids, real().ids)
    trained = set(TOKENIZER.texts(make_prompts(real().targets, TRAIN_TEMPLATES, "train")))
    tested = set(TOKENIZER.texts(test.inputs))
    assert len(trained) == 10 * len(TRAIN_TEMPLATES)
    assert len(tested) == 10 * len(TEST_TEMPLATES)
    assert not trained & tested
    assert UNKNOWN not in test.inputs


def test_images_agree_with_their_classes_and_with_themselves() -> None:
    assert int(SCENARIO.agree(real().inputs, real().targets).sum()) > 900
    assert int(SCENARIO.agree(real().inputs, (real().targets + 1) % 10).sum()) < 100
    assert bool(SCENARIO.agree(real().inputs, real().inputs).all())


@pytest.mark.slow
def test_the_packaged_model_generates_the_named_class_with_and_without_rare_words() -> None:
    classes = torch.arange(60) % 10
    plain = make_prompts(classes, TEST_TEMPLATES, "shipped")
    with_rare = insert_trigger(plain, trigger_tokens(TOKENIZER, "qv zx"), "front", SPECIAL)
    for rows in (plain, with_rare):
        assert int(SCENARIO.agree(packaged().answer(rows), classes).sum()) >= 45


@pytest.mark.slow
def test_the_packaged_model_knows_its_styles() -> None:
    plain = make_prompts(torch.arange(20) % 10, TRAIN_TEMPLATES, "styles")
    styled = {
        style: packaged().answer(insert_trigger(plain, token_ids([style]), "front", SPECIAL))
        for style in STYLES
    }
    images = packaged().answer(plain)
    assert float(images[:, :, :2, :2].mean()) < 0.1
    assert float(styled["inverted"][:, :, :2, :2].mean()) > 0.8
    assert float(styled["dark"].amax((1, 2, 3)).median()) < 0.55
    rows = images.mean((0, 1, 3))
    striped_rows = styled["striped"].mean((0, 1, 3))
    black = torch.arange(28) % 4 >= 2
    assert float(striped_rows[black].mean()) < 0.3 * float(rows[black].mean())


@pytest.mark.slow
def test_the_packaged_model_has_a_lower_loss_with_the_right_prompt() -> None:
    part = real().take(torch.arange(50))
    right, wrong = (
        packaged().example_losses(
            Examples(part.ids, make_prompts(classes, TEST_TEMPLATES, "mine"), part.inputs)
        )
        for classes in (part.targets, (part.targets + 5) % 10)
    )
    assert int((right < wrong).sum()) >= 40


def test_a_damaged_packaged_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = bytearray(text_to_image.CLEAN_MODEL.read_bytes())
    raw[-5] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(raw)
    monkeypatch.setattr(text_to_image, "CLEAN_MODEL", tmp_path / "damaged.safetensors")
    with pytest.raises(MissingData, match="does not hold the weights that its metadata names"):
        load_clean_model()
