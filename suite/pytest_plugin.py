"""The pytest plug-in: the fixture ``robustness`` holds a network to a baseline, as the gate does.

pytest imports this file at every start, so everything heavy is imported when a test first asks.
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
SAID, ENTRY = "robustness", "robustness-entry"  # properties of a test, also in its JUnit report
REASON = "accepted by pytest --robustness-update"
UPDATE = "accept what is there today by pytest --robustness-update, and commit the file"
TRIED = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that say where the baseline lies, and whether to move it."""
    group = parser.getgroup("robustness", "robustness of networks, held to a baseline")
    group.addoption(
        "--robustness-baseline",
        metavar="FILE",
        help=f"the baseline, which lies in git; by default {FILE} in pytest's root folder",
    )
    group.addoption(
        "--robustness-update",
        action="store_true",
        help="accept today's robustness: write it to the baseline instead of judging it",
    )
    group.addoption(
        "--robustness-reason", metavar="TEXT", default=REASON, help="why it is accepted"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Several workers would overwrite each other's baselines."""
    spread = getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput")
    if config.option.robustness_update and spread:
        raise pytest.UsageError("--robustness-update writes one file: give it without -n")


@pytest.fixture
def robustness(request: pytest.FixtureRequest) -> Robustness:
    """A function that attacks a network and fails the test where robustness really dropped.

    ``robustness(network, board="fashion-linf", limit=500)``: see :class:`Robustness`.
    """
    return Robustness(request.node, request.config.stash.setdefault(TRIED, {}))


@dataclass(frozen=True)
class Robustness:
    """Attacks a network, and holds what was seen to the baseline by the code of the gate.

    ``tried`` knows the students of the whole session and the tests that they are of; ``mine``
    those of this test.
    """

    node: pytest.Item
    tried: dict[str, str]
    mine: set[str] = field(default_factory=set)

    def __call__(
        self,
        model: str | nn.Module,
        board: str = "fashion-linf",
        *,
        name: str | None = None,
        limit: int | None = None,
        attacks: Sequence[str] | None = None,
        seed: int = 0,
        margin: float = 2.0,
        on_inconclusive: Literal["warn", "fail"] = "warn",
    ) -> Record:
        """The record of the network; fails the test where it is less robust than the baseline.

        Args:
            model: maps [0, 1] images of the board's scenario to logits, or a defense as typed.
            name: what the baseline calls it; the name of the test unless given.
            limit: only the first so many test images.
            attacks: in place of the board's panel.
            seed: of the attacks.
            margin: the drop in robust accuracy that is borne, in points.
            on_inconclusive: whether too few examples to tell fail the test.
        """
        try:
            asked = {"board": board, "limit": limit, "attacks": attacks, "seed": seed}
            label = self._label(model, name)
            entry = self._entered(f"{board}/{label}@{seed}")
            if self.node.config.option.robustness_update:
                return self._accepted(entry, model, {**asked, "name": label})
            return self._held(entry, model, {**asked, "name": label}, margin, on_inconclusive)
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
            raise BadSetting(f"a name is for a network of one's own; {model!r} has one already")
        from robustbench_kd.evaluation.fingerprints import defense_of, label_of

        return label_of(defense_of(model))

    def _entered(self, entry: str) -> str:
        """The student's name in the baseline, which no other test may use."""
        other = self.tried.setdefault(entry, self.node.nodeid)
        if other != self.node.nodeid or entry in self.mine:
            raise BadSetting(f"{other} tries {entry} already; tell the two apart by name=...")
        self.mine.add(entry)
        return entry

    def _held(
        self,
        entry: str,
        model: str | nn.Module,
        asked: dict[str, Any],
        margin: float,
        on_inconclusive: str,
    ) -> Record:
        from robustbench_kd.evaluation.pipeline import evaluate
        from robustbench_kd.regression.decision import Rules
        from robustbench_kd.regression.endpoints import pairs
        from robustbench_kd.regression.gate import gate
        from robustbench_kd.regression.snapshot import snapshot
        from robustbench_kd.reports.formats.gate_text import headline, lines

        if on_inconclusive not in ("warn", "fail"):
            raise BadSetting(f"on_inconclusive is 'warn' or 'fail', not {on_inconclusive!r}")
        rules = Rules(margin=margin / 100)
        baseline = about(entry, self._path)  # before anything is spent
        record = evaluate(model, **asked)
        judged = gate(
            pairs(baseline, [snapshot(record)]),
            rules,
            inconclusive_fails=on_inconclusive == "fail",
        )
        self._tell(entry, headline(judged), judged)
        if judged.code:
            words = [*lines(judged), f"If this is meant, {UPDATE}."]
            pytest.fail("\n".join(words), pytrace=False)
        return record

    def _accepted(self, entry: str, model: str | nn.Module, asked: dict[str, Any]) -> Record:
        from robustbench_kd.core.io import expect_writable
        from robustbench_kd.evaluation.pipeline import evaluate
        from robustbench_kd.regression.snapshot import snapshot

        expect_writable(self._path.parent)
        old = _baseline(self._path) if self._path.exists() else None
        record = evaluate(model, **asked)
        _accept(old, snapshot(record), self._path, self.node.config.option.robustness_reason)
        self._tell(entry, f"accepted: {entry}: robust {record.worst}, clean {record.clean}")
        return record

    def _tell(self, entry: str, words: str, judged: Gate | None = None) -> None:
        """The words and numbers go with the report of the test, to the terminal and to JUnit."""
        told = self.node.user_properties
        told += [(SAID, words), (ENTRY, entry)]
        for one in judged.primary if judged else ():
            told.append((f"robustness-verdict-{one.against}", one.verdict))
            numbers = ("lost", "won", "count", "drop", "low", "high", "p", "detectable")
            told += [
                (f"robustness-{name}-{one.against}", str(getattr(one.numbers, name)))
                for name in (numbers if one.numbers else ())
            ]


def baseline_path(config: pytest.Config) -> Path:
    """Where the baseline lies: as given from where pytest was called, or in its root folder."""
    given: str | None = config.option.robustness_baseline
    return config.rootpath / FILE if given is None else config.invocation_params.dir / given


def about(entry: str, path: Path) -> Baseline:
    """The part of a baseline that is about one student.

    Raises:
        NotComparable: where there is no baseline, or it lacks the student; says how to make it.
    """
    if not path.exists():
        raise NotComparable(f"there is no baseline {path}; {UPDATE}")
    whole = _baseline(path)
    if entry not in whole.previous:
        raise NotComparable(f"{entry} is not in the baseline {path}; {UPDATE}")
    anchor = {name: one for name, one in whole.anchor.items() if name == entry}
    return type(whole)({entry: whole.previous[entry]}, anchor, whole.reason)


def _baseline(path: Path) -> Baseline:
    from robustbench_kd.regression.baseline import load_baseline

    return load_baseline(path)


def _accept(old: Baseline | None, one: Snapshot, path: Path, reason: str) -> None:
    """Moves the last accepted baseline; the anchor stays, and so does a file that says the same."""
    from robustbench_kd.regression.baseline import accepted, save_baseline

    if old is None:
        save_baseline(accepted([one], reason), path)
    elif old.previous.get(one.name) != one:
        save_baseline(old.updated([one], reason), path)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """One line for each network that was tried, with the smallest drop that could be seen."""
    told = list(_told(terminalreporter.stats))
    if not told:
        return
    terminalreporter.section("robustness")
    for key, words in told:
        if key == SAID:
            terminalreporter.write_line(words)
    path, tried = baseline_path(config), {words for key, words in told if key == ENTRY}
    if path.exists():
        idle = sorted(set(_baseline(path).previous) - tried)
        if idle:
            terminalreporter.write_line(f"in the baseline and not tried here: {', '.join(idle)}")


def _told(stats: dict[str, list[Any]]) -> Iterator[tuple[str, str]]:
    """What the tests said, in whatever process they ran."""
    for report in (one for reports in stats.values() for one in reports):
        if getattr(report, "when", None) == "call":
            yield from ((k, v) for k, v in report.user_properties if k in (SAID, ENTRY))
