"""A walk through the commands on the digits, and every way in which they refuse."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner, Result

import robustbench_kd
from robustbench_kd.cli import main
from robustbench_kd.core import registry
from robustbench_kd.core.paths import cache
from robustbench_kd.results.store import load_record, load_records

BOARD = ("--board", "digits-linf")
STUDENT = ("--defense", "labels", "--seed", "7", *BOARD)  # a seed that never ships
ASKED = (*BOARD, "--attack", "fgsm", "--limit", "60")
QUICK = ("evaluate", "--defense", "labels", "--seed", "7", *ASKED)
EVERY = [(kind, name) for kind in registry.KINDS for name in registry.entries(kind)]


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def said(ran: Result) -> Any:
    """The document of a ``--json`` command; there is nothing else on stdout."""
    return json.loads(ran.stdout)


def refused(ran: Result, code: int, words: str) -> None:
    """One sentence on stderr, no traceback, and this code."""
    assert ran.exit_code == code, ran.output
    assert ran.stderr.startswith("robustbench-kd: ")
    assert words in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stdout == ""


def left() -> list[Path]:
    return [path for path in cache().rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache after ``train``: one student of the digits."""
    folder = tmp_path_factory.mktemp("school")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTBENCH_KD_CACHE", str(folder))
        ran = run("train", *STUDENT, "--json")
    assert ran.exit_code == 0, ran.output
    assert Path(said(ran)["path"]).is_file()
    return folder


@pytest.fixture
def student(school: Path, own_cache: Path) -> Path:
    """The student in the cache of this test."""
    shutil.copytree(school, own_cache)
    return next((own_cache / "nets").glob("*.safetensors"))


@pytest.mark.parametrize("asked", [["--help"], ["list"], ["list", "--json"], ["--version"]])
def test_help_and_list_take_no_time_and_import_nothing_heavy(asked: list[str]) -> None:
    code = (
        "import sys, time\n"
        "from robustbench_kd.cli.main import main\n"
        "try: main()\n"
        "finally:\n"
        "    heavy = [m for m in ('torch', 'numpy', 'pandas') if m in sys.modules]\n"
        "    print(time.process_time(), heavy, file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *asked], capture_output=True, text=True, check=True, timeout=60
    )
    seconds, _, heavy = ran.stderr.strip().partition(" ")
    assert heavy == "[]"
    assert float(seconds) < 0.5


def test_help_names_every_exit_code() -> None:
    words = run("--help").stdout
    for code in ("0", "1", "2", "4", "5", "6", "130"):
        assert f"\n    {code} " in words


def test_list_names_everything_there_is() -> None:
    text, found = run("list").stdout, said(run("list", "--json"))
    for kind, name in EVERY:
        assert name in text
        assert name in [item["name"] for item in found[kind]]
    assert "fgsm" not in run("list", "defenses").stdout


def test_a_broken_plug_in_is_listed_with_its_error_and_fails_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = "robustbench_kd.attacks"
    points = [
        EntryPoint("crooked", "a_module_that_is_not_here:Attack", group),
        EntryPoint("square", "another.maker:Square", group),
    ]
    monkeypatch.setattr(
        registry, "entry_points", lambda group: points if group.endswith("attacks") else []
    )
    items = {item["name"]: item for item in said(run("list", "attacks", "--json"))["attacks"]}
    assert "a_module_that_is_not_here" in items["crooked"]["error"]
    assert "two attacks are called 'square'" in items["square"]["error"]
    assert items["fgsm"]["error"] is None
    assert "BROKEN: attack 'crooked'" in run("list").stdout
    assert run("show", "fgsm").exit_code == 0
    refused(run("show", "crooked"), 2, "cannot be imported: ModuleNotFoundError")


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_show_tells_what_there_is_to_know(kind: str, name: str) -> None:
    ran = run("show", name)
    assert ran.exit_code == 0, ran.output
    facts = next(f for f in said(run("show", name, "--json"))["entries"] if f["kind"] in kind)
    if kind == "defenses":
        assert facts["formula"] in ran.stdout
    if kind in ("attacks", "defenses"):
        assert facts["source"]
        assert all(f"{setting['name']}=" in ran.stdout for setting in facts["settings"])
    if kind == "leaderboards":
        assert len(facts["panel"]) > 0


def test_evaluate_prints_a_row_keeps_its_record_and_answers_again_at_once(student: Path) -> None:
    first = run(*QUICK, "--json")
    assert first.exit_code == 0, first.output
    found = said(first)
    record = load_record(Path(found["path"]))
    assert found["record"] == record.json()
    assert found["row"]["attacks"]["fgsm"]["hits"] == record.worst.hits
    assert found["row"]["yours"]
    stages = first.stderr.splitlines()
    assert [stage.split()[0] for stage in stages] == ["untouched", "fgsm", "health", "done"]

    cells = {path: path.stat().st_mtime_ns for path in (cache() / "cells").iterdir()}
    again = run(*QUICK)
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime_ns for path in (cache() / "cells").iterdir()} == cells
    assert load_record(Path(found["path"])).claim == record.claim
    assert str(record.worst) in again.stdout
    assert f"robustbench-kd verify {found['path']}" in again.stdout
    assert "a reduced run: the first 60 images only" in again.stdout


def test_the_whole_panel_stands_on_the_board(student: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run("evaluate", *STUDENT, "--out", out, "--json")
    assert ran.exit_code == 0, ran.output
    row = said(ran)["row"]
    assert row["rank"]["best"] >= 1
    assert row["robust"]["hits"] <= min(share["hits"] for share in row["attacks"].values())
    path = Path(said(ran)["path"])
    assert path.is_relative_to(out)

    ran = run("verify", out, "--json")
    assert ran.exit_code == 0, ran.output
    assert said(ran)["records"][0]["robust"] == row["robust"]["hits"]

    table = run("leaderboard", "digits-linf", "--records", out)
    assert "labels" in table.stdout
    for form in ("csv", "markdown", "latex", "json"):
        ran = run("leaderboard", "digits-linf", "--records", out, "--format", form)
        assert "labels" in ran.stdout, ran.output
    assert said(ran)["rows"][0]["rank"] == {"best": 1, "last": 1}
    assert "labels" in run("leaderboard", "digits-linf").stdout  # kept in the cache as well

    same = run("compare", path, "labels@7", *BOARD)
    assert same.exit_code == 0, same.output
    assert "lost 0, won 0 of 500" in same.stdout


def test_a_network_of_ones_own_stands_beside_the_others_and_verifies(student: Path) -> None:
    model = ("--model", student, "--net", "plain")
    ran = run("evaluate", *model, *ASKED, "--name", "mine", "--json")
    assert ran.exit_code == 0, ran.output
    assert (said(ran)["row"]["defense"], said(ran)["row"]["yours"]) == ("mine", True)
    path = said(ran)["path"]
    refused(run("verify", path), 2, "give it by --model")
    assert run("verify", path, *model).stdout.startswith("confirmed: ")


def test_another_radius_is_tried_on_the_same_student_and_never_ranked(student: Path) -> None:
    near, far = (said(run(*QUICK, "--eps", eps, "--json"))["record"] for eps in ("0.001", "0.3"))
    assert (near["threat"]["eps"], far["threat"]["eps"]) == (0.001, 0.3)
    assert near["model"] == far["model"]
    assert near["robust"]["hits"] > far["robust"]["hits"]


def test_a_limit_beyond_the_slice_is_none_and_a_part_of_the_panel_is_not_ranked(
    student: Path,
) -> None:
    ran = run("evaluate", *STUDENT, "--attack", "fgsm", "--limit", "5000", "--json")
    assert said(ran)["record"]["limit"] is None
    assert said(ran)["row"]["reason"] == "another panel of attacks: untouched, fgsm"
    committed = {record.label for record in load_records(board="digits-linf")}
    assert said(ran)["rows"] == len(committed)


def test_verify_refutes_changed_evidence(student: Path) -> None:
    path = Path(said(run(*QUICK, "--json"))["path"])
    evidence = bytearray(path.with_suffix(".safetensors").read_bytes())
    evidence[-1] ^= 1
    path.with_suffix(".safetensors").write_bytes(evidence)
    ran = run("verify", path)
    assert (ran.exit_code, ran.stderr) == (1, "")
    assert ran.stdout.startswith("REFUTED: the evidence beside")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["evaluete"], "Did you mean 'evaluate'?"),
        (["evaluate"], "give either --defense or --model"),
        (["evaluate", "--defense", "ard", "--model", "a:b"], "give either"),
        (["evaluate", "--defense", "ard", "--net", "plain"], "about --model"),
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
        ([*QUICK, "--attack", "fgms"], "Did you mean 'fgsm'?"),
        ([*QUICK, "--attack", "pgd:eps=-1"], "at least 0, not -1"),
        ([*QUICK, "--attack", "pgd:step=0.2"], "not above eps (0.1), not 0.2"),
        ([*QUICK, "--attack", "pgd:steps=0"], "at least one step"),
        ([*QUICK, "--attack", "pgd:steps=x"], "must be a whole number, not 'x'"),
        ([*QUICK, "--limit", "0"], "an empty slice proves nothing"),
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
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_no_file(args: list[str], words: str) -> None:
    refused(run(*args), 2, words)
    assert left() == []


def test_a_checkpoint_of_another_architecture_is_refused(student: Path) -> None:
    ran = run("evaluate", "--model", student, "--net", "resnet-16-32", *BOARD)
    refused(ran, 2, "does not fit resnet-16-32: 'head.weight' has shape (10, 16)")


def test_an_empty_board_is_told_apart_from_a_wrong_one(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    ran = run("leaderboard", "fashion-linf", "--records", tmp_path / "none")
    refused(ran, 5, "there is no record of fashion-linf")
    refused(run("verify", tmp_path / "none"), 5, "there is no record")


def test_errors_are_json_where_json_was_asked_for() -> None:
    ran = run("show", "argd", "--json")
    assert ran.exit_code == 2
    assert said(ran)["ok"] is False
    assert (said(ran)["kind"], said(ran)["command"]) == ("UnknownName", "show")
    assert said(ran)["error"] in ran.stderr
    assert said(run("evaluate", "--jsom", "--json"))["kind"] == "Usage"


def full(*args: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_a_failed_save_and_leaves_nothing_half_written(
    student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = left()
    monkeypatch.setattr("os.fsync", full)
    ran = run(*QUICK)
    assert ran.exit_code == 6
    assert "No space left on device" in ran.stderr.splitlines()[-1]
    assert left() == before


def test_a_full_disk_in_training_is_a_failed_save(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", full)
    ran = run("train", *STUDENT)
    assert ran.exit_code == 6
    assert "No space left on device" in ran.stderr.splitlines()[-1]
    assert left() == []


@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_an_unwritable_folder_is_refused_before_anything_is_spent(
    command: str, student: Path, tmp_path: Path
) -> None:
    before = left()
    (tmp_path / "file").write_text("in the way")
    refused(run(command, *STUDENT, "--out", tmp_path / "file" / "x"), 6, "is not a folder")
    assert left() == before


def test_an_interruption_has_its_own_code_and_says_what_is_kept(
    student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("robustbench_kd.evaluation.pipeline.checked", stop)
    ran = run(*QUICK)
    assert ran.exit_code == 130
    assert "finished attacks and epochs are kept" in ran.stderr
    assert len(list((cache() / "cells").iterdir())) == 2


def test_the_public_surface_is_all_there() -> None:
    for name in (*robustbench_kd.__all__, "__version__"):
        assert getattr(robustbench_kd, name) is not None
    assert set(robustbench_kd.__all__) <= set(dir(robustbench_kd))
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        robustbench_kd.evaluat  # noqa: B018
