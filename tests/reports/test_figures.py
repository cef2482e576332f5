"""Figures: the same records draw the same bytes, and a name is text, whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from click.testing import CliRunner, Result
from ledger import first
from ledger import made as evasion
from planted import made

from robustbench_kd.cli.main import main
from robustbench_kd.core.errors import NothingEvaluated
from robustbench_kd.leaderboards.digits_backdoor import DIGITS_BACKDOOR
from robustbench_kd.metrics.backdoor_transfer import cases
from robustbench_kd.reports.figures import dose_figure, macs_figure
from robustbench_kd.results.planted import Planted
from robustbench_kd.results.record import Record
from robustbench_kd.results.store import save_planted, save_record

NASTY = "a<b>$x^2$&|\"'\\alpha_{i}"
SVG = "{http://www.w3.org/2000/svg}"
TEACHER = "teacher-clean"


def doses(label: str = "distillation", attack: str = "badnets") -> list[Planted]:
    """Three rates: the teacher learns 50, 90 and 99 of 100, the student a third of it."""
    rates = {0.01: 50, 0.05: 90, 0.1: 99}
    return [
        made(
            {TEACHER: hits, "student": hits // 3},
            attack=f"{attack}:rate={rate}",
            rate=rate,
            label=label,
        )
        for rate, hits in rates.items()
    ]


def students(name: str = "proard") -> list[Record]:
    """A family of two sizes, and a lone student."""
    small, large = evasion(name, first(40, 100)), evasion(name, first(60, 100), seed=1)
    small.model["macs"] = 300_000
    return [small, large, evasion("ard", first(50, 100))]


def words(svg: bytes) -> list[str]:
    """The text of a figure, as a reader sees it; fails where the file is no XML."""
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    return ["".join(node.itertext()).strip() for node in root.iter(f"{SVG}text")]


def drawn(records: list[Planted], title: str = "Doses") -> bytes:
    return dose_figure(title, cases(DIGITS_BACKDOOR, records))


def test_the_same_records_draw_the_same_bytes() -> None:
    assert drawn(doses()) == drawn(doses()[::-1])
    assert macs_figure("MACs", students()) == macs_figure("MACs", students())
    assert drawn(doses()) != drawn(doses()[:2])
    assert b"<dc:date>" not in drawn(doses())


def test_the_style_of_the_reader_changes_nothing_and_stays_as_it_was() -> None:
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path"}):
        styled = drawn(doses())
        assert matplotlib.rcParams["font.size"] == 30
    assert styled == drawn(doses())


def test_a_dose_curve_names_each_student_and_the_source_of_each_attack() -> None:
    found = words(drawn([*doses(), *doses("nad")]))
    assert "Doses" in found
    assert {"badnets, distillation", "badnets, nad"} <= set(found)
    assert found.count("badnets, source") == 1
    assert "planted share of the training set, %" in found


def test_a_dose_curve_needs_two_rates() -> None:
    with pytest.raises(NothingEvaluated, match="two rates, such as badnets and badnets:rate="):
        drawn(doses()[:1])
    with pytest.raises(NothingEvaluated, match="two rates"):
        drawn([])


def test_a_family_is_a_line_and_a_lone_student_a_point() -> None:
    found = words(macs_figure("MACs", students()))
    assert {"proard", "ard", "robust accuracy, %"} <= set(found)


@pytest.mark.parametrize(
    "name", [NASTY, "$x^2$", "_hidden", "cost$", "a$b$c$", "\\$", "<b>x|y</b>"]
)
def test_names_are_text_and_neither_markup_nor_mathematics(name: str) -> None:
    assert {name, f"{name}, {name}", f"{name}, source"} <= set(
        words(drawn(doses(name, name), name))
    )
    assert {name, "ard"} <= set(words(macs_figure(name, students(name))))


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "records"
    for record in doses():
        save_planted(record, b"", folder)
    for plain in students():
        save_record(plain, b"", folder)
    return folder


def test_the_command_draws_both_kinds_into_files(records: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "dose.svg"
    ran = run("figure", "dose", "--board", "digits-backdoor", "--records", records, "--out", out)
    assert ran.exit_code == 0, ran.output
    assert ran.stdout == f"{out}: 3 records drawn\n"
    assert out.read_bytes() == drawn(doses(), DIGITS_BACKDOOR.title)
    out = tmp_path / "macs.svg"
    ran = run("figure", "macs", "--records", records, "--out", out, "--json")
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert (found["kind"], found["drawn"], found["path"]) == ("macs", 3, str(out))
    assert "proard" in words(out.read_bytes())


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("dose", "--board", "digits-backdoor", "--out", "taken/dose.svg"), 6, "not a folder"),
        (("macs", "--out", "taken/macs.svg"), 6, "is not a folder"),
        (("dose", "--board", "fashion-linf", "--out", "x.svg"), 5, "at two rates"),
        (("macs", "--board", "digits-backdoor", "--out", "x.svg"), 5, "no record of attacks on"),
        (("dose", "--board", "digits-backdor", "--out", "x.svg"), 2, "mean 'digits-backdoor'"),
        (("pie", "--out", "x.svg"), 2, "'pie' is not one of"),
        (("dose", "--out", "."), 2, "'.' is a directory"),
        (("dose",), 2, "Missing option '--out'"),
    ],
)
def test_what_cannot_be_drawn_gets_one_sentence_and_leaves_no_file(
    args: tuple[str, ...],
    code: int,
    says: str,
    records: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(records.parent)
    Path("taken").write_text("in the way")
    before = sorted(records.parent.rglob("*"))
    ran = run("figure", *args, "--records", records)
    assert (ran.exit_code, ran.stdout) == (code, ""), ran.output
    assert says in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert sorted(records.parent.rglob("*")) == before
