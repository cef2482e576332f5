"""``evaluate``: rows of a defense or a network, beside the committed ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._output import document, json_option, progress, show, width

if TYPE_CHECKING:
    from robustbench_kd.results.record import Record


@click.command("evaluate", short_help="Attack a student; print its row and its rank.")
@click.option("--defense", metavar="NAME[:SETTING=VALUE,...]", help="A defense; see: list.")
@click.option("--model", metavar="MODULE:FACTORY|FILE", help="A network of your own.")
@_options.net
@_options.home_board
@click.option("--attack", "attacks", multiple=True, help="In place of the panel; repeatable.")
@click.option("--train", is_flag=True, help="Train models that are not stored.")
@click.option("--limit", type=int, help="Only the first so many images; never ranked.")
@click.option("--eps", type=float, help="Another radius than the leaderboard's; never ranked.")
@_options.seed
@click.option("--full-test", is_flag=True, help="Also run cheap attacks on the whole test set.")
@_options.renamed("--wide", "--full-test", is_flag=True)
@click.option("--name", help="What to call your network.")
@_options.data
@_options.teacher_from
@_options.student_from
@_options.out
@_options.threads
@click.option("--accept-probabilities", is_flag=True, help="Take softmax outputs, with a warning.")
@json_option
def evaluating(
    defense: str | None,
    model: str | None,
    net: str | None,
    as_json: bool,
    data: str | None,
    threads: int,
    wide: bool,
    teacher_from: str | None,
    student_from: str | None,
    **options: Any,
) -> None:
    """Attack a student and print its row and its rank on the leaderboard.

    \b
    --defense ard                        a student that ships, on its home leaderboard
    --defense ard:alpha=0.9 --train      one that is trained now
    --model package.module:factory       yours: the factory returns a torch.nn.Module
    --model file.safetensors --net plain

    Networks map images in [0, 1] to logits. Finished attacks are kept: an interrupted run resumes
    where it stopped, and a repeated one answers at once.
    """
    if (defense is None) == (model is None):
        raise click.UsageError("give either --defense or --model")
    if model is None and (net is not None or options["name"] is not None):
        raise click.UsageError("--net and --name are about --model, not about --defense")
    options["full_test"] = _options.either("--wide", wide, "--full-test", options["full_test"])
    _options.use_threads(threads)
    from robustbench_kd.core.registry import MAIN, board_of
    from robustbench_kd.evaluation.entries import scenario_of
    from robustbench_kd.evaluation.pipeline import evaluate
    from robustbench_kd.models.loading import load_network

    who: Any = defense
    if model is not None:
        board = board_of(options["board"] or MAIN)
        who = load_network(model, net, scenario_of(board.scenario, data))
        options["name"] = options["name"] or _name(model)
    starting_points = {"teacher_from": teacher_from, "student_from": student_from}
    with progress() as on_progress:
        records = evaluate(
            who,
            folder=data,
            starting_points=starting_points,
            on_progress=on_progress,
            **{**options, "attacks": options["attacks"] or None},
        )
    report(records, options["out"], as_json)


def _name(model: str) -> str:
    return Path(model).stem if model.endswith(".safetensors") else model


def report(records: Sequence[Record], out: Path | None, as_json: bool) -> None:
    """The rows of these records among the committed ones, their warnings, and how to go on."""
    from robustbench_kd.core.registry import board_of
    from robustbench_kd.reports.formats.dataframe import entry
    from robustbench_kd.reports.leaderboard import rank_with
    from robustbench_kd.results.store import local_records, record_path, take_inventory

    leaderboard = board_of(records[0].board)
    committed = list(take_inventory(None, leaderboard.name).records.values())
    ranking = rank_with(leaderboard, committed, records)
    paths = [record_path(record, out or local_records()) for record in records]
    if as_json:
        claims = {record.claim for record in records}
        every: list[tuple[Any, dict[str, str]]] = [(row, {}) for row in ranking.rows]
        every += [(row, {"reason": reason}) for row, reason in ranking.outside]
        rows = [
            {**entry(ranking, row), **why}
            for row, why in every
            if claims & {record.claim for record in row.group.records}
        ]
        document(
            "evaluate",
            board=leaderboard.name,
            records=[record.json() for record in records],
            paths=[str(path) for path in paths],
            rows=rows,
            ranked=len(ranking.rows),
        )
        return
    from dataclasses import replace

    from robustbench_kd.reports.formats.terminal import place, ranking_table, record_table, remarks
    from robustbench_kd.results.groups import SeedGroup

    if not leaderboard.poisons:
        show(*(record_table(record) for record in records))
    attacks = {SeedGroup((record,)).attack for record in records}
    shown = replace(ranking, rows=tuple(row for row in ranking.rows if row.attack in attacks))
    show(ranking_table(shown, width(), records), *remarks(shown, width()))
    for record in records:
        if row := ranking.row_of(record):
            show("", place(row, ranking))
    where = paths[0] if len(paths) == 1 else paths[0].parent
    show("", f"Check it: robustbench-kd verify {where}")
