"""Rankings in the formats of others: what a reader of theirs finds is what we measured."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from click.testing import CliRunner

from records import (
    PANEL,
    backdoor_record,
    bias_record,
    evasion_record,
    text_to_image_record,
)
from robustbench_kd.cli.main import main
from robustbench_kd.core.registry import board_of
from robustbench_kd.leaderboards.fashion_linf import FASHION_LINF
from robustbench_kd.reports.formats.dataframe import as_csv, lines
from robustbench_kd.reports.formats.every_eval_ever import evaluation
from robustbench_kd.reports.formats.model_card import as_yaml, model_index
from robustbench_kd.reports.leaderboard import Ranking, RankingRow, rank
from robustbench_kd.results.record import Record

yaml = pytest.importorskip("yaml")
NASTY = "no: [x] # {y}\n'\"\\ \u0085\u2028 \U0001f600 <script>"
OF_EVERY_KIND = [
    evasion_record("ard"),
    backdoor_record({"student": 3}),
    bias_record(dict.fromkeys(("student", "teacher-clean", "student.clean"), 3)),
    text_to_image_record(oracle=True),
]


def ranking() -> Ranking:
    return rank(FASHION_LINF, [evasion_record("ard", 600), evasion_record(NASTY, 0)])


def row_of(record: Record) -> RankingRow:
    (row,) = rank(board_of(record.board), [record]).rows
    return row


def refused(*args: str) -> str:
    ran = CliRunner().invoke(main, ["leaderboard", "fashion-linf", *args])
    assert (ran.exit_code, ran.stdout) == (2, "")
    return ran.stderr


def hub_results(row: RankingRow) -> tuple[str, list[Any]]:
    """What the Hub's own reader makes of a row."""
    card = pytest.importorskip("huggingface_hub.repocard_data")
    head = yaml.safe_load(as_yaml(model_index([row])).strip("-\n"))
    name, results = card.model_index_to_eval_results(head["model-index"])
    return name, results


def test_the_hub_reads_every_number_of_a_model_index() -> None:
    name, results = hub_results(ranking().rows[0])
    assert name == "ard"
    assert {result.task_type for result in results} == {"image-classification"}
    values = {result.metric_name: result.metric_value for result in results}
    assert values["Clean accuracy"] == 1.0
    assert values["Robust accuracy"] == 0.6
    assert values["Attack accuracy, fgsm"] == 0.6
    assert len(results) == 1 + len(PANEL)
    assert {result.metric_args["count"] for result in results} == {1000}
    assert not any(result.verified for result in results)


@pytest.mark.parametrize("record", OF_EVERY_KIND, ids=lambda record: record.board)
def test_the_hub_reads_every_metric_of_every_kind_of_leaderboard(record: Record) -> None:
    row = row_of(record)
    _, results = hub_results(row)
    values = [row.value(column.typed) for column in row.columns]
    known = [value for value in values if value is not None]
    assert [result.metric_value for result in results] == [value.value for value in known]
    assert {result.metric_args["record"] for result in results} == {record.id}
    ends = [(result.metric_args["low"], result.metric_args["high"]) for result in results]
    assert ends == [value.interval for value in known]


def test_yaml_holds_what_json_holds_whatever_a_defense_is_called() -> None:
    index = model_index(ranking().rows)
    assert yaml.safe_load(as_yaml(index).strip("-\n")) == json.loads(json.dumps(index))
    odd: dict[str, Any] = {
        "a": [1e-9, 1e22, -0.5, 3, None, True, "yes", "1e3", "null", "", [], {}, [[1], {"b": 2}]]
    }
    assert yaml.safe_load(as_yaml(odd).strip("-\n")) == odd


@pytest.mark.parametrize("record", OF_EVERY_KIND, ids=lambda record: record.board)
def test_every_eval_ever_gets_what_its_schema_requires(record: Record) -> None:
    row = row_of(record)
    document = json.loads(json.dumps(evaluation(row, now=7), allow_nan=False))
    required = "schema_version evaluation_id retrieved_timestamp source_metadata model_info"
    assert {*required.split(), "eval_library", "evaluation_results"} == set(document)
    assert (document["schema_version"], document["retrieved_timestamp"]) == ("0.2.2", "7")
    source = document["source_metadata"]
    assert source["source_type"] == "evaluation_run"
    assert source["evaluator_relationship"] == "first_party"
    details = [source, document["eval_library"], document["model_info"]]
    assert all(isinstance(v, str) for d in details for v in d["additional_details"].values())
    results = document["evaluation_results"]
    assert len(results) == sum(row.value(column.typed) is not None for column in row.columns)
    for result in results:
        assert {"evaluation_name", "source_data", "metric_config", "score_details"} <= set(result)
        assert result["source_data"]["source_type"] == "other"
        config, score = result["metric_config"], result["score_details"]
        assert config["score_type"] == "continuous"
        assert config["min_score"] <= score["score"] <= config["max_score"]
        assert all(not isinstance(v, dict | list) for v in config["metric_parameters"].values())
        bounds = score["uncertainty"]["confidence_interval"]
        assert bounds["lower"] <= score["score"] <= bounds["upper"]
        assert all(isinstance(value, str) for value in score["details"].values())


def test_every_eval_ever_holds_the_numbers_and_what_they_are_about() -> None:
    document = evaluation(ranking().rows[0], now=7)
    results = {r["metric_config"]["metric_name"]: r for r in document["evaluation_results"]}
    robust = results["Robust accuracy"]
    config, score = robust["metric_config"], robust["score_details"]
    assert (config["min_score"], config["max_score"]) == (0, 1)
    assert config["lower_is_better"] is False
    assert (config["metric_parameters"]["norm"], config["metric_parameters"]["eps"]) == (
        "linf",
        0.1,
    )
    assert score["score"] == 0.6
    assert score["uncertainty"]["num_samples"] == 1000
    assert score["details"] == {"count": "1000", "hits": "600"}
    fgsm = results["Attack accuracy, fgsm"]["metric_config"]["metric_parameters"]
    assert (fgsm["attack"], fgsm["forward_passes"]) == ("fgsm", 7)
    success = evaluation(row_of(OF_EVERY_KIND[1]), now=7)["evaluation_results"][2]
    assert success["metric_config"]["metric_id"] == "robustbench-kd.attack-success"
    assert success["metric_config"]["lower_is_better"] is True
    assert success["score_details"]["score"] == 0.03


def test_one_row_or_all_of_them_are_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "11")
    command = ["leaderboard", "digits-linf", "--format"]
    ran = CliRunner().invoke(main, [*command, "every-eval-ever"])
    assert ran.exit_code == 0, ran.output
    documents = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(documents) > 5
    assert {document["retrieved_timestamp"] for document in documents} == {"11"}
    ran = CliRunner().invoke(main, [*command, "model-index", "--defense", "ard", "--json"])
    (model,) = json.loads(ran.stdout)["model-index"]
    assert model["name"] == "ard"


def test_rows_of_attacks_on_training_data_are_handed_over_one_an_attack() -> None:
    command = ["leaderboard", "fashion-backdoor", "--defense", "nad", "--json", "--format"]
    ran = CliRunner().invoke(main, [*command, "model-index"])
    names = [model["name"] for model in json.loads(ran.stdout)["model-index"]]
    assert len(names) > 3
    assert "nad under badnets" in names


def test_what_cannot_be_handed_over_is_refused_in_one_sentence() -> None:
    assert "no row named 'arr'" in refused("--format", "model-index", "--defense", "arr")
    assert "--defense goes with" in refused("--defense", "ard")
    assert "old name of --oracle" in refused("--oracle", "--no-told")
    assert "no column named 'robst'" in refused("--format", "latex", "--columns", "robst")


def test_old_names_of_filters_are_understood() -> None:
    runs = [
        CliRunner().invoke(main, ["leaderboard", "t2i-backdoor", option, "--json"])
        for option in ("--no-oracle", "--no-told")
    ]
    assert runs[0].exit_code == 0
    assert runs[0].stdout == runs[1].stdout
    assert {row["oracle"] for row in json.loads(runs[0].stdout)["rows"]} == {False}


def test_without_pyarrow_parquet_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = "robustbench_kd.reports.formats.parquet.find_spec"
    monkeypatch.setattr(where, lambda name: None)
    assert "pip install 'robustbench-kd[parquet]'" in refused("--format", "parquet")


def test_parquet_holds_the_columns_of_the_csv_with_their_types() -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    from robustbench_kd.reports.formats.parquet import as_parquet

    frame = pd.read_parquet(io.BytesIO(as_parquet(lines(ranking()))))
    assert list(frame["robust-accuracy_hits"]) == [600, 0]
    assert list(frame["defense"]) == ["ard", NASTY]
    assert frame["model_macs"].dtype == "Int64"
    assert frame["robust-accuracy_low"].dtype == "float64"


@pytest.mark.parametrize("sign", list("=+-@\t"))
def test_a_cell_is_no_formula_of_a_spreadsheet(sign: str) -> None:
    table = as_csv(rank(FASHION_LINF, [evasion_record(f"{sign}HYPERLINK(1)", 600)]))
    assert f"\n'{sign}HYPERLINK(1)," in table
