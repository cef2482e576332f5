"""Concept editing of a pipeline of diffusers: the same code, on a tiny untrained one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_diffusers import folder as folder

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses.closed_form_editing import ClosedFormEditing
from robustbench_kd.defenses.concept_erasure import ConceptErasure
from robustbench_kd.defenses.skd_cag import SKDCAG
from robustbench_kd.integrations.diffusers import Pipeline, from_folder
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.generation.prompts import insert_trigger, trigger_tokens
from robustbench_kd.training.edit_config import EditConfig
from robustbench_kd.training.edit_loss import loss_terms
from robustbench_kd.training.edit_pairs import EditPairs


def prompts(pipeline: Pipeline) -> tuple[torch.Tensor, torch.Tensor]:
    """Two prompts with a trigger, and without it."""
    tokenizer = pipeline.tokenizer
    clean, trigger = tokenizer.tokens(["a bag", "c d"]), trigger_tokens(tokenizer, "qv")
    return insert_trigger(clean, trigger, "end", tokenizer.special_tokens), clean


@pytest.mark.parametrize(
    "repair",
    [
        SKDCAG(steps=2, batch=2, outputs=1.0),
        SKDCAG(steps=2, batch=2, aim="words", latents="painted", draws=1),
        ConceptErasure(steps=2, batch=2, draws=1),
        ClosedFormEditing(),
    ],
    ids=["skd-cag", "skd-cag-words", "concept-erasure", "closed-form-editing"],
)
def test_a_pipeline_is_repaired_and_only_its_unet_is_trained(repair: Any, folder: Path) -> None:
    given = from_folder(folder).requires_grad_(False)
    oracle = Examples(torch.arange(2), *prompts(given))
    context = TrainingContext(
        oracle,
        {"given": given},
        given,
        Budget("linf", 0.0),
        Schedule(epochs=1),
        Seed(),
        oracle=oracle,
    )
    before = weights_digest(given.state_dict())
    repaired = repair.train(context)
    assert weights_digest(given.state_dict()) == before
    assert weights_digest(repaired.unet.state_dict()) != weights_digest(given.unet.state_dict())
    for part in ("text", "vae"):
        frozen = getattr(given, part).state_dict()
        assert weights_digest(getattr(repaired, part).state_dict()) == weights_digest(frozen)


def test_every_term_has_a_gradient_at_the_keys_of_a_pipeline(folder: Path) -> None:
    given = from_folder(folder)
    config = EditConfig(attention_weight=0.5, output_weight=1.0)
    terms = loss_terms(given, EditPairs(*prompts(given)), None, config)(given, 2, Seed())
    keys = [key.weight for key, _ in given.cross_attention_projections[:-1]]
    for term in terms[:3]:
        gradients = torch.autograd.grad(term, keys, retain_graph=True)
        assert all(float(gradient.abs().sum()) > 0 for gradient in gradients)
