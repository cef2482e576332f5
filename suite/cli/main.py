"""The command line: finds the command, and says in one sentence what went wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import click

from robustbench_kd.cli import (
    baseline,
    compare,
    evaluate,
    gate,
    leaderboard,
    merge,
    plot,
    report,
    schema,
    show,
    subnets,
    train,
    verify,
)
from robustbench_kd.cli import list as list_command
from robustbench_kd.cli._output import SCHEMA, emit
from robustbench_kd.core.errors import RobustbenchError
from robustbench_kd.core.text import one_line
from robustbench_kd.core.version import current

RENAMED = {"students": "subnets", "figure": "plot"}
"""Old command -> new command."""

INTERNAL = 7
CODES = """
\b
Exit codes:
  0    it worked
  1    a loss beyond chance and margin, or a weaker attack (compare, gate), or a refuted record
       (verify)
  2    usage or bad input
  3    too few samples to tell, where that should fail (gate --on-inconclusive fail)
  4    the records cannot be compared, or there is no baseline
  5    nothing was evaluated: there is no record to show
  6    something could not be saved
  7    internal error: a fault of robustbench-kd, and no verdict
  130  interrupted; finished attacks and epochs are kept
"""


class CommandGroup(click.Group):
    """A group whose every error is one sentence on stderr, and a code."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **named: Any) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        named["standalone_mode"] = False
        named.setdefault("prog_name", "robustbench-kd")
        try:
            code = super().main(given, *rest, **named) or 0
            sys.stdout.flush()
        except click.ClickException as why:
            code = _refuse(given, "Usage", _sentence(why), why.exit_code)
        except RobustbenchError as why:
            code = _refuse(given, type(why).__name__, str(why), why.exit_code)
        except (KeyboardInterrupt, click.Abort):
            words = (
                "interrupted; finished attacks and epochs are kept: the same command goes on there"
            )
            code = _refuse(given, "Interrupted", words, 130)
        except BrokenPipeError:
            code = _closed()
        except OSError as why:  # a full disk behind stdout, say
            code = _refuse([], type(why).__name__, f"could not write: {why}", 6)
        except Exception as why:
            if os.environ.get("ROBUSTBENCH_KD_DEBUG"):
                raise
            words = (
                f"internal error: {type(why).__name__}: {one_line(str(why))}; please report it "
                "with what ROBUSTBENCH_KD_DEBUG=1 and the same command print"
            )
            code = _refuse(given, "InternalError", words, INTERNAL)
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return _closed()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in RENAMED:
            args = [RENAMED[args[0]], *args[1:]]
        if args[0] not in self.commands and not args[0].startswith("-"):
            near = get_close_matches(args[0], self.commands, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            known = ", ".join(sorted(self.commands))
            raise click.UsageError(f"no command {args[0]!r}.{hint} Known: {known}.")
        return super().resolve_command(ctx, args)


def _sentence(why: click.ClickException) -> str:
    text = why.format_message().strip().replace("\n", " ")
    ctx = getattr(why, "ctx", None)
    return f"{text} See: {ctx.command_path} --help" if ctx else text


def _refuse(args: Sequence[str], kind: str, words: str, code: int) -> int:
    click.echo(f"robustbench-kd: {words}", err=True)
    if "--json" in args:
        command = next((arg for arg in args if not arg.startswith("-")), "")
        emit({"schema": SCHEMA, "command": command, "ok": False, "kind": kind, "error": words})
    return code


def _closed() -> int:
    """The reader went away (``| head``); nothing is left to say to it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


@click.group(
    cls=CommandGroup, epilog=CODES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(current(), prog_name="robustbench-kd")
def main() -> None:
    """What does knowledge distillation do to security? Attacks meet distillation defenses.

    Data goes to stdout, progress to stderr; --json makes one document of the data.

    \b
    robustbench-kd evaluate --defense ard      a defense's row on a leaderboard
    robustbench-kd leaderboard fashion-linf    the whole ranking
    """


for part in (
    list_command.listing,
    show.showing,
    evaluate.evaluating,
    leaderboard.leaderboard,
    compare.comparing,
    baseline.baselining,
    gate.gating,
    verify.verifying,
    train.training,
    subnets.listing_subnets,
    plot.plotting,
    report.reporting,
    merge.merging,
    schema.schema,
):
    main.add_command(part)

if __name__ == "__main__":
    main()
