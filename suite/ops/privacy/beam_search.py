"""Beam search over a model that goes on where it stopped."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from robustbench_kd.ops.privacy.candidate_rank import Continues

M = TypeVar("M")


def beam(model: Continues[M], prefix: Tensor, count: int, width: int) -> Tensor:
    """The likeliest continuations that a beam of this width finds [width, count], best first."""
    with torch.inference_mode():
        logp, memory = model.open(prefix)
        said = prefix.new_zeros((1, 0))
        total = logp.new_zeros(1)
        for step in range(count):
            every = (total[:, None] + logp).flatten()
            total, best = every.topk(min(width, len(every)))
            rows, new = best // logp.shape[1], best % logp.shape[1]
            said = torch.cat([said[rows], new[:, None]], 1)
            if step < count - 1:
                logp, memory = model.step(memory, rows, new)
    return said.clone()
