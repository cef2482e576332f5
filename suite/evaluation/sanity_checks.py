"""Is a row to be believed? What a network is asked before and after it was attacked."""

from __future__ import annotations

from collections.abc import Callable

import torch

from robustbench_kd.core.config import Budget, EvaluationWarning
from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.protocols import WhiteBoxModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Logits
from robustbench_kd.core.types import Examples
from robustbench_kd.ops.attacks.gradients import input_gradient
from robustbench_kd.ops.attacks.pgd import pgd
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.attacks.square import square
from robustbench_kd.ops.attacks.targets import Goal
from robustbench_kd.ops.losses import cross_entropy, margin
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.ops.statistics.paired_tests import mcnemar_exact

CHECKED = 256  # examples that the indicators are measured on
QUERIES = 500  # of Square, the black-box attack
LEVEL = 0.01  # of the paired tests
STILL = 0.05  # share of inputs without any gradient that is taken as a sign of masking


def expect_answers(
    model: WhiteBoxModel, test: Examples, accept_probabilities: bool
) -> frozenset[EvaluationWarning]:
    """Asks the same question twice, before anything is spent.

    Raises:
        BadModel: where the network answers with NaN, in another shape, or with probabilities that
            were not accepted; where there is no test example.
    """
    if len(test) == 0:
        raise BadModel("there is no test image: an empty slice proves nothing")
    x = test.inputs[:64]
    first, second = _first_answer(model, x), model.logits(x).detach()
    if not bool(torch.isfinite(first).all()):
        raise BadModel("the network returns NaN or infinite scores for images in [0, 1]")
    warnings = set()
    if not torch.equal(first, second):
        warnings.add(EvaluationWarning.RANDOMISED)
    sums = first.sum(1)
    if bool((first >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all()):
        if not accept_probabilities:
            raise BadModel(
                "the network returns probabilities: attacks need the scores before the softmax; "
                "return those, or accept a warning on the row by --accept-probabilities"
            )
        warnings.add(EvaluationWarning.PROBABILITIES)
    return frozenset(warnings)


def _first_answer(model: WhiteBoxModel, x: Images) -> Logits:
    """The scores, if the network takes such images and can be differentiated."""
    try:
        scores = model.logits(x.clone().requires_grad_(True))
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


def gradient_checks(
    model: WhiteBoxModel, test: Examples, budget: Budget, seed: Seed
) -> tuple[dict[str, float | int], frozenset[EvaluationWarning]]:
    """Three indicators of masked gradients, on the first examples that are answered correctly.

    - ``still``: the share of inputs at which the gradient of the cross-entropy is exactly zero;
    - ``rescaled``: does PGD break more once the scores are divided by their mean lead?
    - ``black_box``: does Square break what PGD does not?

    The last two are paired tests (McNemar, exact, one-sided). Carlini & Wagner 2017 and
    Athalye, Carlini & Wagner 2018, sec. 3.1, describe the signs.
    """
    part = test.take(torch.arange(min(CHECKED, len(test))))
    right = model.answer(part.inputs) == part.targets
    x, y = part.inputs[right], part.targets[right]
    if len(x) == 0:
        return {"asked": 0}, frozenset()
    gradient = input_gradient(lambda z: cross_entropy(model.logits(z), y), x)
    still = float((gradient.flatten(1).abs().amax(1) == 0).float().mean())
    with torch.inference_mode():
        scale = float(margin(model.logits(x), y).abs().mean().clamp_min(1e-6))
    plain = _pgd(model.logits, x, Goal(y), budget, seed)
    rescaled = _pgd(lambda z: model.logits(z) / scale, x, Goal(y), budget, seed)
    broken = square(model.logits, x, Goal(y), budget, queries=QUERIES, seed=seed / "square")[1]
    black = (~broken).tolist()
    warnings = set()
    if still >= STILL or mcnemar_exact(*discordant(plain, rescaled)) < LEVEL:
        warnings.add(EvaluationWarning.MASKED)
    if mcnemar_exact(*discordant(plain, black)) < LEVEL:
        warnings.add(EvaluationWarning.BLACK_BEATS_WHITE)
    values: dict[str, float | int] = {
        "asked": len(x),
        "still": round(still, 4),
        "scale": round(scale, 4),
        "pgd": sum(plain),
        "pgd_rescaled": sum(rescaled),
        "square": sum(black),
    }
    return values, frozenset(warnings)


def _pgd(
    logits: Callable[[Images], Logits], x: Images, goal: Goal, budget: Budget, seed: Seed
) -> list[bool]:
    start = uniform_start(x, budget, (seed / "health").generator())
    won = pgd(logits, x, goal, budget, steps=20, stride=0.125, start=start)[1]
    return [not hit for hit in won.tolist()]
