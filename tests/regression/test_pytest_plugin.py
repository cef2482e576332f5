"""The pytest plug-in: what a project's own tests say when a network got worse."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import pytest

import robustbench_kd
from robustbench_kd.core.paths import shipped
from robustbench_kd.regression.baseline import load_baseline
from robustbench_kd.results.store import read_record

pytest_plugins = ["pytester"]
NAME = "robustbench_kd.pytest_plugin"
INSTALLED = any(entry.value == NAME for entry in entry_points(group="pytest11"))
PLUG = () if INSTALLED else ("-p", NAME)
COUNT = 120
TESTS = """\
import pytest

from robustbench_kd.core.registry import board_of
from robustbench_kd.evaluation.entries import defense_of, scenario_of
from robustbench_kd.evaluation.trained_models import ModelSource


def network(defense):
    source = ModelSource(board_of("digits-linf"), scenario_of("digits"), 0, False)
    return source.student(defense_of(defense)).net


def compared(robustness, defense, **more):
    options = {{"limit": {count}, "attacks": ["fgsm"], "name": "mine", **more}}
    return robustness(network(defense), "digits-linf", **options)


def test_mine(robustness):
    record = compared(robustness, "{defense}")
    assert (record.label, record.worst.count) == ("mine", {count})
"""
SWAP = """

def test_mine(robustness):
    compared(robustness, "ard", {more})
"""


CHECKS = "robustbench_kd.evaluation.sanity.gradient_checks"


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Inner runs happen in this process, which forgets what they are first to import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTBENCH_KD_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(CHECKS, lambda *args: ({}, frozenset()))
        (record,) = robustbench_kd.evaluate(
            "ard", board="digits-linf", attacks=["fgsm", "pgd"], limit=1
        )
    assert robustbench_kd.compare(record, record).verdict


@pytest.fixture(autouse=True)
def without_sanity_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are tested elsewhere, and take longer than all else here."""
    monkeypatch.setattr(CHECKS, lambda *args: ({}, frozenset()))


def ran(
    pytester: pytest.Pytester, *more: str, defense: str = "ard", test: str = ""
) -> pytest.RunResult:
    """A project's test run, its network being the student of a defense."""
    pytester.makepyfile(test_net=TESTS.format(count=COUNT, defense=defense) + test)
    return pytester.runpytest_inprocess(*PLUG, "-p", "no:cacheprovider", *more)


def baseline(pytester: pytest.Pytester) -> Path:
    return pytester.path / ".rkd" / "baseline.json"


def test_what_was_accepted_passes_and_a_loss_fails_with_the_gates_message(
    pytester: pytest.Pytester,
) -> None:
    first = ran(pytester, "--robustness-update", "--robustness-reason", "first release")
    first.assert_outcomes(passed=1)
    first.stdout.fnmatch_lines(["accepted: digits-linf/mine@0: robust-accuracy *"])
    accepted = load_baseline(baseline(pytester))
    assert (list(accepted.previous), accepted.reason) == (["digits-linf/mine@0"], "first release")
    assert accepted.anchor == accepted.previous

    same = ran(pytester)
    same.assert_outcomes(passed=1)
    same.stdout.fnmatch_lines([f"passed: ok: *; {COUNT} examples can show a drop of * points*"])

    worse = ran(pytester, "--junit-xml=out.xml", defense="standard-training")
    worse.assert_outcomes(failed=1)
    text = worse.stdout.str()
    assert "FAILED: regressed-severe: digits-linf/mine@0 robust-accuracy (previous): a drop" in text
    assert f"{COUNT} examples can show a drop of" in text
    assert "pytest --robustness-update" in text
    assert "Traceback" not in text
    assert "pytest_plugin.py" not in text
    values = {
        node.attrib["name"]: node.attrib["value"]
        for node in ElementTree.parse(pytester.path / "out.xml").iter("property")
    }
    assert values["robustness-verdict-previous"] == "regressed-severe"
    assert int(values["robustness-lost-previous"]) > int(values["robustness-won-previous"])
    assert float(values["robustness-detectable-previous"]) > 0

    update = ran(pytester, "--robustness-update", defense="standard-training")
    update.assert_outcomes(passed=1)
    updated = load_baseline(baseline(pytester))
    assert updated.previous != accepted.previous
    assert updated.anchor == accepted.anchor  # the slow drift is still seen
    last = ran(pytester, defense="standard-training")
    last.stdout.fnmatch_lines(["*regressed-severe*(anchor)*"])


def test_without_a_baseline_a_test_fails_before_any_attack_and_says_how_to_make_one(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustbench_kd.evaluation.pipeline.evaluate", lambda *args, **named: 1 / 0)
    result = ran(pytester)
    result.assert_outcomes(failed=1)
    words = f"there is no baseline {baseline(pytester)}; accept today's results by pytest"
    result.stdout.fnmatch_lines([f"*{words} --robustness-update, and commit the file*"])
    assert "During handling" not in result.stdout.str()  # which would say it twice
    assert not baseline(pytester).exists()


def test_a_student_that_the_baseline_lacks_fails_and_one_not_tested_is_named(
    pytester: pytest.Pytester,
) -> None:
    given = ("--robustness-baseline", "mine.json")
    ran(pytester, "--robustness-update", *given).assert_outcomes(passed=1)
    more = 'def test_other(robustness):\n    compared(robustness, "ard", name="other")\n'
    result = ran(pytester, *given, "-k", "other", test=more)
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*digits-linf/other@0 is not in the baseline *mine.json; accept*"])
    ran(pytester, "--robustness-update", *given, "-k", "other", test=more)
    result = ran(pytester, *given, "-k", "other", test=more)
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["in the baseline and not tested here: digits-linf/mine@0"])


def test_an_update_that_changes_nothing_leaves_the_file_alone(pytester: pytest.Pytester) -> None:
    ran(pytester, "--robustness-update", "--robustness-reason", "one").assert_outcomes(passed=1)
    text = baseline(pytester).read_text()
    ran(pytester, "--robustness-update", "--robustness-reason", "two").assert_outcomes(passed=1)
    assert baseline(pytester).read_text() == text
    assert json.loads(text)["reason"] == "one"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('compared(robustness, "ard", margin=-1)', "a margin is a number of at least 0"),
        ('compared(robustness, "ard", on_inconclusive="skip")', "'warn' or 'fail', not 'skip'"),
        ('robustness("ard", "digits-linf", name="x")', "'ard' has one already"),
        ('robustness("ardd", "digits-linf")', "Did you mean 'ard'?"),
        (
            'robustness("nad", "fashion-backdoor")',
            "each attack of fashion-backdoor trains a student",
        ),
        ('robustness("nad", "fashion-backdor")', "Did you mean 'fashion-backdoor'?"),
    ],
)
def test_impossible_arguments_are_refused_in_one_sentence(
    body: str, words: str, pytester: pytest.Pytester
) -> None:
    result = ran(pytester, "-k", "other", test=f"\ndef test_other(robustness):\n    {body}\n")
    result.assert_outcomes(failed=1, deselected=1)
    assert words in result.stdout.str()
    assert "pytest_plugin.py" not in result.stdout.str()  # no traceback


def test_two_tests_may_not_be_about_one_student(pytester: pytest.Pytester) -> None:
    more = """
def test_other(robustness):
    compared(robustness, "ard")

def test_twice(robustness):
    compared(robustness, "ard", name="two")
    compared(robustness, "ard", name="two")
"""
    result = ran(pytester, "--robustness-update", test=more)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*::test_mine tests digits-linf/mine@0 already*",
            "*::test_twice tests digits-linf/two@0 already; name them by name=...",
        ]
    )


def test_other_images_or_attacks_are_not_comparable(pytester: pytest.Pytester) -> None:
    ran(pytester, "--robustness-update").assert_outcomes(passed=1)
    for more in ("limit=60", 'attacks=["pgd:steps=2"]'):
        result = ran(pytester, "-k", "mine", test=SWAP.format(more=more))
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*FAILED: not-comparable: digits-linf/mine@0*"])


def test_a_defense_on_a_poisoned_leaderboard_is_compared_under_one_attack(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records are given; training such students takes longer than a unit test may."""
    (path,) = (shipped("records") / "fashion-backdoor").glob("badnets--nad--seed0--*.json")
    record = read_record(path)
    monkeypatch.setattr("robustbench_kd.evaluation.pipeline.evaluate", lambda *a, **k: [record])
    body = 'robustness("nad", "fashion-backdoor", attacks=["badnets"])'
    test = f"\ndef test_other(robustness):\n    {body}\n"
    first = ran(pytester, "--robustness-update", "-k", "other", test=test)
    first.assert_outcomes(passed=1, deselected=1)
    first.stdout.fnmatch_lines(["accepted: fashion-backdoor/badnets/nad@0: attack-success *"])
    result = ran(pytester, "-k", "other", test=test)
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["passed: ok: fashion-backdoor/badnets/nad@0 attack-success*"])


def test_a_damaged_baseline_is_named_and_not_overwritten(pytester: pytest.Pytester) -> None:
    ran(pytester, "--robustness-update").assert_outcomes(passed=1)
    torn = baseline(pytester).read_text()[:-40]
    baseline(pytester).write_text(torn)
    for more in ((), ("--robustness-update",)):
        result = ran(pytester, *more)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*baseline.json is no baseline: JSONDecodeError*"])
    assert baseline(pytester).read_text() == torn


def test_the_fixture_and_the_gate_look_for_the_same_file() -> None:
    from robustbench_kd import pytest_plugin
    from robustbench_kd.cli import baseline

    assert pytest_plugin.FILE == baseline.FILE


def test_pytest_starts_without_torch_and_without_pandas(tmp_path: Path) -> None:
    (tmp_path / "test_light.py").write_text(
        "import sys\n\n\ndef test_light():\n"
        "    heavy = {'torch', 'pandas'} & set(sys.modules)\n"
        f"    assert '{NAME}' in sys.modules and not heavy, heavy\n"
    )
    command = [sys.executable, "-m", "pytest", *PLUG, "-q", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "robustness" not in done.stdout  # nothing to report
