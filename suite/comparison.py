"""Two records on the same examples, pair by pair. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from robustbench_kd.errors import BadSetting, NotComparable
from robustbench_kd.ops.bits import discordant
from robustbench_kd.ops.pairing import mcnemar_exact, tango
from robustbench_kd.records import Record

Verdict = Literal["regressed", "improved", "no difference shown"]


@dataclass(frozen=True)
class Comparison:
    """What was lost and won under the whole panel, and whether chance explains it.

    ``drop`` is (lost - won) / count with Tango's 95 % interval; ``p`` is the exact one-sided
    p-value that as much is lost by chance (McNemar). Training anew with another seed moves a
    network too: a regression is about these two networks, not about their methods.
    """

    lost: int
    won: int
    count: int
    drop: float
    low: float
    high: float
    p: float
    verdict: Verdict


def compare(old: Record, new: Record, alpha: float = 0.05) -> Comparison:
    """Is ``new`` less robust than ``old``, by more than chance?

    Raises:
        NotComparable: where the two were asked different questions.
        BadSetting: for an alpha outside of (0, 1).
    """
    if not 0 < alpha < 1:
        raise BadSetting(f"alpha must lie between 0 and 1, not {alpha:g}")
    expect_comparable(old, new)
    lost, won = discordant(old.flags, new.flags)
    count = len(old.flags)
    low, high = tango(lost, won, count)
    p = mcnemar_exact(lost, won)
    verdict: Verdict = "no difference shown"
    if p <= alpha:
        verdict = "regressed"
    elif mcnemar_exact(won, lost) <= alpha:
        verdict = "improved"
    return Comparison(lost, won, count, (lost - won) / count, low, high, p, verdict)


def expect_comparable(old: Record, new: Record) -> None:
    """Same examples, same ball, same attacks with the same settings.

    Raises:
        NotComparable: naming the first thing that differs.
    """
    pairs = {
        "scenarios": (old.scenario, new.scenario),
        "boards": (old.board, new.board),
        "numbers of examples": (old.data["count"], new.data["count"]),
        "examples": (old.data["ids"], new.data["ids"]),
        "images": (old.data["examples"], new.data["examples"]),
        "threats": (_threat(old), _threat(new)),
        "panels": (panel_of(old), panel_of(new)),
        "settings of attacks": (_settings(old), _settings(new)),
    }
    for what, (one, other) in pairs.items():
        if one != other:
            raise NotComparable(
                f"the records of {old.label} and {new.label} cannot be compared pair by pair, "
                f"since they differ in their {what}: {_brief(one)} and {_brief(other)}"
            )


def panel_of(record: Record) -> tuple[str, ...]:
    """The attacks of a record, as they were typed, in order."""
    return tuple(cell.attack for cell in record.cells)


def _threat(record: Record) -> str:
    return f"{record.threat['norm']} {record.threat['eps']:g}"


def _settings(record: Record) -> list[tuple[str, str]]:
    return [(cell.attack, str(sorted(cell.settings.items()))) for cell in record.cells]


def _brief(value: object) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(value) + ")"
    text = str(value)
    return text if len(text) <= 24 else text[:12] + "…"
