"""What students inherit, folded from planted records: teacher, student, control and clean twins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.errors import UnknownName
from robustbench_kd.core.seed import Seed
from robustbench_kd.results.planted import (
    TWIN,
    Planted,
    accuracy,
    excess,
    flags,
    ratio,
    recovered,
    success,
    verdict,
)
from robustbench_kd.results.record import Json, Share, numbers

RESAMPLES = 2000


@dataclass(frozen=True)
class Case:
    """One attack on one defense: the record of each seed.

    Where every record is about one victim, the trials are counted together; else the lowest seed
    stands for the case, and the others are shown beside it.
    """

    records: tuple[Planted, ...]

    @property
    def first(self) -> Planted:
        """The record of the lowest seed."""
        return self.records[0]

    @property
    def pooled(self) -> bool:
        """Whether the records are trials of one victim each."""
        return all(record.wins == 1 for record in self.records)

    def won(self, subject: str) -> Share:
        """The adversary's success on this subject."""
        if not self.pooled:
            return success(self.first, subject)
        return _sum([success(record, subject) for record in self.records])

    def right(self, subject: str) -> Share:
        """The subject's accuracy on plain inputs."""
        return accuracy(self.first, subject)

    def recovered(self, subject: str) -> Share:
        """The submitted inputs that the subject answers right all the same."""
        if not self.pooled:
            return recovered(self.first, subject)
        return _sum([recovered(record, subject) for record in self.records])


def cases(contest: Leaderboard, records: Sequence[Planted]) -> list[Case]:
    """One case an attack and defense, attacks in the order of the panel, safest students first."""
    groups: dict[tuple[str, str], dict[int, Planted]] = {}
    for record in sorted(records, key=lambda r: r.seed):
        if record.board == contest.name:
            groups.setdefault((record.attack, record.label), {})[record.seed] = record
    order = {text: n for n, text in enumerate(contest.panel)}
    found = [Case(tuple(by_seed.values())) for by_seed in groups.values()]
    return sorted(
        found,
        key=lambda c: (
            order.get(c.first.attack, len(order)),
            c.first.attack,
            c.won("student").value,
            c.first.label,
        ),
    )


def interval(record: Planted) -> tuple[float, float] | None:
    """The inheritance's 95 % interval, by resampling the eligible inputs; none without a ratio.

    The same resampled inputs are asked of all four networks, so what they share cancels. There is
    none either where the inputs are so few that in some resample the source learnt nothing.
    """
    if ratio(record) is None:
        return None
    names = ("student", "student" + TWIN, record.source, record.source + TWIN)
    won = torch.tensor([flags(record, name, "won") for name in names], dtype=torch.float64)
    student, own_twin, source, its_twin = won @ _times(record.wins) / record.wins
    learnt = source - its_twin
    if float(learnt.min()) <= 0:
        return None
    low, high = ((student - own_twin) / learnt).quantile(learnt.new_tensor([0.025, 0.975])).tolist()
    return low, high


@lru_cache(maxsize=8)  # all records of a board ask about so many inputs
def _times(inputs: int) -> Tensor:
    """How often each input is drawn in each resample, [inputs, RESAMPLES]; always the same."""
    noise = (Seed() / "inheritance").generator()
    draws = torch.randint(inputs, (RESAMPLES, inputs), generator=noise)
    return torch.stack([torch.bincount(row, minlength=inputs) for row in draws], dim=1).double()


def entry(case: Case) -> Json:
    """A case as plain values, for machines."""
    first = case.first
    return {
        "attack": first.attack,
        "defense": first.label,
        "door": first.door,
        "planted": first.planted["planted"],
        "of": first.planted["of"],
        "seeds": [record.seed for record in case.records],
        "source": first.source,
        "success": {name: numbers(case.won(name)) for name in first.subjects},
        "accuracy": {name: numbers(case.right(name)) for name in first.subjects},
        "recovered": numbers(case.recovered("student")),
        "inheritance": [_ratio(record) for record in case.records] if not case.pooled else [],
        "verdict": "trials" if case.pooled else verdict(first),
    }


def _ratio(record: Planted) -> Json:
    return {"seed": record.seed, "value": ratio(record), "interval": interval(record)}


def line(case: Case) -> Json:
    """A case as one line of a table for machines: what is a list has columns of its own."""
    flat = entry(case)
    flat["seeds"] = "+".join(str(seed) for seed in flat["seeds"])
    for one in flat.pop("inheritance"):
        low, high = one["interval"] or (None, None)
        bounded = {"value": one["value"], "low": low, "high": high}
        flat[f"inheritance_{one['seed']}"] = bounded
    return flat


def cells(found: Sequence[Case], only: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Heads and lines as people read them; ``only`` names the columns that are wanted.

    Raises:
        UnknownName: for a column that there is not.
    """
    columns: dict[str, Callable[[Case], str]] = {
        "attack": lambda c: c.first.attack,
        "planted": lambda c: str(c.first.planted["planted"]),
        "defense": lambda c: c.first.label,
        "source": lambda c: str(c.won(c.first.source)),
        "source's twin": lambda c: str(c.won(c.first.source + TWIN)),
        "student": lambda c: str(c.won("student")),
        "student's twin": lambda c: str(c.won("student" + TWIN)),
        "control": lambda c: str(c.won("control")),
        "recovered": lambda c: str(c.recovered("student")),
        "source clean": lambda c: beside(c, c.first.source),
        "student clean": lambda c: beside(c, "student"),
        "inherited": inherited,
        "other seeds": others,
    }
    for name in only:
        if name not in columns:
            raise UnknownName("column", name, columns)
    wanted = list(only) or list(columns)
    return wanted, [[columns[name](case) for name in wanted] for case in found]


def beside(case: Case, subject: str) -> str:
    """Accuracy on plain inputs, and that of the clean twin: ``90.1 [88.1, 91.8] (90.4)``."""
    return f"{case.right(subject)} ({100 * case.right(subject + TWIN).value:.1f})"


def inherited(case: Case) -> str:
    """The ratio with its interval, or in a word why there is none."""
    if case.pooled:
        count = len(case.records)
        return f"{count} trial" if count == 1 else f"{count} trials"
    said, bounds = ratio(case.first), interval(case.first)
    if said is None or bounds is None:
        word = verdict(case.first)
        extra = f", excess {excess(case.first, 'student'):.2f}" if word == "dormant" else ""
        return word + extra
    return f"{said:z.2f} [{bounds[0]:z.2f}, {bounds[1]:z.2f}]"


def others(case: Case) -> str:
    """Student's success and inheritance under the other seeds."""
    if case.pooled:
        return ""
    parts = []
    for record in case.records[1:]:
        said = ratio(record)
        word = verdict(record) if said is None else f"{said:z.2f}"
        parts.append(f"{record.seed}: {100 * success(record, 'student').value:.1f}, {word}")
    return "; ".join(parts)


def note(contest: Leaderboard, found: Sequence[Case]) -> str:
    """What the numbers are, in one line."""
    single = bool(found) and all(case.pooled for case in found)
    each = "one victim a trial" if single else f"{found[0].first.wins if found else 0} a backdoor"
    source = "the poisoned teacher" if contest.door == "teacher data" else "the undistilled control"
    return (
        f"{contest.title}: percent of submitted test inputs that are answered as the adversary "
        f"wanted ({each}), with 95 % Wilson intervals. The "
        f"source is {source}; twins had the same training without the poison; recovered are "
        "answered right in spite of the trigger; inherited is excess over the twin, student "
        "against source, with a bootstrap interval over inputs."
    )


def dose(found: Sequence[Case]) -> dict[tuple[str, str], list[tuple[float, Share, Share]]]:
    """Attack and defense -> (rate, source, student) in order of the rate; where rates differ.

    Attacks that differ in anything but the rate are different ones.
    """
    curves: dict[tuple[str, str], list[tuple[float, Share, Share]]] = {}
    for case in found:
        name = _but_for_the_rate(case.first.attack)
        rate = case.first.planted["planted"] / case.first.planted["of"]
        point = (rate, case.won(case.first.source), case.won("student"))
        curves.setdefault((name, case.first.label), []).append(point)
    return {
        who: sorted(points, key=lambda p: p[0])
        for who, points in curves.items()
        if len({rate for rate, _, _ in points}) > 1
    }


def _but_for_the_rate(attack: str) -> str:
    name, _, rest = attack.partition(":")
    others = [part for part in rest.split(",") if part and part.partition("=")[0].strip() != "rate"]
    return name + (":" + ",".join(others) if others else "")


def _sum(shares: Sequence[Share]) -> Share:
    return Share(sum(s.hits for s in shares), sum(s.count for s in shares))
