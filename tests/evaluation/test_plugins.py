"""A new method is a file: listed, under every law, and on a leaderboard, with no other change."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import lawbreakers
import pytest
from lawbreakers import BROKEN_LAWS

from robustbench_kd.core import registry
from robustbench_kd.core.errors import BrokenPlugin, UnknownName

ROOT = Path(__file__).parents[2]
Install = Callable[..., Path]

SCENARIO = '''\
"""Which half of an image is the brighter one?"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from robustbench_kd.models.factory import Shape
from robustbench_kd.scenarios._image_classification import ImageScenario, nothing, packed
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.types import Splits


@dataclass(frozen=True)
class Halves(ImageScenario):
    """Drawn, never loaded."""

    name: ClassVar[str] = "halves"
    edition: ClassVar[str] = "1"
    shape: ClassVar[Shape] = Shape(1, 8, 2, (0.5,), (0.3,))
    nets: ClassVar[dict[str, str]] = {"plain": "resnet-4", "teacher": "resnet-8"}
    budget: ClassVar[Budget] = Budget("linf", 0.1)
    teaching: ClassVar[dict[str, Schedule]] = {"robust": Schedule(epochs=3, batch=32)}

    def splits(self, seed: Seed, *, whole: bool) -> Splits:
        noise = (Seed() / "halves").generator()
        labels = torch.arange(300) % 2
        images = torch.randint(0, 11, (300, 8, 8), generator=noise)
        images[labels == 0, :, :4] += 6
        images[labels == 1, :, 4:] += 6
        every = packed(images.numpy().astype(np.uint8), labels.numpy(), 0, 16, 2)
        test = every.take(torch.arange(60))
        if not whole:
            return Splits(nothing(test), nothing(test), test)
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
    panel=("untouched", "margin-step", "fgsm"),
    defenses=("labels", "noisy-distillation"),
    schedule=Schedule(epochs=4, batch=32),
)
'''
POINTS = {
    "attacks": {"margin-step": "theirs.margin_step:MarginStep"},
    "defenses": {"noisy-distillation": "theirs.noisy_distillation:NoisyDistillation"},
    "scenarios": {"halves": "theirs.halves:Halves"},
    "leaderboards": {"halves-linf": "theirs.halves_linf:HALVES"},
}


def from_readme() -> dict[str, str]:
    """The files that the README shows whole, by their names."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n# \S*/(\w+\.py)\n(.*?)```", text, re.DOTALL)
    return dict(blocks)


def put(
    site: Path,
    points: Mapping[str, Mapping[str, str]],
    files: Mapping[str, str],
    name: str = "theirs",
) -> Path:
    """Installs a distribution into a folder: modules, and a dist-info with entry points."""
    (site / name).mkdir(parents=True)
    (site / name / "__init__.py").touch()
    for file, text in files.items():
        (site / name / file).write_text(text, encoding="utf-8")
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        f"[robustbench_kd.{kind}]\n" + "".join(f"{k} = {v}\n" for k, v in named.items())
        for kind, named in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return site


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    """Installs into a folder of the test, and forgets the modules afterwards."""
    modules = set(sys.modules)
    yield partial(put, tmp_path / "site")
    for module in set(sys.modules) - modules:
        if module.partition(".")[0] in ("theirs", "others"):
            del sys.modules[module]


def seen(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()


def run(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


FILES = {**from_readme(), "halves.py": SCENARIO, "halves_linf.py": BOARD}


def test_the_readme_shows_a_whole_attack_and_a_whole_defense() -> None:
    assert from_readme().keys() == {"margin_step.py", "noisy_distillation.py"}


def test_a_new_file_of_each_kind_is_listed_beside_ours(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {kind: set(registry.entries(kind)) for kind in registry.KINDS}
    seen(install(POINTS, FILES), monkeypatch)
    for kind, named in POINTS.items():
        entries = registry.entries(kind)
        assert set(entries) - before[kind] == set(named)
        assert list(entries) == sorted(entries)
        for name in named:
            entry = registry.find(kind, name)
            assert entry.load().name == name
            assert entry.summary() == f"from {entry.module}"


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The laws as they were tried on good and on bad plug-ins: by outcome, ``law[name...]``.

    The laws are asked for by the new names, in a process of its own; no test was touched for them.
    """
    bad = {
        kind: {name: f"theirs.bad_{kind}:{name.title()}" for name in named}
        for kind, named in BROKEN_LAWS.items()
    }
    points = {kind: {**named, **bad.get(kind, {})} for kind, named in POINTS.items()}
    files = {"bad_attacks.py": lawbreakers.ATTACKS, "bad_defenses.py": lawbreakers.DEFENSES}
    site = put(tmp_path_factory.mktemp("site"), points, {**FILES, **files})
    names = " or ".join(name for named in points.values() for name in named)
    told = run(
        site, "-m", "pytest", "tests/contracts", "-n0", "-q", "-rA", "--tb=no", "-k", names
    ).stdout
    outcomes: dict[str, set[str]] = {"PASSED": set(), "FAILED": set(), "ERROR": set()}
    for outcome, law in re.findall(r"^(PASSED|FAILED|ERROR) \S+::(\S+)", told, re.MULTILINE):
        outcomes[outcome].add(law)
    assert outcomes["PASSED"], told
    return outcomes


def test_a_new_file_of_each_kind_is_under_every_law_and_keeps_it(
    tried: dict[str, set[str]],
) -> None:
    for kind, named in POINTS.items():
        (name,) = named
        kind = {"leaderboards": "board"}.get(kind, kind[:-1])
        text = (ROOT / "tests" / "laws" / f"test_{kind}_laws.py").read_text(encoding="utf-8")
        # The new defense is a recipe, so the law of repairs is not about it.
        laws = set(re.findall(r"^def (test_(?!a_repair)\w+)", text, re.MULTILINE))
        mine = {law for law in tried["PASSED"] if re.search(rf"[\[-]{name}[\]-]", law)}
        assert laws <= {law.partition("[")[0] for law in mine}
        assert len(laws) >= 4
        broken = tried["FAILED"] | tried["ERROR"]
        assert not {law for law in broken if re.search(rf"[\[-]{name}[\]-]", law)}


@pytest.mark.parametrize(
    ("name", "law"), [pair for named in BROKEN_LAWS.values() for pair in named.items()]
)
def test_a_new_file_that_breaks_a_law_is_caught_by_it(
    name: str, law: str, tried: dict[str, set[str]]
) -> None:
    assert f"{law}[{name}]" in tried["FAILED"]


def test_new_files_make_a_row_on_a_new_leaderboard(install: Install, tmp_path: Path) -> None:
    """Trained by the new defense on the new ground, and tried by the new attack."""
    site, out = install(POINTS, FILES), tmp_path / "out"
    code = (
        "import sys, pathlib, robustbench_kd as r\n"
        f"out = pathlib.Path({str(out)!r})\n"
        "record = r.evaluate('noisy-distillation', board='halves-linf', train=True, out=out)\n"
        "assert [cell.attack for cell in record.cells] == ['untouched', 'margin-step', 'fgsm']\n"
        "assert record.clean.hits > 50 and record.clean.count == 60, record.clean\n"
        "(path,) = out.rglob('*.json')\n"
        "assert r.verify(path).robust == record.worst.hits\n"
        "print(record.board, record.label)\n"
    )
    ran = run(site, "-c", code)
    assert ran.stdout == "halves-linf noisy-distillation\n", ran.stderr


@pytest.mark.parametrize("kind", registry.KINDS)
def test_a_broken_plug_in_is_listed_and_fails_only_when_it_is_asked_for(
    kind: str, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {kind: {"broken": "theirs.broken:Nothing", "absent": "theirs.empty:Nothing"}}
    files = {"broken.py": "raise ValueError('it needs a licence')\n", "empty.py": ""}
    seen(install(points, files), monkeypatch)
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


def test_a_name_that_is_ours_already_is_nobodys_and_both_owners_are_named(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(install({"attacks": {"fgsm": "theirs.margin_step:MarginStep"}}, FILES), monkeypatch)
    with pytest.raises(BrokenPlugin, match="two attacks are called 'fgsm'") as caught:
        registry.find("attacks", "fgsm").load()
    assert "robustbench_kd.attacks.evasion.fgsm" in str(caught.value)
    assert "theirs.margin_step" in str(caught.value)
    assert registry.find("attacks", "pgd").load().name == "pgd", "the others are not affected"


def test_a_name_that_two_others_claim_is_nobodys_and_both_owners_are_named(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen(install({"defenses": {"same": "theirs.one:One"}}, {}), monkeypatch)
    (tmp_path / "site").rename(tmp_path / "first")
    seen(tmp_path / "first", monkeypatch)
    seen(install({"defenses": {"same": "others.two:Two"}}, {}, name="others"), monkeypatch)
    with pytest.raises(BrokenPlugin, match="two defenses are called 'same'") as caught:
        registry.find("defenses", "same").load()
    assert "theirs.one" in str(caught.value)
    assert "others.two" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "room", "aside"),
    [
        ("attacks", "attacks", set()),
        ("defenses", "defenses", set()),
        ("leaderboards", "leaderboards", set()),
        ("scenarios", "suite/scenarios", {"images"}),
    ],
)
def test_every_file_of_ours_is_an_entry_that_loads(kind: str, room: str, aside: set[str]) -> None:
    files = {p.stem for p in (ROOT / room).rglob("*.py") if p.stem[0] != "_"} - aside
    entries = registry.entries(kind)
    assert set(entries) == {stem.replace("_", "-") for stem in files}
    for name, entry in entries.items():
        assert entry.summary().endswith("."), f"{name}: a file starts with one sentence"
        assert entry.load().name == name


@pytest.mark.parametrize(
    ("typed", "meant"), [("fgms", "fgsm"), ("PGD", "pgd"), ("apgd_ce", "apgd-ce")]
)
def test_an_unknown_name_gets_the_nearest_one(typed: str, meant: str) -> None:
    with pytest.raises(UnknownName, match=f"no attack named '{typed}'. Did you mean '{meant}'"):
        registry.find("attacks", typed)


def test_names_are_split_from_their_settings() -> None:
    assert registry.split_name("ard") == ("ard", None, "")
    assert registry.split_name("ard:alpha=.9,steps=3") == ("ard", None, "alpha=.9,steps=3")
    assert registry.split_name("art:ZooAttack") == ("art", "ZooAttack", "")
    assert registry.split_name("art:ZooAttack:x=1") == ("art", "ZooAttack", "x=1")
