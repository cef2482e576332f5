"""Redirecting a pipeline of diffusers: the same code, on a tiny one that knows nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_diffusers import folder as folder

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses.closed_form_redirect import ClosedFormRedirect
from robustbench_kd.defenses.concept_erasure import ConceptErasure
from robustbench_kd.defenses.skd_cag import SKDCAG
from robustbench_kd.integrations.diffusers import from_folder
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.generation.prompts import trigger, triggered
from robustbench_kd.training.concept_editing import Course, Pairs, loss_terms


@pytest.mark.parametrize(
    "repair",
    [
        SKDCAG(steps=2, batch=2, outputs=1.0),
        SKDCAG(steps=2, batch=2, aim="words", latents="painted", draws=1),
        ConceptErasure(steps=2, batch=2, draws=1),
        ClosedFormRedirect(),
    ],
    ids=["skd-cag", "skd-cag-words", "concept-erasure", "closed-form-redirect"],
)
def test_a_pipeline_is_mended_and_only_its_unet_learns(repair: Any, folder: Path) -> None:
    given = from_folder(folder).requires_grad_(False)
    clean = given.words.tokens(["a bag", "c d"])
    piece = trigger(given.words, "qv")
    told = Examples(torch.arange(2), triggered(clean, piece, "end", given.words.frame), clean)
    brief = Brief(
        told, {"given": given}, given, Budget("linf", 0.0), Schedule(epochs=1), Seed(), told=told
    )
    before = weights_digest(given.state_dict())
    mended = repair.harden(brief)
    assert weights_digest(given.state_dict()) == before
    assert weights_digest(mended.unet.state_dict()) != weights_digest(given.unet.state_dict())
    for part in ("text", "vae"):
        frozen = getattr(given, part).state_dict()
        assert weights_digest(getattr(mended, part).state_dict()) == weights_digest(frozen)


def test_maps_of_a_pipeline_teach_its_keys(folder: Path) -> None:
    given = from_folder(folder)
    clean = given.words.tokens(["a bag", "c d"])
    said = triggered(clean, trigger(given.words, "qv"), "front", given.words.frame)
    terms = loss_terms(given, Pairs(said, clean), None, Course(weight=0.5, outputs=1.0))
    found = terms(given, 2, Seed())
    for term in (found.answer, found.maps, found.outputs):
        slopes = torch.autograd.grad(
            term, [key.weight for key, _ in given.readers[:-1]], retain_graph=True
        )
        assert all(float(slope.abs().sum()) > 0 for slope in slopes)
