"""ProARD: one supernet, from which many robust students are cut."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import AdversarialRecipe, check_range
from robustbench_kd.models.elastic_resnet import (
    RECALIBRATION,
    ElasticResNet,
    recalibrate_batch_norm,
    sort_inner_channels,
)
from robustbench_kd.models.subnet_space import SubnetConfig
from robustbench_kd.ops.attacks.projections import gaussian_start
from robustbench_kd.ops.losses import divergence
from robustbench_kd.training.objectives import adversarial_loss
from robustbench_kd.training.subnet_search import Limits, check_limits, choose_subnet, run_survey
from robustbench_kd.training.trainer import Objective, TrainStep, cached_logits, fit

Sampler = Callable[[torch.Generator], SubnetConfig]


@dataclass(frozen=True)
class ProARD(AdversarialRecipe):
    """Progressive adversarially robust distillation.

    The largest subnet is trained robustly; it is the frozen teacher of all and the start of the
    supernet. Then subnets are sampled, one a batch, and trained by RSLAD's loss: first with elastic
    widths, then depths, then inner widths. The released code keeps a subnet for a whole epoch;
    short schedules have too few of those.

    Args:
        subnet: ``largest``, ``smallest``, ``middle`` (all choices in the middle), ``drawn-N`` (the
            Nth random subnet, from 0, of the survey; with ``macs`` or ``params``, one drawn within
            them), or ``best``: the most robust on validation images that the search finds within
            ``macs`` and ``params``.
        sampler: ``progressive``; ``warm-random`` opens the full space at once; ``random`` also
            starts from fresh weights (with the full learning rate, since it has further to go).
        share: weight of RSLAD's adversarial term.
        recalibrated: batch-norm statistics are recomputed for the student, on training images.
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
        check_range("share", self.share, 0, 1)
        if not re.fullmatch(r"largest|middle|smallest|best|drawn-\d+", self.subnet):
            raise BadSetting(
                "subnet must be largest, middle, smallest, best or drawn-N (as drawn-0), not "
                f"{self.subnet!r}"
            )
        for limit, value in (("macs", self.macs), ("params", self.params)):
            if value is not None and value < 1:
                raise BadSetting(f"{limit} must be at least 1, not {value}")

    def supernet_settings(self) -> dict[str, Any]:
        """The settings that decide the training; the others only choose a subnet."""
        choices = ("subnet", "macs", "params", "recalibrated")
        return {name: value for name, value in asdict(self).items() if name not in choices}

    def loss(self, context: TrainingContext) -> Objective:
        """RSLAD's loss on the whole space, with the teacher of the role ``own``."""
        sampler = _supernet(context.student).space.sample
        return self._subnet_loss(context, context.teachers["own"], sampler)

    def check(self, student: nn.Module) -> None:
        """Refuses limits that not even the smallest subnet meets."""
        check_limits(_supernet(student).space, Limits(self.macs, self.params))

    def train_supernet(self, context: TrainingContext) -> nn.Module:
        """Trains the elastic network: the largest subnet first, then all of them."""
        data, seed, schedule = context.data, context.seed, context.schedule
        first = replace(schedule, epochs=max(1, round(0.8 * schedule.epochs)))
        largest = fit(
            context.student,
            data,
            adversarial_loss(context.budget, self.steps, self.stride),
            first,
            seed / "largest",
            context.progress,
        )
        teacher = _frozen_largest(largest, data)
        stage = replace(
            schedule,
            epochs=max(1, round(0.4 * schedule.epochs)),
            learning_rate=0.3 * schedule.learning_rate,
        )
        space = _supernet(context.student).space
        if self.sampler != "progressive":
            warm = self.sampler == "warm-random"
            whole = replace(
                stage,
                epochs=3 * stage.epochs,
                learning_rate=(stage if warm else schedule).learning_rate,
            )
            loss = self._subnet_loss(context, teacher, space.sample)
            start = largest if warm else context.student
            net = fit(start, data, loss, whole, seed / self.sampler, context.progress)
            return _with_survey(net, context)
        net = largest
        deep = replace(space, expansions=space.expansions[-1:])
        wide = replace(deep, depths=space.depths[-1:])
        for name, opened in (("width", wide), ("depth", deep), ("expansion", space)):
            if name == "expansion":
                sort_inner_channels(_supernet(net))
            loss = self._subnet_loss(context, teacher, opened.sample)
            net = fit(net, data, loss, stage, seed / name, context.progress)
        return _with_survey(net, context)

    def choose(self, supernet: nn.Module, context: TrainingContext) -> tuple[nn.Module, str]:
        """The student of these settings and the name of its architecture."""
        limits = Limits(self.macs, self.params)
        has_limits, is_drawn = limits != Limits(), self.subnet.startswith("drawn-")
        best = self.subnet == "best" or (has_limits and not is_drawn)
        return choose_subnet(
            _supernet(supernet),
            limits if best else self.subnet,
            context,
            limits=limits if has_limits and is_drawn else None,
            recalibrated=self.recalibrated,
        )

    def train(self, context: TrainingContext) -> nn.Module:
        """Trains the supernet and cuts the student from it."""
        return self.choose(self.train_supernet(context), context)[0]

    def _subnet_loss(
        self, context: TrainingContext, teacher: nn.Module, sample: Sampler
    ) -> Objective:
        """RSLAD's loss on a subnet sampled for each batch."""
        teacher_logits = cached_logits(teacher, context.data)

        def objective(student: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
            x, target = batch.inputs, teacher_logits(batch.ids)
            _supernet(student).active = sample(step.noise)
            x_adv = self.inner_attack(
                student,
                x,
                context.budget,
                lambda logits, _: divergence(target, logits),
                gaussian_start(x, step.noise),
            )
            adversarial = divergence(target, student(x_adv))
            clean = divergence(target, student(x))
            return (self.share * adversarial + (1 - self.share) * clean).mean()

        return objective


def _frozen_largest(net: nn.Module, data: Examples) -> nn.Module:
    """The largest subnet as a network of its own, with statistics of its own."""
    supernet = _supernet(net)
    largest = supernet.subnet(supernet.space.largest)
    return recalibrate_batch_norm(largest, data.inputs[:RECALIBRATION]).requires_grad_(False)


def _with_survey(net: nn.Module, context: TrainingContext) -> nn.Module:
    """The supernet, surveyed where there are validation images."""
    if context.validation is not None:
        run_survey(_supernet(net), context)
    return net


def _supernet(net: nn.Module) -> ElasticResNet:
    if not isinstance(net, ElasticResNet):
        raise BadSetting(f"proard trains an elastic network, not a {type(net).__name__}")
    return net
