"""Who is trained on which data: poison enters where the capability says, and nowhere else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from short_boards import put_short_board
from short_run import ATTACK, BOARD, COPIES, TEACHER, evaluated
from torch import nn

import robustbench_kd
from robustbench_kd.core.config import Capability, Schedule
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.registry import board_of, configured
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.defenses._base import Recipe
from robustbench_kd.defenses.fine_tuning import FineTuning
from robustbench_kd.evaluation import trained_models
from robustbench_kd.evaluation.entries import attack_of
from robustbench_kd.evaluation.poisoned_data import DataPoisoning
from robustbench_kd.leaderboards import digits_backdoor
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.results.artifacts import find_model
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import COUNTERPART, Bits, Record
from robustbench_kd.scenarios.digits import Digits


@dataclass
class Trainings:
    """What teachers and students would have been trained on, in order; none of them was."""

    teachers: list[Examples] = field(default_factory=list)
    students: list[TrainingContext] = field(default_factory=list)

    def of(self, defense: str) -> list[TrainingContext]:
        """The contexts of a defense: under the poison, and of its clean counterpart."""
        return [context for context in self.students if context.seed.path == (defense,)]


def repaired(context: TrainingContext) -> nn.Module:
    return copy.deepcopy(context.teachers["given"])


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    """Every teacher and student is a fresh network, and what it would be trained on is noted."""
    noted = Trainings()

    def teacher(
        self: Digits, role: str, data: Examples, seed: Seed, progress: object, schedule: Schedule
    ) -> nn.Module:
        noted.teachers.append(data)
        return self.student(self.architectures["teacher"], seed / len(noted.teachers))

    def context(**given: Any) -> TrainingContext:
        noted.students.append(TrainingContext(**given))
        return noted.students[-1]

    monkeypatch.setattr(Digits, "teacher", teacher)
    monkeypatch.setattr(Recipe, "train", lambda self, context: context.student)
    monkeypatch.setattr(FineTuning, "train", lambda self, context: repaired(context))
    monkeypatch.setattr(trained_models, "TrainingContext", context)
    return noted


def clean() -> Splits:
    return Digits().splits(Seed(), whole=True)


def same(data: Examples, other: Examples) -> bool:
    pairs = ((data.ids, other.ids), (data.inputs, other.inputs), (data.targets, other.targets))
    return all(torch.equal(a, b) for a, b in pairs)


def poisoned(data: Examples) -> bool:
    """Whether exactly a tenth have the square and the target's label, and nothing else moved."""
    whole = clean().train
    moved = (data.inputs != whole.inputs).flatten(1).any(1) | (data.targets != whole.targets)
    triggered = bool((data.inputs[moved][..., -2:, -2:] == 1).all())
    labelled = bool((data.targets[moved] == 0).all())
    elsewhere = data.inputs.clone()
    elsewhere[..., -2:, -2:] = whole.inputs[..., -2:, -2:]
    unchanged = torch.equal(elsewhere, whole.inputs)
    return int(moved.sum()) == COPIES and triggered and labelled and unchanged


def taint(record: Record, role: str) -> str | None:
    """The poison that is stored with a network."""
    model = find_model(record.models[role]["recipe_digest"])
    assert model is not None
    poison: str | None = model.metadata.get("taint")
    return poison


def test_poison_in_the_teachers_data_reaches_no_students_data(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = put_short_board(monkeypatch)
    evaluated()
    assert [poisoned(data) for data in trainings.teachers] == [True, False]
    assert same(trainings.teachers[1], clean().train)
    assert [len(trainings.of(name)) for name in ("labels", "distillation")] == [1, 2]
    for context in trainings.students:
        assert same(context.data, clean().train)
        assert context.schedule == board.schedule


@pytest.mark.parametrize("capability", ["student_train_data", "shared_train_data"])
def test_poison_in_the_students_data_reaches_control_and_student_and_where_shared_the_teacher(
    capability: Capability, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = put_short_board(monkeypatch, capability)
    record = evaluated()
    shared = capability == "shared_train_data"
    assert [poisoned(data) for data in trainings.teachers] == ([True, False] if shared else [False])
    assert same(trainings.teachers[-1], clean().train)
    for name in ("labels", "distillation"):
        under_poison, counterpart = trainings.of(name)
        assert poisoned(under_poison.data)
        assert same(counterpart.data, clean().train)
        assert under_poison.validation is not None
        assert same(under_poison.validation, clean().validation)
    teachers = [record.models[TEACHER + mark]["weights"] for mark in ("", COUNTERPART)]
    assert (teachers[0] != teachers[1]) == shared
    assert record.threat == {"capability": capability}
    key = DataPoisoning(Digits(), {ATTACK: attack_of(ATTACK, board)}, 0).key
    for role in ("student", "control"):
        assert taint(record, role) == key
        assert taint(record, role + COUNTERPART) is None


@pytest.mark.parametrize("capability", ["teacher_train_data", "student_train_data"])
def test_what_the_defender_trusts_is_clean_and_a_twentieth(
    capability: Capability, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_short_board(monkeypatch, capability)
    evaluated("fine-tuning", attacks=["badnets:size=2,rate=1"])  # no other image is clean
    contexts = [context.trusted for context in trainings.students]
    assert len(contexts) >= 3
    noise = (Seed(0) / "trusted").generator()
    order = clean().train.ids[torch.randperm(1200, generator=noise)[:60]]
    for trusted in contexts:
        assert trusted is not None
        assert len(set(trusted.ids.tolist())) == len(trusted) == 60
        assert same(trusted, clean().train.named(trusted.ids))
        assert torch.equal(trusted.ids, order)


def test_what_is_trusted_depends_on_the_seed(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_short_board(monkeypatch)
    evaluated(seed=0)
    evaluated(seed=1)
    trusted = [context.trusted for context in trainings.students]
    assert len({str(rows.ids.tolist()) for rows in trusted if rows}) == 2


@pytest.mark.parametrize(
    ("capability", "reached"),
    [("teacher_train_data", "teacher"), ("student_train_data", "control")],
)
def test_a_repair_is_given_what_the_adversary_reached(
    capability: Capability, reached: str, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_short_board(monkeypatch, capability)
    record = evaluated("fine-tuning")
    under_poison, counterpart = trainings.of("fine-tuning")
    for context, mark in ((under_poison, ""), (counterpart, COUNTERPART)):
        given = context.teachers["given"]
        weights = record.models["teacher-given" + mark]["weights"]
        assert weights_digest(given.state_dict()) == weights
        assert not given.training
        assert not any(p.requires_grad for p in given.parameters())
        assert (weights == record.models["control" + mark]["weights"]) == (reached == "control")
    first = trainings.teachers[0] if reached == "teacher" else trainings.of("labels")[0].data
    assert poisoned(first)
    assert len(trainings.teachers) == (2 if reached == "teacher" else 0)


def values(out: Path) -> int:
    (path,) = out.rglob("*.json")
    return robustbench_kd.verify(path).values


def bits(record: Record, attack: str, name: str) -> Bits:
    return record.bits(attack, "student", name)


@pytest.fixture
def on_students(trainings: Trainings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Record]:
    """Evaluates the control under an attack on students' data; its networks are fresh."""
    put_short_board(monkeypatch, "student_train_data")

    def evaluate(attack: str, out: Path) -> Record:
        return evaluated("standard-training", attacks=[attack], out=out)

    return evaluate


def test_where_any_wrong_answer_will_do_every_input_is_eligible(
    on_students: Callable[..., Record], tmp_path: Path
) -> None:
    attack = "label-flip:rate=0.2"
    record = on_students(attack, tmp_path / "out")
    eligible = record.result(attack).eligible
    assert eligible is not None
    assert all(eligible.flags)
    assert record.poison["count"] == 240
    wrong = [not flag for flag in bits(record, "clean", "correct").flags]
    assert bits(record, attack, "attack_success").flags == wrong
    assert values(tmp_path / "out") == 4 * 3 * 500


def test_a_targeted_attack_has_one_eligible_input(
    on_students: Callable[..., Record], tmp_path: Path
) -> None:
    attack = "random-poisons:rate=0.01"
    record = on_students(attack, tmp_path / "out")
    eligible = record.result(attack).eligible
    assert eligible is not None
    assert (sum(eligible.flags), record.poison["count"]) == (1, 12)
    assert SeedGroup((record,)).pooled
    assert values(tmp_path / "out") == 4 * (500 + 2)


def test_a_leaderboard_may_run_fewer_attacks_on_a_defense(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = put_short_board(monkeypatch)
    attacks = ("badnets:size=1", "badnets:size=2")
    fewer = replace(board, attacks=attacks, attacks_by_defense={"fine-tuning": attacks[1:]})
    monkeypatch.setattr(digits_backdoor, "DIGITS_BACKDOOR", fewer)
    both = robustbench_kd.evaluate("distillation", board=BOARD, train=True)
    assert [record.attack_labels for record in both] == [[text] for text in attacks]
    assert evaluated("fine-tuning").attack_labels == [attacks[1]]


def test_an_attack_on_training_data_is_refused_on_test_data_before_a_student_is_trained(
    trainings: Trainings,
) -> None:
    with pytest.raises(BadSetting, match="digits-linf runs attacks on test data only"):
        robustbench_kd.evaluate(
            "standard-training", board="digits-linf", attacks=("badnets",), seed=7, train=True
        )
    assert trainings == Trainings()


def test_every_metric_of_the_leaderboard_has_a_value_or_says_why_not(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_short_board(monkeypatch)
    group = SeedGroup((evaluated(),))
    for text in board_of(BOARD).metrics:
        metric = configured("metrics", text)
        assert metric.available(group.first)
        assert metric(group) is not None or metric.why_none(group)
