"""A new method is a file: listed, under every law, and on a leaderboard, with no other change."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import lawbreakers
import pytest
from lawbreakers import BROKEN_LAWS
from plugin_site import forgotten, put, show

import robustbench_kd
from robustbench_kd.core import registry
from robustbench_kd.core.errors import BrokenPlugin, UnknownName
from robustbench_kd.core.registry import board_of
from robustbench_kd.reports.leaderboard import rank

ROOT = Path(__file__).parents[2]
Install = Callable[..., Path]

SCENARIO = '''\
"""Which half of an image is the brighter one?"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Splits
from robustbench_kd.models.factory import Shape
from robustbench_kd.scenarios._image_classification import (
    ImageScenario,
    make_examples,
    no_examples,
)


@dataclass(frozen=True)
class Halves(ImageScenario):
    """Drawn, never loaded."""

    name: ClassVar[str] = "halves"
    dataset_digest: ClassVar[str] = "1"
    shape: ClassVar[Shape] = Shape(1, 8, 2, (0.5,), (0.3,))
    architectures: ClassVar[dict[str, str]] = {"plain": "resnet-4", "teacher": "resnet-8"}
    budget: ClassVar[Budget] = Budget("linf", 0.1)
    teacher_schedules: ClassVar[dict[str, Schedule]] = {"robust": Schedule(epochs=3, batch=32)}

    def splits(self, seed: Seed, *, whole: bool) -> Splits:
        noise = (Seed() / "halves").generator()
        labels = torch.arange(300) % 2
        images = torch.randint(0, 11, (300, 8, 8), generator=noise)
        images[labels == 0, :, :4] += 6
        images[labels == 1, :, 4:] += 6
        every = make_examples(images.numpy().astype(np.uint8), labels.numpy(), 0, 16, 2)
        test = every.take(torch.arange(60))
        if not whole:
            return Splits(no_examples(test), no_examples(test), test)
        return Splits(every.take(torch.arange(80, 300)), every.take(torch.arange(60, 80)), test)
'''
BOARD = '''\
"""Which half is brighter, under attack?"""

from robustbench_kd.core.config import Budget, Leaderboard, Schedule

HALVES = Leaderboard(
    name="halves-linf",
    title="Halves, Linf 0.1",
    scenario="halves",
    budget=Budget("linf", 0.1),
    attacks=("clean", "margin-step", "fgsm"),
    defenses=("standard-training", "noisy-distillation"),
    metrics=("robust-accuracy", "clean-accuracy", "broken-share"),
    rank_by="robust-accuracy",
    schedule=Schedule(epochs=4, batch=32),
)
'''
POINTS = {
    "attacks": {"margin-step": "theirs.margin_step:MarginStep"},
    "defenses": {"noisy-distillation": "theirs.noisy_distillation:NoisyDistillation"},
    "scenarios": {"halves": "theirs.halves:Halves"},
    "metrics": {"broken-share": "theirs.broken_share:BrokenShare"},
    "leaderboards": {"halves-linf": "theirs.halves_linf:HALVES"},
}


def from_readme() -> dict[str, str]:
    """The files that the README shows whole, by their names."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n# \S*/(\w+\.py)\n(.*?)```", text, re.DOTALL)
    return dict(blocks)


FILES = {**from_readme(), "halves.py": SCENARIO, "halves_linf.py": BOARD}


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    """Installs into a folder of the test, and forgets the modules afterwards."""
    with forgotten("theirs", "others"):
        yield partial(put, tmp_path / "site")


def run(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
    )


def test_the_readme_shows_whole_files_of_four_kinds() -> None:
    assert from_readme().keys() >= {
        "margin_step.py",
        "noisy_distillation.py",
        "broken_share.py",
        "digits_margin.py",
    }


def test_a_new_file_of_each_kind_is_listed_beside_those_of_the_package(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {kind: set(registry.entries(kind)) for kind in registry.KINDS}
    show(install(POINTS, FILES), monkeypatch)
    for kind, named in POINTS.items():
        entries = registry.entries(kind)
        assert set(entries) - before[kind] == set(named)
        assert list(entries) == sorted(entries)
        for name in named:
            entry = registry.find(kind, name)
            assert entry.load().name == name
            assert entry.summary() == f"from {entry.module}"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The laws on good and on bad plug-ins: by outcome, ``law[name...]``.

    The laws are selected by the new names, in a process of its own; no test was changed for them.
    """
    bad = {
        kind: {name: f"theirs.bad_{kind}:{name.title()}" for name in named}
        for kind, named in BROKEN_LAWS.items()
    }
    points = {kind: {**named, **bad.get(kind, {})} for kind, named in POINTS.items()}
    files = {"bad_attacks.py": lawbreakers.ATTACKS, "bad_defenses.py": lawbreakers.DEFENSES}
    site = put(tmp_path_factory.mktemp("site"), points, {**FILES, **files})
    names = " or ".join(name for named in points.values() for name in named)
    output = run(
        site, "-m", "pytest", "tests/contracts", "-n0", "-q", "-rA", "--tb=no", "-k", names
    ).stdout
    laws: dict[str, set[str]] = {"PASSED": set(), "FAILED": set(), "ERROR": set()}
    for outcome, law in re.findall(r"^(PASSED|FAILED|ERROR) \S+::(\S+)", output, re.MULTILINE):
        laws[outcome].add(law)
    assert laws["PASSED"], output
    return laws


LAWS = {
    "attacks": "test_attack_laws",
    "defenses": "test_defense_laws",
    "scenarios": "test_scenario_laws",
    "leaderboards": "test_board_laws",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAWS)
def test_a_new_file_is_under_every_law_of_its_kind_and_keeps_it(
    kind: str, outcomes: dict[str, set[str]]
) -> None:
    (name,) = POINTS[kind]
    text = (ROOT / "tests" / "contracts" / f"{LAWS[kind]}.py").read_text(encoding="utf-8")
    # The new defense is a recipe, so the law of repairs is not about it.
    laws = set(re.findall(r"^def (test_(?!a_repair)\w+)", text, re.MULTILINE))
    passed = {law for law in outcomes["PASSED"] if re.search(rf"[\[-]{name}[\]-]", law)}
    assert laws <= {law.partition("[")[0] for law in passed}
    assert len(laws) >= 4
    broken = outcomes["FAILED"] | outcomes["ERROR"]
    assert not {law for law in broken if re.search(rf"[\[-]{name}[\]-]", law)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "law"), [pair for named in BROKEN_LAWS.values() for pair in named.items()]
)
def test_a_new_file_that_breaks_a_law_is_caught_by_it(
    name: str, law: str, outcomes: dict[str, set[str]]
) -> None:
    assert f"{law}[{name}]" in outcomes["FAILED"]


def test_new_files_make_a_row_on_a_new_leaderboard(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained by the new defense on the new scenario, attacked by the new attack, and ranked."""
    show(install(POINTS, FILES), monkeypatch)
    (record,) = robustbench_kd.evaluate(
        "noisy-distillation", train=True, on_progress=lambda *_: None, out=tmp_path / "out"
    )
    assert record.board == "halves-linf", "the one leaderboard that names the new defense"
    assert list(record.attacks) == ["clean", "margin-step", "fgsm"]
    assert record.clean.count == 60
    assert record.clean.hits is not None
    assert record.clean.hits > 50
    assert robustbench_kd.verify(record).robust == record.worst.hits
    (row,) = rank(board_of("halves-linf"), [record]).rows
    broken = row.value("broken-share")
    assert broken is not None
    assert broken.count == record.clean.hits
    assert row.rank == "1"


@pytest.mark.parametrize("kind", registry.KINDS)
def test_a_broken_plug_in_is_listed_and_fails_only_when_it_is_asked_for(
    kind: str, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {kind: {"broken": "theirs.broken:Nothing", "absent": "theirs.empty:Nothing"}}
    files = {"broken.py": "raise ValueError('it needs a licence')\n", "empty.py": ""}
    show(install(points, files), monkeypatch)
    entries = registry.entries(kind)
    assert {"broken", "absent"} < set(entries)
    assert entries["broken"].summary() == "from theirs.broken"
    for name, entry in entries.items():
        if name not in ("broken", "absent") and name not in registry.BRIDGES:
            assert entry.load() is not None
    with pytest.raises(BrokenPlugin, match=r"'broken' comes from theirs\.broken.*a licence"):
        registry.find(kind, "broken").load()
    with pytest.raises(BrokenPlugin, match=r"'absent' comes from theirs\.empty.*'Nothing'"):
        registry.find(kind, "absent").load()


def test_a_name_that_the_package_has_already_is_nobodys_and_both_owners_are_named(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(install({"attacks": {"fgsm": "theirs.margin_step:MarginStep"}}, FILES), monkeypatch)
    with pytest.raises(BrokenPlugin, match="two attacks are called 'fgsm'") as caught:
        registry.find("attacks", "fgsm").load()
    assert "robustbench_kd.attacks.evasion.fgsm" in str(caught.value)
    assert "theirs.margin_step" in str(caught.value)
    assert registry.find("attacks", "pgd").load().name == "pgd", "the others are not affected"


def test_a_name_that_two_others_claim_is_nobodys_and_both_owners_are_named(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    show(install({"defenses": {"same": "theirs.one:One"}}, {}), monkeypatch)
    (tmp_path / "site").rename(tmp_path / "first")
    show(tmp_path / "first", monkeypatch)
    show(install({"defenses": {"same": "others.two:Two"}}, {}, name="others"), monkeypatch)
    with pytest.raises(BrokenPlugin, match="two defenses are called 'same'") as caught:
        registry.find("defenses", "same").load()
    assert "theirs.one" in str(caught.value)
    assert "others.two" in str(caught.value)


def test_an_old_name_of_an_entry_is_not_to_be_had_again(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(install({"attacks": {"canary": "theirs.margin_step:MarginStep"}}, FILES), monkeypatch)
    with pytest.raises(BrokenPlugin, match="'canary' is an old name of 'canary-exposure'"):
        registry.find("attacks", "canary").load()


FOLDERS = {
    "attacks": "attacks",
    "defenses": "defenses",
    "leaderboards": "leaderboards",
    "scenarios": "suite/scenarios",
    "metrics": "suite/metrics",
    "scorers": "suite/evaluation/scorers",
}


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_file_of_the_package_is_an_entry_that_loads(kind: str) -> None:
    stems = {path.stem for path in (ROOT / FOLDERS[kind]).rglob("*.py") if path.stem[0] != "_"}
    entries = registry.entries(kind)
    assert set(entries) == {stem.replace("_", "-") for stem in stems}
    for name, entry in entries.items():
        assert entry.summary().endswith((".", "?")), f"{name}: a file starts with one sentence"
        assert entry.load().name == name


@pytest.mark.parametrize(
    ("typed", "nearest"), [("fgms", "fgsm"), ("PGD", "pgd"), ("apgd_ce", "apgd-ce")]
)
def test_an_unknown_name_gets_the_nearest_one(typed: str, nearest: str) -> None:
    with pytest.raises(UnknownName, match=f"no attack named '{typed}'. Did you mean '{nearest}'"):
        registry.find("attacks", typed)


def test_names_are_split_from_their_settings() -> None:
    assert registry.split_name("ard") == ("ard", None, "")
    assert registry.split_name("ard:alpha=.9,steps=3") == ("ard", None, "alpha=.9,steps=3")
    assert registry.split_name("art:ZooAttack") == ("art", "ZooAttack", "")
    assert registry.split_name("art:ZooAttack:x=1") == ("art", "ZooAttack", "x=1")
