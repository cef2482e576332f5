"""Square Attack: random search in square windows, by scores alone."""

from __future__ import annotations

import torch

from robustbench_kd.core.config import Budget
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Logits, Mask, PerExample
from robustbench_kd.ops.attacks.pgd import Ask
from robustbench_kd.ops.attacks.projections import TINY, length, project, spread
from robustbench_kd.ops.attacks.targets import Goal
from robustbench_kd.ops.attacks.windows import bumps, share, signs, stripes, tiles, window

FIRST_SHARE = 0.8  # AutoAttack's
FILL, MOST = 32, 8


@torch.no_grad()
def square(
    logits: Ask,
    x: Images,
    goal: Goal,
    budget: Budget,
    *,
    queries: int,
    seed: Seed,
    start: Images | None = None,
    done: int = 0,
) -> tuple[Images, Mask, PerExample]:
    """Keeps what raises the margin (Andriushchenko et al. 2020, algorithms 1 to 3).

    A row that is won leaves the batch at once. When fewer than ``FILL`` rows are left, each asks
    about several windows in one call and keeps the best of them: the queries are the same, the
    calls fewer. The schedule of window sizes is AutoAttack's, for 10,000 queries whatever
    ``queries`` is, so that a shorter run is the beginning of a longer one.

    Args:
        start: where to go on from, if not at random stripes (Linf) or tiles (L2).
        done: how many of the ``queries`` were spent in coming there.

    Returns:
        The found inputs (rows that were never won: their best), which were won, and the queries
        that each row has spent of all.
    """
    noise, space = seed.generator(), x
    found, alive = x.clone(), torch.arange(len(x), device=x.device)
    won = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    spent = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    best = _start(x, budget, noise) if start is None else start
    lead, done = _standing(goal, logits(best)), done + 1
    while True:
        hit = lead == torch.inf
        found[alive], won[alive], spent[alive] = best, hit, done
        if done >= queries or bool(hit.all()):
            return found, won, spent
        if bool(hit.any()):
            keep = ~hit
            alive, goal, space = alive[keep], goal.take(keep), space[keep]
            best, lead = best[keep], lead[keep]
        many = min(max(FILL // len(alive), 1), MOST, queries - done)
        rows = torch.arange(len(alive), device=x.device).repeat_interleave(many)
        z = _propose(space[rows], best[rows], budget, done, noise)
        says = _standing(goal.take(rows), logits(z)).view(-1, many)
        top, which = says.max(1)
        tried = z[which + many * torch.arange(len(alive), device=x.device)]
        best = torch.where(spread(top > lead, best), tried, best)
        lead, done = torch.maximum(top, lead), done + many


def _standing(goal: Goal, scores: Logits) -> PerExample:
    """How far ahead the goal is, and infinity where it is reached."""
    return torch.where(goal.won(scores), torch.inf, goal.lead(scores))


def _start(x: Images, budget: Budget, noise: torch.Generator) -> Images:
    if budget.kind == "linf":
        return project(x + budget.amount * stripes(x, noise), x, budget)
    return _stretched(x, tiles(x, noise), budget)


def _propose(x: Images, best: Images, budget: Budget, query: int, noise: torch.Generator) -> Images:
    """The best inputs so far, each with one window drawn anew."""
    high, wide = x.shape[2:]
    size = round((share(query, FIRST_SHARE) * high * wide) ** 0.5)
    if budget.kind == "l2":
        return _moved(x, best, budget, min(max(size, 3) // 2 * 2 + 1, high, wide), noise)
    inside, *_ = window(x, min(max(size, 1), high, wide), noise)
    colour = signs(*x.shape[:2], 1, 1, noise=noise).to(x)
    return torch.where(inside, project(x + budget.amount * colour, x, budget), best)


def _moved(x: Images, best: Images, budget: Budget, size: int, noise: torch.Generator) -> Images:
    """Takes the perturbation out of one window and puts a bump of its energy into another."""
    delta = best - x
    into, down, across = window(x, size, noise)
    out_of, *_ = window(x, size, noise)
    unused = (budget.amount**2 - length(delta, "l2") ** 2).clamp_min(0) / x.shape[1]
    held = (delta * (into | out_of)).square().sum((2, 3), keepdim=True)
    there = delta * into
    shape = into * (bumps(size, down, across, x, noise) + there / (_norm(there) + TINY))
    fresh = shape / (_norm(shape) + TINY) * (held + spread(unused, x)).sqrt()
    return _stretched(x, torch.where(into, fresh, delta * ~out_of), budget)


def _norm(delta: Images) -> torch.Tensor:
    """The length of each channel, shape (b, c, 1, 1)."""
    return delta.square().sum((2, 3), keepdim=True).sqrt()


def _stretched(x: Images, delta: Images, budget: Budget) -> Images:
    """``x`` moved along ``delta`` to the rim of the ball, cut to the box."""
    scale = budget.amount / length(delta, "l2").clamp_min(TINY)
    return (x + delta * spread(scale, x)).clamp(0, 1)
