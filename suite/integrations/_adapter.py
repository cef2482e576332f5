"""Our classifiers as a library's attack may ask them, and its answers as we take them."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BrokenPlugin
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Logits, PerExample
from robustbench_kd.ops.attacks.projections import distance, project
from robustbench_kd.ops.attacks.targets import Goal

Ask = Callable[[Images], Logits]


class Asked(nn.Module):
    """A module that asks our classifier, so that every pass is counted and no weight is in reach.

    The network itself is no part of it: a library that trains, unfreezes or zeroes what it is given
    finds one idle parameter, which only tells the device.
    """

    def __init__(self, logits: Ask, device: torch.device) -> None:
        super().__init__()
        self.ask = logits
        self.idle = nn.Parameter(torch.zeros(1, device=device), requires_grad=False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.ask(x.to(self.idle.dtype))  # some libraries ask in double precision


class Seeded(np.random.RandomState):
    """A generator that, made without a seed, takes one from the global generator, not the clock."""

    def __init__(self, seed: Any = None) -> None:
        super().__init__(np.random.randint(2**31) if seed is None else seed)


@contextmanager
def confined(library: str, attack: str, seed: Seed) -> Iterator[None]:
    """The room a library's attack runs in: what it needs, and nothing of it left behind.

    The global random generators of torch, numpy and Python, from which libraries draw and ours
    never do, are set by the seed and then put back; numpy's complaints about the library's own
    arithmetic are not ours.

    Raises:
        BrokenPlugin: where the attack needs a package that is not installed.
    """
    kept, number = (np.random.get_state(), random.getstate()), seed.number()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        for generator in (torch.default_generator, *torch.cuda.default_generators):
            generator.manual_seed(number)
        np.random.seed(number % 2**32)
        random.seed(number)
        try:
            # ART's decision-based attacks make generators of their own, without a seed
            patched = mock.patch.object(np.random, "RandomState", Seeded)
            with patched, np.errstate(all="ignore"), warnings.catch_warnings():
                # torchattacks' SparseFool multiplies numpy arrays by tensors
                warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
                yield
        except ModuleNotFoundError as why:
            raise BrokenPlugin(
                f"{attack} of {library} needs a package of its own; run: pip install {why.name}"
            ) from why
        finally:
            np.random.set_state(kept[0])
            random.setstate(kept[1])


def taken(
    z: Tensor, logits: Ask, x: Images, goal: Goal, budget: Budget
) -> tuple[Images, PerExample]:
    """What a library found, drawn into ball and box, and the norm it needed for it.

    The norm is that of the library's own input, infinite where it does not reach the goal; so an
    attack of minimum norm is judged at our radius, and its norms are kept.
    """
    z = torch.where(z.isfinite(), z, x).clamp(0, 1)
    with torch.no_grad():
        hit = goal.won(logits(z))
    norm = torch.where(hit, distance(z, x, budget.kind), torch.inf)
    return project(z, x, budget), norm
