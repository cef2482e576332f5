"""The records that a board is folded from: which are asked for, and which are refused by name."""

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
    from robustbench_kd.reports.filters import Wanted
    from robustbench_kd.reports.leaderboard import Board

NAMES = ("teacher", "told", "params", "macs", "seed")


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


def choices(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose records; the command gets them as ``wanted``, made when called."""
    options = (
        click.option("--teacher", metavar="ROLE", help="Only students of such a teacher."),
        click.option(
            "--told/--no-told",
            default=None,
            help="Only defenses that were told the secret, or not.",
        ),
        click.option(
            "--max-params", "params", type=Size(), help="Students no larger; 1.5M is read."
        ),
        click.option("--max-macs", "macs", type=Size(), help="Students no costlier an image."),
        click.option("--seed", type=click.IntRange(min=0), help="Only students of this seed."),
    )

    @wraps(command)
    def chosen(**given: Any) -> Any:
        asked = {name: given.pop(name) for name in NAMES}

        def wanted() -> Wanted:
            from robustbench_kd.reports.filters import Wanted

            return Wanted(**asked)

        return command(wanted=wanted, **given)

    for option in reversed(options):
        chosen = option(chosen)
    return chosen


def ranked(
    contest: Leaderboard, folder: Path | None, wanted: Wanted, *, levels: bool
) -> tuple[Board, Mapping[str, str], tuple[str, ...]]:
    """The board, how far each record was checked (where asked), and what was refused.

    Raises:
        NothingEvaluated: where there is no record, or none that is wanted.
    """
    from robustbench_kd.evaluation.verification_levels import level_of
    from robustbench_kd.reports.leaderboard import fold
    from robustbench_kd.results.record import SCHEMA

    stock, mine, refused = _stocks(contest, folder, SCHEMA)
    board = fold(contest, list(stock.values()), list(mine.values()), wanted)
    paths = {**stock, **mine} if levels else {}
    return board, {record.id: level_of(path).name for path, record in paths.items()}, refused


def stocked(
    contest: Leaderboard, folder: Path | None, wanted: Wanted
) -> tuple[list[Any], tuple[str, ...]]:
    """The records of a board of attacks on training data, and what was refused.

    Of a student that is committed and was made here again, the committed record stays.

    Raises:
        NothingEvaluated: where there is no record, or none that is wanted.
    """
    from robustbench_kd.reports.filters import chosen
    from robustbench_kd.results.planted import SCHEMA as PLANTED
    from robustbench_kd.results.probed import SCHEMA as PROBED

    stock, mine, refused = _stocks(contest, folder, PROBED if contest.probed else PLANTED)
    found = list(stock.values())
    known = {_about(record) for record in found}
    found += [record for record in mine.values() if _about(record) not in known]
    return chosen(found, wanted, contest.name), refused


def _stocks(
    contest: Leaderboard, folder: Path | None, schema: str
) -> tuple[Mapping[Path, Any], Mapping[Path, Any], tuple[str, ...]]:
    """The records of a folder, or the committed ones and those made here; and what was refused.

    Raises:
        NothingEvaluated: where there is no record.
    """
    from robustbench_kd.results.store import Stock, kept, take_stock

    stock = take_stock(folder, contest.name, schema)
    mine = take_stock(kept(), contest.name, schema) if folder is None else Stock({}, ())
    refused = stock.refused + mine.refused
    name_refused(refused)
    if not stock.records and not mine.records:
        where = folder or "the package or the cache"
        trains = "" if contest.door == "input" and not contest.probed else " --train"
        raise NothingEvaluated(
            f"there is no record of {contest.name} in {where}; make one: "
            f"robustbench-kd evaluate{trains} --board {contest.name} "
            f"--defense {contest.defenses[0]}"
        )
    return stock.records, mine.records, refused


def _about(record: Any) -> tuple[Any, ...]:
    attacks = (record.attack,) if hasattr(record, "attack") else tuple(record.attacks)
    return attacks, record.label, record.seed


def name_refused(refused: Sequence[str]) -> None:
    """Names on stderr what was left out."""
    for sentence in refused:
        click.echo(f"robustbench-kd: refused: {' '.join(sentence.split())}", err=True)


def unlisted(board: Board) -> None:
    """Names on stderr who is not ranked, for formats that hold the ranking alone."""
    for row, reason in board.outside:
        who = f"{row.label}, seed {row.record.seed} ({row.record.id[:12]})"
        click.echo(f"robustbench-kd: not ranked: {who}: {reason}", err=True)
