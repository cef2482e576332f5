"""Concept editing: the terms of its loss, edits by training and in closed form, and their pairs."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from small_text_to_image import (
    CLEAN,
    SPECIAL,
    TRIGGERED,
    distance,
    predicted_noise,
    shifted,
    small_network,
)
from torch import Tensor, nn

from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.models.text_to_image import trainable_copy
from robustbench_kd.models.text_to_image_unet import LatentDiffusionNetwork
from robustbench_kd.ops.generation.attention_alignment import (
    NOT_A_WORD,
    UNMATCHED,
    match_tokens,
    match_words,
)
from robustbench_kd.ops.generation.vocabulary import FILLERS, PLAIN, TOKENIZER, token_ids
from robustbench_kd.scenarios.text_to_image import TRAIN_TEMPLATES
from robustbench_kd.training.concept_editing import edit_closed_form, edit_concepts
from robustbench_kd.training.edit_config import EditConfig
from robustbench_kd.training.edit_loss import (
    LossTerms,
    balance_factors,
    loss_terms,
    substitute_unmatched,
    weighted_sum,
)
from robustbench_kd.training.edit_pairs import (
    EditPairs,
    class_removal_pairs,
    with_generated_images,
)
from robustbench_kd.training.trainer import TrainStep, fit

PAIRS = EditPairs(TRIGGERED, CLEAN)


@pytest.mark.parametrize("target", ["noise", "zero", "words"])
@pytest.mark.parametrize("term", LossTerms._fields)
def test_every_term_moves_the_student(term: str, target: str) -> None:
    config = EditConfig(
        attention_weight=0.5,
        map_target=target,  # type: ignore[arg-type]
        output_weight=1.0,
        preservation_weight=1.0,
    )
    # Preservation has no slope where nothing has moved yet.
    student = trainable_copy(shifted(small_network()))
    terms = loss_terms(small_network(), PAIRS, PAIRS.unchanged(), config)(student, 8, Seed())
    value: Scalar = getattr(terms, term)
    assert float(value.detach()) > 0
    value.backward()
    assert isinstance(student, LatentDiffusionNetwork)
    for key, _ in student.cross_attention_projections[:-1]:
        assert key.weight.grad is not None
        assert float(key.weight.grad.abs().sum()) > 0
    assert all(weight.grad is None for weight in student.text.parameters())


def test_the_maps_of_a_student_are_compared_with_its_teachers_not_its_own() -> None:
    config = EditConfig(attention_weight=0.5, map_target="zero", output_weight=1.0)

    def terms(student: nn.Module, source: Tensor) -> list[float]:
        pairs = EditPairs(source, CLEAN)
        values = loss_terms(small_network(), pairs, None, config)(student, 8, Seed())
        return [float(value.detach()) for value in values[:3]]

    # The same weights and other prompts: were maps shared, both would be read from one prompt.
    triggered = terms(trainable_copy(small_network()), TRIGGERED)
    assert min(triggered) > 0
    # The same weights and prompts agree up to rounding: a pass with gradients may take another
    # kernel than one without.
    same = terms(trainable_copy(small_network()), CLEAN)
    assert all(a < 1e-6 * b for a, b in zip(same, triggered, strict=True))
    # Other weights and the same prompts differ.
    assert min(terms(shifted(small_network()), CLEAN)) > 0


def test_without_weight_it_is_self_distillation_bit_for_bit() -> None:
    config = EditConfig(steps=3, batch=4, learning_rate=1e-3)
    net = small_network()

    def plain(student: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
        seed = Seed(int(torch.randint(2**62, (1,), generator=step.noise)))
        rows = torch.randint(len(CLEAN), (len(batch),), generator=(seed / "rows").generator())
        noise = (seed / "latents").generator()
        t = net.schedule.sample_steps(len(rows), noise)
        z = torch.randn(len(rows), *net.latent, generator=noise)
        assert isinstance(student, LatentDiffusionNetwork)
        with torch.no_grad():
            expected = net(z, t, net.encode(CLEAN[rows]))
        predicted: Tensor = student(z, t, student.encode(TRIGGERED[rows]))
        loss: Scalar = (predicted - expected).square().mean()
        return loss

    def digest(config: EditConfig) -> str:
        return weights_digest(edit_concepts(net, PAIRS, None, config, Seed()).state_dict())

    rows = torch.arange(12)
    by_hand = fit(trainable_copy(net), Examples(rows, rows, rows), plain, config.schedule(), Seed())
    expected = weights_digest(by_hand.state_dict())
    assert digest(config) == expected
    assert digest(replace(config, map_target="words")) == expected
    assert digest(replace(config, attention_weight=0.5)) != expected


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    terms = LossTerms(*(torch.tensor(v) for v in (2.0, 3.0, 5.0, 7.0)))
    assert float(weighted_sum(terms, EditConfig(), (9.0, 9.0))) == 2
    config = EditConfig(attention_weight=0.25, output_weight=2.0, preservation_weight=10.0)
    assert float(weighted_sum(terms, config, (0.5, 0.1))) == pytest.approx(1.5 + 0.25 * 2.5 + 70)
    terms = LossTerms(*(torch.tensor(v) for v in (2.0, 4.0, 0.0, 1.0)))
    assert balance_factors(terms) == (0.5, 0.0)


def test_an_edit_brings_outputs_together_and_preserves_the_rest() -> None:
    net = small_network()
    config = EditConfig(steps=90, batch=16, learning_rate=5e-3)
    free = edit_concepts(net, PAIRS, None, config, Seed())
    preserving = replace(config, preservation_weight=1.0)
    held = edit_concepts(net, PAIRS, PAIRS.unchanged(), preserving, Seed())
    clean, triggered = predicted_noise(net, CLEAN), predicted_noise(net, TRIGGERED)
    # Outputs for triggered prompts end nearer to the targets than to where they were.
    edited = predicted_noise(free, TRIGGERED)
    assert distance(edited, clean) < distance(edited, triggered)
    # Preserving clean prompts does not undo that, and they move less: than without it, and than
    # those that were edited.
    assert distance(predicted_noise(held, TRIGGERED), clean) < distance(triggered, clean)
    moved = distance(predicted_noise(held, CLEAN), clean)
    assert moved < distance(predicted_noise(free, CLEAN), clean)
    assert moved < distance(predicted_noise(held, TRIGGERED), triggered)
    assert isinstance(held, LatentDiffusionNetwork)
    assert weights_digest(held.text.state_dict()) == weights_digest(net.text.state_dict())


def test_attention_guidance_brings_maps_nearer_than_outputs_alone_do() -> None:
    net = small_network()
    measure = loss_terms(net, PAIRS, None, EditConfig(attention_weight=0.5, map_target="zero"))
    config = EditConfig(steps=60, batch=16, learning_rate=3e-3, map_target="zero")
    alone = edit_concepts(net, PAIRS, None, config, Seed())
    guided = edit_concepts(net, PAIRS, None, replace(config, attention_weight=0.9), Seed())
    with torch.no_grad():
        after, unguided, before = (
            float(measure(student, 32, Seed() / "measure").maps) for student in (guided, alone, net)
        )
    # Measured: outputs alone leave 0.75 of the distance, and guidance 0.19. It must remove most of
    # what they leave; without effect, it would remove about nothing.
    assert after < 0.5 * min(unguided, before)


def test_random_words_stand_in_the_place_of_the_trigger() -> None:
    matches = match_words(TRIGGERED, CLEAN, SPECIAL)
    words = torch.tensor(token_ids((*FILLERS, *PLAIN)))
    prompts, own = substitute_unmatched(TRIGGERED, matches, words, Seed())
    assert torch.isin(prompts[:, 1:3], words).all()
    assert torch.equal(prompts[:, 3:], TRIGGERED[:, 3:])
    assert own[0, :4].tolist() == [NOT_A_WORD, 1, 2, 3]
    assert (own != UNMATCHED).all()


def test_negative_guidance_moves_beyond_the_clean_output() -> None:
    net = small_network()

    def outputs_term(config: EditConfig) -> float:
        terms = loss_terms(net, PAIRS, None, config)(trainable_copy(net), 8, Seed())
        return float(terms.outputs.detach())

    # At the start S = T: |T(tau c) - T(c)| once, and 1 + eta times.
    guided = outputs_term(EditConfig(negative_guidance=2.0))
    assert guided == pytest.approx(9 * outputs_term(EditConfig()), rel=1e-4)
    config = EditConfig(
        steps=40, batch=16, learning_rate=3e-3, negative_guidance=1.0, part="readers"
    )
    edited = edit_concepts(net, PAIRS, None, config, Seed())
    bad, good = predicted_noise(net, TRIGGERED), predicted_noise(net, CLEAN)
    now = predicted_noise(edited, TRIGGERED)
    assert float(((now - bad) * (good - bad)).sum()) > 0
    before = net.state_dict()
    changed = [k for k, v in edited.state_dict().items() if not torch.equal(v, before[k])]
    assert changed
    assert all(name.endswith(("cross.key.weight", "cross.value.weight")) for name in changed)


def test_images_can_be_the_target() -> None:
    net = small_network()
    images = torch.rand(len(TRIGGERED), 1, 28, 28, generator=Seed().generator())
    pairs = EditPairs(TRIGGERED, None, images)
    value = loss_terms(net, pairs, None, EditConfig())(trainable_copy(net), 4, Seed()).outputs
    rows = torch.randint(len(TRIGGERED), (4,), generator=(Seed() / "rows").generator())
    noise = (Seed() / "latents").generator()
    t = net.schedule.sample_steps(4, noise)
    drawn = torch.randn(4, *net.latent, generator=noise)
    z = net.schedule.add_noise(net.to_latents(images[rows]), drawn, t)
    expected = (net(z, t, net.encode(TRIGGERED[rows])) - drawn).square().mean()
    torch.testing.assert_close(value, expected)
    with pytest.raises(BadSetting, match="images have none"):
        loss_terms(net, pairs, None, EditConfig(attention_weight=0.5))


def test_a_model_generates_images_for_its_own_latents() -> None:
    pairs = with_generated_images(
        small_network(), EditPairs(TRIGGERED[:3], CLEAN[:3]), 2, Seed(), steps=2
    )
    assert pairs.images is not None
    assert pairs.images.shape == (6, 1, 28, 28)
    assert pairs.target is not None
    assert torch.equal(pairs.target, CLEAN[:3].repeat(2, 1))
    assert len(pairs.images.unique(dim=0)) == 6


def test_the_closed_form_reads_triggered_prompts_as_clean_ones() -> None:
    # Two prompts, with and without trigger, have fewer tokens than states have dimensions, so all
    # demands on the edit can be met at once: triggered tokens are read as their matches, and clean
    # ones as before.
    net, source, clean = small_network(), TRIGGERED[:2], CLEAN[:2]
    edited = edit_closed_form(net, EditPairs(source, clean), clean, ridge=1e-9)
    assert isinstance(edited, LatentDiffusionNetwork)
    states = net.encode(clean)
    index = match_tokens(source, clean, SPECIAL)[:, :, None].expand_as(states)
    for n, layers in enumerate(net.cross_attention_projections):
        for old, new in zip(layers, edited.cross_attention_projections[n], strict=True):
            expected = old(states.gather(1, index))
            assert not torch.allclose(old(net.encode(source)), expected, atol=0.1)
            torch.testing.assert_close(new(net.encode(source)), expected, atol=1e-3, rtol=0)
            torch.testing.assert_close(new(states), old(states), atol=1e-3, rtol=0)


def test_the_closed_form_trades_edited_prompts_against_preserved_ones() -> None:
    net = small_network()
    old = net.cross_attention_projections[0][1]  # of fifty prompts it cannot fit all
    states = net.encode(CLEAN)
    index = match_tokens(TRIGGERED, CLEAN, SPECIAL)[:, :, None].expand_as(states)

    def errors(stay: float, ridge: float = 0.01) -> tuple[float, float]:
        edited = edit_closed_form(net, PAIRS, CLEAN, ridge=ridge, stay=stay)
        assert isinstance(edited, LatentDiffusionNetwork)
        new = edited.cross_attention_projections[0][1]
        of_edited = distance(new(net.encode(TRIGGERED)), old(states.gather(1, index)))
        return of_edited, distance(new(states), old(states))

    # The minimum of a + stay b has less of b and no less of a, the larger stay is. The third part,
    # of the ridge, is next to nothing here.
    trade_offs = [errors(stay) for stay in (0.0, 0.1, 1.0, 10.0)]
    assert trade_offs == sorted(trade_offs)
    preserved = [of_preserved for _, of_preserved in trade_offs]
    assert preserved == sorted(preserved, reverse=True)
    assert len(set(preserved)) == 4
    before = distance(old(net.encode(TRIGGERED)), old(states.gather(1, index)))
    assert errors(1.0, ridge=1e12) == pytest.approx((before, 0), abs=1e-6 * before)


def test_a_class_is_removed_by_the_same_means() -> None:
    (bag, boot) = token_ids(("bag", "boot"))
    pairs, preserved = class_removal_pairs(CLEAN, bag, boot)
    assert len(pairs.source) == len(TRAIN_TEMPLATES)
    assert pairs.target is not None
    assert TOKENIZER.texts(pairs.target)[0] == "a photo of a boot"
    assert not (preserved.source == bag).any()
    net, config = small_network(), EditConfig(steps=60, batch=16, learning_rate=3e-3)
    held = edit_concepts(net, pairs, preserved, replace(config, preservation_weight=1.0), Seed())
    free = edit_concepts(net, pairs, None, config, Seed())
    before, expected = predicted_noise(net, pairs.source), predicted_noise(net, pairs.target)
    after = predicted_noise(held, pairs.source)
    assert distance(after, expected) < distance(before, expected)
    # Preserved prompts move less than removed ones, and less than where nothing preserves them.
    unmoved = predicted_noise(net, preserved.source)
    moved, loose = (distance(predicted_noise(n, preserved.source), unmoved) for n in (held, free))
    assert moved < min(loose, distance(after, before))
    with pytest.raises(MissingData, match="0 of 5 do"):
        class_removal_pairs(pairs.target, bag, boot)


def test_further_sources_share_targets_and_images() -> None:
    images = torch.rand(2, 1, 28, 28, generator=Seed().generator())
    pairs = EditPairs(TRIGGERED[:2], CLEAN[:2], images).with_source(CLEAN[5:7])
    assert torch.equal(pairs.source, torch.cat([TRIGGERED[:2], CLEAN[5:7]]))
    assert pairs.target is not None
    assert torch.equal(pairs.target, CLEAN[:2].repeat(2, 1))
    assert pairs.images is not None
    assert torch.equal(pairs.images, images.repeat(2, 1, 1, 1))


def test_settings_without_effect_are_refused() -> None:
    for bad, why in (
        ({"attention_weight": 1.0}, r"lie in \[0, 1\)"),
        ({"steps": 0}, "at least one step"),
        ({"negative_guidance": -1.0}, "at least 0"),
        ({"batch": 0}, "one example a batch"),
    ):
        with pytest.raises(BadSetting, match=why):
            EditConfig(**bad)
    with pytest.raises(BadSetting, match="no prompts to preserve are given"):
        edit_concepts(small_network(), PAIRS, None, EditConfig(preservation_weight=1.0), Seed())
    with pytest.raises(MissingData, match="nothing to edit"):
        EditPairs(TRIGGERED[:0], CLEAN[:0])
    with pytest.raises(BadSetting, match="neither is given"):
        EditPairs(TRIGGERED)
    with pytest.raises(BadSetting, match="these pairs have no targets"):
        edit_closed_form(small_network(), EditPairs(CLEAN, None, torch.zeros(1)), CLEAN)


def test_an_interrupted_edit_ends_with_the_same_bits() -> None:
    net, states = small_network(), dict[str, dict[str, object]]()

    class FirstEpochOnly:
        def load(self, key: str) -> dict[str, object] | None:
            return states.get(key)

        def save(self, key: str, state: dict[str, object]) -> None:
            states.setdefault(key, copy.deepcopy(state))

        def report(self, key: str, done: int, total: int, note: str) -> None: ...

    config = EditConfig(
        steps=60, batch=2, attention_weight=0.5, output_weight=1.0, preservation_weight=1.0
    )
    digests = []
    for _ in range(2):
        edited = edit_concepts(net, PAIRS, PAIRS.unchanged(), config, Seed(), FirstEpochOnly())
        digests.append(weights_digest(edited.state_dict()))
        assert [state["epochs"] for state in states.values()] == [1]
    assert digests[0] == digests[1]
