"""The pytest plug-in: what a project's own tests say when a network lost robustness."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import pytest

import robustbench_kd
from robustbench_kd.regression.baseline import load_baseline

pytest_plugins = ["pytester"]
NAME = "robustbench_kd.pytest_plugin"
INSTALLED = any(one.value == NAME for one in entry_points(group="pytest11"))
PLUG = () if INSTALLED else ("-p", NAME)
COUNT = 120
TESTS = """\
import pytest

from robustbench_kd.evaluation.fingerprints import defense_of, scenario_of
from robustbench_kd.evaluation.trained_models import student
from robustbench_kd.core.registry import board_of


def network(who):
    asked = board_of("digits-linf"), scenario_of("digits"), defense_of(who), 0
    return student(*asked, train=False, say=lambda *said: None).net


def held(robustness, who, **more):
    asked = {{"limit": {count}, "attacks": ["fgsm"], "name": "mine", **more}}
    return robustness(network(who), "digits-linf", **asked)


def test_mine(robustness):
    record = held(robustness, "{who}")
    assert (record.label, record.worst.count) == ("mine", {count})
"""
SWAP = """

def test_mine(robustness):
    held(robustness, "ard", {more})
"""


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Inner runs happen in this process, which forgets what they are first to import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTBENCH_KD_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("robustbench_kd.evaluation.pipeline.checked", lambda *args: ({}, frozenset()))
        record = robustbench_kd.evaluate(
            "ard", board="digits-linf", attacks=["fgsm", "pgd"], limit=1
        )
    assert robustbench_kd.compare(record, record).verdict


@pytest.fixture(autouse=True)
def unexamined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether gradients are masked is asked elsewhere, and takes longer than all else here."""
    monkeypatch.setattr(
        "robustbench_kd.evaluation.pipeline.checked", lambda *args: ({}, frozenset())
    )


def ran(
    pytester: pytest.Pytester, *more: str, who: str = "ard", test: str = ""
) -> pytest.RunResult:
    """A project's test run, its network being the student of a defense."""
    pytester.makepyfile(test_net=TESTS.format(count=COUNT, who=who) + test)
    return pytester.runpytest_inprocess(*PLUG, "-p", "no:cacheprovider", *more)


def baseline(pytester: pytest.Pytester) -> Path:
    return pytester.path / ".rkd" / "baseline.json"


def test_what_was_accepted_passes_and_what_lost_fails_in_the_gates_words(
    pytester: pytest.Pytester,
) -> None:
    made = ran(pytester, "--robustness-update", "--robustness-reason", "first release")
    made.assert_outcomes(passed=1)
    made.stdout.fnmatch_lines(["accepted: digits-linf/mine@0: robust *"])
    kept = load_baseline(baseline(pytester))
    assert (list(kept.previous), kept.reason) == (["digits-linf/mine@0"], "first release")
    assert kept.anchor == kept.previous

    same = ran(pytester)
    same.assert_outcomes(passed=1)
    same.stdout.fnmatch_lines([f"passed: ok: *; {COUNT} examples can show a drop of * points*"])

    worse = ran(pytester, "--junit-xml=out.xml", who="labels")
    worse.assert_outcomes(failed=1)
    said = worse.stdout.str()
    assert "FAILED: regressed-severe: digits-linf/mine@0 robust (previous): a drop of" in said
    assert f"{COUNT} examples can show a drop of" in said
    assert "pytest --robustness-update" in said
    assert "Traceback" not in said
    assert "pytest_plugin.py" not in said
    values = {
        one.get("name"): one.get("value")
        for one in ElementTree.parse(pytester.path / "out.xml").iter("property")
    }
    assert values["robustness-verdict-previous"] == "regressed-severe"
    assert int(values["robustness-lost-previous"] or 0) > int(values["robustness-won-previous"])
    assert float(values["robustness-detectable-previous"]) > 0

    accepted = ran(pytester, "--robustness-update", who="labels")
    accepted.assert_outcomes(passed=1)
    moved = load_baseline(baseline(pytester))
    assert moved.previous != kept.previous
    assert moved.anchor == kept.anchor  # the slow drift is still seen
    ran(pytester, who="labels").stdout.fnmatch_lines(["*regressed-severe*(anchor)*"])


def test_without_a_baseline_a_test_fails_before_any_attack_and_says_how_to_make_one(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustbench_kd.evaluation.pipeline.evaluate", lambda *args, **named: 1 / 0)
    found = ran(pytester)
    found.assert_outcomes(failed=1)
    words = f"there is no baseline {baseline(pytester)}; accept what is there today by pytest"
    found.stdout.fnmatch_lines([f"*{words} --robustness-update, and commit the file*"])
    assert "During handling" not in found.stdout.str()  # which would say it twice
    assert not baseline(pytester).exists()


def test_a_student_that_the_baseline_lacks_fails_and_one_not_tried_is_named(
    pytester: pytest.Pytester,
) -> None:
    given = ("--robustness-baseline", "mine.json")
    ran(pytester, "--robustness-update", *given).assert_outcomes(passed=1)
    more = 'def test_other(robustness):\n    held(robustness, "ard", name="other")\n'
    found = ran(pytester, *given, "-k", "other", test=more)
    found.assert_outcomes(failed=1, deselected=1)
    found.stdout.fnmatch_lines(["*digits-linf/other@0 is not in the baseline *mine.json; accept*"])
    ran(pytester, "--robustness-update", *given, "-k", "other", test=more)
    found = ran(pytester, *given, "-k", "other", test=more)
    found.assert_outcomes(passed=1, deselected=1)
    found.stdout.fnmatch_lines(["in the baseline and not tried here: digits-linf/mine@0"])


def test_an_update_that_changes_nothing_leaves_the_file_alone(pytester: pytest.Pytester) -> None:
    ran(pytester, "--robustness-update", "--robustness-reason", "one").assert_outcomes(passed=1)
    text = baseline(pytester).read_text()
    ran(pytester, "--robustness-update", "--robustness-reason", "two").assert_outcomes(passed=1)
    assert baseline(pytester).read_text() == text
    assert json.loads(text)["reason"] == "one"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('held(robustness, "ard", margin=-1)', "a margin is a share of at least 0"),
        ('held(robustness, "ard", on_inconclusive="skip")', "'warn' or 'fail', not 'skip'"),
        ('robustness("ard", "digits-linf", name="x")', "'ard' has one already"),
        ('robustness("ardd", "digits-linf")', "Did you mean 'ard'?"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_sentence(
    body: str, words: str, pytester: pytest.Pytester
) -> None:
    found = ran(pytester, "-k", "other", test=f"\ndef test_other(robustness):\n    {body}\n")
    found.assert_outcomes(failed=1, deselected=1)
    assert words in found.stdout.str()
    assert "pytest_plugin.py" not in found.stdout.str()  # no traceback


def test_two_tests_may_not_be_about_one_student(pytester: pytest.Pytester) -> None:
    more = """
def test_twin(robustness):
    held(robustness, "ard")

def test_twice(robustness):
    held(robustness, "ard", name="two")
    held(robustness, "ard", name="two")
"""
    found = ran(pytester, "--robustness-update", test=more)
    found.assert_outcomes(passed=1, failed=2)
    found.stdout.fnmatch_lines(
        [
            "*::test_mine tries digits-linf/mine@0 already*",
            "*::test_twice tries digits-linf/two@0 already; tell the two apart by name=...",
        ]
    )


def test_other_images_or_attacks_are_not_comparable(pytester: pytest.Pytester) -> None:
    ran(pytester, "--robustness-update").assert_outcomes(passed=1)
    for more in ("limit=60", 'attacks=["pgd:steps=2"]'):
        found = ran(pytester, "-k", "mine", test=SWAP.format(more=more))
        found.assert_outcomes(failed=1)
        found.stdout.fnmatch_lines(["*FAILED: not-comparable: digits-linf/mine@0*"])


def test_a_damaged_baseline_is_named_and_not_overwritten(pytester: pytest.Pytester) -> None:
    ran(pytester, "--robustness-update").assert_outcomes(passed=1)
    torn = baseline(pytester).read_text()[:-40]
    baseline(pytester).write_text(torn)
    for more in ((), ("--robustness-update",)):
        found = ran(pytester, *more)
        found.assert_outcomes(failed=1)
        found.stdout.fnmatch_lines(["*baseline.json is no baseline: JSONDecodeError*"])
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
    asked = [sys.executable, "-m", "pytest", *PLUG, "-q", "-p", "no:cacheprovider", "."]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "robustness" not in done.stdout  # nothing is said where nothing was tried
