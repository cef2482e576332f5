"""Figures: the same records draw the same bytes, and a name is text, whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from click.testing import CliRunner, Result

from records import backdoor_record, canary_record, evasion_record
from robustbench_kd.cli.main import main
from robustbench_kd.core.errors import NothingEvaluated
from robustbench_kd.leaderboards.digits_backdoor import DIGITS_BACKDOOR
from robustbench_kd.leaderboards.fashion_linf import FASHION_LINF
from robustbench_kd.leaderboards.text_privacy import TEXT_PRIVACY
from robustbench_kd.reports.figures import draw
from robustbench_kd.results.record import Record
from robustbench_kd.results.store import save_record

NASTY = "a<b>$x^2$&|\"'\\alpha_{i}"
SVG = "{http://www.w3.org/2000/svg}"


def backdoors(label: str = "distillation", attack: str = "badnets") -> list[Record]:
    """Three rates: the teacher learns 50, 90 and 99 of 100, the student a third of it."""
    rates = {0.01: 50, 0.05: 90, 0.1: 99}
    return [
        backdoor_record(
            {"teacher-clean": hits, "student": hits // 3},
            attack=f"{attack}:rate={rate}",
            rate=rate,
            label=label,
        )
        for rate, hits in rates.items()
    ]


def students(name: str = "proard") -> list[Record]:
    """A family of two sizes, and a single student."""
    return [
        evasion_record(name, 40, count=100, models={"student": {"macs": 300_000}}),
        evasion_record(name, 60, count=100, seed=1),
        evasion_record("ard", 50, count=100),
    ]


def canaries() -> list[Record]:
    """Plain distillation, and a defense of less exposure and higher perplexity."""
    plain = canary_record({"student": [1, 2]}, label="distillation:temperature=1")
    nll = {"student": (160.0,) * 4}
    return [plain, canary_record({"student": [500, 900]}, label="swing", test_nll=nll)]


def words(svg: bytes) -> list[str]:
    """The text of a figure, as a reader sees it; fails where the file is no XML."""
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    return ["".join(node.itertext()).strip() for node in root.iter(f"{SVG}text")]


def rate_figure(records: list[Record]) -> bytes:
    return draw("poisoning-rate", DIGITS_BACKDOOR, records)


def test_the_same_records_draw_the_same_bytes() -> None:
    assert rate_figure(backdoors()) == rate_figure(backdoors()[::-1])
    assert draw("pareto", FASHION_LINF, students()) == draw("pareto", FASHION_LINF, students())
    assert rate_figure(backdoors()) != rate_figure(backdoors()[:2])
    assert b"<dc:date>" not in rate_figure(backdoors())


def test_the_style_of_the_user_changes_nothing_and_stays_as_it_was() -> None:
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path"}):
        styled = rate_figure(backdoors())
        assert matplotlib.rcParams["font.size"] == 30
    assert styled == rate_figure(backdoors())


def test_success_by_rate_names_each_student_and_the_source_of_each_attack() -> None:
    text = words(rate_figure([*backdoors(), *backdoors("nad")]))
    assert DIGITS_BACKDOOR.title in text
    assert {"badnets, distillation", "badnets, nad"} <= set(text)
    assert text.count("badnets, source") == 1
    assert "poisoned share of the training set, %" in text


def test_a_family_is_a_line_and_a_single_student_a_point() -> None:
    text = words(draw("pareto", FASHION_LINF, students()))
    assert {"proard", "ard", "robust accuracy, %"} <= set(text)


def test_exposure_by_utility_has_a_panel_for_each_format() -> None:
    text = words(draw("utility", TEXT_PRIVACY, canaries()))
    assert {"digits", "swing", "perplexity above plain distillation, %"} <= set(text)


@pytest.mark.parametrize(
    ("kind", "board", "records", "says"),
    [
        ("poisoning-rate", DIGITS_BACKDOOR, backdoors()[:1], "two rates, such as badnets and"),
        ("poisoning-rate", DIGITS_BACKDOOR, [], "two rates"),
        ("poisoning-rate", FASHION_LINF, students(), "two rates"),
        ("poisoning-rate", TEXT_PRIVACY, canaries(), "two rates"),
        (
            "pareto",
            DIGITS_BACKDOOR,
            backdoors(),
            "is about attacks on test data",
        ),
        ("utility", FASHION_LINF, students(), "see: text-privacy"),
    ],
)
def test_records_that_hold_nothing_of_the_kind_are_refused_in_a_sentence(
    kind: str, board: object, records: list[Record], says: str
) -> None:
    with pytest.raises(NothingEvaluated, match=says):
        draw(kind, board, records)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", [NASTY, "$x^2$", "_hidden", "cost$", "a$b$c$", "\\$", "<b>x|y</b>"]
)
def test_names_are_text_and_neither_markup_nor_mathematics(name: str) -> None:
    assert {f"{name}, {name}", f"{name}, source"} <= set(words(rate_figure(backdoors(name, name))))
    assert {name, "ard"} <= set(words(draw("pareto", FASHION_LINF, students(name))))


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    records = tmp_path / "records"
    for record in (*backdoors(), *students()):
        save_record(record, b"", records)
    return records


@pytest.mark.parametrize("command", ["plot poisoning-rate", "figure dose"])
def test_the_command_draws_into_a_new_folder_also_by_its_old_name(
    command: str, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "rate.svg"
    ran = run(*command.split(), "--board", "digits-backdoor", "--records", folder, "--out", out)
    assert ran.exit_code == 0, ran.output
    assert ran.stdout == f"{out}: 3 records\n"
    assert out.read_bytes() == rate_figure(backdoors())


def test_the_command_says_in_json_what_it_drew(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "pareto.svg"
    ran = run("plot", "pareto", "--records", folder, "--out", out, "--json")
    assert ran.exit_code == 0, ran.output
    document = json.loads(ran.stdout)
    assert (document["kind"], document["records"], document["path"]) == ("pareto", 3, str(out))
    assert "proard" in words(out.read_bytes())


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (
            ("poisoning-rate", "--board", "digits-backdoor", "--out", "taken/x.svg"),
            6,
            "not a folder",
        ),
        (("pareto", "--out", "taken/pareto.svg"), 6, "is not a folder"),
        (("poisoning-rate", "--board", "fashion-linf", "--out", "x.svg"), 5, "at two rates"),
        (("pareto", "--board", "digits-backdoor", "--out", "x.svg"), 5, "about attacks on test"),
        (("pareto", "--board", "digits-backdor", "--out", "x.svg"), 2, "mean 'digits-backdoor'"),
        (("pie", "--out", "x.svg"), 2, "'pie' is not one of"),
        (("pareto", "--out", "."), 2, "'.' is a directory"),
        (("pareto",), 2, "Missing option '--out'"),
    ],
)
def test_what_cannot_be_drawn_gets_one_sentence_and_leaves_no_file(
    args: tuple[str, ...], code: int, says: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    Path("taken").write_text("in the way")
    before = sorted(folder.parent.rglob("*"))
    ran = run("plot", *args, "--records", folder)
    assert (ran.exit_code, ran.stdout) == (code, ""), ran.output
    assert says in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert sorted(folder.parent.rglob("*")) == before
