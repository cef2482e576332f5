"""Is a row to be believed? What is asked of a network before and after it was attacked."""

from __future__ import annotations

from collections.abc import Callable

import torch

from robustbench_kd.core.config import Budget, Doubt
from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.protocols import WhiteBox
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Logits
from robustbench_kd.core.types import Examples
from robustbench_kd.ops.attacks.gradients import input_gradient
from robustbench_kd.ops.attacks.pgd import hunt
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.attacks.square import square
from robustbench_kd.ops.attacks.targets import Goal
from robustbench_kd.ops.losses import cross_entropy, margin
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.ops.statistics.paired_tests import mcnemar_exact

ASKED = 256  # examples that the indicators are measured on
QUERIES = 500  # of Square, the black-box attack
LEVEL = 0.01  # of the paired tests
STILL = 0.05  # share of inputs without any gradient that is taken as a sign of masking


def probe(subject: WhiteBox, test: Examples, accept_probabilities: bool) -> frozenset[Doubt]:
    """Asks twice, before anything is spent.

    Raises:
        BadModel: where the network answers with NaN, in another shape, or with probabilities that
            were not accepted; where there is no test example.
    """
    if len(test) == 0:
        raise BadModel("there is no test image: an empty slice proves nothing")
    x = test.inputs[:64]
    first, second = _first_answer(subject, x), subject.logits(x).detach()
    if not bool(torch.isfinite(first).all()):
        raise BadModel("the network returns NaN or infinite scores for images in [0, 1]")
    doubts = set()
    if not torch.equal(first, second):
        doubts.add(Doubt.RANDOMISED)
    sums = first.sum(1)
    if bool((first >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all()):
        if not accept_probabilities:
            raise BadModel(
                "the network returns probabilities: attacks need the scores before the softmax; "
                "return those, or accept a doubt on the row by --accept-probabilities"
            )
        doubts.add(Doubt.PROBABILITIES)
    return frozenset(doubts)


def _first_answer(subject: WhiteBox, x: Images) -> Logits:
    """The scores, if the network takes such images and can be differentiated."""
    try:
        scores = subject.logits(x.clone().requires_grad_(True))
    except BadModel:
        raise
    except Exception as why:  # it is somebody's code, which may fail in any way
        raise BadModel(
            f"the network fails on images of shape {tuple(x.shape)} in [0, 1]: "
            f"{type(why).__name__}: {str(why).partition(chr(10))[0]}"
        ) from why
    if not scores.requires_grad:
        raise BadModel(
            "the network's scores cannot be differentiated with respect to the images, which "
            "attacks that see the weights must do; remove no_grad and detach from its forward"
        )
    return scores.detach()


def examine(
    subject: WhiteBox, test: Examples, budget: Budget, seed: Seed
) -> tuple[dict[str, float | int], frozenset[Doubt]]:
    """Three indicators of masked gradients, on the first examples that are answered right.

    - ``still``: the share of inputs at which the gradient of the cross-entropy is exactly zero;
    - ``rescaled``: does PGD break more once the scores are divided by their mean lead?
    - ``black_box``: does Square break what PGD does not?

    The last two are paired tests (McNemar, exact, one-sided). Carlini & Wagner 2017 and
    Athalye, Carlini & Wagner 2018, sec. 3.1, are where the signs come from.
    """
    part = test.take(torch.arange(min(ASKED, len(test))))
    right = subject.answer(part.inputs) == part.targets
    x, y = part.inputs[right], part.targets[right]
    if len(x) == 0:
        return {"asked": 0}, frozenset()
    gradient = input_gradient(lambda z: cross_entropy(subject.logits(z), y), x)
    still = float((gradient.flatten(1).abs().amax(1) == 0).float().mean())
    with torch.inference_mode():
        scale = float(margin(subject.logits(x), y).abs().mean().clamp_min(1e-6))
    plain = _pgd(subject.logits, x, Goal(y), budget, seed)
    rescaled = _pgd(lambda z: subject.logits(z) / scale, x, Goal(y), budget, seed)
    broken = square(subject.logits, x, Goal(y), budget, queries=QUERIES, seed=seed / "square")[1]
    black = (~broken).tolist()
    doubts = set()
    if still >= STILL or mcnemar_exact(*discordant(plain, rescaled)) < LEVEL:
        doubts.add(Doubt.MASKED)
    if mcnemar_exact(*discordant(plain, black)) < LEVEL:
        doubts.add(Doubt.BLACK_BEATS_WHITE)
    found: dict[str, float | int] = {
        "asked": len(x),
        "still": round(still, 4),
        "scale": round(scale, 4),
        "pgd": sum(plain),
        "pgd_rescaled": sum(rescaled),
        "square": sum(black),
    }
    return found, frozenset(doubts)


def _pgd(
    logits: Callable[[Images], Logits], x: Images, goal: Goal, budget: Budget, seed: Seed
) -> list[bool]:
    start = uniform_start(x, budget, (seed / "health").generator())
    won = hunt(logits, x, goal, budget, steps=20, stride=0.125, start=start)[1]
    return [not hit for hit in won.tolist()]
