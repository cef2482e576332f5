"""Who faces whom: each student beside its baselines, endpoint by endpoint. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from robustbench_kd.core.errors import NotComparable
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.ops.statistics.paired_tests import mcnemar_midp
from robustbench_kd.regression.baseline import Baseline
from robustbench_kd.regression.compare import expect_comparable
from robustbench_kd.regression.decision import Rematch, Rules, Verdict
from robustbench_kd.regression.snapshot import CONTROL, Snapshot

WEAKER = 0.01  # the level at which one side's misses show a weaker attack
ANEW = "trained under another seed: the verdict is about these two networks, not their method"
Role = Literal["robust", "clean", "attack"]
Asking = Callable[[Snapshot, Snapshot], Rematch | str]


@dataclass(frozen=True)
class Pair:
    """A student before and after; where there is only one of the two, ``word`` says why."""

    entry: str
    against: str
    old: Snapshot | None
    new: Snapshot | None
    word: str = ""


@dataclass(frozen=True)
class Sides:
    """One endpoint before and after. ``fixed`` is its verdict where no test is needed."""

    entry: str
    against: str
    role: Role
    endpoint: str
    before: list[bool]
    after: list[bool]
    margin: float
    fixed: Verdict | None = None
    rematch: Rematch | None = None
    notes: tuple[str, ...] = ()


def pairs(baseline: Baseline, news: Iterable[Snapshot], against: str = "both") -> Iterator[Pair]:
    """Every student of the baseline beside its new run, and every new run that it lacks.

    A single student is paired with a single new run whatever their labels, since what changed may
    be how the defense is typed. An anchor that is the previous baseline is not tested twice.
    """
    known = {one.name: one for one in news}
    if len(known) == len(baseline.previous) == 1:
        known = dict(zip(baseline.previous, known.values(), strict=True))
    olds = {"previous": baseline.previous, "anchor": baseline.anchor}
    wanted = ("previous", "anchor") if against == "both" else (against,)
    for part in wanted:
        for name, old in olds[part].items():
            if part == "anchor" and len(wanted) == 2 and baseline.previous.get(name) == old:
                continue
            word = "" if name in known else f"no record is about {name} of the baseline"
            yield Pair(name, part, old, known.get(name), word)
    for name, one in known.items():
        if all(name not in olds[part] for part in wanted):
            word = f"{name} is not in the baseline; accept it: robustbench-kd baseline update"
            yield Pair(name, wanted[0], None, one, word)


def sides(pair: Pair, rules: Rules, ask: Asking | None = None) -> Iterator[Sides]:
    """The endpoints of a pair: the primary one, plain accuracy, and each attack of a panel."""
    old, new = pair.old, pair.new
    word = pair.word
    if old is not None and new is not None:
        try:
            expect_comparable(old, new)
        except NotComparable as why:
            word = str(why)
    if old is None or new is None or word:
        names = pair.entry, pair.against
        yield Sides(*names, "robust", "robust", [], [], 0, fixed="not-comparable", notes=(word,))
        return
    yield _primary(pair, old, new, rules, ask)
    for name, column in old.columns.items():
        if name == CONTROL or len(old.attacks) > 1:  # a single attack is the primary endpoint
            role: Role = "clean" if name == CONTROL else "attack"
            margin = rules.clean if name == CONTROL else rules.margin
            flags = column.flags, new.columns[name].flags
            yield Sides(pair.entry, pair.against, role, name, *flags, margin)


def _primary(pair: Pair, old: Snapshot, new: Snapshot, rules: Rules, ask: Asking | None) -> Sides:
    again = ask(old, new) if ask else None
    rematch = again if isinstance(again, Rematch) else None
    notes = [again] if isinstance(again, str) else []
    before, after = old.robust, new.robust
    fixed: Verdict | None = None
    lost, won = discordant(before, after)
    if old.weights == new.weights:
        # Who was broken once is broken: the same weights are as robust as both runs together say.
        missed = rematch.missed if rematch else (lost, won)
        fixed = "attack-weakened" if _weaker(missed) else "ok"
        if lost or won:
            notes.append(
                f"the weights are the same, so what differs is the attack: it broke {lost} more "
                f"and missed {won} that it had broken"
            )
    elif rematch is not None:
        before, after = list(rematch.old), list(rematch.new)
        notes.append(_words(rematch, lost, won))
        fixed = "attack-weakened" if _weaker(rematch.missed) else None
    if old.weights != new.weights and old.seed != new.seed:
        notes.append(ANEW)
    return Sides(
        pair.entry,
        pair.against,
        "robust",
        "robust" if old.attack is None else f"withstood {old.attack}",
        before,
        after,
        rules.margin if old.attack is None else rules.planted,
        fixed,
        rematch,
        tuple(notes),
    )


def _weaker(missed: tuple[int, int]) -> bool:
    """Whether the new side misses more than the old one, by more than chance.

    Both panels are asked alike about what broke the other side's network, so that attacks of the
    same strength miss as much on either side.
    """
    return mcnemar_midp(missed[1], missed[0]) <= WEAKER


def _words(rematch: Rematch, lost: int, won: int) -> str:
    text = (
        f"by the panels alone {lost} were lost and {won} won; stored inputs of the other side "
        f"break {rematch.missed[0]} of the old network's and {rematch.missed[1]} of the new one's"
    )
    if rematch.seeds:
        text += (
            f"; {rematch.seeds} fresh seeds dissolve {rematch.dissolved[0]} of the lost and "
            f"{rematch.dissolved[1]} of the won"
        )
    return text
