"""The pytest plug-in: the fixture ``robustness`` compares a network with a baseline, as the gate.

pytest imports this file at every start, so everything heavy is imported when a test first needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from robustbench_kd.core.errors import BadSetting, NotComparable, RobustbenchError

if TYPE_CHECKING:
    from torch import nn

    from robustbench_kd.regression.baseline import Baseline
    from robustbench_kd.regression.gate import Gate
    from robustbench_kd.regression.snapshot import Snapshot
    from robustbench_kd.results.record import Record

FILE = Path(".rkd/baseline.json")
LINE, ENTRY = "robustness", "robustness-entry"  # properties of a test, also in its JUnit report
NUMBERS = ("lost", "won", "count", "drop", "low", "high", "p", "detectable")
REASON = "accepted by pytest --robustness-update"
UPDATE = "accept today's results by pytest --robustness-update, and commit the file"
TESTED = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that say where the baseline lies, and whether to move it."""
    group = parser.getgroup("robustness", "robustness of networks, compared with a baseline")
    group.addoption(
        "--robustness-baseline",
        metavar="FILE",
        help=f"the baseline, which lies in git; by default {FILE} in pytest's root folder",
    )
    group.addoption(
        "--robustness-update",
        action="store_true",
        help="accept today's results: write them to the baseline instead of comparing them",
    )
    group.addoption(
        "--robustness-reason", metavar="TEXT", default=REASON, help="why they are accepted"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Several workers would overwrite each other's baselines."""
    spread = getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput")
    if config.option.robustness_update and spread:
        raise pytest.UsageError("--robustness-update writes one file: give it without -n")


@pytest.fixture
def robustness(request: pytest.FixtureRequest) -> Robustness:
    """A function that attacks a network and fails the test where it really got worse.

    ``robustness(network, board="fashion-linf", limit=500)``: see :class:`Robustness`.
    """
    return Robustness(request.node, request.config.stash.setdefault(TESTED, {}))


@dataclass(frozen=True)
class Robustness:
    """Attacks a network, and compares the record with the baseline by the code of the gate.

    Attributes:
        session_entries: the students of the whole session, and the tests that they are of.
        test_entries: those of this test.
    """

    node: pytest.Item
    session_entries: dict[str, str]
    test_entries: set[str] = field(default_factory=set)

    def __call__(
        self,
        model: str | nn.Module,
        board: str = "fashion-linf",
        *,
        name: str | None = None,
        limit: int | None = None,
        attacks: Sequence[str] | None = None,
        seed: int = 0,
        train: bool = False,
        margin: float | None = None,
        on_inconclusive: Literal["warn", "fail"] = "warn",
    ) -> Record:
        """The record of the network; fails the test where it is worse than the baseline.

        Args:
            model: maps [0, 1] images of the board's scenario to logits, or a defense as typed. On
                leaderboards of attacks on training data it is a defense.
            name: what the baseline calls it; the name of the test unless given.
            limit: only the first so many test images.
            attacks: in place of the board's panel. Where each attack trains a student of its own,
                exactly one.
            seed: of the attacks.
            train: train models that are not stored.
            margin: the tolerated loss of the metric that the leaderboard ranks by, in its unit
                (points of robust accuracy or attack success, bits of exposure); its own unless
                given.
            on_inconclusive: whether too few samples to tell fail the test.
        """
        try:
            label = self._label(model, name)
            entry = self._reserved(_entry(board, label, seed, attacks))
            name = None if isinstance(model, str) else label
            options = {"board": board, "limit": limit, "attacks": attacks, "seed": seed}
            options |= {"train": train, "name": name}
            if self.node.config.option.robustness_update:
                return self._accept(entry, model, options)
            return self._compare(entry, model, options, margin, on_inconclusive)
        except RobustbenchError as why:
            words = str(why)
        pytest.fail(words, pytrace=False)  # outside of the handler, or pytest says it twice

    @property
    def _path(self) -> Path:
        return baseline_path(self.node.config)

    def _label(self, model: str | nn.Module, name: str | None) -> str:
        if not isinstance(model, str):
            return name or self.node.name
        if name is not None:
            raise BadSetting(f"a name is for a network of your own; {model!r} has one already")
        from robustbench_kd.evaluation.entries import defense_of, label_of

        return label_of(defense_of(model))

    def _reserved(self, entry: str) -> str:
        """The student's name in the baseline, which no other test may use."""
        other = self.session_entries.setdefault(entry, self.node.nodeid)
        if other != self.node.nodeid or entry in self.test_entries:
            raise BadSetting(f"{other} tests {entry} already; name them by name=...")
        self.test_entries.add(entry)
        return entry

    def _compare(
        self,
        entry: str,
        model: str | nn.Module,
        options: dict[str, Any],
        margin: float | None,
        on_inconclusive: str,
    ) -> Record:
        from robustbench_kd.regression.decision import Rules
        from robustbench_kd.regression.gate import gate
        from robustbench_kd.regression.pairing import pairs
        from robustbench_kd.regression.snapshot import snapshot
        from robustbench_kd.reports.formats.gate_text import headline, lines

        if on_inconclusive not in ("warn", "fail"):
            raise BadSetting(f"on_inconclusive is 'warn' or 'fail', not {on_inconclusive!r}")
        rules = Rules(margin=margin)
        baseline = part_of(entry, self._path)  # before anything is spent
        record = _record_of(model, options)
        result = gate(
            pairs(baseline, [snapshot(record)]),
            rules,
            inconclusive_fails=on_inconclusive == "fail",
        )
        self._report(entry, headline(result), result)
        if result.code:
            words = [*lines(result), f"If this is intended, {UPDATE}."]
            pytest.fail("\n".join(words), pytrace=False)
        return record

    def _accept(self, entry: str, model: str | nn.Module, options: dict[str, Any]) -> Record:
        from robustbench_kd.core.io import expect_writable
        from robustbench_kd.regression.snapshot import snapshot

        expect_writable(self._path.parent)
        old = _baseline(self._path) if self._path.exists() else None
        record = _record_of(model, options)
        shot = snapshot(record)
        _save(old, shot, self._path, self.node.config.option.robustness_reason)
        self._report(entry, f"accepted: {entry}: {shot.summary}")
        return record

    def _report(self, entry: str, line: str, result: Gate | None = None) -> None:
        """Words and numbers go with the report of the test, to the terminal and to JUnit."""
        properties = self.node.user_properties
        properties += [(LINE, line), (ENTRY, entry)]
        for finding in result.primary if result else ():
            against, numbers = finding.against, finding.numbers
            properties.append((f"robustness-verdict-{against}", finding.verdict))
            properties += [
                (f"robustness-{name}-{against}", str(getattr(numbers, name)))
                for name in (NUMBERS if numbers else ())
            ]


def _entry(board: str, label: str, seed: int, attacks: Sequence[str] | None) -> str:
    """The student's name in the baseline, as ``Snapshot.name`` has it.

    Raises:
        BadSetting: where several attacks would each train a student of their own.
    """
    from robustbench_kd.core.registry import board_of

    leaderboard = board_of(board)
    typed = tuple(attacks or leaderboard.attacks_on(label))
    if leaderboard.poisons and not leaderboard.joint and len(typed) != 1:
        raise BadSetting(
            f"each attack of {leaderboard.name} trains a student of its own; name one by "
            f"attacks=[...]: {', '.join(leaderboard.attacks_on(label))}"
        )
    attack = f"{typed[0]}/" if leaderboard.poisons and len(typed) == 1 else ""
    return f"{leaderboard.name}/{attack}{label}@{seed}"


def _record_of(model: str | nn.Module, options: dict[str, Any]) -> Record:
    from robustbench_kd.evaluation.pipeline import evaluate

    (record,) = evaluate(model, **options)
    return record


def baseline_path(config: pytest.Config) -> Path:
    """Where the baseline lies: as given from where pytest was called, or in its root folder."""
    given: str | None = config.option.robustness_baseline
    return config.rootpath / FILE if given is None else config.invocation_params.dir / given


def part_of(entry: str, path: Path) -> Baseline:
    """The part of a baseline that is about one student.

    Raises:
        NotComparable: where there is no baseline, or it lacks the student; says how to make it.
    """
    if not path.exists():
        raise NotComparable(f"there is no baseline {path}; {UPDATE}")
    whole = _baseline(path)
    if entry not in whole.previous:
        raise NotComparable(f"{entry} is not in the baseline {path}; {UPDATE}")
    anchor = {name: shot for name, shot in whole.anchor.items() if name == entry}
    return type(whole)({entry: whole.previous[entry]}, anchor, whole.reason)


def _baseline(path: Path) -> Baseline:
    from robustbench_kd.regression.baseline import load_baseline

    return load_baseline(path)


def _save(old: Baseline | None, shot: Snapshot, path: Path, reason: str) -> None:
    """Moves the last accepted baseline; the anchor stays, and so does a file that says the same."""
    from robustbench_kd.regression.baseline import accepted, save_baseline

    if old is None:
        save_baseline(accepted([shot], reason), path)
    elif old.previous.get(shot.name) != shot:
        save_baseline(old.updated([shot], reason), path)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """One line for each network that was tested, with the smallest loss that could be detected."""
    properties = list(_properties(terminalreporter.stats))
    if not properties:
        return
    terminalreporter.section("robustness")
    for name, text in properties:
        if name == LINE:
            terminalreporter.write_line(text)
    path, tested = baseline_path(config), {text for name, text in properties if name == ENTRY}
    if path.exists():
        others = sorted(set(_baseline(path).previous) - tested)
        if others:
            line = f"in the baseline and not tested here: {', '.join(others)}"
            terminalreporter.write_line(line)


def _properties(stats: dict[str, list[Any]]) -> Iterator[tuple[str, str]]:
    """What the tests reported, in whatever process they ran."""
    for report in (report for reports in stats.values() for report in reports):
        if getattr(report, "when", None) == "call":
            yield from ((k, v) for k, v in report.user_properties if k in (LINE, ENTRY))
