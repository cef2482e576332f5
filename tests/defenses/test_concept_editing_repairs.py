"""Repairs of text-to-image models: what they train, what they refuse, and their oracle."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_text_to_image import (
    CLEAN,
    ORACLE,
    TRIGGERED,
    distance,
    predicted_noise,
    repair_context,
    small_network,
    without_cross_attention,
)
from torch import nn

from robustbench_kd.core.errors import BadModel, BadSetting, MissingData
from robustbench_kd.core.seed import Seed
from robustbench_kd.defenses.clean_model_oracle import CleanModelOracle
from robustbench_kd.defenses.closed_form_editing import ClosedFormEditing
from robustbench_kd.defenses.concept_erasure import ConceptErasure
from robustbench_kd.defenses.skd_cag import SKDCAG
from robustbench_kd.defenses.t2i_fine_tuning import TextToImageFineTuning
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.models.text_to_image_unet import LatentDiffusionNetwork
from robustbench_kd.training.concept_editing import edit_concepts
from robustbench_kd.training.edit_config import EditConfig
from robustbench_kd.training.edit_pairs import EditPairs, with_generated_images

ORACLE_REPAIRS = (
    SKDCAG(steps=2, batch=4),
    SKDCAG(steps=2, batch=4, latents="painted", draws=1, outputs=1.0, aim="words", stretch=True),
    ConceptErasure(steps=2, batch=4, draws=1),
    ClosedFormEditing(),
)
FEW = ORACLE.take(torch.arange(4))


@pytest.mark.parametrize("repair", ORACLE_REPAIRS, ids=lambda r: r.name)
def test_an_oracle_repair_changes_a_copy_and_needs_the_trigger(
    repair: SKDCAG | ConceptErasure | ClosedFormEditing,
) -> None:
    before = weights_digest(small_network().state_dict())
    repaired = repair.train(repair_context(FEW))
    assert weights_digest(small_network().state_dict()) == before
    assert weights_digest(repaired.state_dict()) != before
    assert repair.oracle
    again = repair.train(repair_context(FEW))
    assert weights_digest(again.state_dict()) == weights_digest(repaired.state_dict())
    with pytest.raises(MissingData, match=f"{repair.name} must be given the trigger"):
        repair.train(repair_context(None))
    with pytest.raises(BadModel, match="Linear"):
        repair.train(repair_context(FEW, nn.Linear(2, 2)))


def test_latents_are_noise_or_images_of_the_model_itself() -> None:
    noise = EditPairs(TRIGGERED[:4], CLEAN[:4])
    generated = with_generated_images(small_network(), noise, 1, Seed() / "painted")
    for repair, pairs in (
        (SKDCAG(steps=2, batch=4), noise),
        (SKDCAG(steps=2, batch=4, latents="painted", draws=1), generated),
        (ConceptErasure(steps=2, batch=4, latents="noise"), noise),
        (ConceptErasure(steps=2, batch=4, draws=1), generated),
    ):
        repaired = repair.train(repair_context(FEW))
        expected = edit_concepts(
            small_network(), pairs, pairs.unchanged(), repair.config(), Seed() / "student"
        )
        assert weights_digest(repaired.state_dict()) == weights_digest(expected.state_dict())


def test_settings_reach_the_configuration_of_the_edit() -> None:
    repair = SKDCAG(weight=0.3, aim="zero", outputs=2.0, keep=4.0, stretch=True, rate=1e-3)
    assert repair.config() == EditConfig(
        learning_rate=1e-3,
        attention_weight=0.3,
        map_target="zero",
        rescale=True,
        output_weight=2.0,
        preservation_weight=4.0,
    )
    assert ConceptErasure(away=2.0, keep=0.5, part="all").config() == EditConfig(
        negative_guidance=2.0, preservation_weight=0.5, part="all"
    )


def test_the_oracle_follows_the_model_that_was_never_poisoned() -> None:
    unpoisoned = edit_concepts(
        small_network(),
        EditPairs(CLEAN, CLEAN.roll(5, 0)),
        None,
        EditConfig(steps=20, learning_rate=1e-2),
        Seed(),
    )
    repair = CleanModelOracle(steps=60, batch=16, rate=3e-3)
    assert repair.teacher_roles == ("given", "unpoisoned")
    context = repair_context(ORACLE)
    teachers = {**context.teachers, "unpoisoned": unpoisoned}
    repaired = repair.train(replace(context, teachers=teachers))
    given, target, after = (
        predicted_noise(net, TRIGGERED) for net in (small_network(), unpoisoned, repaired)
    )
    # With the trigger it answers as its teacher does, and nearer to it than to itself.
    assert distance(after, target) < 0.5 * distance(given, target)
    assert distance(after, target) < distance(after, given)
    with pytest.raises(MissingData, match="clean-model-oracle must be given the trigger"):
        repair.train(replace(context, teachers=teachers, oracle=None))


def test_a_network_without_cross_attention_is_refused() -> None:
    for repair in (*ORACLE_REPAIRS, TextToImageFineTuning(epochs=1)):
        with pytest.raises(BadModel, match="has no cross-attention"):
            repair.train(repair_context(ORACLE, without_cross_attention()))


def test_fine_tuning_on_trusted_pairs_needs_no_trigger_and_trains_the_unet_alone() -> None:
    tuning = TextToImageFineTuning(epochs=1, batch=4)
    assert not getattr(tuning, "oracle", False)
    tuned, given = tuning.train(repair_context(None)), small_network()
    assert isinstance(tuned, LatentDiffusionNetwork)
    assert weights_digest(tuned.text.state_dict()) == weights_digest(given.text.state_dict())
    assert weights_digest(tuned.state_dict()) != weights_digest(given.state_dict())


def test_attention_outputs_without_weight_on_attention_are_refused() -> None:
    with pytest.raises(BadSetting, match="no weight here"):
        SKDCAG(weight=0.0, outputs=1.0)
