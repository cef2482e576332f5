"""How likely each token of a training text is private.

By rules on the text, by the teacher's gain in likelihood over a public model, or by an oracle. Each
function returns a number in [0, 1] for each target token [n, t] of a training set.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_kd.core.types import IGNORED, Examples

RULES = (
    r"\b\d[\d .-]{2,}\d\b",  # pins, telephone numbers, dates written in digits
    r"\b[\w.+-]+@[\w-]+\.[\w.]+",
    r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
    r"\b(?=\w*\d)(?=\w*[a-fA-F])[0-9a-fA-F]{8,}\b",
    r"\b[A-Z]{2}\d{2}[A-Z0-9]{10,30}\b",
    r"(?i)(?<=pass)(?:word|phrase|code)\b[^.\n]{0,40}?\b(?:is|=|:)\s*([^.\n]+)",
)
CHUNK = 64


def rule_based_sensitivity(data: Examples, detokenize: Callable[[Tensor], list[str]]) -> Tensor:
    """1 where a rule matches: numbers, addresses, keys and passwords in the text."""
    stream = _stream(data)
    vocabulary, index = stream.unique(return_inverse=True)
    texts = detokenize(vocabulary)
    words = [texts[i] for i in index.tolist()]
    ends = torch.tensor([len(word) for word in words]).cumsum(0)
    text = "".join(words)
    private = torch.zeros(len(text) + 1, dtype=torch.int64)
    for rule in RULES:
        for match in re.finditer(rule, text):
            start, end = match.span(1 if match.re.groups else 0)
            private[start:end] = 1
    total = torch.cat([private.new_zeros(1), private.cumsum(0)])
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    return _at_targets((total[ends] > total[starts]).float(), data)


def likelihood_ratio_sensitivity(
    data: Examples, teacher: nn.Module, public: nn.Module, held_out: Examples, strictness: float
) -> Tensor:
    """Near 1 where the teacher predicts a token better than a public model does.

    d = log P_teacher - log P_public; p = sigmoid((d - m) / s - strictness), where m and s are the
    median and the scaled median deviation of d on ``held_out``, text that neither was trained on.
    """
    calibration = _log_ratio(held_out, teacher, public)[held_out.targets != IGNORED]
    median = calibration.median()
    deviation = 1.4826 * (calibration - median).abs().median().clamp_min(1e-6)
    return torch.sigmoid((_log_ratio(data, teacher, public) - median) / deviation - strictness)


def oracle_sensitivity(data: Examples, oracle: Examples) -> Tensor:
    """1 on the tokens of the secrets that an oracle names."""
    stream = _stream(data)
    private = torch.zeros(len(stream))
    for row, targets in zip(oracle.inputs, oracle.targets, strict=True):
        positions = (targets != IGNORED).nonzero().flatten()
        # The pattern includes the last tokens of the sentence before the secret: a bare number may
        # occur anywhere.
        first, head = int(positions[0]) + 1, max(1, int(positions[0]) - 2)
        pattern = torch.cat([row[head:first], targets[positions]])
        if len(pattern) > len(stream):
            continue
        matches = (stream.unfold(0, len(pattern), 1) == pattern).all(1).nonzero().flatten()
        for offset in range(first - head, len(pattern)):
            private[matches + offset] = 1.0
    return _at_targets(private, data)


def _stream(data: Examples) -> Tensor:
    """All rows in one sequence, with the very last target: windows follow upon each other."""
    return torch.cat([data.inputs.flatten(), data.targets[-1:, -1].clamp_min(0)])


def _at_targets(private: Tensor, data: Examples) -> Tensor:
    """Scores of a stream's tokens, at the positions where they are targets."""
    count, length = data.inputs.shape
    return private[1:].view(count, length) * (data.targets != IGNORED)


def _log_ratio(data: Examples, teacher: nn.Module, public: nn.Module) -> Tensor:
    """log P_teacher - log P_public of each target, in nats."""
    parts = []
    with torch.no_grad():
        for rows in torch.arange(len(data)).split(CHUNK):
            targets = data.targets[rows].clamp_min(0)[..., None]
            of_teacher, of_public = (
                F.log_softmax(net(data.inputs[rows]).float(), -1).gather(2, targets).squeeze(2)
                for net in (teacher, public)
            )
            parts.append(of_teacher - of_public)
    return torch.cat(parts)
