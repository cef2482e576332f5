"""Square Attack: random search in square windows, by scores alone."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.core.config import Budget
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Logits, Mask, PerExample
from robustbench_kd.ops.attacks.pgd import LogitFunction
from robustbench_kd.ops.attacks.projections import TINY, broadcast, lp_norm, project
from robustbench_kd.ops.attacks.targets import Goal

FIRST_SHARE = 0.8  # of the pixels, in the first window; AutoAttack's
# The share is halved after so many queries, as the authors' code has it.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
ROWS_A_CALL, WINDOWS_A_CALL = 32, 8


@torch.no_grad()
def square(
    logits: LogitFunction,
    x: Images,
    goal: Goal,
    budget: Budget,
    *,
    queries: int,
    seed: Seed,
    start: Images | None = None,
    done: int = 0,
) -> tuple[Images, Mask, PerExample]:
    """Keeps each change that raises the margin (Andriushchenko et al. 2020, algorithms 1 to 3).

    A row leaves the batch as soon as it reaches the goal. When fewer than ``ROWS_A_CALL`` rows
    remain, each queries several windows in one call and keeps the best of them: the number of
    queries is the same, that of calls smaller. The schedule of window sizes is AutoAttack's, for
    10,000 queries whatever ``queries`` is, so that a shorter run is the beginning of a longer one.

    Args:
        start: where to resume, if not at random stripes (Linf) or tiles (L2).
        done: the number of ``queries`` already spent.

    Returns:
        The adversarial inputs (for rows that never reach the goal: their best), which rows reached
        it, and the queries spent by each row, those already done included.
    """
    noise, origin = seed.generator(), x
    adversarial, active = x.clone(), torch.arange(len(x), device=x.device)
    success = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    spent = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    best = _initial(x, budget, noise) if start is None else start
    margin, done = _search_margin(goal, logits(best)), done + 1
    while True:
        reached = margin == torch.inf
        adversarial[active], success[active], spent[active] = best, reached, done
        if done >= queries or bool(reached.all()):
            return adversarial, success, spent
        if bool(reached.any()):
            rest = ~reached
            active, goal, origin = active[rest], goal.take(rest), origin[rest]
            best, margin = best[rest], margin[rest]
        tries = min(max(ROWS_A_CALL // len(active), 1), WINDOWS_A_CALL, queries - done)
        rows = torch.arange(len(active), device=x.device).repeat_interleave(tries)
        z = _propose(origin[rows], best[rows], budget, done, noise)
        margins = _search_margin(goal.take(rows), logits(z)).view(-1, tries)
        highest, which = margins.max(1)
        proposal = z[which + tries * torch.arange(len(active), device=x.device)]
        best = torch.where(broadcast(highest > margin, best), proposal, best)
        margin, done = torch.maximum(highest, margin), done + tries


def _search_margin(goal: Goal, scores: Logits) -> PerExample:
    """The margin of the goal, and infinity where it is reached."""
    return torch.where(goal.is_reached(scores), torch.inf, goal.margin(scores))


def _initial(x: Images, budget: Budget, noise: torch.Generator) -> Images:
    if budget.kind == "linf":
        return project(x + budget.amount * stripe_pattern(x, noise), x, budget)
    return _scaled_to_sphere(x, tile_pattern(x, noise), budget)


def _propose(x: Images, best: Images, budget: Budget, query: int, noise: torch.Generator) -> Images:
    """The best inputs so far, each with one window drawn anew."""
    height, width = x.shape[2:]
    size = round((window_share(query, FIRST_SHARE) * height * width) ** 0.5)
    if budget.kind == "l2":
        return _move_energy(x, best, budget, min(max(size, 3) // 2 * 2 + 1, height, width), noise)
    inside, *_ = random_window(x, min(max(size, 1), height, width), noise)
    colour = random_signs(*x.shape[:2], 1, 1, noise=noise).to(x)
    return torch.where(inside, project(x + budget.amount * colour, x, budget), best)


def _move_energy(
    x: Images, best: Images, budget: Budget, size: int, noise: torch.Generator
) -> Images:
    """Removes the perturbation from one window and adds a bump of its energy in another."""
    delta = best - x
    into, down, across = random_window(x, size, noise)
    out_of, *_ = random_window(x, size, noise)
    unused = (budget.amount**2 - lp_norm(delta, "l2") ** 2).clamp_min(0) / x.shape[1]
    energy = (delta * (into | out_of)).square().sum((2, 3), keepdim=True)
    present = delta * into
    shape = into * (
        random_bumps(size, down, across, x, noise) + present / (_channel_norm(present) + TINY)
    )
    scale = (energy + broadcast(unused, x)).sqrt()
    fresh = shape / (_channel_norm(shape) + TINY) * scale
    return _scaled_to_sphere(x, torch.where(into, fresh, delta * ~out_of), budget)


def _channel_norm(delta: Images) -> Tensor:
    """The L2 norm of each channel, shape (b, c, 1, 1)."""
    return delta.square().sum((2, 3), keepdim=True).sqrt()


def _scaled_to_sphere(x: Images, delta: Images, budget: Budget) -> Images:
    """``x`` moved along ``delta`` to the surface of the ball, clipped to the box."""
    scale = budget.amount / lp_norm(delta, "l2").clamp_min(TINY)
    return (x + delta * broadcast(scale, x)).clamp(0, 1)


def window_share(query: int, first: float) -> float:
    """The share of pixels that a window covers at this query, if it covers ``first`` at first."""
    return float(first / 2 ** sum(query > threshold for threshold in HALVINGS))


def random_signs(*shape: int, noise: torch.Generator) -> Tensor:
    """Minus one or one, in this shape."""
    return torch.randint(0, 2, shape, generator=noise) * 2.0 - 1


def random_window(like: Images, size: int, noise: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A square of ``size`` pixels at a random place of each image, drawn for each row.

    Returns which pixels lie in it, shape (b, 1, h, w), and the offset of each pixel row and column
    from its first, shapes (b, h) and (b, w).
    """
    down, across = (
        (torch.arange(span) - torch.randint(0, span - size + 1, (len(like), 1), generator=noise))
        for span in like.shape[2:]
    )
    rows, columns = ((offset >= 0) & (offset < size) for offset in (down, across))
    inside = (rows[:, None, :, None] & columns[:, None, None, :]).to(like.device)
    return inside, down.to(like.device), across.to(like.device)


def stripe_pattern(like: Images, noise: torch.Generator) -> Images:
    """Vertical stripes one pixel wide, each minus one or one in each channel."""
    rows, channels, _, width = like.shape
    return random_signs(rows, channels, 1, width, noise=noise).to(like).expand_as(like)


def tile_pattern(like: Images, noise: torch.Generator) -> Images:
    """Bumps of a fifth of the image side by side, each of its own sign in each channel."""
    rows, channels, height, width = like.shape
    size = max(min(height, width) // 5, 1)
    down, across = (torch.arange(n) - n % size // 2 for n in (height, width))
    sign = random_signs(rows, channels, height // size + 2, width // size + 2, noise=noise)
    grid = sign[:, :, down // size][:, :, :, across // size]
    pattern = bump(size)[down % size][:, across % size]
    whole = [(n >= 0) & (n < span // size * size) for n, span in ((down, height), (across, width))]
    return (grid * pattern * (whole[0][:, None] & whole[1])).to(like)


def random_bumps(
    size: int, down: Tensor, across: Tensor, like: Images, noise: torch.Generator
) -> Images:
    """A bump of random sign and orientation in the windows with these offsets."""
    orientations = torch.stack([bump(size), bump(size).T]).to(like)
    turn = torch.randint(0, 2, (len(like), 1, 1), generator=noise).to(like.device)
    sign = random_signs(*like.shape[:2], 1, 1, noise=noise).to(like)
    down, across = (offset.clamp(0, size - 1) for offset in (down, across))
    return orientations[turn, down[:, :, None], across[:, None, :]][:, None] * sign


def bump(size: int) -> Tensor:
    """Two opposite peaks side by side, of norm one; shape (size, size).

    At Chebyshev distance d from its centre, a peak is as high as the sum of 1 / (k + 1)^2 over all
    k from d on (Andriushchenko et al. 2020, eq. 2).
    """
    upper = size // 2
    peaks = torch.cat([_peak(upper, size), -_peak(size - upper, size)])
    unit: Tensor = peaks / peaks.norm().clamp_min(TINY)
    return unit


def _peak(height: int, width: int) -> Tensor:
    down = (torch.arange(height) - height // 2).abs()[:, None]
    across = (torch.arange(width) - width // 2).abs()[None]
    layers = torch.arange(1, max(height, width) // 2 + 2)
    heights = (1 / layers**2).flip(0).cumsum(0).flip(0)
    peak = heights[torch.maximum(down, across)]
    unit: Tensor = peak / peak.norm().clamp_min(TINY)
    return unit
