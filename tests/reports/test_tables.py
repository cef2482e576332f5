"""A ranking in every format: what is printed is what was measured, with its interval and count."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from joint_records import joint_record
from rich.console import Console

from records import PANEL, backdoor_record, evasion_record, evasion_result, first
from robustbench_kd.core.errors import UnknownName
from robustbench_kd.leaderboards.digits_backdoor import DIGITS_BACKDOOR
from robustbench_kd.leaderboards.fashion_linf import FASHION_LINF
from robustbench_kd.leaderboards.text_privacy import TEXT_PRIVACY
from robustbench_kd.reports.captions import signature
from robustbench_kd.reports.cells import split_names, table_of
from robustbench_kd.reports.formats.dataframe import as_csv, as_json
from robustbench_kd.reports.formats.markdown_latex import as_latex, as_markdown
from robustbench_kd.reports.formats.terminal import ranking_table, record_table, remarks
from robustbench_kd.reports.leaderboard import Ranking, rank, rank_with
from robustbench_kd.results.record import Bits, Record

NASTY = "<script>alert(1)</script>|x_y&%$#{}\\~^[red]"


def ranked(*records: Record) -> Ranking:
    return rank(FASHION_LINF, records)


def printed(ranking: Ranking, width: int, highlighted: Sequence[Record] = ()) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(ranking_table(ranking, width, highlighted))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_the_full_test_accuracy_is_taken_image_by_image_with_its_own_count() -> None:
    late = [n >= 1000 for n in range(10_000)]
    full = {"clean": evasion_result(first(4000, 10_000)), "fgsm": evasion_result(late)}
    ranking = ranked(evasion_record("a", 500, full_test=full))
    share = ranking.rows[0].full_test
    assert share is not None
    assert (share.hits, share.count) == (3000, 10_000)
    assert "30.0 [29.1, 30.9] of 10000" in table_of(ranking)[1][0]
    assert "full test" not in table_of(ranked(evasion_record("a", 500)))[0]


def test_csv_holds_numbers_with_interval_and_count() -> None:
    full = {"clean": evasion_result(5, count=1000)}
    ranking = ranked(
        evasion_record("a", 0, count=500), evasion_record("b", 9, count=500, full_test=full)
    )
    rows = {row["defense"]: row for row in csv.DictReader(io.StringIO(as_csv(ranking)))}
    a = rows["a"]
    assert float(a["robust-accuracy_value"]) == 0.0
    assert (a["robust-accuracy_hits"], a["robust-accuracy_count"]) == ("0", "500")
    assert 0.007 < float(a["robust-accuracy_high"]) < 0.008
    assert a["attack-accuracy:attack=pgd:steps=20_count"] == "500"
    assert (a["full_test_count"], rows["b"]["full_test_count"]) == ("", "1000")
    assert (a["rank_best"], rows["b"]["rank_best"]) == ("2", "1")


def test_json_is_plain_and_complete() -> None:
    document = json.loads(json.dumps(as_json(ranked(evasion_record("a", 500))), allow_nan=False))
    (row,) = document["rows"]
    assert row["rank"] == [1, 1]
    typed = [f"attack-accuracy:attack={attack}" for attack in PANEL[1:]]
    assert list(row["metrics"]) == ["robust-accuracy", "clean-accuracy", *typed]
    assert [metric["name"] for metric in document["metrics"]] == list(row["metrics"])
    assert document["metrics"][2]["heading"] == "fgsm"
    assert row["passes"] == {"forward": 7 * len(PANEL), "backward": 3 * len(PANEL)}
    assert (row["model"]["parameters"], row["teachers"]) == (61_234, ["robust"])


def test_json_says_why_there_is_no_value_and_breaks_values_down_by_model() -> None:
    ranking = rank(DIGITS_BACKDOOR, [backdoor_record({"student": 3, "control": 4})])
    (row,) = as_json(ranking)["rows"]
    assert row["metrics"]["inheritance-ratio"] == {"value": None, "why": "failed"}
    assert row["breakdown"]["attack-success"]["control"]["hits"] == 4
    assert row["source"] == "teacher-clean"
    assert (row["attack"], row["poison"]["count"]) == ("badnets:size=2", 120)


def test_json_holds_metrics_that_have_no_column() -> None:
    ranking = rank(TEXT_PRIVACY, [joint_record("a", [1.0, 2.0, 30.0])])
    (row,) = as_json(ranking)["rows"]
    assert "epsilon-bound" in row["other_metrics"]
    assert not set(row["other_metrics"]) & set(row["metrics"])


def test_markdown_escapes_what_could_be_markup() -> None:
    text = as_markdown(ranked(evasion_record(NASTY, 500)))
    head, rule, line, *_ = text.splitlines()
    assert "<script>" not in text
    assert "\\|x\\_y" in line
    cells = line.replace("\\|", "").count("|")
    assert cells == head.count("|") == rule.count("|")


def test_latex_is_bold_where_a_row_may_be_the_first() -> None:
    tied = evasion_record("tied", [n != 1 for n in range(600)] + [False] * 400)
    ranking = ranked(evasion_record("best", 600), tied, evasion_record("third", 500))
    text = as_latex(ranking)
    assert text.count(r"\textbf{") == 2
    for line in text.splitlines():
        assert (r"& \textbf{" in line) == line.startswith("1")  # ranks 1 to 2
    assert r"\textbf" not in as_latex(ranking, ["defense", "clean accuracy"])


def test_latex_escapes_every_special_sign() -> None:
    text = as_latex(ranked(evasion_record(NASTY, 500)))
    line = next(line for line in text.splitlines() if "script" in line)
    assert r"\textbar{}x\_y\&\%\$\#\{\}\textbackslash{}\textasciitilde{}\textasciicircum{}" in line
    assert r"\toprule" in text
    columns = text.partition(r"\begin{tabular}{")[2].partition("}")[0]
    assert line.count(" & ") + 1 == len(columns)


def test_columns_are_chosen_by_head_by_metric_or_by_attack() -> None:
    ranking = ranked(evasion_record("a", 500, clean=800))
    heads, ((label, clean, pgd),) = table_of(ranking, ["defense", "clean-accuracy", "pgd"])
    assert heads == ["defense", "clean accuracy", "pgd:steps=20"]
    assert (label, clean[:4], pgd[:4]) == ("a", "80.0", "50.0")
    with pytest.raises(UnknownName, match="no column named 'robst'"):
        table_of(ranking, ["robst"])


def test_names_of_columns_may_hold_commas() -> None:
    ranking = rank(TEXT_PRIVACY, [joint_record("a", [1.0, 2.0])])
    assert split_names(ranking, "rank, exposure, digits,exposure:format=words ,seeds") == [
        "rank",
        "exposure, digits",
        "exposure:format=words",
        "seeds",
    ]


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_the_terminal_shows_every_value_with_its_interval(width: int) -> None:
    nothing, much = evasion_record("none", 0, count=500), evasion_record(NASTY, 300, count=500)
    ranking = rank_with(FASHION_LINF, [nothing], [much])
    text = printed(ranking, width, [much])
    assert "0.0 " in text
    assert "[0.0, 0.8]" in text
    assert "500 samples" in text
    assert "> 1" in text
    assert ("carlini-" in text) == (width >= 120)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(remarks(ranking, width))
    assert ("carlini-wagner-linf" in words) == (width < 120)
    assert "robust" in text


def test_a_fresh_record_that_is_not_ranked_stands_below_the_ranking() -> None:
    fresh = evasion_record("small", first(5, 10), limit=10)
    ranking = rank_with(FASHION_LINF, [evasion_record("a", 500)], [fresh])
    text = printed(ranking, 160, [fresh])
    assert "> -" in text
    assert "50.0" in text.partition("> -")[2]
    assert any(line.startswith("not ranked: small (local)") for line in remarks(ranking, 160))
    assert "small" not in printed(ranking, 160)


def test_the_table_of_a_record_shows_every_attack_and_what_it_spent() -> None:
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(record_table(evasion_record("a", {"fgsm": 400})))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "40.0 [37.0, 43.1]" in text
    assert "fgsm" in text


def test_the_cost_of_an_evaluation_is_in_every_format() -> None:
    ranking = ranked(evasion_record("a", 500))
    cost = {"model_parameters": 61_234, "model_macs": 1_500_000, "passes_forward": 35}
    (line,) = csv.DictReader(io.StringIO(as_csv(ranking)))
    assert {name: int(line[name]) for name in cost} == cost
    assert as_json(ranking)["rows"][0]["cpu_seconds"] == 1.5
    for text in (as_markdown(ranking), as_latex(ranking)):
        assert all(str(value) in text for value in (*cost.values(), 15, 1.5))


def test_a_signature_is_that_of_the_question_and_not_of_the_answers() -> None:
    def signed(**other: Any) -> str:
        return signature(ranked(evasion_record("a", 600, **other)))

    plain = signed()
    assert plain.startswith("robustbench-kd:unknown|board:fashion-linf|data:fashion-mnist@e|n:1000")
    assert "|linf:0.1|" in plain
    answers = (evasion_record("b", 9), evasion_record("c", 600, seed=3, weights="w"))
    for record in answers:
        assert signature(ranked(record)) == plain
    attacks = dict.fromkeys(PANEL, evasion_result(600))
    attacks[PANEL[-1]] = evasion_result(600, settings={"eps": 0.1, "steps": 7})
    others = [
        signed(data={"ids": "others"}),
        signed(data={"examples": "others"}),
        signed(data={"dataset_digest": "others"}),
        signed(attacks=attacks),
        signed(versions={"torch": "3"}),
        signature(ranked(evasion_record("a", 600, count=900))),
    ]
    assert len({plain, *others}) == 1 + len(others)
    assert signature(ranked()) == ""
    backdoor = signature(rank(DIGITS_BACKDOOR, [backdoor_record()]))
    assert "|capability:teacher_train_data|" in backdoor


def of_network(attacks: int, correct: Sequence[bool]) -> Record:
    """A record of the network ``w`` under the first so many attacks of the panel."""
    panel = dict.fromkeys(PANEL[1 : attacks + 1], Bits.of(correct))
    return evasion_record("a", panel, clean=900, weights="w")


def test_best_known_is_a_column_only_where_a_network_has_several_records() -> None:
    alone = ranked(evasion_record("a", 600))
    assert "best known" not in as_markdown(alone)
    assert as_json(alone)["rows"][0]["best_known"] is None
    # The joined share ranks nobody.
    ranking = ranked(of_network(4, first(600)), of_network(1, first(500)), evasion_record("b", 9))
    assert {row.label: row.rank for row in ranking.rows} == {
        "a": "1",
        "b": "2",
    }  # the joined share ranks nobody
    assert "50.0 [46.9, 53.1] in 2 records" in as_markdown(ranking).replace("\\", "")
    row = next(csv.DictReader(io.StringIO(as_csv(ranking))))
    assert (row["best_known_hits"], row["best_known_records"]) == ("500", "2")
