"""The ranking: who enters, who stands for whom, who ranks where, and in which words."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from joint_records import joint_record

from records import (
    PANEL,
    backdoor_record,
    canary_record,
    evasion_record,
    evasion_result,
    first,
    text_to_image_record,
)
from robustbench_kd.core.config import EvaluationWarning, Leaderboard
from robustbench_kd.core.errors import BadSetting, NothingEvaluated, UnknownName
from robustbench_kd.leaderboards.digits_backdoor import DIGITS_BACKDOOR
from robustbench_kd.leaderboards.fashion_linf import FASHION_LINF
from robustbench_kd.leaderboards.t2i_backdoor import T2I_BACKDOOR
from robustbench_kd.leaderboards.text_privacy import TEXT_PRIVACY
from robustbench_kd.reports.cells import table_of
from robustbench_kd.reports.filters import Selection, select
from robustbench_kd.reports.formats.dataframe import as_json
from robustbench_kd.reports.formats.markdown_latex import as_markdown
from robustbench_kd.reports.formats.terminal import place, remarks
from robustbench_kd.reports.leaderboard import Ranking, rank, rank_with
from robustbench_kd.results.record import Record


def ranked(*records: Record) -> Ranking:
    return rank(FASHION_LINF, records)


def ranks(ranking: Ranking) -> dict[str, str]:
    return {row.label: row.rank for row in ranking.rows}


def labels(ranking: Ranking) -> list[str]:
    return [row.label for row in ranking.rows]


def reasons(ranking: Ranking) -> dict[str, str]:
    return {row.label: reason for row, reason in ranking.outside}


# ------------------------------------------------------------------------------------------ ranks


def test_rows_that_a_paired_test_cannot_tell_apart_share_their_ranks() -> None:
    records = [evasion_record(name, first(n)) for name, n in (("c", 500), ("b", 597), ("a", 600))]
    assert ranks(ranked(*records)) == {"a": "1-2", "b": "1-2", "c": "3"}  # 3 pairs say nothing


def test_ranks_are_paired_not_read_off_overlapping_intervals() -> None:
    # 600 and 580 of 1000 have overlapping intervals, yet every lost example was lost one way.
    better, worse = evasion_record("better", first(600)), evasion_record("worse", first(580))
    assert better.worst.interval[0] < worse.worst.interval[1]
    assert ranks(ranked(worse, better)) == {"better": "1", "worse": "2"}


def test_of_equally_robust_rows_the_more_accurate_stands_first() -> None:
    records = [evasion_record("a", 500, clean=800), evasion_record("b", 500, clean=900)]
    assert ranks(ranked(*records)) == {"b": "1-2", "a": "1-2"}
    assert labels(ranked(*records)) == ["b", "a"]


def test_a_row_with_warnings_stands_below_all_others() -> None:
    warned = evasion_record("masked", first(900), warnings=(EvaluationWarning.MASKED.value,))
    ranking = ranked(warned, evasion_record("honest", first(100)))
    assert ranks(ranking) == {"honest": "1", "masked": "2"}
    assert f"? masked: {EvaluationWarning.MASKED}" in list(remarks(ranking, 200))


def test_the_lowest_seed_stands_for_a_defense_and_the_others_are_shown() -> None:
    ranking = ranked(*(evasion_record("a", first(400 + s), seed=s) for s in (2, 0, 1)))
    (row,) = ranking.rows
    assert row.value("robust-accuracy").hits == 400  # type: ignore[union-attr]
    (line,) = as_json(ranking)["rows"]
    assert [(s["seed"], s["value"]["hits"]) for s in line["seeds"]] == [
        (0, 400),
        (1, 401),
        (2, 402),
    ]
    assert "0 (1: 40.1 [37.1, 43.2], 2: 40.2 [37.2, 43.3])" in table_of(ranking)[1][0]


def test_rows_of_different_attacks_on_training_data_are_different_contests() -> None:
    records = [
        backdoor_record({"student": success}, attack=attack, label=label)
        for attack, success, label in (
            ("badnets:size=2", 90, "distillation"),
            ("badnets:size=2", 5, "nad"),
            ("blend", 70, "distillation"),
        )
    ]
    ranking = rank(DIGITS_BACKDOOR, records)
    assert [(row.attack, row.label, row.rank) for row in ranking.rows] == [
        ("badnets:size=2", "nad", "1"),  # success is what nobody wants, so the lowest is first
        ("badnets:size=2", "distillation", "2"),
        ("blend", "distillation", "1"),
    ]
    assert place(ranking.rows[1], ranking).startswith(
        "distillation: rank 2 of 2 under badnets:size=2 on digits-backdoor, ASR of student 90.0"
    )


def trials(label: str, wins: str, **fields: Any) -> list[Record]:
    """One victim a seed, which the adversary wins or not."""
    return [
        backdoor_record({"student": int(won)}, eligible=1, label=label, seed=seed, **fields)
        for seed, won in enumerate(wins)
    ]


def test_trials_of_one_victim_each_are_counted_together_and_paired_by_seed() -> None:
    records = [*trials("robust", "0" * 30), *trials("weak", "1" * 12 + "0" * 18)]
    ranking = rank(DIGITS_BACKDOOR, records)
    assert ranks(ranking) == {"robust": "1", "weak": "2"}
    value = ranking.rows[1].value("attack-success")
    assert value is not None
    assert (value.hits, value.count) == (12, 30)
    few = rank(DIGITS_BACKDOOR, [*records, *trials("one", "1")])
    assert ranks(few) == {"robust": "1-2", "weak": "2-3", "one": "1-3"}  # one pair tells nothing


def test_rows_with_other_seeds_are_compared_on_the_seeds_that_both_have() -> None:
    dice = random.Random(0)
    exposed, hidden = [1.0] * 40, [float(dice.randrange(300, 900)) for _ in range(40)]
    records = [
        joint_record("a", hidden),
        joint_record("b", exposed),
        joint_record("b", exposed, seed=1),
    ]
    assert ranks(rank(TEXT_PRIVACY, records)) == {"a": "1", "b": "2"}
    apart = [joint_record("a", hidden, seed=7), *records[1:]]
    assert ranks(rank(TEXT_PRIVACY, apart)) == {"a": "1-2", "b": "1-2"}


# ---------------------------------------------------------------------------------- who enters


def test_another_radius_of_a_student_leaves_its_row_where_it_is() -> None:
    usual, wider = evasion_record("a", 500), evasion_record("a", 9, threat={"eps": 0.2})
    for records in ([usual, wider], [wider, usual]):
        ranking = ranked(*records)
        assert [row.record.worst.hits for row in ranking.rows] == [500]
        assert reasons(ranking) == {"a": "another ball: linf 0.2"}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (evasion_record("a", first(5, 10), limit=10), "a reduced run: the first 10 test samples"),
        (evasion_record("a", 5, board="digits-linf"), "made for the leaderboard digits-linf"),
        (evasion_record("a", 5, threat={"eps": 0.2}), "another ball: linf 0.2"),
        (evasion_record("a", {"fgsm": 5}), "another panel of attacks: fgsm"),
        (evasion_record("a", 5, defense={"oracle": True}), "an oracle defense"),
        (evasion_record("a", 5, data={"examples": "y"}), "other data, or other settings"),
        (
            evasion_record("a", {**dict.fromkeys(PANEL[1:], 5)}, data={"ids": "j"}),
            "other data, or other settings",
        ),
    ],
    ids=["limit", "board", "ball", "panel", "oracle", "images", "ids"],
)
def test_a_record_that_answers_another_question_stays_out_and_says_why(
    record: Record, reason: str
) -> None:
    ranking = ranked(evasion_record("b", 500), record)
    assert labels(ranking) == ["b"]
    assert reasons(ranking)["a"].startswith(reason)
    entry = as_json(ranking)["outside"][0]
    assert (entry["rank"], entry["metrics"]["robust-accuracy"]["hits"]) == (None, 5)
    assert entry["reason"] == reasons(ranking)["a"]


def test_other_settings_of_an_attack_are_another_question() -> None:
    attacks = dict.fromkeys(PANEL, evasion_result(5))
    attacks["fgsm"] = evasion_result(5, settings={"eps": 0.1, "steps": 7})
    ranking = ranked(evasion_record("b", 500), evasion_record("a", attacks=attacks))
    assert reasons(ranking) == {"a": "other data, or other settings of the attacks"}


@pytest.mark.parametrize(
    ("board", "record", "reason"),
    [
        (DIGITS_BACKDOOR, backdoor_record(limit=10), "a reduced run"),
        (
            DIGITS_BACKDOOR,
            backdoor_record(capability="student_train_data"),
            "another capability of the adversary: student_train_data",
        ),
        (TEXT_PRIVACY, canary_record({"student": [1, 2]}), "another panel of attacks"),
        (TEXT_PRIVACY, joint_record("a", [1, 2], defense={"oracle": True}), "an oracle defense"),
    ],
    ids=["limit", "capability", "panel", "oracle"],
)
def test_the_same_holds_where_training_data_are_attacked(
    board: Leaderboard, record: Record, reason: str
) -> None:
    ranking = rank(board, [record])
    assert not ranking.rows
    assert next(iter(reasons(ranking).values())).startswith(reason)


def test_oracle_defenses_rank_where_the_leaderboard_says_so() -> None:
    ranking = rank(T2I_BACKDOOR, [text_to_image_record(oracle=True)])
    assert (labels(ranking), ranking.outside) == (["skd-cag"], ())


def test_a_value_that_is_missing_does_not_rank() -> None:
    board = replace(DIGITS_BACKDOOR, rank_by="inheritance-ratio")
    ranking = rank(board, [backdoor_record({"student": 3})])  # the teacher learned nothing
    assert reasons(ranking) == {"distillation": "it has no inheritance ratio: failed"}


def test_a_student_that_is_committed_and_local_has_one_row() -> None:
    record = evasion_record("a", 500)
    again = replace(record, compute={"cpu_seconds": 99.0})
    ranking = rank(FASHION_LINF, [record], [again])
    assert [(row.label, row.local) for row in ranking.rows] == [("a", False)]
    assert ranking.rows[0].record is record


def test_a_fresh_record_takes_the_place_of_the_committed_one() -> None:
    committed = [evasion_record("a", 500), evasion_record("a", 480, seed=1), evasion_record("b", 3)]
    fresh = evasion_record("a", 499)
    ranking = rank_with(FASHION_LINF, committed, [fresh])
    assert labels(ranking) == ["a", "b"]
    assert ranking.row_of(fresh) is ranking.rows[0]
    assert ranking.rows[0].record.worst.hits == 499
    assert not ranking.rows[0].local


def test_several_fresh_records_are_ranked_at_once_each_under_its_attack() -> None:
    committed = [backdoor_record({"student": 50}), backdoor_record({"student": 9}, label="nad")]
    fresh = [backdoor_record({"student": 1}), backdoor_record({"student": 2}, attack="blend")]
    ranking = rank_with(DIGITS_BACKDOOR, committed, fresh)
    assert [(row.attack, row.label, row.local) for row in ranking.rows] == [
        ("badnets:size=2", "distillation", False),
        ("badnets:size=2", "nad", False),
        ("blend", "distillation", True),
    ]


def test_another_network_of_the_same_name_and_seed_has_a_row_of_its_own_marked_yours() -> None:
    other = evasion_record("a", 700, weights="abcdef0123")
    ranking = rank_with(FASHION_LINF, [evasion_record("a", 500)], [other])
    assert [(row.label, row.local) for row in ranking.rows] == [("a", True), ("a", False)]
    two = rank(FASHION_LINF, [], [other, evasion_record("a", 600, weights="fedcba" + 58 * "0")])
    assert labels(two) == ["a", "a #fedcba"]


def test_a_teacher_does_not_rank_among_its_students() -> None:
    teacher = evasion_record("large", 450, weights="t", models={"student": {"user_model": True}})
    student = evasion_record("small", 400)
    ranking = ranked(teacher, student)
    assert labels(ranking) == ["small"]
    assert reasons(ranking) == {"large": "the teacher of students here, and none itself"}
    assert labels(rank(FASHION_LINF, [student], [teacher])) == ["large", "small"]


def test_a_leaderboard_of_an_unknown_metric_is_refused_with_the_nearest_one() -> None:
    board = replace(
        FASHION_LINF, name="mine", metrics=("robust-acuracy",), rank_by="robust-acuracy"
    )
    with pytest.raises(
        BadSetting, match=r"mine: no metric named .* Did you mean 'robust-accuracy'"
    ):
        rank(board, [evasion_record()])
    typed = "attack-success:modell=control"
    board = replace(FASHION_LINF, name="mine", metrics=(typed,), rank_by=typed)
    with pytest.raises(BadSetting, match="mine: attack-success has no setting 'modell'"):
        rank(board, [evasion_record()])


# ---------------------------------------------------------------------------------------- filters


def sized(label: str, macs: int, teacher: str = "robust", **fields: Any) -> Record:
    sizes = {"student": {"macs": macs, "parameters": 2 * macs}}
    defense = {"teacher_roles": [teacher]}
    return evasion_record(label, 500, models=sizes, defense=defense, **fields)


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        (Selection(), "abc"),
        (Selection(teacher="clean"), "b"),
        (Selection(max_macs=20), "ab"),
        (Selection(max_params=20), "a"),
        (Selection(seed=1), "c"),
        (Selection(oracle=False), "abc"),
        (Selection(teacher="robust", max_macs=20), "a"),
    ],
    ids=str,
)
def test_a_filter_leaves_who_is_selected_and_ranks_these(selection: Selection, left: str) -> None:
    records = [sized("a", 10), sized("b", 20, "clean"), sized("c", 30, seed=1)]
    ranking = rank(FASHION_LINF, records, selection=selection)
    assert sorted(labels(ranking)) == list(left)
    assert {row.last for row in ranking.rows} == {len(left)}
    text = as_markdown(ranking)
    assert str(selection) in text
    assert ("Only" in text) == bool(selection.json())


def test_filters_hold_where_training_data_are_attacked() -> None:
    records = [
        text_to_image_record(label="a", oracle=True),
        text_to_image_record(label="b", models={"student": {"attack_success": 3}}),
    ]
    assert labels(rank(T2I_BACKDOOR, records, selection=Selection(oracle=True))) == ["a"]
    assert labels(rank(T2I_BACKDOOR, records, selection=Selection(oracle=False))) == ["b"]
    assert len(rank(T2I_BACKDOOR, records, selection=Selection(teacher="given")).rows) == 2
    with pytest.raises(UnknownName, match="Known: given"):
        rank(T2I_BACKDOOR, records, selection=Selection(teacher="gift"))


def test_models_of_unknown_size_are_left_out_with_a_reason_where_size_matters() -> None:
    known = backdoor_record({"student": 9}, models={"student": {"parameters": 1000}})
    unknown = backdoor_record({"student": 5}, label="nad")
    ranking = rank(DIGITS_BACKDOOR, [known, unknown], selection=Selection(max_params=2000))
    assert labels(ranking) == ["distillation"]
    assert reasons(ranking) == {
        "nad": "its record does not say how many parameters the student has"
    }
    with pytest.raises(NothingEvaluated, match="does not say how many macs"):
        rank(DIGITS_BACKDOOR, [known, unknown], selection=Selection(max_macs=2000))


def test_a_filter_that_leaves_nobody_says_so() -> None:
    records = [sized("a", 10)]
    with pytest.raises(NothingEvaluated, match="at most 9 MACs"):
        select(records, Selection(max_macs=9), "fashion-linf")
    with pytest.raises(UnknownName, match="Known: robust"):
        select(records, Selection(teacher="robuts"), "fashion-linf")


def test_what_others_are_measured_against_need_not_be_selected() -> None:
    plain = joint_record("distillation:temperature=1", [1.0, 2.0, 1.0])
    swing = joint_record("swing", [200.0, 400.0, 300.0], teacher_roles=("public",))
    (row,) = rank(TEXT_PRIVACY, [plain, swing], selection=Selection(teacher="public")).rows
    assert row.label == "swing"
    assert row.reference is not None
    assert row.reference.label == "distillation:temperature=1"
