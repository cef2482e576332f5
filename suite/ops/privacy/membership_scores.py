"""Membership scores from the log-probabilities of tokens, one an example, higher meaning member.

All take the log-probabilities that a network gives each token, in nats, as (example, token), and a
mask of the tokens that count; the values at masked places do not matter. Sums are made in double
precision, for a threshold at 1 % lies among near ties.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import log

import torch
from torch import Tensor

from robustbench_kd.core.tensor_types import PerExample

MIN_DEVIATION = 1e-4  # nats; below it the predicted distribution is uniform or certain


def loss(log_probs: Tensor, mask: Tensor) -> PerExample:
    """The mean log-probability of a token (Yeom et al. 2018)."""
    values, counts = _masked(log_probs, mask, 0.0)
    return values.sum(1) / counts


def zlib_score(log_probs: Tensor, mask: Tensor, texts: Sequence[bytes]) -> PerExample:
    """log p of the whole text over its bytes under zlib (Carlini et al. 2021).

    Public code divides the mean over tokens instead. For texts of one length the order is the same;
    otherwise that score favours long texts, whatever they contain.

    Raises:
        ValueError: where the texts are not as many as the examples.
    """
    values, _ = _masked(log_probs, mask, 0.0)
    if len(texts) != len(values):
        raise ValueError(f"{len(texts)} texts do not belong to {len(values)} examples")
    return values.sum(1) / values.new_tensor([len(zlib.compress(text)) for text in texts])


def reference(log_probs: Tensor, others: Tensor, mask: Tensor) -> PerExample:
    """The mean log-probability less another network's of the same tokens (Carlini et al. 2021)."""
    return loss(log_probs, mask) - loss(others, mask)


def min_k(log_probs: Tensor, mask: Tensor, k: int = 20) -> PerExample:
    """The mean of the lowest k % of an example's values, at least of one (Shi et al. 2024).

    Raises:
        ValueError: where k is no percentage, or an example has no token that counts.
    """
    if not 0 < k <= 100:
        raise ValueError(f"k is a percentage above 0 and at most 100, not {k}")
    values, counts = _masked(log_probs, mask, torch.inf)
    ordered = values.sort(1).values
    chosen = (counts * k // 100).clamp_min(1)
    among = torch.arange(values.shape[1], device=values.device) < chosen[:, None]
    return torch.where(among, ordered, 0.0).sum(1) / chosen


def log_probability_moments(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of log p(v) for v drawn from p, at each place; (..., v) -> (...).

    The deviation is computed from the mean. As the difference of two squares, which public code
    computes, it falls below zero in single precision. Tokens of probability zero do not count.
    """
    log_p = logits.double().log_softmax(-1)
    p = log_p.exp()
    log_p = torch.where(p > 0, log_p, 0.0)
    mean = (p * log_p).sum(-1)
    return mean, (p * (log_p - mean[..., None]).square()).sum(-1).sqrt()


def min_k_plus_plus(
    log_probs: Tensor, mean: Tensor, deviation: Tensor, mask: Tensor, k: int = 20
) -> PerExample:
    """``min_k`` of (log p - mean) / deviation, by ``log_probability_moments`` (Zhang et al. 2025).

    A token is compared with what the network expected at its place.
    """
    return min_k((log_probs.double() - mean) / deviation.clamp_min(MIN_DEVIATION), mask, k)


def offline_lira(scores: PerExample, out: Tensor, pooled: bool = True) -> PerExample:
    """By how many deviations a score exceeds those of networks trained without the example.

    ``out`` holds a row for each such network. The order is that of the one-sided probability of
    Carlini et al. (2022), which rounds to one where this does not. ``pooled`` takes one deviation
    for all examples, their variant for few networks: from a handful, an example's own is mostly
    noise. Scores should be near Gaussian: logits of probabilities, mean log p of texts.

    Raises:
        ValueError: where there are fewer than two such networks, or other examples.
    """
    if out.ndim != 2 or len(out) < 2 or out.shape[1] != len(scores):
        raise ValueError(
            f"offline LiRA needs two networks or more for {len(scores)} examples, "
            f"not scores of shape {tuple(out.shape)}"
        )
    out = out.double()
    deviation = out.var(0).mean().sqrt() if pooled else out.std(0)
    return (scores.double() - out.mean(0)) / deviation.clamp_min(1e-12)


def offline_rmia(
    scores: PerExample,
    out: Tensor,
    population: Tensor,
    population_out: Tensor,
    a: float = 0.3,
    gamma: float = 1.0,
) -> PerExample:
    """The share of a population whose likelihood ratio is exceeded by gamma (arXiv 2312.03262).

    All are log-probabilities in nats, of texts the mean over tokens, for a product of many is zero
    beside the constant below. ``out`` and ``population_out`` hold a row for each network trained on
    neither. Ratios are p(x | network) / p(x), where p(x) averages networks with and without x, and
    those with it are taken to give a p_out + 1 - a: p(x) = ((1 + a) p_out + 1 - a) / 2.
    With one gamma the order is that of the ratio; the population only grades it.

    Raises:
        ValueError: where shapes do not fit, a is not in [0, 1], or gamma not above zero.
    """
    if not (0 <= a <= 1 and gamma > 0):
        raise ValueError(f"RMIA needs a in [0, 1] and gamma above 0, not {a} and {gamma}")
    ratios = _log_ratio(scores, out, a)
    population_ratios = _log_ratio(population, population_out, a)
    return (ratios[:, None] - population_ratios[None] >= log(gamma)).double().mean(1)


def _log_ratio(scores: Tensor, out: Tensor, a: float) -> Tensor:
    if out.ndim != 2 or not len(out) or out.shape[1:] != scores.shape or not len(scores):
        raise ValueError(
            f"RMIA needs a row of {len(scores)} scores for each network that saw none of them, "
            f"not shape {tuple(out.shape)}"
        )
    average = ((1 + a) * out.double().exp().mean(0) + 1 - a) / 2
    return scores.double() - average.log()


def _masked(values: Tensor, mask: Tensor, fill: float) -> tuple[Tensor, Tensor]:
    """The values with the masked places filled, and how many count in each example."""
    if values.ndim != 2 or mask.shape != values.shape or mask.dtype != torch.bool:
        raise ValueError(
            f"a boolean mask must have the shape (example, token) of its values, "
            f"not {tuple(mask.shape)} for {tuple(values.shape)}"
        )
    counts = mask.sum(1)
    if not bool((counts > 0).all()):
        raise ValueError("an example has no token that counts, so that it has no score")
    return torch.where(mask, values.double(), fill), counts
