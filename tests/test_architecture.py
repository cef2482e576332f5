"""The house keeps its own rules: floors, names, sizes, and who may import what."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("suite", "attacks", "defenses", "leaderboards")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"}
DRAWS_IN_PLACE = {"uniform_", "normal_", "random_", "bernoulli_", "exponential_"}
SEEDING = {"manual_seed", "manual_seed_all", "seed_all", "set_rng_state", "default_generator"}
# Networks take their first weights from the global generator, and the libraries behind the bridges
# draw from it; both do so inside of a fork.
MAY_SEED = {"suite/models/factory.py", "suite/core/seed.py", "suite/integrations"}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """The first word of every import in a file, wherever in the file it stands."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def dotted(node: ast.expr) -> str:
    """``torch.rand`` for the expression that calls it; empty for what is no name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def test_the_build_map_names_every_package() -> None:
    mapping = SETTINGS["tool"]["setuptools"]["package-dir"]
    folders = {name: ROOT / folder for name, folder in mapping.items()}
    found = set()
    for name, folder in folders.items():
        for init in folder.rglob("__init__.py"):
            found.add(".".join((name, *init.parent.relative_to(folder).parts)))
    assert sorted(found) == SETTINGS["tool"]["setuptools"]["packages"]


def test_every_folder_with_code_is_a_package() -> None:
    assert {path.parent for path in SOURCES} == {
        path.parent for path in SOURCES if path.name == "__init__.py"
    }


def test_imports_go_strictly_down_and_islands_do_not_see_each_other(tmp_path: Path) -> None:
    """Asked of the folders put together as they are installed, however they are installed here."""
    house = tmp_path / "robustbench_kd"
    house.mkdir()
    for room in (ROOT / "suite").iterdir():
        (house / room.name).symlink_to(room)
    for room in ROOMS[1:]:
        (house / room).symlink_to(ROOT / room)
    code = (
        "import sys; from importlinter.cli import lint_imports\n"
        "sys.exit(lint_imports(config_filename=sys.argv[1], no_cache=True))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "pyproject.toml")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 broken" in ran.stdout


def test_every_module_stands_on_a_floor() -> None:
    layers = SETTINGS["tool"]["importlinter"]["contracts"][0]["layers"]
    floors = {room.strip() for layer in layers for room in re.split(r"[|:]", layer)}
    rooms = {path.stem for path in (ROOT / "suite").glob("*.py")} - {"__init__"}
    rooms |= {path.parent.name for path in (ROOT / "suite").glob("*/__init__.py")}
    rooms |= {"attacks", "defenses", "leaderboards"}
    assert {f"robustbench_kd.{room}" for room in rooms} <= floors


@pytest.mark.parametrize(
    "asked",
    [
        "import robustbench_kd",
        "from robustbench_kd.core import registry\n"
        "for kind in registry.KINDS: [e.summary() for e in registry.entries(kind).values()]",
        "from click.testing import CliRunner\n"
        "from robustbench_kd.cli.main import main\n"
        "ran = CliRunner().invoke(main, ['leaderboard', 'digits-linf'])\n"
        "assert ran.exit_code == 0 and 'rslad' in ran.stdout, ran.output",
    ],
    ids=["the package", "the catalogue", "a ranking"],
)
def test_listing_and_ranking_import_neither_torch_nor_pandas(asked: str) -> None:
    heavy = "[m for m in ('torch', 'pandas', 'sklearn', 'timm') if m in sys.modules]"
    code = f"import sys\n{asked}\nprint({heavy})"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_randomness_is_passed_and_named(path: Path) -> None:
    """Every draw names its generator, and nobody seeds a global one."""
    may_seed = any(named(path).startswith(allowed) for allowed in MAY_SEED)
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        last = name.rpartition(".")[2]
        draws = (name.startswith("torch.") and last in DRAWS) or last in DRAWS_IN_PLACE
        passed = {keyword.arg for keyword in node.keywords}
        where = f"{named(path)}:{node.lineno}: {name}"
        assert not draws or "generator" in passed, f"{where} draws from the global generator"
        assert may_seed or not SEEDING & set(name.split(".")), f"{where} seeds a generator"
        foreign = name.startswith(("random.", "np.random.", "numpy.random."))
        blind = name.startswith("torch.rand") and last.endswith("_like")  # takes no generator
        assert may_seed or not (foreign or blind), f"{where} draws from a global generator"


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("torchattacks", ("suite/integrations/",)),
        ("opacus", ("suite/integrations/opacus.py",)),
        ("transformers", ("suite/integrations/", "suite/models/kv_cache.py")),
        ("tokenizers", ("suite/integrations/transformers.py",)),
        ("diffusers", ("suite/integrations/diffusers.py",)),
        ("jinja2", ("suite/reports/",)),
        ("art", ("suite/integrations/",)),
        ("timm", ("suite/integrations/",)),
        ("pandas", ("suite/reports/",)),
        ("matplotlib", ("suite/reports/figures.py",)),
        ("click", ("suite/cli/",)),
        ("rich", ("suite/cli/", "suite/reports/")),
    ],
)
def test_a_library_has_one_importer(library: str, home: tuple[str, ...]) -> None:
    users = {named(path) for path in SOURCES if library in imported(path)}
    assert all(user.startswith(home) for user in users), users


def test_nothing_is_unpickled() -> None:
    """Checkpoints load through safetensors, or by torch with ``weights_only=True``."""
    for path in SOURCES:
        assert not {"pickle", "dill", "joblib", "cloudpickle"} & set(imported(path)), path
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and dotted(node.func) == "torch.load":
                safe = {k.arg: ast.unparse(k.value) for k in node.keywords}.get("weights_only")
                assert safe == "True", f"{named(path)}:{node.lineno}"
            if isinstance(node, ast.Call) and dotted(node.func) in ("np.load", "numpy.load"):
                closed = {k.arg: ast.unparse(k.value) for k in node.keywords}.get("allow_pickle")
                assert closed == "False", f"{named(path)}:{node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_what_is_public_says_what_it_does(path: Path) -> None:
    for node in tree(path).body:
        public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
        if public:
            assert ast.get_docstring(node), f"{named(path)}: {node.name} has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_no_file_is_longer_than_three_hundred_and_fifty_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def methods(node: ast.ClassDef) -> set[str]:
    """The public methods that a class writes down; properties are none."""
    return {
        part.name
        for part in node.body
        if isinstance(part, ast.FunctionDef)
        and part.name[0] != "_"
        and not any("property" in ast.unparse(mark) for mark in part.decorator_list)
    }


def test_no_class_adds_more_than_five_public_methods_to_its_bases() -> None:
    classes = {
        node.name: node
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
    }

    def inherited(node: ast.ClassDef) -> set[str]:
        bases = [classes[name] for base in node.bases if (name := dotted(base)) in classes]
        return set().union(*(methods(base) | inherited(base) for base in bases))

    for node in classes.values():
        own = methods(node) - inherited(node)
        assert len(own) <= 5, f"{node.name} adds {sorted(own)}"


def test_no_file_is_above_three_megabytes() -> None:
    for room in (*ROOMS, "tests"):
        for path in (ROOT / room).rglob("*"):
            assert not path.is_file() or path.stat().st_size <= 3e6, path
