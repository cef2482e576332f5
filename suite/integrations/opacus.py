"""The privacy budget of a DP-SGD training, by the accountant of Opacus (Yousefpour et al. 2021)."""

from __future__ import annotations

import warnings

from robustbench_kd.core.errors import BadSetting, BrokenPlugin

try:
    from opacus.accountants import RDPAccountant
except ImportError as why:
    raise BrokenPlugin(
        f"the accountant of Opacus cannot be imported ({why}); "
        "run: pip install 'robustbench-kd[dp]'"
    ) from why

# Opacus's own orders end at 63, too early for much noise; those above make its bound tighter.
ORDERS = (*RDPAccountant.DEFAULT_ALPHAS, 96, 128, 192, 256, 512, 1024)


def epsilon(noise: float, batch: int, count: int, steps: int, delta: float) -> float:
    """An upper bound on epsilon at this delta (Mironov, Talwar & Zhang 2019, section 3.3).

    It holds for batches that are Poisson samples; for batches cut from a shuffled epoch it is a
    nominal figure.

    Args:
        noise: the standard deviation of the noise, in clips; at 0, epsilon is infinite.
        batch: the mean size of a batch of ``count`` examples.
        delta: the probability that the bound may fail; below 1 / ``count`` to mean anything.

    Raises:
        BadSetting: for figures that no training has.
    """
    if not (noise >= 0 and 1 <= batch <= count and steps >= 1 and 0 < delta < 1):
        raise BadSetting(
            "an accountant needs noise of at least 0, a batch between 1 and the count, a step and "
            f"a delta in (0, 1), not {noise=:g}, {batch=}, {count=}, {steps=}, {delta=:g}"
        )
    accountant = RDPAccountant()
    accountant.history = [(noise, batch / count, steps)]
    with warnings.catch_warnings():
        # At either end of the orders the bound is looser than it could be, and still a bound.
        warnings.filterwarnings("ignore", "Optimal order is the", UserWarning)
        return float(accountant.get_epsilon(delta, alphas=list(ORDERS)))
