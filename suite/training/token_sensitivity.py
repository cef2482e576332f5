"""How likely a token is private: by rules on the text, by the teacher's surprise, or as told.

Every scorer gives a number in [0, 1] for each target token [n, t] of a training set.
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


def by_rules(data: Examples, pieces: Callable[[Tensor], list[str]]) -> Tensor:
    """1 where a rule finds a number, an address, a key or a password in the text."""
    stream = _stream(data)
    known, place = stream.unique(return_inverse=True)
    texts = pieces(known)
    words = [texts[i] for i in place.tolist()]
    ends = torch.tensor([len(word) for word in words]).cumsum(0)
    text = "".join(words)
    inside = torch.zeros(len(text) + 1, dtype=torch.int64)
    for rule in RULES:
        for found in re.finditer(rule, text):
            start, end = found.span(1 if found.re.groups else 0)
            inside[start:end] = 1
    total = torch.cat([inside.new_zeros(1), inside.cumsum(0)])
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    return _targets((total[ends] > total[starts]).float(), data)


def by_surprise(
    data: Examples, teacher: nn.Module, public: nn.Module, calm: Examples, strictness: float
) -> Tensor:
    """Near 1 where the teacher knows a token better than a public model does.

    d = log P_teacher - log P_public; p = sigmoid((d - m) / s - strictness), where m and s are the
    median and the scaled median deviation of d on text that neither has seen.
    """
    d, seen = _gain(calm, teacher, public), calm.targets != IGNORED
    middle = d[seen].median()
    spread = 1.4826 * (d[seen] - middle).abs().median().clamp_min(1e-6)
    return torch.sigmoid((_gain(data, teacher, public) - middle) / spread - strictness)


def as_told(data: Examples, told: Examples) -> Tensor:
    """1 on the tokens of the secrets that an oracle names."""
    stream = _stream(data)
    private = torch.zeros(len(stream))
    for row, asked in zip(told.inputs, told.targets, strict=True):
        places = (asked != IGNORED).nonzero().flatten()
        # The last tokens of its sentence belong to the pattern: a bare number may stand anywhere.
        first, head = int(places[0]) + 1, max(1, int(places[0]) - 2)
        pattern = torch.cat([row[head:first], asked[places]])
        if len(pattern) > len(stream):
            continue
        found = (stream.unfold(0, len(pattern), 1) == pattern).all(1).nonzero().flatten()
        for k in range(first - head, len(pattern)):
            private[found + k] = 1.0
    return _targets(private, data)


def _stream(data: Examples) -> Tensor:
    """All rows one behind the other, with the very last target: windows follow upon each other."""
    return torch.cat([data.inputs.flatten(), data.targets[-1:, -1].clamp_min(0)])


def _targets(private: Tensor, data: Examples) -> Tensor:
    """The scores of a stream's tokens at the places where they are targets."""
    count, length = data.inputs.shape
    return private[1:].view(count, length) * (data.targets != IGNORED)


def _gain(data: Examples, teacher: nn.Module, public: nn.Module) -> Tensor:
    """How much better than the public model the teacher knows each target, in nats."""
    parts = []
    with torch.no_grad():
        for rows in torch.arange(len(data)).split(CHUNK):
            wanted = data.targets[rows].clamp_min(0)[..., None]
            mine, other = (
                F.log_softmax(net(data.inputs[rows]).float(), -1).gather(2, wanted).squeeze(2)
                for net in (teacher, public)
            )
            parts.append(mine - other)
    return torch.cat(parts)
