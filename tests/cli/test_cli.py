"""The commands on the digits, old names of them, and every way in which they refuse."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner, Result

import robustbench_kd
from robustbench_kd.cli.main import main
from robustbench_kd.core import registry
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.paths import cache, shipped
from robustbench_kd.results.store import load_records, read_record

BOARD = ("--board", "digits-linf")
STUDENT = ("--defense", "standard-training", "--seed", "7", *BOARD)  # a seed that never ships
FEW = (*BOARD, "--attack", "fgsm", "--limit", "60")
QUICK = ("evaluate", "--defense", "standard-training", "--seed", "7", *FEW)
LISTED = [kind for kind in registry.KINDS if kind != "scorers"]
EVERY = [(kind, name) for kind in LISTED for name in registry.entries(kind)]


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def document(result: Result) -> Any:
    """The document of a ``--json`` command; there is nothing else on stdout."""
    return json.loads(result.stdout)


def refused(result: Result, code: int, words: str) -> None:
    """One sentence on stderr, no traceback, and this code."""
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("robustbench-kd: ")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def cached_files() -> list[Path]:
    return [path for path in cache().rglob("*") if path.is_file()]


def outcomes() -> dict[Path, int]:
    """The stored outcomes of attacks, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in (cache() / "cells").iterdir()}


@dataclass(frozen=True)
class Evaluated:
    """A student that was trained, evaluated under the whole panel, and what the commands said."""

    cache: Path
    weights: Path
    out: Path
    train: Any
    evaluate: Any
    stages: list[str]

    @property
    def record(self) -> Path:
        (path,) = (Path(path) for path in self.evaluate["paths"])
        return path


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """``train`` and ``evaluate`` on the digits, once for all tests of this file."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTBENCH_KD_CACHE", str(folder / "cache"))
        trained = run("train", *STUDENT, "--json")
        assert trained.exit_code == 0, trained.output
        result = run("evaluate", *STUDENT, "--out", folder / "out", "--json")
        assert result.exit_code == 0, result.output
    return Evaluated(
        cache=folder / "cache",
        weights=Path(document(trained)["path"]),
        out=folder / "out",
        train=document(trained),
        evaluate=document(result),
        stages=result.stderr.splitlines(),
    )


@pytest.fixture
def student(evaluated: Evaluated, own_cache: Path) -> Path:
    """The weights of the trained student in the cache of this test, which holds nothing else."""
    shutil.copytree(evaluated.cache / "nets", own_cache / "nets")
    return own_cache / "nets" / evaluated.weights.name


@pytest.fixture
def evaluated_cache(evaluated: Evaluated, own_cache: Path) -> Evaluated:
    """All that ``train`` and ``evaluate`` stored, in the cache of this test."""
    shutil.copytree(evaluated.cache, own_cache)
    return evaluated


@pytest.mark.parametrize("args", [["--help"], ["list"], ["list", "--json"], ["--version"]])
def test_help_and_list_take_no_time_and_import_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys, time\n"
        "from robustbench_kd.cli.main import main\n"
        "try: main()\n"
        "finally:\n"
        "    heavy = [m for m in ('torch', 'numpy', 'pandas') if m in sys.modules]\n"
        "    print(time.process_time(), heavy, file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=True, timeout=60
    )
    seconds, _, heavy = result.stderr.strip().partition(" ")
    assert heavy == "[]"
    assert float(seconds) < 1.5  # about 0.4 s; twice that on a busy machine


def test_help_names_every_exit_code() -> None:
    words = run("--help").stdout
    for code in ("0", "1", "2", "3", "4", "5", "6", "130"):
        assert f"\n    {code} " in words


def test_every_command_has_a_help_text_and_says_what_each_option_is() -> None:
    for name, command in main.commands.items():
        assert command.help, name
        assert command.short_help, name


def test_list_names_everything_there_is_and_the_home_leaderboard_of_each_defense() -> None:
    text, listed = run("list").stdout, document(run("list", "--json"))
    for kind, name in EVERY:
        assert name in text
        assert name in [item["name"] for item in listed[kind]]
    for item in listed["defenses"]:
        assert item["home_board"] == registry.home_board(item["name"])
    assert "fgsm" not in run("list", "defenses").stdout


def test_a_broken_plug_in_is_listed_with_its_error_and_fails_only_when_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = {
        "robustbench_kd.attacks": [
            ("crooked", "a_module_that_is_not_here:Attack"),
            ("square", "another.maker:Square"),
        ],
        "robustbench_kd.leaderboards": [("crooked-board", "a_module_that_is_not_here:BOARD")],
    }
    monkeypatch.setattr(
        registry,
        "entry_points",
        lambda group: [EntryPoint(name, value, group) for name, value in points.get(group, [])],
    )
    listed = document(run("list", "--json"))
    items = {item["name"]: item for kind in LISTED for item in listed[kind]}
    assert "a_module_that_is_not_here" in items["crooked"]["error"]
    assert "a_module_that_is_not_here" in items["crooked-board"]["error"]
    assert "two attacks are called 'square'" in items["square"]["error"]
    assert items["fgsm"]["error"] is None
    assert "BROKEN: attack 'crooked'" in run("list").stdout
    assert run("show", "fgsm").exit_code == 0
    refused(run("show", "crooked"), 2, "cannot be imported: ModuleNotFoundError")


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_show_prints_source_formula_and_settings(kind: str, name: str) -> None:
    result = run("show", name)
    assert result.exit_code == 0, result.output
    shown = document(run("show", name, "--json"))["entries"]
    facts = next(facts for facts in shown if facts["kind"] in kind)
    if kind == "defenses":
        assert facts["formula"] in result.stdout
        assert facts["home board"] in result.stdout
    if kind in ("attacks", "defenses"):
        assert facts["source"]
        assert all(f"{setting['name']}=" in result.stdout for setting in facts["settings"])
    if kind == "leaderboards":
        assert facts["attacks"]
        assert facts["ranked by"] in facts["metrics"]


def test_evaluate_prints_the_row_of_a_record_that_is_on_disk(evaluated: Evaluated) -> None:
    record = read_record(evaluated.record)
    assert evaluated.evaluate["records"] == [record.json()]
    assert evaluated.record.is_relative_to(evaluated.out)
    (row,) = evaluated.evaluate["rows"]
    assert row["metrics"]["robust-accuracy"]["hits"] == record.worst.hits
    assert row["metrics"]["clean-accuracy"]["hits"] == record.clean.hits
    assert row["local"]
    panel = list(registry.board_of("digits-linf").attacks)
    assert list(record.attacks) == panel
    assert [stage.split()[0] for stage in evaluated.stages] == [*panel, "done"]
    per_attack = [record.bits(label, "student", "correct").share.hits for label in panel]
    assert record.worst.hits is not None
    assert record.worst.hits <= min(hits for hits in per_attack if hits is not None)


def test_evaluate_stores_finished_attacks_and_repeats_none(student: Path) -> None:
    first = run(*QUICK)
    assert first.exit_code == 0, first.output
    stored = outcomes()
    again = run(*QUICK)
    assert again.stdout == first.stdout
    assert outcomes() == stored
    (path,) = (cache() / "records").rglob("*.json")
    assert str(read_record(path).worst) in again.stdout
    assert f"robustbench-kd verify {path}" in again.stdout
    assert "a reduced run: the first 60 test samples only" in again.stdout


def test_an_evaluated_record_verifies_ranks_and_compares(evaluated_cache: Evaluated) -> None:
    verified = run("verify", evaluated_cache.out, "--json")
    assert verified.exit_code == 0, verified.output
    record = read_record(evaluated_cache.record)
    assert document(verified)["records"][0]["robust"] == record.worst.hits

    for form in ("table", "csv", "markdown", "latex", "json"):
        ranked = run(
            "leaderboard", "digits-linf", "--records", evaluated_cache.out, "--format", form
        )
        assert ranked.exit_code == 0, ranked.output
        assert "standard-training" in ranked.stdout
    assert document(ranked)["rows"][0]["rank"] == [1, 1]
    others = document(run("leaderboard", "digits-linf", "--json"))["rows"]
    assert [7] in [[seed["seed"] for seed in row["seeds"]][-1:] for row in others]

    same = run("compare", evaluated_cache.record, "standard-training@7", *BOARD)
    assert same.exit_code == 0, same.output
    assert "lost 0, won 0 of 500" in same.stdout


def test_compare_exits_1_on_a_loss_and_4_where_nothing_can_be_paired(
    evaluated_cache: Evaluated,
) -> None:
    worse = run("compare", "rslad", evaluated_cache.record, *BOARD)
    assert worse.exit_code == 1, worse.output
    assert "regressed-severe" in worse.stdout
    other = next((shipped("records") / "fashion-linf").glob("ard--seed0--*.json"))
    refused(run("compare", other, evaluated_cache.record), 4, "cannot be compared")


def test_a_network_of_ones_own_gets_a_row_and_verifies(student: Path) -> None:
    model = ("--model", student, "--net", "plain")
    result = run("evaluate", *model, *FEW, "--name", "mine", "--json")
    assert result.exit_code == 0, result.output
    (row,) = document(result)["rows"]
    assert (row["defense"], row["local"]) == ("mine", True)
    (path,) = document(result)["paths"]
    alone = run("verify", path)
    assert alone.exit_code == 2
    assert alone.stdout.startswith("not checkable here: ")
    assert "give it by --model" in alone.stdout
    assert run("verify", path, *model).stdout.startswith("confirmed: ")


def test_another_radius_attacks_the_same_student_and_never_ranks(student: Path) -> None:
    near, far = (document(run(*QUICK, "--eps", eps, "--json")) for eps in ("0.001", "0.3"))
    assert [result["records"][0]["threat"]["eps"] for result in (near, far)] == [0.001, 0.3]
    weights = {result["records"][0]["models"]["student"]["weights"] for result in (near, far)}
    assert len(weights) == 1
    hits = [result["rows"][0]["metrics"]["robust-accuracy"]["hits"] for result in (near, far)]
    assert hits[0] > hits[1]
    assert [result["rows"][0]["rank"] for result in (near, far)] == [None, None]


def test_a_limit_beyond_the_slice_is_none_and_a_part_of_the_panel_does_not_rank(
    student: Path,
) -> None:
    result = run("evaluate", *STUDENT, "--attack", "fgsm", "--limit", "5000", "--json")
    assert document(result)["records"][0]["limit"] is None
    (row,) = document(result)["rows"]
    assert row["rank"] is None
    assert row["reason"] == "another panel of attacks: fgsm"
    committed = {record.label for record in load_records(board="digits-linf")}
    assert document(result)["ranked"] == len(committed)


def test_verify_refutes_changed_evidence(evaluated_cache: Evaluated, tmp_path: Path) -> None:
    shutil.copytree(evaluated_cache.out, tmp_path / "copy")
    (inputs,) = (tmp_path / "copy").rglob("inputs--*.safetensors")
    raw = bytearray(inputs.read_bytes())
    raw[-1] ^= 1
    inputs.write_bytes(raw)
    result = run("verify", tmp_path / "copy")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.startswith("REFUTED: ")
    assert "is not the evidence" in result.stdout


class Stopped(BadSetting):
    """Raised in place of an evaluation, whose arguments are what a test is about."""


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What ``evaluate`` was called with; nothing is evaluated."""
    calls: list[dict[str, Any]] = []

    def evaluate(who: Any, **options: Any) -> NoReturn:
        calls.append({"who": who, **options})
        raise Stopped("stopped")

    monkeypatch.setattr("robustbench_kd.evaluation.pipeline.evaluate", evaluate)
    return calls


@pytest.mark.parametrize("flag", ["--wide", "--full-test"])
def test_wide_is_the_old_name_of_full_test(flag: str, arguments: list[dict[str, Any]]) -> None:
    refused(run("evaluate", "--defense", "ard", flag), 2, "stopped")
    refused(run("evaluate", "--defense", "ard"), 2, "stopped")
    assert [call["full_test"] for call in arguments] == [True, False]


def test_old_commands_run_the_new_ones(tmp_path: Path) -> None:
    for command in ("students", "subnets"):
        refused(run(command, "ard", *BOARD), 2, "trains one student, not a supernet")
    for command, kind in (("figure", "macs"), ("plot", "pareto")):
        result = run(command, kind, *BOARD, "--out", tmp_path / command)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "figure").read_bytes() == (tmp_path / "plot").read_bytes()


def test_what_was_trained_under_an_old_name_is_found(evaluated_cache: Evaluated) -> None:
    result = run("train", "--defense", "labels", "--seed", "7", *BOARD, "--json")
    assert document(result)["weights"] == evaluated_cache.train["weights"]
    assert len(list((cache() / "nets").iterdir())) == 1


def test_an_attack_typed_by_its_old_names_is_recorded_by_its_new_ones(
    evaluated_cache: Evaluated,
) -> None:
    result = run(
        "evaluate", *STUDENT, "--attack", "autoattack:form=lean", "--attack", "untouched", "--json"
    )
    assert result.exit_code == 0, result.output
    (record,) = document(result)["records"]
    assert record["panel"] == ["clean", "autoattack:version=fast"]
    assert len(outcomes()) == len(list((evaluated_cache.cache / "cells").iterdir()))


def test_an_old_schema_word_prints_the_one_schema() -> None:
    schema = json.loads(run("schema").stdout)
    assert schema["properties"]["schema"]["const"] == "robustbench-kd.record/2"
    old = run("schema", "planted")
    assert json.loads(old.stdout) == schema
    assert "one schema for all records" in old.stderr
    refused(run("schema", "nonsense"), 2, "one schema for all records")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["evaluete"], "Did you mean 'evaluate'?"),
        (["evaluate"], "give either --defense or --model"),
        (["evaluate", "--defense", "ard", "--model", "a:b"], "give either"),
        (["evaluate", "--defense", "ard", "--net", "plain"], "about --model"),
        (["evaluate", "--defense", "ard", "--wide", "--full-test"], "old name of --full-test"),
        (["leaderboard", "fashion-linf", "--told", "--oracle"], "the old name of --oracle"),
        ([*QUICK, "--attack", "autoattack:form=lean,version=fast"], "names one setting twice"),
        (["evaluate", "--defense", "art", *BOARD, "--attack", "fgsm"], "Did you mean 'ard'?"),
        (
            ["evaluate", "--defense", "ard", "--board", "fashion-linv"],
            "Did you mean 'fashion-linf'",
        ),
        (["evaluate", "--defense", "ard:alpa=1", *BOARD, "--attack", "fgsm"], "mean 'alpha'?"),
        (
            ["evaluate", "--defense", "ard:alpha=2", *BOARD, "--attack", "fgsm"],
            "must lie in [0, 1]",
        ),
        (["evaluate", "--defense", "ard:alpha", *BOARD, "--attack", "fgsm"], "name=value"),
        (["evaluate", "--defense", "nad", *BOARD], "Leaderboards that run it: fashion-backdoor"),
        ([*QUICK, "--attack", "fgms"], "Did you mean 'fgsm'?"),
        ([*QUICK, "--attack", "badnets"], "Leaderboards that run badnets: digits-backdoor"),
        ([*QUICK, "--attack", "pgd:eps=-1"], "at least 0, not -1"),
        ([*QUICK, "--attack", "pgd:step=0.2"], "at most eps (0.1), not 0.2"),
        ([*QUICK, "--attack", "pgd:steps=0"], "at least one step"),
        ([*QUICK, "--attack", "pgd:steps=x"], "must be a whole number, not 'x'"),
        ([*QUICK, "--limit", "0"], "limit must be at least 1, not 0"),
        ([*QUICK, "--eps", "-1"], "eps must be a finite number of at least 0"),
        ([*QUICK, "--eps", "nan"], "eps must be a finite number of at least 0"),
        ([*QUICK, "--seed", "-1"], "x>=0"),
        (QUICK, "add --train to train one now"),
        (["evaluate", "--model", "net.pt", *BOARD], "only safetensors are loaded"),
        (["evaluate", "--model", "nobodys:net", *BOARD], "nobodys cannot be imported"),
        (["evaluate", "--model", "gone.safetensors", "--net", "plain", *BOARD], "cannot read gone"),
        (["train"], "give either --defense or --teacher"),
        (["train", "--teacher", "wise", *BOARD], "it has: clean, robust"),
        (["verify", "gone.json"], "'gone.json' does not exist"),
        (["compare", "gone.json", "gone.json"], "cannot read gone.json"),
        (["show", "argd"], "Did you mean 'ard'?"),
        (["list", "attack"], "'attack' is not one of"),
        (["leaderboard", "fashion-linf", "--format", "html"], "'html' is not one of"),
        (["leaderboard", "fashion-linf", "--records", "gone"], "there is no folder gone"),
        (["plot", "pie", "--out", "pie.svg"], "'pie' is not one of"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_no_file(args: list[str], words: str) -> None:
    refused(run(*args), 2, words)
    assert cached_files() == []


def test_a_checkpoint_of_another_architecture_is_refused(student: Path) -> None:
    result = run("evaluate", "--model", student, "--net", "resnet-16-32", *BOARD)
    refused(result, 2, "does not fit resnet-16-32: 'head.weight' has shape (10, 16)")


def test_an_empty_leaderboard_is_another_error_than_a_wrong_one(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    result = run("leaderboard", "fashion-linf", "--records", tmp_path / "none")
    refused(result, 5, "there is no record of fashion-linf")
    refused(run("verify", tmp_path / "none"), 5, "there is no record")


def test_errors_are_json_where_json_was_requested() -> None:
    result = run("show", "argd", "--json")
    assert result.exit_code == 2
    assert document(result)["ok"] is False
    assert (document(result)["kind"], document(result)["command"]) == ("UnknownName", "show")
    assert document(result)["error"] in result.stderr
    assert document(run("evaluate", "--jsom", "--json"))["kind"] == "Usage"


def full_disk(*args: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_a_failed_save_and_leaves_nothing_half_written(
    student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cached_files()
    monkeypatch.setattr("os.fsync", full_disk)
    result = run(*QUICK)
    assert result.exit_code == 6
    assert "No space left on device" in result.stderr.splitlines()[-1]
    assert cached_files() == before


def test_a_full_disk_in_training_is_a_failed_save(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", full_disk)
    result = run("train", *STUDENT)
    assert result.exit_code == 6
    assert "No space left on device" in result.stderr.splitlines()[-1]
    assert cached_files() == []


@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_an_unwritable_folder_is_refused_before_anything_is_spent(
    command: str, student: Path, tmp_path: Path
) -> None:
    before = cached_files()
    (tmp_path / "file").write_text("in the way")
    refused(run(command, *STUDENT, "--out", tmp_path / "file" / "x"), 6, "is not a folder")
    assert cached_files() == before


def test_an_interruption_has_its_own_code_and_finished_attacks_are_kept(
    student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("robustbench_kd.evaluation.pipeline.sanity_of", stop)
    result = run(*QUICK)
    assert result.exit_code == 130
    assert "finished attacks and epochs are kept" in result.stderr
    assert len(outcomes()) == 2


def test_the_public_surface_is_all_there() -> None:
    for name in (*robustbench_kd.__all__, "__version__"):
        assert getattr(robustbench_kd, name) is not None
    assert set(robustbench_kd.__all__) <= set(dir(robustbench_kd))
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        robustbench_kd.evaluat  # noqa: B018


def test_an_internal_error_has_a_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash exited with 1 once, the code of a loss beyond the margin."""

    def crash(name: str) -> None:
        raise TypeError("\x1b[31mred")

    monkeypatch.setattr(registry, "board_of", crash)
    ran = CliRunner().invoke(main, ["leaderboard", "fashion-linf"])
    assert ran.exit_code == 7
    assert "internal error: TypeError: \\x1b[31mred; please report it" in ran.stderr
    monkeypatch.setenv("ROBUSTBENCH_KD_DEBUG", "1")
    with pytest.raises(TypeError):
        CliRunner().invoke(main, ["leaderboard", "fashion-linf"], catch_exceptions=False)


@pytest.mark.parametrize("name", ["a\n::stop-commands::x", "\x1b[2J", "", "x" * 201])
def test_a_name_is_one_line(name: str) -> None:
    nn = pytest.importorskip("torch.nn")
    with pytest.raises(BadSetting, match="a name is one line of 1 to 200 characters"):
        robustbench_kd.evaluate(nn.Flatten(), board="digits-linf", name=name)
