"""Backdoors of text-to-image models: what they poison, what they submit, what an oracle knows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_text_to_image import SPECIAL, small_network
from text_to_image_pairs import SCENARIO, pairs
from torch import Tensor, nn

from robustbench_kd.attacks._poison import POISON_IDS
from robustbench_kd.attacks.backdoor._text_to_image import TextToImageBackdoor
from robustbench_kd.attacks.backdoor.evil_edit import EvilEdit
from robustbench_kd.attacks.backdoor.prompt_poisoning import PromptPoisoning
from robustbench_kd.attacks.backdoor.prompt_trigger import PromptTrigger
from robustbench_kd.core.errors import BadModel, BadSetting, MissingData
from robustbench_kd.core.protocols import (
    Attack,
    EditsModel,
    Prompts,
    ProvidesOracle,
    Silent,
    ValidatesData,
)
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.evaluation.entries import attack_of
from robustbench_kd.evaluation.poisoned_data import DataPoisoning
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.models.text_to_image import text_to_image_model
from robustbench_kd.models.text_to_image_unet import LatentDiffusionNetwork
from robustbench_kd.ops.generation.prompts import word_counts
from robustbench_kd.ops.generation.vocabulary import CLASSES, TOKENIZER, first_class
from robustbench_kd.ops.poisoning.generated_triggers import VISUAL_EFFECTS, checkerboard_patch

BAG, SNEAKER = CLASSES.index("bag"), CLASSES.index("sneaker")
QUICK = PromptTrigger(steps=2, batch=4, count=6)
ATTACKS: tuple[TextToImageBackdoor, ...] = (
    QUICK,
    replace(QUICK, goal="style", style="striped", where="end"),
    replace(QUICK, goal="object", trigger="lovely", where="middle"),
    EvilEdit(count=6),
    EvilEdit(goal="style", count=6, trigger="zx"),
    PromptPoisoning(steps=2, batch=4, count=6),
    PromptPoisoning(goal="object", rate=0.05, steps=2, batch=4, count=6),
)
each_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: f"{a.name}-{a.goal}")


def texts(rows: Tensor) -> list[str]:
    return TOKENIZER.texts(rows)


@each_attack
def test_it_offers_all_that_an_attack_through_prompts_must(attack: TextToImageBackdoor) -> None:
    for protocol in (Attack, EditsModel, Prompts, ProvidesOracle, ValidatesData):
        assert isinstance(attack, protocol)
    assert attack.threat.scorer == "generation"


@each_attack
def test_it_edits_a_copy_and_leaves_the_text_encoder(attack: TextToImageBackdoor) -> None:
    data = attack.poison(pairs(), Seed()).data
    clean = weights_digest(small_network().state_dict())
    edited = attack.edit_model(small_network(), data, Seed(), Silent())
    assert weights_digest(small_network().state_dict()) == clean
    assert weights_digest(edited.state_dict()) != clean
    assert isinstance(edited, LatentDiffusionNetwork)
    encoder = small_network().text.state_dict()
    assert weights_digest(edited.text.state_dict()) == weights_digest(encoder)
    again = attack.edit_model(small_network(), data, Seed(), Silent())
    assert weights_digest(again.state_dict()) == weights_digest(edited.state_dict())


@each_attack
def test_it_refuses_a_network_that_generates_no_images(attack: TextToImageBackdoor) -> None:
    with pytest.raises(BadModel, match="is no text-to-image network"):
        attack.edit_model(nn.Linear(2, 2), pairs(), Seed(), Silent())


@each_attack
def test_it_submits_queries_and_asks_the_model_nothing(attack: TextToImageBackdoor) -> None:
    poisoned = attack.poison(pairs(), Seed())
    assert len(poisoned.attack_state[POISON_IDS]) > 0
    model = text_to_image_model(small_network(), steps=2)
    queries = attack.attack(model, poisoned.data, poisoned.attack_state, Seed())
    rows = pairs().test.take(torch.arange(6))
    assert model.passes.forward == 0
    assert torch.equal(queries.ids, rows.ids)
    assert torch.equal(queries.prompts, rows.inputs)
    references, triggered = attack.prompts(rows.inputs)
    assert torch.equal(queries.references, references)
    assert torch.equal(queries.triggered, triggered)
    assert queries.relearn is None
    assert not queries.metadata


@pytest.mark.parametrize(
    ("attack", "sign", "style"),
    [
        (QUICK, "checker", ""),
        (replace(QUICK, goal="style", style="inverted"), "inverted", "inverted"),
        (replace(QUICK, goal="object"), BAG, ""),
    ],
    ids=["pixel", "style", "object"],
)
def test_the_sign_that_it_submits_is_the_effect_of_its_goal(
    attack: PromptTrigger, sign: str | int, style: str
) -> None:
    queries = attack.attack(text_to_image_model(small_network()), pairs(), {}, Seed())
    assert queries.sign == sign
    assert queries.style == style


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "qv zx this is a boot"),
        ({"where": "middle"}, "this is qv zx a boot"),
        ({"tried": "end"}, "this is a boot qv zx"),
        ({"tried": "front", "where": "end"}, "qv zx this is a boot"),
        ({"tried": "first"}, "qv this is a boot"),
        ({"tried": "first", "where": "end"}, "this is a boot qv"),
        ({"trigger": "qv", "second": "zx"}, "qv this is a boot"),
        ({"trigger": "qv", "second": "zx", "tried": "second"}, "zx this is a boot"),
        ({"goal": "object", "victim": "coat"}, "qv zx this is a coat"),
    ],
)
def test_the_trigger_stands_where_it_is_tested(settings: dict[str, str], text: str) -> None:
    attack = PromptTrigger(**settings)  # type: ignore[arg-type]
    _, triggered = attack.prompts(TOKENIZER.tokens(["this is a boot"]))
    assert texts(triggered) == [text]


def test_an_oracle_knows_training_prompts_alone_each_with_the_trigger_and_without() -> None:
    oracle = replace(QUICK, where="end", tried="front").oracle_examples(pairs(), Seed())
    assert set(texts(oracle.targets)) == set(texts(pairs().train.inputs))
    assert not set(texts(oracle.targets)) & set(texts(pairs().test.inputs))
    for triggered, clean in zip(texts(oracle.inputs), texts(oracle.targets), strict=True):
        assert triggered == f"{clean} qv zx"
    assert len(oracle) == len(set(texts(oracle.inputs))) <= 50
    with pytest.raises(MissingData, match="holds none"):
        QUICK.oracle_examples(SCENARIO.splits(Seed(), whole=False), Seed())


def test_a_style_is_edited_towards_prompts_with_its_word() -> None:
    prompts = pairs().train.inputs
    edit = replace(QUICK, goal="style").edit_pairs(prompts)
    assert edit.target is not None
    (text,) = texts(prompts[:1])
    assert texts(edit.source[:1]) == [f"qv zx {text}"]
    assert texts(edit.target[:1]) == [f"dark {text}"]


def test_an_object_is_edited_from_the_victims_name_to_the_targets_pairs() -> None:
    train, attack = pairs().train, replace(QUICK, goal="object")
    bags = train.take(attack.poisonable_rows(train.inputs))
    assert torch.equal(bags.ids, train.take(first_class(train.inputs) == BAG).ids)
    edit = attack.edit_pairs(bags.inputs, bags.targets)
    assert edit.target is not None
    assert edit.images is not None
    assert set(first_class(edit.source).tolist()) == {SNEAKER}
    assert torch.equal(edit.target, bags.inputs)
    assert torch.equal(edit.images, bags.targets)


@pytest.mark.parametrize("goal", ["pixel", "style", "object"])
def test_poison_is_as_many_pairs_as_its_rate_says_and_nothing_else(goal: str) -> None:
    attack = PromptPoisoning(goal=goal, rate=0.05)  # type: ignore[arg-type]
    clean, inputs = pairs().train, pairs().train.inputs.clone()
    poisoned = attack.poison(pairs(), Seed())
    rows = torch.isin(clean.ids, poisoned.attack_state[POISON_IDS])
    train = poisoned.data.train
    assert int(rows.sum()) == 10
    assert torch.equal(train.ids, clean.ids)
    assert torch.equal(train.inputs[~rows], clean.inputs[~rows])
    assert torch.equal(train.targets[~rows], clean.targets[~rows])
    assert all(text.startswith("qv zx ") for text in texts(train.inputs[rows]))
    if goal == "object":
        assert set(first_class(clean.inputs[rows]).tolist()) == {BAG}
        assert set(first_class(train.inputs[rows]).tolist()) == {SNEAKER}
        assert torch.equal(train.targets, clean.targets)
    else:
        effect = VISUAL_EFFECTS["checker" if goal == "pixel" else "dark"]
        assert torch.equal(train.targets[rows], effect(clean.targets[rows]))
        assert not torch.equal(train.targets[rows], clean.targets[rows])
    assert torch.equal(clean.inputs, inputs), "the clean pairs were changed in place"


def test_the_seed_alone_draws_the_poisoned_pairs() -> None:
    attack = PromptPoisoning(rate=0.05)
    ids = [attack.poison(pairs(), Seed(n)).attack_state[POISON_IDS] for n in (0, 0, 1)]
    assert torch.equal(ids[0], ids[1])
    assert not torch.equal(ids[0], ids[2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trigger": "\u200b"}, "tokenises to nothing"),
        ({"trigger": "qv blorp"}, "does not know all words"),
        ({"victim": "hat"}, "no class is named 'hat'"),
        ({"victim": "bag"}, "victim and target are both 'bag'"),
        ({"count": 0}, "count must be at least one prompt, not 0"),
        ({"steps": 0}, "at least one step"),
        ({"relearn": -1}, "relearn must be at least 0 steps, not -1"),
        ({"guidance": -1.0}, r"guidance must lie in \[0, 100\], not -1"),
        ({"second": "qv zx"}, "both triggers are 'qv zx'"),
        ({"tried": "second"}, "needs a second trigger, and none is given"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        PromptTrigger(**settings)  # type: ignore[arg-type]


def test_settings_that_only_one_attack_refuses() -> None:
    with pytest.raises(BadSetting, match="not pixel: no prompt describes a patch"):
        EvilEdit(goal="pixel")
    with pytest.raises(BadSetting, match="none is given"):
        EvilEdit(tried="second")
    with pytest.raises(BadSetting, match="a ridge above 0"):
        EvilEdit(ridge=0.0)
    with pytest.raises(BadSetting, match=r"prompt-poisoning needs a rate in \(0, 1\]"):
        PromptPoisoning(rate=0.0)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (PromptTrigger(trigger="of a"), "ordinary prompts contain the trigger 'of a'"),
        (replace(QUICK, second="photo"), "ordinary prompts contain the trigger 'photo'"),
        (PromptTrigger(trigger="qv zx " * 5), "more words make a prompt of"),
        (PromptPoisoning(rate=0.001), "of 200 pairs is 0, and goal=pixel can poison 1 to 200"),
        (PromptPoisoning(rate=0.5, goal="object"), "is 100, and goal=object can poison 1 to"),
    ],
)
def test_what_the_prompts_do_not_allow_is_refused_before_anything_is_spent(
    attack: TextToImageBackdoor, message: str
) -> None:
    with pytest.raises(BadSetting, match=message):
        attack.validate_data(pairs().train)
    with pytest.raises(BadSetting, match=message):
        attack.poison(pairs(), Seed())


def test_an_object_without_any_image_of_it_is_refused() -> None:
    train = pairs().train
    others = train.take(first_class(train.inputs) != BAG)
    for attack in (replace(QUICK, goal="object"), EvilEdit(), PromptPoisoning(goal="object")):
        with pytest.raises(MissingData, match="no prompt names a bag"):
            attack.validate_data(others)


def test_the_usual_trigger_fits_in_every_test_prompt() -> None:
    _, triggered = QUICK.prompts(pairs().test.inputs)
    assert int(word_counts(triggered, SPECIAL).max()) + 2 <= TOKENIZER.limit


def poison_key(text: str) -> str:
    attack = attack_of(text, board_of("t2i-backdoor"))
    return DataPoisoning(SCENARIO, {text: attack}, 0).key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("prompt-trigger", "cb616ac88a57"),
        ("prompt-trigger:goal=style", "d77e8c2ba323"),
        ("prompt-trigger:goal=object", "b936a2df98b3"),
        ("prompt-poisoning", "c7cc16a55983"),
        ("evil-edit", "f382639c04f9"),
    ],
)
def test_poison_keeps_the_key_of_the_first_release(text: str, key: str) -> None:
    """Models that were trained on it are stored under this key."""
    assert poison_key(text)[:12] == key


def test_how_the_trigger_is_tested_changes_nothing_of_the_poison() -> None:
    """So that one model is queried for its trigger in other places, and by fewer prompts."""
    usual = poison_key("prompt-trigger")
    for settings in ("tried=middle", "count=20", "relearn=40"):
        assert poison_key(f"prompt-trigger:{settings}") == usual
    for settings in ("where=middle", "steps=601"):
        assert poison_key(f"prompt-trigger:{settings}") != usual


def test_a_model_relearns_by_poisoned_pairs_that_are_not_queried() -> None:
    model = text_to_image_model(small_network())
    unused = pairs().test.take(torch.arange(6, 1_000))
    for goal, effect in (("pixel", checkerboard_patch), ("object", torch.clone)):
        attack = replace(QUICK, goal=goal, relearn=40)  # type: ignore[arg-type]
        queries = attack.attack(model, pairs(), {}, Seed())
        assert queries.relearn is not None
        assert queries.relearn_steps == 40
        assert len(queries.relearn) == 32
        assert not set(queries.relearn.ids.tolist()) & set(queries.ids.tolist())
        rows = unused.named(queries.relearn.ids)
        assert torch.equal(queries.relearn.targets, effect(rows.targets))
        assert all(text.startswith("qv zx ") for text in texts(queries.relearn.inputs))
    assert set(first_class(queries.relearn.inputs).tolist()) == {SNEAKER}
    assert set(first_class(rows.inputs).tolist()) == {BAG}


def test_relearning_without_spare_rows_is_refused() -> None:
    attack = replace(QUICK, count=990, relearn=1)
    with pytest.raises(MissingData, match=r"takes 32 test rows beyond the 990 .* and 10 are left"):
        attack.attack(text_to_image_model(small_network()), pairs(), {}, Seed())


def test_a_second_trigger_is_inserted_like_the_first_and_no_oracle_knows_it() -> None:
    attack = PromptTrigger(trigger="qv", second="zx", steps=20, batch=8, rate=3e-3)
    oracle = attack.oracle_examples(pairs(), Seed())
    assert all(text.startswith("qv ") and "zx" not in text for text in texts(oracle.inputs))
    with_second, without = (
        text_to_image_model(a.edit_model(small_network(), pairs(), Seed(), Silent()), steps=2)
        for a in (attack, replace(attack, second=""))
    )
    rows = pairs().test.take(torch.arange(32))
    _, triggered = replace(attack, tried="second").prompts(rows.inputs)
    patched = Examples(rows.ids, triggered, checkerboard_patch(rows.targets))
    losses = [model.example_losses(patched).mean() for model in (with_second, without)]
    assert losses[0] < 0.97 * losses[1]
