"""Boards in the formats of others: what a reader of theirs finds is what we measured."""

from __future__ import annotations

import io
import json

import pytest
from click.testing import CliRunner
from ledger import PANEL, first, made

from robustbench_kd.cli.main import main
from robustbench_kd.leaderboards.fashion_linf import FASHION_LINF
from robustbench_kd.reports.formats.dataframe import lines
from robustbench_kd.reports.formats.every_eval_ever import evaluation
from robustbench_kd.reports.formats.model_card import as_yaml, model_index
from robustbench_kd.reports.leaderboard import Board, fold

yaml = pytest.importorskip("yaml")
NASTY = "no: [x] # {y}\n'\"\\ \u0085\u2028 \U0001f600 <script>"


def board() -> Board:
    return fold(FASHION_LINF, [made("ard", first(600)), made(NASTY, first(0))])


def refused(*args: str) -> str:
    ran = CliRunner().invoke(main, ["leaderboard", "fashion-linf", *args])
    assert (ran.exit_code, ran.stdout) == (2, "")
    return ran.stderr


def test_the_hub_reads_every_number_of_a_model_index() -> None:
    card = pytest.importorskip("huggingface_hub.repocard_data")
    head = yaml.safe_load(as_yaml(model_index(board().rows)).strip("-\n"))
    name, found = card.model_index_to_eval_results(head["model-index"][:1])
    assert name == "ard"
    assert {one.task_type for one in found} == {"image-classification"}
    values = {one.metric_name: one.metric_value for one in found}
    assert values["Accuracy"] == 1.0
    assert values["Robust accuracy (worst case over all attacks)"] == 0.6
    assert len(found) == 1 + len(PANEL)
    assert {one.metric_args["count"] for one in found} == {1000}
    assert not any(one.verified for one in found)


def test_yaml_holds_what_json_holds_whatever_a_defense_is_called() -> None:
    found = model_index(board().rows)
    assert yaml.safe_load(as_yaml(found).strip("-\n")) == json.loads(json.dumps(found))
    odd = {
        "a": [1e-9, 1e22, -0.5, 3, None, True, "yes", "1e3", "null", "", [], {}, [[1], {"b": 2}]]
    }
    assert yaml.safe_load(as_yaml(odd).strip("-\n")) == odd


def test_every_eval_ever_gets_what_its_schema_requires() -> None:
    (row, _) = board().rows
    found = evaluation(row, now=7)
    required = "schema_version evaluation_id retrieved_timestamp source_metadata model_info"
    assert {*required.split(), "eval_library", "evaluation_results"} == set(found)
    assert (found["schema_version"], found["retrieved_timestamp"]) == ("0.2.2", "7")
    source = found["source_metadata"]
    assert source["source_type"] == "evaluation_run"
    assert source["evaluator_relationship"] == "first_party"
    details = [source, found["eval_library"], found["model_info"]]
    assert all(isinstance(v, str) for d in details for v in d["additional_details"].values())
    results = {one["metric_config"]["metric_name"]: one for one in found["evaluation_results"]}
    assert len(results) == 1 + len(PANEL)
    robust = results["Robust accuracy"]
    assert {"evaluation_name", "source_data", "metric_config", "score_details"} <= set(robust)
    assert robust["source_data"]["source_type"] == "other"
    config = robust["metric_config"]
    assert (config["score_type"], config["min_score"], config["max_score"]) == ("continuous", 0, 1)
    assert config["lower_is_better"] is False
    assert (config["metric_parameters"]["norm"], config["metric_parameters"]["eps"]) == (
        "linf",
        0.1,
    )
    assert all(not isinstance(v, dict | list) for v in config["metric_parameters"].values())
    score = robust["score_details"]
    bounds = score["uncertainty"]["confidence_interval"]
    assert score["score"] == 0.6
    assert bounds["lower"] < 0.6 < bounds["upper"]
    assert score["uncertainty"]["num_samples"] == 1000
    assert all(isinstance(value, str) for value in score["details"].values())


def test_one_row_or_all_of_them_are_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "11")
    asked = ["leaderboard", "digits-linf", "--format"]
    ran = CliRunner().invoke(main, [*asked, "every-eval-ever"])
    assert ran.exit_code == 0, ran.output
    documents = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(documents) > 5
    assert {one["retrieved_timestamp"] for one in documents} == {"11"}
    ran = CliRunner().invoke(main, [*asked, "model-index", "--defense", "ard", "--json"])
    (model,) = json.loads(ran.stdout)["model-index"]
    assert model["name"] == "ard"


def test_what_cannot_be_handed_over_is_refused_in_one_sentence() -> None:
    assert "no row named 'arr'" in refused("--format", "model-index", "--defense", "arr")
    assert "--defense goes with" in refused("--defense", "ard")
    ran = CliRunner().invoke(main, ["leaderboard", "fashion-backdoor", "--format", "model-index"])
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "no place for what fashion-backdoor measures" in ran.stderr


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

    frame = pd.read_parquet(io.BytesIO(as_parquet(lines(board()))))
    assert list(frame["robust_hits"]) == [600, 0]
    assert list(frame["defense"]) == ["ard", NASTY]
    assert frame["macs"].dtype == "int64"
    assert frame["robust_low"].dtype == "float64"
