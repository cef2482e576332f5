"""``evaluate``: a defense's or a network's row, beside the committed ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._output import document, json_option, progress, show, width

if TYPE_CHECKING:
    from robustbench_kd.core.config import Leaderboard
    from robustbench_kd.reports.leaderboard import Board
    from robustbench_kd.results.record import Record


@click.command("evaluate", short_help="Attack a student; print its row and its place.")
@click.option("--defense", metavar="NAME[:SETTING=VALUE,...]", help="A defense; see: list.")
@click.option("--model", metavar="MODULE:FACTORY|FILE", help="A network of your own.")
@_options.net
@_options.board
@click.option("--attack", "attacks", multiple=True, help="In place of the panel; repeatable.")
@click.option("--train", is_flag=True, help="Train the student where none is kept.")
@click.option("--limit", type=int, help="Only the first so many images; never ranked.")
@click.option("--eps", type=float, help="Another radius than the board's; never ranked.")
@_options.seed
@click.option("--wide", is_flag=True, help="Also ask the whole test set, by cheap attacks.")
@click.option("--name", help="What to call your network.")
@_options.data
@_options.teacher_from
@_options.student_from
@_options.out
@_options.threads
@click.option("--accept-probabilities", is_flag=True, help="Take softmax outputs, with a doubt.")
@json_option
def evaluating(
    defense: str | None,
    model: str | None,
    net: str | None,
    as_json: bool,
    data: str | None,
    threads: int,
    **asked: Any,
) -> None:
    """Attack a student and print its row and its place on the leaderboard.

    \b
    --defense ard                        a student that ships with the package
    --defense ard:alpha=0.9 --train      one that is trained now
    --model package.module:factory       yours: the factory returns a torch.nn.Module
    --model file.safetensors --net plain

    Networks map images in [0, 1] to logits. Finished attacks are kept: a run that was cut off goes
    on where it stopped, and one that is asked for again answers at once.
    """
    if (defense is None) == (model is None):
        raise click.UsageError("give either --defense or --model")
    if model is None and (net is not None or asked["name"] is not None):
        raise click.UsageError("--net and --name are about --model, not about --defense")
    _options.use_threads(threads)
    from robustbench_kd.core.registry import board_of
    from robustbench_kd.evaluation.fingerprints import scenario_of
    from robustbench_kd.evaluation.pipeline import evaluate
    from robustbench_kd.models.loading import bring

    contest = board_of(asked["board"])
    starts = {name: asked.pop(name) for name in ("teacher_from", "student_from")}
    if contest.probed or any(starts.values()):
        _probed(defense, contest, data, as_json, {**asked, **starts})
        return
    if contest.door != "input":
        _planted(defense, contest, data, as_json, asked)
        return
    who: Any = defense
    if model is not None:
        who = bring(model, net, scenario_of(contest.scenario, data))
        asked["name"] = asked["name"] or _name(model)
    with progress() as say:
        record = evaluate(who, folder=data, say=say, **asked)
    _report(record, asked["out"], as_json)


def _planted(
    defense: str | None,
    contest: Leaderboard,
    data: str | None,
    as_json: bool,
    asked: dict[str, Any],
) -> None:
    """A board whose attacks act on training data: every attack has students of its own."""
    from robustbench_kd.cli.leaderboard import show_planted
    from robustbench_kd.evaluation.planting import plant
    from robustbench_kd.results.store import kept, planted_path

    with progress() as say:
        records = plant(
            _trained_behind(defense, contest, asked),
            board=contest.name,
            attacks=asked["attacks"] or None,
            seed=asked["seed"],
            train=asked["train"],
            folder=data,
            out=asked["out"],
            say=say,
        )
    show_planted(contest, records, "json" if as_json else "table", command="evaluate")
    if not as_json:
        paths = [planted_path(record, asked["out"] or kept()) for record in records]
        where = paths[0] if len(paths) == 1 else paths[0].parent
        show("", f"Check it: robustbench-kd verify {where}")


def _probed(
    defense: str | None,
    contest: Leaderboard,
    data: str | None,
    as_json: bool,
    asked: dict[str, Any],
) -> None:
    """A board whose attacks hand in suspicions."""
    from robustbench_kd.cli._probed import evaluated

    if not contest.probed:
        raise click.UsageError(
            f"--teacher-from and --student-from are about language models; {contest.name} has none"
        )
    evaluated(_trained_behind(defense, contest, asked), contest, data, as_json, asked)


def _trained_behind(defense: str | None, contest: Leaderboard, asked: dict[str, Any]) -> str:
    """The defense, where nothing was asked that only attacks on test inputs can answer."""
    idle = [name for name in ("wide", "accept_probabilities") if asked[name]]
    idle += [name for name in ("limit", "eps") if asked[name] is not None]
    if defense is None or idle:
        what = f"--{idle[0].replace('_', '-')} is" if idle else "--model and --net are"
        raise click.UsageError(
            f"{what} about attacks on test inputs; {contest.name} tries attacks on training data, "
            "so it needs a --defense that is trained behind them"
        )
    return defense


def _name(model: str) -> str:
    return Path(model).stem if model.endswith(".safetensors") else model


def _report(record: Record, out: Path | None, as_json: bool) -> None:
    """The row among the committed ones, what is doubtful about it, and how to go on."""
    from robustbench_kd.core.registry import board_of
    from robustbench_kd.reports.formats.dataframe import as_json as numbers
    from robustbench_kd.reports.leaderboard import fold_with
    from robustbench_kd.results.store import kept, load_records, record_path

    board = fold_with(board_of(record.board), load_records(board=record.board), record)
    path = record_path(record, out or kept())
    if as_json:
        document("evaluate", record=record.json(), path=str(path), **_own(numbers(board), record))
        return
    _show(board, record, path)


def _own(board: dict[str, Any], record: Record) -> dict[str, Any]:
    """The entrant's row of a board, and how many rows there are."""
    rows = [row for row in (*board["rows"], *board["outside"]) if row["record"] == record.id]
    return {"row": rows[0] if rows else None, "rows": len(board["rows"])}


def _show(board: Board, record: Record, path: Path) -> None:
    from robustbench_kd.reports.formats.terminal import board_table, entrant_table, place, remarks

    show(entrant_table(record))
    if board.rows:
        show(board_table(board, width(), record))
    show(*remarks(board, width()))
    row = board.row_of(record)
    if row is not None:
        show("", place(row, board))
    show(f"Check it: robustbench-kd verify {path}")
