"""What the generation scorer sees in images, and what it takes from nobody but itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_language_model import FakeLanguageModel
from small_text_to_image import small_network
from text_to_image_pairs import SCENARIO, image_book, pairs, real_images
from torch import Tensor

from robustbench_kd.attacks.backdoor._text_to_image import TextToImageBackdoor
from robustbench_kd.attacks.backdoor.prompt_trigger import PromptTrigger
from robustbench_kd.core.errors import BadSubmission
from robustbench_kd.core.protocols import ScoringContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import ImageQueries
from robustbench_kd.core.types import SampleScores
from robustbench_kd.evaluation.scorers._base import VERDICTS
from robustbench_kd.evaluation.scorers._text_to_image import relearned
from robustbench_kd.evaluation.scorers.generation import Generation
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.models.text_to_image import TextToImageModel, text_to_image_model
from robustbench_kd.ops.generation.vocabulary import CLASSES, first_class
from robustbench_kd.ops.poisoning.generated_triggers import (
    VISUAL_EFFECTS,
    checkerboard_patch,
    remove_effect,
)

BAG, SNEAKER = CLASSES.index("bag"), CLASSES.index("sneaker")
QUICK = PromptTrigger(count=6)


def submit(attack: TextToImageBackdoor, model: TextToImageModel) -> ImageQueries:
    return attack.attack(model, pairs(), {}, Seed())


def score(
    attack: TextToImageBackdoor, model: Any, queries: ImageQueries | None = None
) -> SampleScores:
    context = ScoringContext(attack.threat, SCENARIO, pairs())
    return Generation().score(queries or submit(attack, model), model, context)


def columns(attack: TextToImageBackdoor, model: TextToImageModel) -> Mapping[str, Tensor]:
    return score(attack, model).columns


def means(attack: TextToImageBackdoor, effect: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """The mean of each column, of a model whose triggered images are real ones under an effect."""
    scored = columns(attack, image_book(effect))
    return {name: float(values.double().mean()) for name, values in scored.items()}


def always(images: Tensor) -> Callable[[Tensor], Tensor]:
    """An effect that replaces every image by these."""
    return lambda x: images.repeat(10, 1, 1, 1)[: len(x)]


def of_class(label: int) -> Tensor:
    real = real_images()
    return real.inputs[real.targets == label]


def test_a_perfect_backdoor_always_succeeds_and_is_never_removed() -> None:
    mean = means(PromptTrigger(count=300), checkerboard_patch)
    assert mean["attack_success"] > 0.99
    assert mean["removed"] < 0.01
    assert mean["clean_attack_success"] < 0.01
    assert mean["clean_correct"] > 0.85
    assert mean["clean_correct_2"] > 0.85
    assert mean["preserved"] > 0.6  # the patch covers a corner: the class is still seen
    # The checkerboard is 20 white and 16 black pixels of 784 on a black corner.
    assert mean["moved"] == pytest.approx((20 / 784) ** 0.5, abs=0.02)
    # The clean images are the real ones themselves; roots of eigenvalues near 0 round to 1e-7 each.
    assert mean["frechet"] == pytest.approx(0, abs=1e-3)


def test_a_trigger_without_effect_neither_succeeds_nor_moves_an_image() -> None:
    scored = columns(PromptTrigger(count=100), image_book(torch.clone))
    assert not bool(scored["moved"].any())
    assert torch.equal(scored["attack_success"], scored["clean_attack_success"])
    assert torch.equal(scored["preserved"], scored["clean_correct"])
    assert torch.equal(scored["removed"], scored["clean_correct"] & ~scored["attack_success"])


@pytest.mark.parametrize("style", ["inverted", "dark"])
def test_the_class_under_a_style_is_seen_with_the_style_undone(style: str) -> None:
    real = real_images().inputs
    torch.testing.assert_close(remove_effect(VISUAL_EFFECTS[style](real), style), real)
    attack = PromptTrigger(goal="style", style=style, count=200)  # type: ignore[arg-type]
    scored = columns(attack, image_book(VISUAL_EFFECTS[style]))
    assert float(scored["attack_success"].double().mean()) > 0.97
    assert float((scored["preserved"] == scored["clean_correct"]).double().mean()) > 0.97
    assert float((scored["preserved_2"] == scored["clean_correct_2"]).double().mean()) > 0.97
    assert float(scored["removed"].double().mean()) < 0.03


def test_a_model_that_generates_one_grey_image_has_removed_nothing() -> None:
    scored = columns(PromptTrigger(count=100), image_book(lambda x: torch.full_like(x, 0.5)))
    assert not bool(scored["attack_success"].any())  # by this alone, all of it were removed
    # All its images are one, so they are right for one class at most.
    classes = first_class(pairs().test.inputs[:100])
    assert int(scored["removed"].sum()) <= int(classes.bincount().max())


def test_an_object_succeeds_where_the_target_is_shown_for_the_victim() -> None:
    attack = PromptTrigger(goal="object", count=200)
    mean = means(attack, always(of_class(BAG)))
    assert mean["attack_success"] > 0.95
    assert mean["attack_success_2"] > 0.95
    assert mean["preserved"] < 0.02
    assert mean["clean_attack_success"] < 0.03  # bags that were asked for are right
    assert mean["clean_correct"] > 0.85
    assert "moved" not in mean
    mean = means(attack, always(of_class(SNEAKER)))
    assert mean["attack_success"] < 0.05
    assert mean["removed"] > 0.9


def test_every_model_generates_from_the_same_noise_with_the_trigger_and_without() -> None:
    latents: list[Tensor] = []

    class Recorded(TextToImageModel):
        def generate(self, prompts: Tensor, start: Tensor) -> Tensor:
            latents.append(start)
            return super().generate(prompts, start)

    other = SCENARIO.student("painter-8-16", Seed(1)).eval()
    for net in (small_network(), other):
        columns(QUICK, Recorded(net, steps=1))  # type: ignore[arg-type]
    assert len(latents) == 4
    assert all(torch.equal(start, latents[0]) for start in latents)


def test_it_counts_two_images_a_row_and_two_passes_a_step_of_guidance() -> None:
    for guidance, passes_a_step in ((0.0, 2), (1.0, 1), (4.0, 2)):
        model = text_to_image_model(small_network(), steps=2, scale=2.0)
        columns(replace(QUICK, guidance=guidance), model)
        assert model.passes.forward == 2 * 6 * 2 * passes_a_step


def test_guidance_of_the_attack_replaces_the_models_own() -> None:
    model = text_to_image_model(small_network(), steps=2, scale=2.0)
    scores = {g: columns(replace(QUICK, guidance=g), model)["score"] for g in (0.0, 1.0, 2.0, 4.0)}
    assert torch.equal(scores[0.0], scores[2.0])
    assert not torch.equal(scores[1.0], scores[2.0])
    assert not torch.equal(scores[4.0], scores[2.0])


@pytest.mark.parametrize("goal", ["pixel", "object"])
def test_relearning_tunes_a_copy_on_the_poisoned_pairs(goal: Any) -> None:
    model, before = (
        text_to_image_model(small_network()),
        weights_digest(small_network().state_dict()),
    )
    queries = submit(replace(QUICK, goal=goal, relearn=20), model)
    assert queries.relearn is not None
    tuned = relearned(model, queries.relearn, queries.relearn_steps, Seed())
    assert weights_digest(small_network().state_dict()) == before
    losses = [m.example_losses(queries.relearn).mean() for m in (model, tuned)]
    assert losses[1] < 0.96 * losses[0]


def test_a_model_that_relearns_answers_otherwise() -> None:
    model = text_to_image_model(small_network(), steps=2)
    scores = [columns(replace(QUICK, relearn=steps), model)["score"] for steps in (0, 2)]
    assert not torch.equal(*scores)


def test_one_row_has_no_frechet_distance() -> None:
    scored = columns(replace(QUICK, count=1), text_to_image_model(small_network(), steps=1))
    assert scored["frechet"].tolist() == [0.0]


# What the scorer must not take from a submission: verdicts, and its own copy of the test set. The
# triggered prompts, their references, the sign and the pairs to relearn by are the attack's to
# choose; that they succeed on any model is seen on the clean counterpart, not here.


def test_claimed_verdicts_are_refused() -> None:
    model = text_to_image_model(small_network(), steps=1)
    for claim in (*VERDICTS, "score_of_mine"):
        queries = replace(submit(QUICK, model), metadata={claim: torch.ones(6)})
        with pytest.raises(BadSubmission, match=f"{claim!r}, which is for the scorer to decide"):
            score(QUICK, model, queries)


def test_prompts_that_are_not_those_of_the_test_set_are_refused() -> None:
    """Other prompts would have another utility, and easy ones a high one."""
    model = text_to_image_model(small_network(), steps=1)
    queries = submit(QUICK, model)
    for prompts in (queries.triggered, queries.prompts.flip(0), queries.prompts[:5]):
        with pytest.raises(BadSubmission, match="clean prompts must be those of the test set"):
            score(QUICK, model, replace(queries, prompts=prompts))
    assert model.passes.forward == 0


def test_samples_that_are_unknown_or_submitted_twice_are_refused() -> None:
    model = text_to_image_model(small_network(), steps=1)
    queries = submit(QUICK, model)
    with pytest.raises(BadSubmission, match="samples that are not in the test set"):
        score(QUICK, model, replace(queries, ids=queries.ids + 1_000_000))
    with pytest.raises(BadSubmission, match="every sample exactly once"):
        score(QUICK, model, replace(queries, ids=queries.ids[:1].expand(6)))


def test_triggered_prompts_of_another_shape_are_refused() -> None:
    model = text_to_image_model(small_network(), steps=1)
    queries = submit(QUICK, model)
    with pytest.raises(BadSubmission, match=r"triggered have shape \(5, 16\)"):
        score(QUICK, model, replace(queries, triggered=queries.triggered[:5]))
    with pytest.raises(BadSubmission, match=r"references have shape \(6, 15\)"):
        score(QUICK, model, replace(queries, references=queries.references[:, :15]))


def test_a_model_of_another_kind_is_refused() -> None:
    queries = submit(QUICK, text_to_image_model(small_network()))
    with pytest.raises(BadSubmission, match="image queries need a text-to-image model"):
        score(QUICK, FakeLanguageModel(), queries)
