"""``students``: what a family holds, predicted and measured, within limits."""

from __future__ import annotations

from typing import Any

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._output import document, json_option, progress, show


@click.command("students", short_help="The students that one family holds.")
@click.argument("defense", metavar="NAME[:SETTING=VALUE,...]")
@click.option("--macs", metavar="N", help="At most so many multiply-accumulates, e.g. 1.5M.")
@click.option("--params", metavar="N", help="At most so many parameters, e.g. 60k.")
@click.option("--pareto", is_flag=True, help="The whole front, not only its best student.")
@_options.board
@_options.seed
@_options.data
@_options.threads
@json_option
def scouting(
    defense: str,
    macs: str | None,
    params: str | None,
    pareto: bool,
    board: str,
    seed: int,
    data: str | None,
    threads: int,
    as_json: bool,
) -> None:
    """Search a family (proard) for the students that no other beats in both shares.

    Clean and robust (PGD-10) accuracy are predicted for every student from those that were measured
    when the family was trained, then measured for those that are printed; all on validation images.
    """
    _options.use_threads(threads)
    from robustbench_kd.core.errors import BadSetting
    from robustbench_kd.core.protocols import RaisesFamily
    from robustbench_kd.core.registry import board_of
    from robustbench_kd.evaluation import fingerprints, trained_models
    from robustbench_kd.evaluation.subnets import scout

    given = [f"{n}={v}" for n, v in (("macs", macs), ("params", params)) if v is not None]
    extended = defense + (("," if ":" in defense else ":") + ",".join(given) if given else "")
    recipe = fingerprints.defense_of(extended)
    if not isinstance(recipe, RaisesFamily):
        raise BadSetting(f"{recipe.name} trains one student, not a family; proard does")
    contest = board_of(board)
    scenario = fingerprints.scenario_of(contest.scenario, data)
    with progress() as say:
        raised, brief = trained_models.family(contest, scenario, recipe, seed, train=False, say=say)
        found = scout(raised.net, brief, recipe, whole=pareto)
    if as_json:
        document("students", board=board, seed=seed, **found.json())
        return
    show(_table(found), found.words())


def _table(found: Any) -> Any:
    from rich.table import Table

    table = Table(title="predicted and measured on validation images, %")
    for name in ("network", "MACs", "parameters", "clean", "robust"):
        table.add_column(name, justify="left" if name == "network" else "right")
    for row in found.rows:
        table.add_row(
            row.predicted.form.name,
            f"{row.cost.macs:,}",
            f"{row.cost.params:,}",
            f"{100 * row.predicted.clean:.1f} → {row.clean}",
            f"{100 * row.predicted.robust:.1f} → {row.robust}",
        )
    return table
