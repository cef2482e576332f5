"""Lines woven into text at the ends of its lines; whole windows beside it."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.types import IGNORED, Examples, append
from robustbench_kd.scenarios._canaries import line_of
from robustbench_kd.scenarios._corpus import windows


def weave(
    train: Examples, more: Examples, noise: torch.Generator, *, newline: int, fixed: int
) -> Examples:
    """A training text with further lines at random line ends, each a line of its own.

    Rows whose every token is asked are windows, not lines: they are added whole. Rows with an id
    of at least ``fixed`` were added so before and stay whole.

    Raises:
        BadSetting: where the text has no line end, so that there is no room for a line.
    """
    whole = (more.targets != IGNORED).all(1)
    lines, added = more.take(~whole), more.take(whole)
    stays = train.ids >= fixed
    if len(lines):
        text = train.take(~stays)
        stream = _woven(text, lines, noise, newline)
        rest = train.take(stays)
        train = append(windows(stream, train.inputs.shape[1], 0), rest, noise)
    return append(train, added, noise)


def _woven(text: Examples, lines: Examples, noise: torch.Generator, newline: int) -> list[int]:
    """The stream of tokens with the lines in it."""
    stream = torch.cat([text.inputs.flatten(), text.targets[-1:, -1:].flatten()])
    ends = (stream == newline).nonzero().flatten()
    if len(ends) == 0:
        raise BadSetting(
            f"this text of {len(stream):,} tokens has no line end, so it has no room for a canary; "
            "give one of at least two paragraphs"
        )
    chosen = ends[torch.randint(len(ends), (len(lines),), generator=noise)]
    found: list[Tensor] = []
    done = 0
    for n in chosen.argsort(stable=True).tolist():
        end = int(chosen[n]) + 1
        frame, secret = line_of(lines.inputs[n], lines.targets[n])
        # The row's own first token is the line end that stands here already.
        found += [stream[done:end], frame[1:], secret, stream.new_tensor([newline])]
        done = end
    return torch.cat([*found, stream[done:]]).tolist()
