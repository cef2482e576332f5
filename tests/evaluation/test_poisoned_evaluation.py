"""A poisoned teacher, its student and their clean counterparts, trained for real and evaluated."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from short_boards import put_short_board
from short_run import ATTACK, BOARD, COPIES, TEACHER, evaluated, put_trained
from torch import nn

from robustbench_kd.attacks.backdoor.badnets import BadNets
from robustbench_kd.core.errors import BadModel, BadSubmission
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.core.paths import cache
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.registry import board_of, configured
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import AdversarialInputs
from robustbench_kd.core.types import Splits
from robustbench_kd.defenses.distillation import Distillation
from robustbench_kd.defenses.fine_tuning import FineTuning
from robustbench_kd.evaluation.entries import attack_of
from robustbench_kd.evaluation.poisoned_data import DataPoisoning
from robustbench_kd.results.artifacts import find_model
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import COUNTERPART, Record
from robustbench_kd.results.store import load_records
from robustbench_kd.scenarios.digits import Digits

ROLES = ["student", "control", TEACHER]


@pytest.fixture
def record(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """The record; its models are in the cache of this test."""
    return put_trained(own_cache, monkeypatch)


def value(record: Record, metric: str) -> Estimate:
    estimate = configured("metrics", metric)(SeedGroup((record,)))
    assert isinstance(estimate, Estimate)
    return estimate


def success(record: Record, role: str) -> float:
    return value(record, f"attack-success:model={role}").value


def accuracy(record: Record, role: str) -> float:
    return value(record, f"clean-accuracy:model={role}").value


def clean() -> Splits:
    return Digits().splits(Seed(), whole=True)


def stored() -> dict[str, int]:
    """The stored networks and poisons, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in (cache() / "nets").glob("*")}


def metadata(record: Record, role: str) -> dict[str, Any]:
    """What is stored with a network about its training."""
    model = find_model(record.models[role]["recipe_digest"])
    assert model is not None
    return model.metadata


def poisoning() -> DataPoisoning:
    return DataPoisoning(Digits(), {ATTACK: attack_of(ATTACK, board_of(BOARD))}, 0)


def test_the_poisoned_teacher_learns_the_trigger_and_its_clean_counterpart_does_not(
    record: Record,
) -> None:
    assert success(record, TEACHER) > 0.9
    assert success(record, TEACHER + COUNTERPART) < 0.05
    assert accuracy(record, TEACHER) > 0.85


def test_the_record_counts_what_was_poisoned_and_what_could_be_won(record: Record) -> None:
    test = clean().test
    poison = {**record.poison, "count": COPIES, "cover_count": 0, "train_size": 1200}
    assert record.poison == poison
    eligible = record.result(ATTACK).eligible
    assert eligible is not None
    assert eligible.flags == (test.targets != 0).tolist()
    assert (record.data["count"], record.data["classes"]) == (500, 10)
    assert record.threat == {"capability": "teacher_train_data"}
    assert set(record.models) == {*ROLES, *(role + COUNTERPART for role in ROLES)}
    assert list(record.attacks) == ["clean", ATTACK]
    assert record.limit is None


def test_a_second_run_trains_nothing_and_makes_the_same_claim(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored()
    for trainer in ("scenarios._image_classification", "defenses._base"):
        monkeypatch.delattr(f"robustbench_kd.{trainer}.fit")
    for train in (True, False):
        assert evaluated(train=train, out=tmp_path / "out").claim == record.claim
    assert stored() == before
    assert [other.claim for other in load_records(tmp_path / "out")] == [record.claim]
    assert len(load_records(cache() / "records")) == 1


def test_an_interrupted_run_shows_every_model_the_inputs_that_were_made_for_the_student(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the student's own outcome is stored already, and a teacher's is not."""
    attacked: list[str] = []
    honest = BadNets.attack

    def attack(self: BadNets, model: Any, *rest: Any) -> AdversarialInputs:
        attacked.append(type(model.net.head).__name__ + str(model.net.head.in_features))
        return honest(self, model, *rest)

    monkeypatch.setattr(BadNets, "attack", attack)
    outcomes = sorted((cache() / "cells").glob("*"), key=lambda path: path.stat().st_mtime_ns)
    outcomes[-1].unlink()
    assert evaluated(train=False).claim == record.claim
    assert attacked == ["Linear16"], "the student's features, half of the teacher's"


def test_the_state_of_an_attack_is_made_again_where_it_alone_was_lost(record: Record) -> None:
    (state,) = (cache() / "nets").glob("*--poison-*")
    state.unlink()
    assert evaluated().claim == record.claim
    assert state.exists()


def test_the_control_of_a_poisoned_teacher_is_the_same_network_poisoned_or_not(
    record: Record,
) -> None:
    assert record.models["control"] == record.models["control" + COUNTERPART]
    for role in ("student", TEACHER):
        weights = record.models[role]["weights"]
        assert weights != record.models[role + COUNTERPART]["weights"]


def test_stored_networks_name_the_poison_where_it_entered_and_clean_counterparts_name_none(
    record: Record,
) -> None:
    """A student's own data are clean here; its teacher has another key."""
    assert metadata(record, TEACHER)["taint"] == poisoning().key
    key = record.models[TEACHER]["recipe_digest"]
    assert metadata(record, "student")["teachers"] == {"clean": key}
    for role in ("student", "control", *(r for r in record.models if r.endswith(COUNTERPART))):
        assert "taint" not in metadata(record, role), role
        assert metadata(record, role)["half"]
    counterpart = metadata(record, "student" + COUNTERPART)
    key = record.models[TEACHER + COUNTERPART]["recipe_digest"]
    assert counterpart["teachers"] == {"clean": key}
    assert ATTACK in metadata(record, "student")["title"]
    assert "--standard-training--clean--seed0" in metadata(record, "control")["title"]
    assert "--clean--seed0" in counterpart["title"]


def repaired(context: TrainingContext) -> nn.Module:
    return copy.deepcopy(context.teachers["given"])


def test_a_repair_that_changes_nothing_inherits_all(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FineTuning, "train", lambda self, context: repaired(context))
    unchanged = evaluated("fine-tuning")
    assert value(unchanged, "inheritance-ratio").value == 1
    for mark in ("", COUNTERPART):
        weights = unchanged.models["student" + mark]["weights"]
        assert weights == unchanged.models["teacher-given" + mark]["weights"]
        assert weights == record.models[TEACHER + mark]["weights"]


def test_a_repair_is_trained_from_what_it_was_given(record: Record) -> None:
    """One epoch at a negligible rate: another network, and yet the trigger works as before."""
    repair = evaluated("fine-tuning:epochs=1,rate=1e-4,shift=0")
    weights = repair.models["student"]["weights"]
    assert weights != repair.models["teacher-given"]["weights"]
    assert value(repair, "inheritance-ratio").value == pytest.approx(1, abs=0.1)
    assert metadata(repair, "student")["net"] == Digits.architectures["teacher"]


def test_a_constant_answer_succeeds_everywhere_and_recovers_nothing(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def constant(self: Distillation, context: TrainingContext) -> nn.Module:
        net: Any = copy.deepcopy(context.student)
        with torch.no_grad():
            net.head.weight.zero_()
            net.head.bias.copy_(torch.eye(10)[0])
        return net  # type: ignore[no-any-return]

    monkeypatch.setattr(Distillation, "train", constant)
    degenerate = evaluated("distillation:temperature=2")
    assert success(degenerate, "student") == success(degenerate, "student" + COUNTERPART) == 1
    assert value(degenerate, "recovered-accuracy").hits == 0
    zeros = int((clean().test.targets == 0).sum())
    assert value(degenerate, "clean-accuracy").hits == zeros


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: AdversarialInputs(s.ids[:9], s.inputs[:9], s.targets[:9]), "exactly once"),
        (lambda s: replace(s, inputs=s.inputs[:, :, 1:]), "inputs have shape"),
        (lambda s: replace(s, inputs=s.inputs * torch.nan), "NaN or infinite"),
        (lambda s: replace(s, metadata={"attack_success": s.ids}), "for the scorer to decide"),
    ],
    ids=["few", "shape", "nan", "claim"],
)
def test_what_an_adversary_may_not_submit_makes_no_record(
    change: Callable[[AdversarialInputs], Any],
    says: str,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    honest = BadNets.attack
    monkeypatch.setattr(BadNets, "attack", lambda *given: change(honest(*given)))
    for outcome in (cache() / "cells").glob("*"):
        outcome.unlink()
    with pytest.raises(BadSubmission, match=says):
        evaluated(out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list((cache() / "cells").glob("*"))


def test_triggered_inputs_outside_of_the_box_are_scored_as_clean_ones_and_raise_a_warning(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = BadNets.attack

    def outside(*given: Any) -> AdversarialInputs:
        submission = honest(*given)
        return replace(submission, inputs=submission.inputs + 0.5)

    monkeypatch.setattr(BadNets, "attack", outside)
    for outcome in (cache() / "cells").glob("*"):
        outcome.unlink()
    again = evaluated()
    assert again.warnings == ("an attack left its ball or the box",)
    assert success(again, TEACHER) < 0.2 < success(record, TEACHER)


def test_a_submission_in_another_order_makes_the_same_claim(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = BadNets.attack

    def reversed_order(*given: Any) -> AdversarialInputs:
        s = honest(*given)
        assert s.targets is not None
        return AdversarialInputs(s.ids.flip(0), s.inputs.flip(0), s.targets.flip(0))

    monkeypatch.setattr(BadNets, "attack", reversed_order)
    for outcome in (cache() / "cells").glob("*"):
        outcome.unlink()
    assert evaluated().claim == record.claim


@pytest.mark.parametrize("capability", ["teacher_train_data", "student_train_data"])
def test_without_permission_to_train_nothing_is_made(
    capability: Any, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_short_board(monkeypatch, capability)
    title = "digits-backdoor--distillation--" + ATTACK
    with pytest.raises(BadModel, match=f"no {title}--seed0 is stored; add --train to train it now"):
        evaluated(train=False)
    assert not (own_cache / "records").exists()
    assert all("--poison-" in path.name for path in own_cache.rglob("*.safetensors"))
