"""``train``: a student or a teacher, stored so that it can be evaluated."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._output import document, json_option, progress


@click.command("train", short_help="Train a student or a teacher.")
@click.option("--defense", metavar="NAME[:SETTING=VALUE,...]", help="Train a student.")
@click.option("--teacher", metavar="ROLE", help="Train a teacher: clean or robust.")
@_options.home_board
@_options.seed
@_options.data
@_options.out
@_options.threads
@json_option
def training(
    defense: str | None,
    teacher: str | None,
    board: str | None,
    seed: int,
    data: str | None,
    out: Path | None,
    threads: int,
    as_json: bool,
) -> None:
    """Train a student (and the teachers it needs), or just a teacher.

    After each epoch the state is stored: an interrupted training resumes there and ends with the
    same bits. What was trained before, or ships with the package, is not trained again.
    """
    if (defense is None) == (teacher is None):
        raise click.UsageError("give either --defense or --teacher")
    _options.use_threads(threads)
    from robustbench_kd.core.io import expect_writable
    from robustbench_kd.core.paths import cache, shipped
    from robustbench_kd.core.registry import MAIN, board_of, home_board
    from robustbench_kd.evaluation.compatibility import expect_defense_fits
    from robustbench_kd.evaluation.entries import defense_of, scenario_of
    from robustbench_kd.evaluation.trained_models import ModelSource
    from robustbench_kd.models.statistics import parameters
    from robustbench_kd.results.artifacts import model_file_name, save_model

    for folder in (cache() / "nets", *([out] if out else [])):
        expect_writable(folder)
    recipe = defense_of(defense) if defense is not None else None
    usual = home_board(recipe.name) if recipe is not None else MAIN
    leaderboard = board_of(board or usual)
    scenario = scenario_of(leaderboard.scenario, data)
    if recipe is not None:
        expect_defense_fits(scenario, recipe, leaderboard)
    with progress() as on_progress:
        source = ModelSource(leaderboard, scenario, seed, True, on_progress)
        model = source.student(recipe) if recipe is not None else source.teacher(str(teacher))
    home = shipped("students") if model.origin == "shipped" else cache() / "nets"
    path = home / model_file_name(model.recipe)
    if out:
        path = save_model(model.net.state_dict(), model.recipe, out)
    facts = {"title": model.recipe["title"], "parameters": parameters(model.net)}
    if as_json:
        document("train", path=str(path), weights=model.recipe["weights"], **facts)
        return
    click.echo(f"{facts['title']}: {facts['parameters']:,} parameters, {path}")
