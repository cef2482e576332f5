"""The records that a ranking is computed from: which are selected, and which are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_kd.core.errors import BadSetting, NothingEvaluated

if TYPE_CHECKING:
    from robustbench_kd.core.config import Leaderboard
    from robustbench_kd.reports.filters import Selection
    from robustbench_kd.reports.leaderboard import Ranking

OLD_ORACLE = "--told/--no-told"
NAMES = ("teacher", "oracle", "max_params", "max_macs", "seed")


@dataclass(frozen=True)
class _Most:
    number: int


class Size(click.ParamType):
    """A whole number as settings take it: ``44014`` or ``1.5M``."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        from robustbench_kd.core.options import configure

        try:
            return configure(_Most, {"number": str(value)}).number
        except BadSetting:
            self.fail(
                f"it must be a whole number such as 44014 or 1.5M, not {value!r}.", param, ctx
            )


def selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that select records; the command gets them as ``selection``, made when called."""
    options = (
        click.option("--teacher", metavar="ROLE", help="Only students of such a teacher."),
        click.option(
            "--oracle/--no-oracle",
            default=None,
            help="Only defenses that know the adversary's secret, or only others.",
        ),
        click.option(OLD_ORACLE, "old_oracle", default=None, hidden=True),
        click.option("--max-params", type=Size(), help="Students no larger; 1.5M is read."),
        click.option("--max-macs", type=Size(), help="Students no costlier a sample."),
        click.option("--seed", type=click.IntRange(min=0), help="Only students of this seed."),
    )

    @wraps(command)
    def selected(old_oracle: bool | None, **given: Any) -> Any:
        if old_oracle is not None and given["oracle"] is not None:
            raise click.UsageError(f"{OLD_ORACLE} is the old name of --oracle; give one of them")
        if old_oracle is not None:
            given["oracle"] = old_oracle
        values = {name: given.pop(name) for name in NAMES}

        def selection() -> Selection:
            from robustbench_kd.reports.filters import Selection

            return Selection(**values)

        return command(selection=selection, **given)

    for option in reversed(options):
        selected = option(selected)
    return selected


def ranked(
    leaderboard: Leaderboard, folder: Path | None, selection: Selection, *, levels: bool
) -> tuple[Ranking, Mapping[str, str], tuple[str, ...]]:
    """The ranking, how far each record was checked (where that is needed), and what was refused.

    Args:
        folder: in place of the committed records and of those made on this machine.

    Raises:
        NothingEvaluated: where there is no record, or none is selected.
    """
    from robustbench_kd.reports.leaderboard import rank
    from robustbench_kd.results.store import Inventory, local_records, take_inventory

    committed = take_inventory(folder, leaderboard.name)
    local = Inventory({}, ())
    if folder is None:
        local = take_inventory(local_records(), leaderboard.name)
    refused = committed.refused + local.refused
    name_refused(refused)
    if not committed.records and not local.records:
        train = " --train" if leaderboard.poisons else ""
        raise NothingEvaluated(
            f"there is no record of {leaderboard.name} in {folder or 'the package or the cache'}; "
            f"make one: robustbench-kd evaluate{train} --board {leaderboard.name} "
            f"--defense {leaderboard.defenses[0]}"
        )
    records = (list(committed.records.values()), list(local.records.values()))
    ranking = rank(leaderboard, *records, selection)
    paths = {**committed.records, **local.records} if levels else {}
    return ranking, {record.id: _level(path) for path, record in paths.items()}, refused


def _level(path: Path) -> str:
    from robustbench_kd.evaluation.verification_levels import level_of

    return level_of(path).name


def name_refused(refused: Sequence[str]) -> None:
    """Names on stderr what was left out."""
    for sentence in refused:
        click.echo(f"robustbench-kd: refused: {' '.join(sentence.split())}", err=True)


def name_outside(ranking: Ranking) -> None:
    """Names on stderr what is not ranked, for formats that hold the ranking alone."""
    for row, reason in ranking.outside:
        under = f" under {row.attack}" if row.attack else ""
        who = f"{row.label}{under}, seed {row.record.seed} ({row.record.id[:12]})"
        click.echo(f"robustbench-kd: not ranked: {who}: {reason}", err=True)
