"""``subnets``: what a supernet holds, predicted and measured, within limits."""

from __future__ import annotations

from typing import Any

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._output import document, json_option, progress, show


@click.command("subnets", short_help="The subnets of one supernet (proard).")
@click.argument("defense", metavar="NAME[:SETTING=VALUE,...]")
@click.option("--macs", metavar="N", help="At most so many multiply-accumulates, e.g. 1.5M.")
@click.option("--params", metavar="N", help="At most so many parameters, e.g. 60k.")
@click.option("--pareto", is_flag=True, help="The whole Pareto front, not only its best subnet.")
@_options.home_board
@_options.seed
@_options.data
@_options.threads
@json_option
def listing_subnets(
    defense: str,
    macs: str | None,
    params: str | None,
    pareto: bool,
    board: str | None,
    seed: int,
    data: str | None,
    threads: int,
    as_json: bool,
) -> None:
    """Search a supernet (proard) for the subnets that no other beats in both accuracies.

    Clean and robust (PGD-10) accuracy are predicted for every subnet from those that were measured
    when the supernet was trained, then measured for those that are printed; all on validation
    images.
    """
    _options.use_threads(threads)
    from robustbench_kd.core.errors import BadSetting
    from robustbench_kd.core.protocols import TrainsSupernet
    from robustbench_kd.core.registry import board_of, home_board
    from robustbench_kd.evaluation.entries import defense_of, scenario_of
    from robustbench_kd.evaluation.subnets import survey_subnets
    from robustbench_kd.evaluation.trained_models import ModelSource

    given = [f"{n}={v}" for n, v in (("macs", macs), ("params", params)) if v is not None]
    recipe = defense_of(
        defense + (("," if ":" in defense else ":") + ",".join(given) if given else "")
    )
    if not isinstance(recipe, TrainsSupernet):
        raise BadSetting(f"{recipe.name} trains one student, not a supernet; proard does")
    leaderboard = board_of(board or home_board(recipe.name))
    scenario = scenario_of(leaderboard.scenario, data)
    with progress() as on_progress:
        source = ModelSource(leaderboard, scenario, seed, False, on_progress)
        supernet, context = source.supernet(recipe)
        survey = survey_subnets(supernet.net, context, recipe, whole=pareto)
    if as_json:
        document("subnets", board=leaderboard.name, seed=seed, **survey.json())
        return
    show(_table(survey), survey.words())


def _table(survey: Any) -> Any:
    from rich.table import Table

    table = Table(title="predicted and measured on validation images, %")
    for name in ("network", "MACs", "parameters", "clean", "robust"):
        table.add_column(name, justify="left" if name == "network" else "right")
    for subnet in survey.subnets:
        table.add_row(
            subnet.predicted.config.name,
            f"{subnet.cost.macs:,}",
            f"{subnet.cost.params:,}",
            f"{100 * subnet.predicted.clean:.1f} → {subnet.clean}",
            f"{100 * subnet.predicted.robust:.1f} → {subnet.robust}",
        )
    return table
