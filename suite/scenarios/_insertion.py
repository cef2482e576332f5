"""Insertion of examples into a training text: lines at line ends, windows beside the text."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.types import IGNORED, Examples, append
from robustbench_kd.scenarios._canaries import split_row
from robustbench_kd.scenarios._corpus import windows


def insert(
    train: Examples, extra: Examples, noise: torch.Generator, *, newline: int, whole_from: int
) -> Examples:
    """A training text with further lines at random line ends, each a line of its own.

    Rows with a target at every token are windows, not lines: they are appended whole.

    Args:
        newline: the token of a line end.
        whole_from: rows of ``train`` with at least this id were appended before and stay whole.

    Raises:
        BadSetting: where the text has no line end, so that no line can be inserted.
    """
    is_window = (extra.targets != IGNORED).all(1)
    lines, rows = extra.take(~is_window), extra.take(is_window)
    if len(lines):
        is_whole = train.ids >= whole_from
        stream = _with_lines(train.take(~is_whole), lines, noise, newline)
        text = windows(stream, train.inputs.shape[1], 0)
        train = append(text, train.take(is_whole), noise)
    return append(train, rows, noise)


def _with_lines(text: Examples, lines: Examples, noise: torch.Generator, newline: int) -> list[int]:
    """The stream of the text's tokens with the lines in it."""
    stream = torch.cat([text.inputs.flatten(), text.targets[-1:, -1:].flatten()])
    line_ends = (stream == newline).nonzero().flatten()
    if len(line_ends) == 0:
        raise BadSetting(
            f"this text of {len(stream):,} tokens has no line end, so no canary can be inserted; "
            "give one of at least two paragraphs"
        )
    positions = line_ends[torch.randint(len(line_ends), (len(lines),), generator=noise)]
    parts: list[Tensor] = []
    position = 0
    for n in positions.argsort(stable=True).tolist():
        end = int(positions[n]) + 1
        sentence, secret = split_row(lines.inputs[n], lines.targets[n])
        # The row's own first token is the line end that the stream has there already.
        parts += [stream[position:end], sentence[1:], secret, stream.new_tensor([newline])]
        position = end
    return torch.cat([*parts, stream[position:]]).tolist()
