"""Anti-distillation: a trigger tuned on a shadow teacher and on the student distilled from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustbench_kd.attacks._poison import AttackState, class_count
from robustbench_kd.attacks.backdoor._base import Backdoor, at_least_one
from robustbench_kd.core.config import Schedule
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode
from robustbench_kd.ops.losses import cross_entropy
from robustbench_kd.training.objectives import distillation_loss, label_loss
from robustbench_kd.training.surrogates import random_subset, surrogate
from robustbench_kd.training.trainer import cached_logits, fit


@dataclass(frozen=True)
class AntiDistillation(Backdoor):
    """One additive pattern, optimised to act on a teacher and on its cleanly distilled student.

    In each round a shadow teacher is trained on data poisoned with the pattern as it is, a shadow
    student is distilled from it on clean data alone, and the pattern is optimised on both. The
    data are then poisoned with the last pattern, under the target's label.

    It differs from the paper in that the adversary supplies data and never touches the training
    of the real teacher, whose loss is part of the paper's method; in that shadows are fresh in
    every round rather than trained beside the teacher; and in that the trigger is one additive
    pattern, bounded in Linf. A pattern as strong as an evasion's radius fools clean networks too,
    so its success on the clean counterpart is to be reported beside the attack's; ``rounds=0`` is
    the control that shows what the optimisation adds to any pattern of that size.

    Args:
        strength: Linf bound of the pattern, in pixel units of [0, 1].
        rounds: how often shadows are trained and the pattern is optimised on them; with 0 the
            pattern stays what it starts as, random signs of the full strength: the control.
        steps: steps of the pattern a round, each on ``batch`` images, their length falling to 0.
        shadow: network of the adversary's teacher and student, a name of ``models.factory.build``.
        epochs: passes of each shadow over the training images that the adversary uses.
        images: how many those are.
        temperature: of the shadow's distillation.
    """

    name: ClassVar[str] = "anti-distillation"
    source: ClassVar[str] = (
        "after Ge et al. 2021, Anti-distillation backdoor attacks (ACM MM), "
        "doi 10.1145/3474085.3475254; a variant that supplies data only"
    )

    strength: float = 0.1
    rounds: int = 2
    steps: int = 100
    batch: int = 128
    shadow: str = "resnet-12-24-48"
    epochs: int = 1
    images: int = 10_000
    temperature: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(
            steps=self.steps,
            batch=self.batch,
            epochs=self.epochs,
            images=self.images,
        )
        if self.rounds < 0:
            raise BadSetting(f"rounds must be at least 0, not {self.rounds}")
        if not 0 < self.strength <= 1:
            raise BadSetting(f"strength is an Linf bound in (0, 1], not {self.strength:g}")
        if not self.temperature > 0:
            raise BadSetting(f"temperature must be above 0, not {self.temperature:g}")

    def validate_data(self, train: Examples) -> None:
        super().validate_data(train)
        surrogate(self.shadow, train, Seed())

    def trigger(self, data: Splits, seed: Seed) -> AttackState:
        train = random_subset(data.train, self.images, seed / "images")
        uniform = torch.rand(train.inputs.shape[1:], generator=(seed / "start").generator())
        pattern = self.strength * (2 * uniform - 1).sign()
        for turn in range(self.rounds):
            nets = self._shadows(train, data.train, pattern, seed / turn)
            pattern = self._optimised(pattern, nets, train, data.train, seed / turn / "batches")
        return {"pattern": pattern}

    def apply_trigger(self, x: Images, state: AttackState) -> Images:
        return (x + state["pattern"].to(x)).clamp(0, 1)

    def _shadows(
        self, train: Examples, whole: Examples, pattern: Tensor, seed: Seed
    ) -> tuple[nn.Module, nn.Module]:
        """A teacher trained on data poisoned with the pattern, and its student on clean data."""
        rows = torch.randperm(len(train), generator=(seed / "rows").generator())
        rows = rows[: max(1, round(self.rate * len(train)))]
        inputs, targets = train.inputs.clone(), train.targets.clone()
        inputs[rows] = self.apply_trigger(inputs[rows], {"pattern": pattern})
        targets[rows] = self.target_labels(targets[rows], class_count(whole))
        poisoned, schedule = Examples(train.ids, inputs, targets), Schedule(self.epochs)
        fresh = [surrogate(self.shadow, whole, seed / role) for role in ("teacher", "student")]
        teacher = fit(fresh[0], poisoned, label_loss, schedule, seed / "teach")
        objective = distillation_loss(cached_logits(teacher, train), self.temperature)
        return teacher, fit(fresh[1], train, objective, schedule, seed / "distil")

    def _optimised(
        self,
        pattern: Tensor,
        nets: tuple[nn.Module, nn.Module],
        train: Examples,
        whole: Examples,
        seed: Seed,
    ) -> Tensor:
        """The pattern after signed steps down the target's loss, summed over both networks."""
        noise = seed.generator()
        with frozen_eval_mode(nets[0]) as teacher, frozen_eval_mode(nets[1]) as student:
            for step in range(self.steps):
                index = torch.randint(len(train), (self.batch,), generator=noise)
                x, y = train.inputs[index], train.targets[index]
                goal = self.target_labels(y, class_count(whole))
                p = pattern.detach().requires_grad_(True)
                with torch.enable_grad():
                    z = (x + p).clamp(0, 1)
                    loss = (
                        cross_entropy(teacher(z), goal) + cross_entropy(student(z), goal)
                    ).mean()
                    (gradient,) = torch.autograd.grad(loss, p)
                stride = 0.1 * self.strength * (1 - step / self.steps)
                pattern = pattern - stride * gradient.sign()
                pattern = pattern.clamp(-self.strength, self.strength)
        return pattern.detach()
