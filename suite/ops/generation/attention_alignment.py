"""Aligning the cross-attention maps of two prompts: which tokens correspond, and how maps differ.

A map says how strongly each place of the image attends to a token; at each place, the maps of all
tokens sum to one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustbench_kd.core.tensor_types import PerExample, Scalar
from robustbench_kd.ops.generation.prompts import SpecialTokens, align_words, word_counts

UNMATCHED, NOT_A_WORD = -1, -2
"""A word without a counterpart, and a token that is no word."""


def match_words(prompts: Tensor, others: Tensor, special: SpecialTokens) -> Tensor:
    """For each token of a prompt the place of its counterpart in the other: (prompts, limit).

    Words correspond by the longest common subsequence; a word without a counterpart is
    ``UNMATCHED``, and start, end and padding are ``NOT_A_WORD``.
    """
    pairs, inverse = torch.cat([prompts, others], 1).unique(dim=0, return_inverse=True)
    limit = prompts.shape[1]
    table = torch.full((len(pairs), limit), NOT_A_WORD)
    counts = word_counts(pairs[:, :limit], special)
    for row, pair, count in zip(table, pairs, counts.tolist(), strict=True):
        row[1 : count + 1] = UNMATCHED
        for i, j in align_words(pair[limit:], pair[:limit], special):
            row[j] = i
    return table[inverse]


def match_tokens(prompts: Tensor, others: Tensor, special: SpecialTokens) -> Tensor:
    """Like ``match_words``, for an edit: every token has a counterpart, whatever it is.

    Start corresponds to start, end to end, padding to padding. An unmatched word takes the first
    unused word of the other prompt in the same gap, and where there is none the start, whose state
    a causal encoder makes the same in every prompt.
    """
    table = match_words(prompts, others, special)
    counts = word_counts(prompts, special).tolist()
    other_counts = word_counts(others, special).tolist()
    for row, count, other in zip(table, counts, other_counts, strict=True):
        unused, last = set(range(1, other + 1)) - set(row.tolist()), 0
        for j in range(1, count + 1):
            if row[j] != UNMATCHED:
                last = int(row[j])
                continue
            following = min((int(i) for i in row[j + 1 : count + 1] if i > 0), default=other + 1)
            gap = sorted(i for i in unused if last < i < following)
            row[j] = gap[0] if gap else 0
            unused -= {int(row[j])}
            last = max(last, int(row[j]))
        row[0] = 0
        pads = torch.arange(len(row) - count - 1) + other + 1
        row[count + 1 :] = pads.clamp_max(len(row) - 1)
    return table


def map_distance(
    student: Tensor, teacher: Tensor, matches: Tensor, unmatched_target: Tensor
) -> PerExample:
    """Squared distance of maps, averaged over places and over the words of each prompt.

    Args:
        student, teacher: maps of either prompt, (prompts, tokens, height, width).
        matches: as ``match_words`` returns them.
        unmatched_target: the target of an unmatched word's map; maps of the same shape.
    """
    index = matches.clamp_min(0)[:, :, None, None].expand_as(student)
    unmatched = (matches == UNMATCHED)[:, :, None, None]
    target = torch.where(unmatched, unmatched_target, teacher.gather(1, index))
    errors = (student - target).square().mean((2, 3))
    words = (matches != NOT_A_WORD).to(errors)
    return (errors * words).sum(1) / words.sum(1).clamp_min(1)


def output_distance(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Scalar:
    """The squared distance of attention outputs, relative to the teacher's power, averaged.

    Maps do not show what is read from start, end and padding, nor the values; outputs do.
    """
    ratios = [
        (a - b).square().mean() / b.square().mean().clamp_min(1e-12)
        for a, b in zip(student, teacher, strict=True)
    ]
    return torch.stack(ratios).mean()


def rescale_maps(maps: Tensor) -> Tensor:
    """Each map rescaled to [0, 1], as in the released code; a constant map becomes zero."""
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-6)
