"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from robustbench_kd.core.registry import MAIN

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

board: Decorator = click.option(
    "--board", default=MAIN, show_default=True, metavar="NAME", help="The leaderboard."
)
home_board: Decorator = click.option(
    "--board", metavar="NAME", help="The leaderboard.  [default: the home board of the defense]"
)
seed: Decorator = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the student."
)
data: Decorator = click.option(
    "--data", metavar="PATH", help="Where the scenario's whole data set lies; a text may be a file."
)
teacher_from: Decorator = click.option(
    "--teacher-from", metavar="PATH", help="A causal language model for the teacher to start from."
)
student_from: Decorator = click.option(
    "--student-from", metavar="PATH", help="One for the student, with the same tokenizer."
)
out: Decorator = click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Also write to this folder."
)
net: Decorator = click.option(
    "--net", metavar="NAME", help="The architecture of a .safetensors file: plain, timm:resnet18."
)
threads: Decorator = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Of torch; with one thread a run repeats bit for bit.",
)


def use_threads(count: int) -> None:
    """Torch computes on this many threads."""
    import torch

    torch.set_num_threads(count)


def renamed(old: str, new: str, **attributes: Any) -> Decorator:
    """A flag or option under its old name, which is hidden; see ``either``."""
    name = old.lstrip("-").replace("-", "_")
    return click.option(old, name, hidden=True, help=f"Old name of {new}.", **attributes)


def either(old: str, old_value: Any, new: str, new_value: Any) -> Any:
    """The value of an option that has two names.

    Raises:
        UsageError: where both are given.
    """
    if old_value in (None, False, ()):
        return new_value
    if new_value not in (None, False, ()):
        raise click.UsageError(f"{old} is the old name of {new}; give one of them")
    return old_value
