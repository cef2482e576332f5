"""The architecture holds: layers, packages, sizes, randomness, and who imports which library."""

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
FOLDERS = ("suite", "attacks", "defenses", "leaderboards")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
LAYERS = """
cli : pytest_plugin
reports : regression
evaluation
attacks | defenses | scenarios | metrics | leaderboards
training : integrations : models : results
ops : core
"""
"""The layers, the highest first; siblings parted by ``|`` do not see each other, by ``:`` may."""
DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"}
DRAWS_IN_PLACE = {"uniform_", "normal_", "random_", "bernoulli_", "exponential_"}
SEEDING = {"manual_seed", "manual_seed_all", "seed_all", "set_rng_state", "default_generator"}
# Networks take their first weights from the global generator, and integrated libraries draw from
# it; both do so inside of a fork.
MAY_SEED = {"suite/models/factory.py", "suite/core/seed.py", "suite/integrations"}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """The top-level package of every import in a file, wherever in the file it stands."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and dotted(node.func).endswith("import_module"):
            yield from (
                arg.value.partition(".")[0]
                for arg in node.args
                if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            )


def dotted(node: ast.expr) -> str:
    """``torch.rand`` for the expression that calls it; empty for what is no name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def test_the_build_map_names_every_package() -> None:
    mapping = SETTINGS["tool"]["setuptools"]["package-dir"]
    packages = {
        ".".join((name, *init.parent.relative_to(ROOT / folder).parts))
        for name, folder in mapping.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert sorted(packages) == SETTINGS["tool"]["setuptools"]["packages"]


def test_every_folder_with_code_is_a_package() -> None:
    assert {path.parent for path in SOURCES} == {
        path.parent for path in SOURCES if path.name == "__init__.py"
    }


def test_there_are_six_layers_as_designed() -> None:
    layers = SETTINGS["tool"]["importlinter"]["contracts"][0]["layers"]
    designed = LAYERS.strip().splitlines()
    assert [layer.replace("robustbench_kd.", "") for layer in layers] == designed
    assert len(layers) == 6


def test_every_module_is_in_a_layer() -> None:
    names = set(re.findall(r"\w+", LAYERS))
    modules = {path.stem for path in (ROOT / "suite").glob("*.py")} - {"__init__"}
    modules |= {path.parent.name for path in (ROOT / "suite").glob("*/__init__.py")}
    assert modules | {"attacks", "defenses", "leaderboards"} == names


def test_imports_go_strictly_down_and_siblings_do_not_see_each_other(tmp_path: Path) -> None:
    """The folders are put together as they are installed, however they are installed here."""
    package = tmp_path / "robustbench_kd"
    package.mkdir()
    for part in (ROOT / "suite").iterdir():
        (package / part.name).symlink_to(part)
    for folder in FOLDERS[1:]:
        (package / folder).symlink_to(ROOT / folder)
    code = (
        "import sys; from importlinter.cli import lint_imports\n"
        "sys.exit(lint_imports(config_filename=sys.argv[1], no_cache=True))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "pyproject.toml")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def test_the_import_package_is_short_to_list() -> None:
    listed = [path for path in (ROOT / "suite").iterdir() if path.name != "__pycache__"]
    assert len([path for path in listed if path.is_dir()]) <= 12
    assert len([path for path in listed if path.suffix == ".py"]) <= 3


@pytest.mark.parametrize(
    "action",
    [
        "import robustbench_kd",
        "from robustbench_kd.core import registry\n"
        "for kind in registry.KINDS: [e.summary() for e in registry.entries(kind).values()]",
        "from click.testing import CliRunner\n"
        "from robustbench_kd.cli.main import main\n"
        "result = CliRunner().invoke(main, ['leaderboard', 'digits-linf'])\n"
        "assert result.exit_code == 0 and 'rslad' in result.stdout, result.output",
    ],
    ids=["the package", "the registry", "a ranking"],
)
def test_listing_and_ranking_import_neither_torch_nor_pandas(action: str) -> None:
    heavy = "[m for m in ('torch', 'pandas', 'sklearn', 'timm') if m in sys.modules]"
    code = f"import sys\n{action}\nprint({heavy})"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"


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
    ("library", "importers"),
    [
        ("art", {"suite/integrations/art.py"}),
        ("torchattacks", {"suite/integrations/torchattacks.py"}),
        ("timm", {"suite/integrations/timm.py"}),
        ("opacus", {"suite/integrations/opacus.py"}),
        ("diffusers", {"suite/integrations/diffusers.py"}),
        ("tokenizers", {"suite/integrations/transformers.py"}),
        (
            "transformers",
            {
                "suite/integrations/diffusers.py",  # text encoders of pipelines
                "suite/integrations/transformers.py",
                "suite/models/kv_cache.py",  # the class of cache that language models take
            },
        ),
        ("jinja2", {"suite/reports/html_page.py"}),
        ("matplotlib", {"suite/reports/drawing.py"}),
        ("pandas", {"suite/reports/formats/dataframe.py"}),
        ("pymoo", {"suite/training/nsga2.py"}),
        ("scipy", {"suite/training/subnet_predictor.py"}),
        ("sklearn", {"suite/scenarios/digits.py", "suite/training/subnet_predictor.py"}),
        ("torchvision", {"suite/scenarios/fashion_mnist.py"}),
        ("pytest", {"suite/pytest_plugin.py"}),
    ],
)
def test_a_library_has_one_importer(library: str, importers: set[str]) -> None:
    assert {named(path) for path in SOURCES if library in imported(path)} == importers


@pytest.mark.parametrize(
    ("library", "folders"), [("click", ("suite/cli/",)), ("rich", ("suite/cli/", "suite/reports/"))]
)
def test_only_what_people_see_imports_the_terminal(library: str, folders: tuple[str, ...]) -> None:
    users = {named(path) for path in SOURCES if library in imported(path)}
    assert users
    assert all(user.startswith(folders) for user in users), users


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
def test_every_module_and_public_name_has_a_docstring(path: Path) -> None:
    module = tree(path)
    assert ast.get_docstring(module) or not module.body, named(path)
    for node in module.body:
        public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
        if public:
            assert ast.get_docstring(node), f"{named(path)}: {node.name} has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_no_file_is_longer_than_three_hundred_and_fifty_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def methods(node: ast.ClassDef) -> set[str]:
    """The public methods that a class defines; properties are none."""
    return {
        part.name
        for part in node.body
        if isinstance(part, ast.FunctionDef)
        and part.name[0] != "_"
        and not any("property" in ast.unparse(mark) for mark in part.decorator_list)
    }


def test_no_class_adds_more_than_six_public_methods_to_its_bases_and_protocols() -> None:
    classes = {
        node.name: node
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
    }
    protocols = {
        name
        for node in tree(ROOT / "suite" / "core" / "protocols.py").body
        if isinstance(node, ast.ClassDef)
        for name in methods(node)
    }

    def inherited(node: ast.ClassDef) -> set[str]:
        bases = [classes[name] for base in node.bases if (name := dotted(base)) in classes]
        return set().union(*(methods(base) | inherited(base) for base in bases))

    for node in classes.values():
        own = methods(node) - inherited(node) - protocols
        assert len(own) <= 6, f"{node.name} adds {sorted(own)}"


def test_no_file_is_above_three_megabytes() -> None:
    for folder in (*FOLDERS, "tests"):
        for path in (ROOT / folder).rglob("*"):
            assert not path.is_file() or path.stat().st_size <= 3e6, path


def test_the_settings_of_the_tools_name_files_that_exist() -> None:
    ignores = SETTINGS["tool"]["ruff"]["lint"]["per-file-ignores"]
    assert all(list(ROOT.glob(pattern)) or list(ROOT.rglob(pattern)) for pattern in ignores)
    assert all((ROOT / folder).is_dir() for folder in SETTINGS["tool"]["ruff"]["src"])


def test_the_old_name_of_an_extra_is_kept() -> None:
    extras = SETTINGS["project"]["optional-dependencies"]
    assert extras["bridges"] == ["robustbench-kd[integrations]"]
