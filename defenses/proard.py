"""ProARD: one training, a whole family of robust students."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import AdversarialRecipe, between
from robustbench_kd.models.elastic_resnet import (
    RECALIBRATION,
    ElasticResNet,
    recalibrate,
    sort_inner,
)
from robustbench_kd.models.subnet_space import Form, Space
from robustbench_kd.ops.attacks.pgd import worst_case
from robustbench_kd.ops.attacks.projections import near_start
from robustbench_kd.ops.losses import divergence
from robustbench_kd.training.objectives import under_attack
from robustbench_kd.training.subnet_search import Limits, affordable, choose, survey
from robustbench_kd.training.trainer import Objective, Turn, fit, remember

Draw = Callable[[torch.Generator], Form]


@dataclass(frozen=True)
class ProARD(AdversarialRecipe):
    """Progressive adversarially robust distillation.

    The largest network is trained robustly, frozen as the teacher of all, and the start of all.
    Then forms are drawn, one a batch, and taught by RSLAD's loss: first with elastic widths, then
    depths, then inner widths. The released code holds a form for a whole epoch; short schedules
    have too few of those.

    Args:
        subnet: ``largest``, ``smallest``, ``middle`` (all choices in the middle), ``drawn-N`` (the
            Nth form, from 0, that the survey drew by its seed; with ``macs`` or ``params``, one
            drawn within them), or ``best``: the most robust on validation images that the search
            finds within ``macs`` and ``params``.
        sampler: ``progressive``; ``warm-random`` opens the full space at once; ``random`` also
            starts from fresh weights (with the full learning rate, since it has further to go).
        share: weight of RSLAD's adversarial term.
        recalibrated: gather batch-norm statistics anew for the student, on training images.
    """

    name: ClassVar[str] = "proard"
    source: ClassVar[str] = "Mousavi et al. 2025, ProARD, arXiv 2506.07666"
    formula: ClassVar[str] = (
        "share KL(T(x) || S_a(x')) + (1 - share) KL(T(x) || S_a(x)), a drawn from the opened "
        "space, T the largest network, frozen, x' = argmax KL(T(x) || S_a(x'))"
    )
    net: ClassVar[str] = "elastic"

    subnet: str = "largest"
    macs: int | None = None
    params: int | None = None
    sampler: Literal["progressive", "random", "warm-random"] = "progressive"
    share: float = 5 / 6
    recalibrated: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        between("share", self.share, 0, 1)
        if not re.fullmatch(r"largest|middle|smallest|best|drawn-\d+", self.subnet):
            raise BadSetting(
                "subnet must be largest, middle, smallest, best or drawn-N (as drawn-0), not "
                f"{self.subnet!r}"
            )
        for limit, value in (("macs", self.macs), ("params", self.params)):
            if value is not None and value < 1:
                raise BadSetting(f"{limit} must be at least 1, not {value}")

    def family_settings(self) -> dict[str, Any]:
        """The settings that decide the training; the others only choose a student from it."""
        chosen = ("subnet", "macs", "params", "recalibrated")
        return {name: value for name, value in asdict(self).items() if name not in chosen}

    def loss(self, brief: Brief) -> Objective:
        """RSLAD's loss on the whole space, with the teacher that the brief calls ``own``."""
        return self._taught(brief, brief.teachers["own"], _space(brief).draw)

    def check(self, student: nn.Module) -> None:
        """Refuses limits that not even the smallest student meets."""
        affordable(_elastic(student).space, Limits(self.macs, self.params))

    def raise_family(self, brief: Brief) -> nn.Module:
        """Trains the elastic network: the largest form first, then all of them."""
        epochs, rate = brief.schedule.epochs, brief.schedule.rate
        first = replace(brief.schedule, epochs=max(1, round(0.8 * epochs)))
        stage = replace(brief.schedule, epochs=max(1, round(0.4 * epochs)), rate=0.3 * rate)
        data, seed, space = brief.data, brief.seed, _space(brief)
        largest = fit(
            brief.student, data, self._alone(brief), first, seed / "largest", brief.progress
        )
        taught_by = _frozen(largest, data)
        if self.sampler != "progressive":
            warm = self.sampler == "warm-random"
            start = largest if warm else brief.student
            whole = replace(stage, epochs=3 * stage.epochs, rate=stage.rate if warm else rate)
            loss = self._taught(brief, taught_by, space.draw)
            net = fit(start, data, loss, whole, seed / self.sampler, brief.progress)
            return _surveyed(net, brief)
        net = largest
        deep = replace(space, expansions=space.expansions[-1:])
        wide = replace(deep, depths=space.depths[-1:])
        for name, opened in (("width", wide), ("depth", deep), ("expansion", space)):
            if name == "expansion":
                sort_inner(_elastic(net))
            loss = self._taught(brief, taught_by, opened.draw)
            net = fit(net, data, loss, stage, seed / name, brief.progress)
        return _surveyed(net, brief)

    def choose(self, family: nn.Module, brief: Brief) -> tuple[nn.Module, str]:
        """The student of these settings and the name of its network."""
        limited = self.macs is not None or self.params is not None
        limits = Limits(self.macs, self.params)
        drawn = self.subnet.startswith("drawn-")
        best = self.subnet == "best" or (limited and not drawn)
        return choose(
            _elastic(family),
            limits if best else self.subnet,
            brief,
            limits=limits if limited and drawn else None,
            recalibrated=self.recalibrated,
        )

    def harden(self, brief: Brief) -> nn.Module:
        """Raises the family and cuts the student from it."""
        return self.choose(self.raise_family(brief), brief)[0]

    def _alone(self, brief: Brief) -> Objective:
        """Adversarial training of the largest form."""
        return under_attack(brief.budget, self.steps, self.stride)

    def _taught(self, brief: Brief, teacher: nn.Module, draw: Draw) -> Objective:
        """RSLAD's loss on a form drawn for each batch."""
        says = remember(teacher, brief.data)

        def objective(student: nn.Module, batch: Examples, turn: Turn) -> Scalar:
            x, target = batch.inputs, says(batch.ids)
            _elastic(student).active = draw(turn.noise)
            z = worst_case(
                student,
                x,
                brief.budget,
                lambda s, _: divergence(target, s),
                steps=self.steps,
                stride=self.stride,
                start=near_start(x, turn.noise),
            )
            moved, plain = divergence(target, student(z)), divergence(target, student(x))
            return (self.share * moved + (1 - self.share) * plain).mean()

        return objective


def _frozen(net: nn.Module, data: Examples) -> nn.Module:
    """The largest form as a network of its own, with statistics of its own."""
    elastic = _elastic(net)
    whole = elastic.subnet(elastic.space.largest)
    return recalibrate(whole, data.inputs[:RECALIBRATION]).requires_grad_(False)


def _surveyed(net: nn.Module, brief: Brief) -> nn.Module:
    """Some students of the family measured, where there are images to choose by."""
    if brief.validation is not None:
        survey(_elastic(net), brief)
    return net


def _elastic(net: nn.Module) -> ElasticResNet:
    if not isinstance(net, ElasticResNet):
        raise BadSetting(f"proard trains an elastic network, not a {type(net).__name__}")
    return net


def _space(brief: Brief) -> Space:
    return _elastic(brief.student).space
