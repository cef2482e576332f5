"""Beam search over an incremental language model."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from robustbench_kd.ops.privacy.candidate_rank import IncrementalModel

M = TypeVar("M")


def beam_search(model: IncrementalModel[M], prefix: Tensor, count: int, width: int) -> Tensor:
    """The likeliest continuations by a beam of this width: [width, count], best first."""
    with torch.inference_mode():
        log_p, memory = model.open(prefix)
        beams = prefix.new_zeros((1, 0))
        total = log_p.new_zeros(1)
        for step in range(count):
            extended = (total[:, None] + log_p).flatten()
            total, best = extended.topk(min(width, len(extended)))
            rows, tokens = best // log_p.shape[1], best % log_p.shape[1]
            beams = torch.cat([beams[rows], tokens[:, None]], 1)
            if step < count - 1:
                log_p, memory = model.step(memory, rows, tokens)
    return beams.clone()
