"""Our classifiers as the attacks of a library query them, and the results as we take them."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BrokenPlugin
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, PerExample
from robustbench_kd.ops.attacks.pgd import LogitFunction
from robustbench_kd.ops.attacks.projections import distance, project
from robustbench_kd.ops.attacks.targets import Goal


class QueryModule(nn.Module):
    """A module that queries our classifier, so that passes are counted and weights out of reach.

    The network itself is no part of it: a library that trains, unfreezes or zeroes what it is given
    finds a single unused parameter, which only tells the device.
    """

    def __init__(self, logits: LogitFunction, device: torch.device) -> None:
        super().__init__()
        self.logits = logits
        self.unused = nn.Parameter(torch.zeros(1, device=device), requires_grad=False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x.to(self.unused.dtype))  # some libraries query in double precision


class GloballySeeded(np.random.RandomState):
    """A generator that, made without a seed, takes one from the global generator, not the clock."""

    def __init__(self, seed: Any = None) -> None:
        super().__init__(np.random.randint(2**31) if seed is None else seed)


@contextmanager
def isolated(library: str, attack: str, seed: Seed) -> Iterator[None]:
    """Runs a library's attack with seeded global generators, and restores them afterwards.

    Libraries draw from the global random generators of torch, numpy and Python, ours never do.
    Warnings of numpy about the library's own arithmetic are silenced.

    Raises:
        BrokenPlugin: where the attack needs a package that is not installed.
    """
    states, number = (np.random.get_state(), random.getstate()), seed.number()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        for generator in (torch.default_generator, *torch.cuda.default_generators):
            generator.manual_seed(number)
        np.random.seed(number % 2**32)
        random.seed(number)
        try:
            # ART's decision-based attacks make generators of their own, without a seed.
            patched = mock.patch.object(np.random, "RandomState", GloballySeeded)
            with patched, np.errstate(all="ignore"), warnings.catch_warnings():
                # SparseFool of torchattacks multiplies numpy arrays by tensors.
                warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
                yield
        except ModuleNotFoundError as why:
            raise BrokenPlugin(
                f"{attack} of {library} needs a package of its own; run: pip install {why.name}"
            ) from why
        finally:
            np.random.set_state(states[0])
            random.setstate(states[1])


def project_result(
    z: Tensor, logits: LogitFunction, x: Images, goal: Goal, budget: Budget
) -> tuple[Images, PerExample]:
    """A library's result projected onto ball and box, and the norm that it needed.

    The norm is that of the library's own input, infinite where it does not reach the goal; so an
    attack of minimum norm is scored at our radius, and its norms are recorded.
    """
    z = torch.where(z.isfinite(), z, x).clamp(0, 1)
    with torch.no_grad():
        reached = goal.is_reached(logits(z))
    norm = torch.where(reached, distance(z, x, budget.kind), torch.inf)
    return project(z, x, budget), norm
