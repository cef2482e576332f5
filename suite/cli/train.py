"""``train``: a student or a teacher, kept so that it can be evaluated."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._output import document, json_option, progress


@click.command("train", short_help="Train a student or a teacher.")
@click.option("--defense", metavar="NAME[:SETTING=VALUE,...]", help="Train a student.")
@click.option("--teacher", metavar="ROLE", help="Train a teacher: clean or robust.")
@_options.board
@_options.seed
@_options.data
@_options.out
@_options.threads
@json_option
def training(
    defense: str | None,
    teacher: str | None,
    board: str,
    seed: int,
    data: str | None,
    out: Path | None,
    threads: int,
    as_json: bool,
) -> None:
    """Train a student (and the teachers it needs), or just a teacher.

    After each epoch the state is kept: a training that was cut off goes on there and ends with the
    same bits. What was trained before, or ships with the package, is not trained again.
    """
    if (defense is None) == (teacher is None):
        raise click.UsageError("give either --defense or --teacher")
    _options.use_threads(threads)
    from robustbench_kd.core.io import expect_writable
    from robustbench_kd.core.paths import cache, shipped
    from robustbench_kd.core.registry import board_of
    from robustbench_kd.evaluation import fingerprints, trained_models
    from robustbench_kd.models.statistics import parameters
    from robustbench_kd.results.artifacts import net_name, save_net

    for folder in (cache() / "nets", *([out] if out else [])):
        expect_writable(folder)
    contest = board_of(board)
    scenario = fingerprints.scenario_of(contest.scenario, data)
    with progress() as say:
        if teacher is not None:
            trained = trained_models.teacher(scenario, teacher, say, contest, seed)
        else:
            recipe = fingerprints.defense_of(str(defense))
            trained = trained_models.student(contest, scenario, recipe, seed, train=True, say=say)
    home = shipped("students") if trained.origin == "shipped" else cache() / "nets"
    path = home / net_name(trained.card)
    if out:
        path = save_net(trained.net.state_dict(), trained.card, out)
    facts = {"title": trained.card["title"], "parameters": parameters(trained.net)}
    if as_json:
        document("train", path=str(path), weights=trained.card["weights"], **facts)
        return
    click.echo(f"{facts['title']}: {facts['parameters']:,} parameters, {path}")
