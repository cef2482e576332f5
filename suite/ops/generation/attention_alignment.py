"""Maps of cross-attention of one prompt beside those of another: which tokens belong together.

A map says where in the image a token is looked for; maps of all tokens sum to one at each place.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustbench_kd.core.tensor_types import PerExample, Scalar
from robustbench_kd.ops.generation.prompts import Frame, alignment, lengths

LONE, SPECIAL = -1, -2
"""A word without a partner, and a token that is no word."""


def partners(prompts: Tensor, others: Tensor, frame: Frame) -> Tensor:
    """For each token of a prompt the place of its partner in the other prompt: (prompts, limit).

    Words find partners by the longest common subsequence; a word without one is ``LONE``, and
    start, end and padding are ``SPECIAL``.
    """
    both, where = torch.cat([prompts, others], 1).unique(dim=0, return_inverse=True)
    limit = prompts.shape[1]
    table = torch.full((len(both), limit), SPECIAL)
    counts = lengths(both[:, :limit], frame)
    for row, pair, count in zip(table, both, counts.tolist(), strict=True):
        row[1 : count + 1] = LONE
        for i, j in alignment(pair[limit:], pair[:limit], frame):
            row[j] = i
    return table[where]


def stand_ins(prompts: Tensor, others: Tensor, frame: Frame) -> Tensor:
    """Like ``partners``, for an edit: every token has one, whatever it is.

    Start goes with start, end with end, padding with padding. A lone word takes the first word of
    the other prompt that is left over in the same gap, and where there is none the start, whose
    state a causal encoder makes the same in every prompt.
    """
    found = partners(prompts, others, frame)
    counts, theirs = lengths(prompts, frame).tolist(), lengths(others, frame).tolist()
    for row, count, other in zip(found, counts, theirs, strict=True):
        free, last = set(range(1, other + 1)) - set(row.tolist()), 0
        for j in range(1, count + 1):
            if row[j] != LONE:
                last = int(row[j])
                continue
            ahead = min((int(i) for i in row[j + 1 : count + 1] if i > 0), default=other + 1)
            gap = sorted(i for i in free if last < i < ahead)
            row[j] = gap[0] if gap else 0
            free -= {int(row[j])}
            last = max(last, int(row[j]))
        row[0] = 0
        pads = torch.arange(len(row) - count - 1) + other + 1
        row[count + 1 :] = pads.clamp_max(len(row) - 1)
    return found


def map_distance(mine: Tensor, theirs: Tensor, partner: Tensor, aim: Tensor) -> PerExample:
    """Squared distance of maps, averaged over places and over the words of each prompt.

    Args:
        mine, theirs: maps of either prompt, (prompts, tokens, height, width).
        partner: as ``partners`` finds them; a lone word's map is held against ``aim``.
        aim: maps of the same shape.
    """
    index = partner.clamp_min(0)[:, :, None, None].expand_as(mine)
    wanted = torch.where((partner == LONE)[:, :, None, None], aim, theirs.gather(1, index))
    errors = (mine - wanted).square().mean((2, 3))
    words = (partner != SPECIAL).to(errors)
    return (errors * words).sum(1) / words.sum(1).clamp_min(1)


def output_distance(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> Scalar:
    """How far apart what attention layers read lies, in shares of the power of ``theirs``.

    Maps are silent about what is read from start, end and padding, and about values; this is not.
    """
    shares = [
        (a - b).square().mean() / b.square().mean().clamp_min(1e-12)
        for a, b in zip(mine, theirs, strict=True)
    ]
    return torch.stack(shares).mean()


def stretched(maps: Tensor) -> Tensor:
    """Each map from zero to one, as the released code has them; a flat map becomes zero."""
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-6)
