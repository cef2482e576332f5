"""The pieces that AutoAttack is composed of: targets in order, tried one by one or in one pool."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustbench_kd.core.config import Budget
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Labels, Logits, Mask, PerExample
from robustbench_kd.ops.attacks.apgd import apgd
from robustbench_kd.ops.attacks.pgd import Ask, restarted
from robustbench_kd.ops.attacks.projections import TINY, uniform_start
from robustbench_kd.ops.attacks.targets import Goal
from robustbench_kd.ops.losses import targeted_difference_ratio


@dataclass(frozen=True)
class Toward(Goal):
    """The same goal, sought in the direction of one class a row, whichever answer then wins."""

    aims: Labels = field(kw_only=True)

    def take(self, index: Tensor) -> Toward:
        goal = super().take(index)
        return Toward(goal.labels, goal.targets, aims=self.aims[index])

    @staticmethod
    def ratio(goal: Goal, logits: Logits) -> PerExample:
        """The targeted DLR of the aims; below four classes, its numerator alone.

        There the ratio of a label that leads and a target that comes last is -1 whatever the
        input, so it has no gradient. The numerator needs no scale: Auto-PGD uses directions and
        comparisons only, which no positive factor changes.
        """
        assert isinstance(goal, Toward)
        if logits.shape[1] < 4:
            own, aim = (logits.gather(1, c[:, None]) for c in (goal.labels, goal.aims))
            return (aim - own).squeeze(1)
        return targeted_difference_ratio(logits, goal.labels, goal.aims)


def by_score(logits: Ask, x: Images, goal: Goal, most: int) -> Tensor:
    """The other classes, the highest score first, as in APGD-T; shape (b, ``most`` or fewer).

    A goal with targets has no other order than the target itself.
    """
    if goal.targets is not None:
        return goal.targets[:, None]
    with torch.no_grad():
        scores = logits(x)
    ranked = scores.scatter(1, goal.labels[:, None], -torch.inf).argsort(1, descending=True)
    return ranked[:, : min(most, scores.shape[1] - 1)]


def by_distance(logits: Ask, x: Images, goal: Goal, budget: Budget, most: int) -> Tensor:
    """The other classes, the nearest boundary of the linearised network first.

    The distance is (z_y - z_c) / |gradient of z_y - z_c|, in the dual norm (MALT, Melamed et al.
    2024, section 3). Costs one forward pass a row and one backward pass a class that is looked at:
    twice ``most`` at most, by score.
    """
    if goal.targets is not None:
        return goal.targets[:, None]
    own = goal.labels[:, None]
    with torch.enable_grad():
        z = x.detach().requires_grad_()
        scores = logits(z)
        ranked = scores.detach().scatter(1, own, -torch.inf).argsort(1, descending=True)
        ranked = ranked[:, : min(2 * most, scores.shape[1] - 1)]
        gaps = scores.gather(1, own) - scores.gather(1, ranked)
        slopes = [torch.autograd.grad(gap.sum(), z, retain_graph=True)[0] for gap in gaps.unbind(1)]
    dual = 1 if budget.kind == "linf" else 2
    steep = torch.stack([slope.flatten(1).norm(dual, 1) for slope in slopes], 1)
    nearest = (gaps.detach() / steep.clamp_min(TINY)).argsort(1)
    return ranked.gather(1, nearest)[:, :most]


def one_by_one(
    logits: Ask, x: Images, goal: Goal, order: Tensor, budget: Budget, *, steps: int, seed: Seed
) -> tuple[Images, Mask]:
    """APGD-T: Auto-PGD on the targeted DLR, each target on the rows that are left."""

    def once(left: Tensor, turn: int) -> tuple[Images, Mask]:
        part, rest = x[left], goal.take(left)
        aim = Toward(rest.labels, rest.targets, aims=order[left, turn])
        start = uniform_start(part, budget, (seed / turn).generator())
        return apgd(logits, part, aim, budget, steps=steps, start=start, score=Toward.ratio)

    return restarted(once, x, order.shape[1])


def pooled(
    logits: Ask, x: Images, goal: Goal, order: Tensor, budget: Budget, *, steps: int, seed: Seed
) -> tuple[Images, Mask]:
    """The same, with all targets of all rows in one batch; a hit ends all tries at its example."""
    tries = order.shape[1]
    kin = torch.arange(len(x), device=x.device).repeat_interleave(tries)
    start = uniform_start(x[kin], budget, seed.generator())
    rest = goal.take(kin)
    aim = Toward(rest.labels, rest.targets, aims=order.flatten())
    z, won = apgd(
        logits, x[kin], aim, budget, steps=steps, start=start, score=Toward.ratio, kin=kin
    )
    hits = won.view(-1, tries)
    first = hits.int().argmax(1) + tries * torch.arange(len(x), device=x.device)
    return z[first], hits.any(1)
