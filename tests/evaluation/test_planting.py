"""Attacks on training data: the taint enters by its door alone, and what cannot be is refused."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from click.testing import CliRunner, Result
from planted import put_short
from torch import nn

import robustbench_kd
from robustbench_kd.attacks.backdoor.badnets import BadNets
from robustbench_kd.cli import main
from robustbench_kd.core.config import Door, Schedule
from robustbench_kd.core.errors import (
    BadModel,
    BadSetting,
    BadSubmission,
    RobustbenchError,
    SaveFailed,
)
from robustbench_kd.core.paths import cache
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits, Submission
from robustbench_kd.defenses._base import Recipe
from robustbench_kd.defenses.distillation import Distillation
from robustbench_kd.defenses.fine_tuning import FineTuning
from robustbench_kd.defenses.labels import Labels
from robustbench_kd.evaluation import trained_models
from robustbench_kd.evaluation.attack_runner import attack_of
from robustbench_kd.evaluation.fingerprints import (
    defense_of,
    reachable,
    refuse,
    student_card,
    teacher_card,
)
from robustbench_kd.evaluation.planting import plant
from robustbench_kd.evaluation.poisoned_data import Taint
from robustbench_kd.evaluation.reasking import verify_planted
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.statistics.bitset import unpack
from robustbench_kd.results.artifacts import find_net
from robustbench_kd.results.planted import TWIN, Planted, excess, ratio, recovered, success, verdict
from robustbench_kd.results.planted import accuracy as right
from robustbench_kd.results.store import load_planted
from robustbench_kd.scenarios.digits import Digits

NAME = "digits-backdoor"
TEACHER = "teacher-clean"
ATTACK = "badnets:size=2"


def quiet(*what: object) -> None:
    """Says nothing."""


def planted(defense: str = "distillation", **asked: Any) -> Planted:
    """The one record of a defense, on the short board, trained where it is not kept."""
    asked = {"board": NAME, "train": True, "say": quiet, **asked}
    (record,) = plant(defense, **asked)
    return record


def nets() -> dict[str, int]:
    """The kept networks and secrets, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in (cache() / "nets").glob("*")}


def clean() -> Splits:
    return Digits().splits(Seed(), whole=True)


# -------------------------------------------------------------- a story that was really trained


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache after one planted run of distillation: poisoned teacher, student, twins."""
    folder = tmp_path_factory.mktemp("school")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTBENCH_KD_CACHE", str(folder))
        put_short(patch)
        planted()
    return folder


@pytest.fixture
def story(school: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """The record of that run; its networks are in the cache of this test."""
    put_short(monkeypatch)
    shutil.copytree(school, own_cache)
    (record,) = load_planted(own_cache / "records")
    return record


def test_the_poisoned_teacher_learns_the_trigger_and_its_twin_does_not(story: Planted) -> None:
    assert success(story, TEACHER).value > 0.9
    assert success(story, TEACHER + TWIN).value < 0.05
    assert right(story, TEACHER).value > 0.85
    assert verdict(story) == "inherited"
    assert ratio(story) == excess(story, "student") / excess(story, TEACHER)


def test_the_counts_are_those_that_were_asked_for(story: Planted) -> None:
    test = clean().test
    assert story.planted == {**story.planted, "planted": 120, "covers": 0, "of": 1200}
    assert unpack(story.eligible, 500) == (test.targets != 0).tolist()
    assert (story.data["count"], story.wins) == (500, int((test.targets != 0).sum()))
    assert (story.door, story.source, story.data["classes"]) == ("teacher data", TEACHER, 10)
    assert story.subjects.keys() == {
        name + mark for name in ("student", "control", TEACHER) for mark in ("", TWIN)
    }


def test_a_second_run_trains_nothing_and_makes_the_same_claim(
    story: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = nets()
    for trainer in ("scenarios.images", "defenses"):
        monkeypatch.delattr(f"robustbench_kd.{trainer}.fit")
    for train in (True, False):
        again = planted(train=train, out=tmp_path / "out")
        assert again.claim == story.claim
    assert nets() == before
    assert [one.claim for one in load_planted(tmp_path / "out")] == [story.claim]
    assert len(load_planted(cache() / "records")) == 1


def test_the_secret_is_found_again_where_it_alone_was_lost(story: Planted) -> None:
    """Within the process that made it, and from the seed."""
    (secret,) = (cache() / "nets").glob("*--taint-*")
    secret.unlink()
    assert planted().claim == story.claim
    assert secret.exists()


def test_the_control_behind_the_teachers_door_is_the_same_network_poisoned_or_not(
    story: Planted,
) -> None:
    assert story.subjects["control"] == story.subjects["control" + TWIN]
    assert excess(story, "control") == 0
    for name in ("student", TEACHER):
        assert story.subjects[name].weights != story.subjects[name + TWIN].weights


def card(record: Planted, name: str) -> dict[str, Any]:
    kept = find_net(record.subjects[name].key)
    assert kept is not None
    return kept.card


def test_cards_name_the_taint_where_it_entered_and_twins_name_none(story: Planted) -> None:
    """Behind the teacher's door the student's own data are clean; its teacher has another key."""
    taint = Taint(Digits(), ATTACK, attack_of(ATTACK, board_of(NAME)), 0)
    assert card(story, TEACHER)["taint"] == taint.key
    assert card(story, "student")["teachers"] == {"clean": story.subjects[TEACHER].key}
    for name in ("student", "control", *(one for one in story.subjects if one.endswith(TWIN))):
        assert "taint" not in card(story, name), name
        assert card(story, name)["half"]
    twin = card(story, "student" + TWIN)
    assert twin["teachers"] == {"clean": story.subjects[TEACHER + TWIN].key}
    assert ATTACK in card(story, "student")["title"]
    assert "--labels--clean--seed0" in card(story, "control")["title"]
    assert "--clean--seed0" in twin["title"]


def test_the_keys_of_a_story_can_be_told_before_it_is_trained(story: Planted) -> None:
    board = board_of(NAME)
    taint = Taint(Digits(), ATTACK, attack_of(ATTACK, board), 0)
    role = (Digits(), "clean", board, 0)
    assert teacher_card(*role, taint)["key"] == story.subjects[TEACHER].key
    assert teacher_card(*role)["key"] == story.subjects[TEACHER + TWIN].key
    for mark, poison in (("", taint), (TWIN, None)):
        said = student_card(board, Digits(), defense_of("distillation"), 0, poison)
        assert said["key"] == story.subjects["student" + mark].key
    assert len({teacher_card(Digits(), "clean", board, seed)["key"] for seed in range(3)}) == 3
    evasion = [teacher_card(Digits(), "clean", board_of("digits-linf"), s)["key"] for s in (0, 1)]
    assert evasion == [teacher_card(Digits(), "clean")["key"]] * 2, "there, teachers have no seeds"


def test_a_repair_that_changes_nothing_inherits_all(
    story: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FineTuning, "harden", lambda self, brief: mended(brief))
    record = planted("fine-tuning")
    assert (verdict(record), ratio(record)) == ("inherited", 1)
    assert record.subjects["student"].weights == record.subjects["teacher-given"].weights
    assert record.subjects["teacher-given"].weights == story.subjects[TEACHER].weights
    assert record.subjects["student" + TWIN].weights == story.subjects[TEACHER + TWIN].weights


def test_a_repair_is_trained_from_what_it_was_given(story: Planted) -> None:
    """One epoch at a negligible rate: another network, and yet the trigger works as before."""
    record = planted("fine-tuning:epochs=1,rate=1e-4,shift=0")
    assert record.subjects["student"].weights != record.subjects["teacher-given"].weights
    assert ratio(record) == pytest.approx(1, abs=0.1)
    assert card(record, "student")["net"] == Digits.nets["teacher"]


def test_a_constant_answer_is_no_inheritance_but_degenerate(
    story: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def constant(self: Distillation, brief: Brief) -> nn.Module:
        net: Any = copy.deepcopy(brief.student)
        with torch.no_grad():
            net.head.weight.zero_()
            net.head.bias.copy_(torch.eye(10)[0])
        return net  # type: ignore[no-any-return]

    monkeypatch.setattr(Distillation, "harden", constant)
    record = planted("distillation:temperature=2")
    assert success(record, "student").value == success(record, "student" + TWIN).value == 1
    assert recovered(record, "student").hits == 0
    assert right(record, "student").hits == int((clean().test.targets == 0).sum())
    assert (verdict(record), ratio(record)) == ("degenerate", None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: replace(s, ids=s.ids.flip(0)), "every test image, in the order they are in"),
        (lambda s: Submission(s.ids[:9], s.inputs[:9], s.wanted[:9]), "every test image"),
        (lambda s: replace(s, inputs=s.inputs + 0.5), "left its ball or the box"),
        (lambda s: replace(s, inputs=s.inputs[:, :, 1:]), "inputs have shape"),
        (lambda s: s.inputs, "must hand in inputs, not a Tensor"),
    ],
)
def test_what_an_adversary_may_not_hand_in_makes_no_record(
    change: Callable[[Submission], Any],
    says: str,
    story: Planted,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    honest = BadNets.after
    monkeypatch.setattr(BadNets, "after", lambda *given: change(honest(*given)))
    with pytest.raises(BadSubmission, match=says):
        planted(out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------- who gets to see what: no training


@dataclass
class Watched:
    """What teachers and students were taught on, in order; none of them was trained."""

    taught: list[Examples] = field(default_factory=list)
    briefs: list[Brief] = field(default_factory=list)

    def of(self, name: str) -> list[Brief]:
        """The briefs of a defense: behind the taint, and of the clean twin."""
        return [brief for brief in self.briefs if brief.seed.path == (name,)]


def mended(brief: Brief) -> nn.Module:
    return copy.deepcopy(brief.teachers["given"])


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Every teacher and student is fresh, and what it would have been taught on is noted."""
    seen = Watched()

    def teach(
        self: Digits, role: str, data: Examples, seed: Seed, progress: object, schedule: Schedule
    ) -> nn.Module:
        seen.taught.append(data)
        return self.student(self.nets["teacher"], seed / len(seen.taught))

    def brief(**given: Any) -> Brief:
        seen.briefs.append(Brief(**given))
        return seen.briefs[-1]

    monkeypatch.setattr(Digits, "teacher", teach)
    monkeypatch.setattr(Recipe, "harden", lambda self, brief: brief.student)
    monkeypatch.setattr(FineTuning, "harden", lambda self, brief: mended(brief))
    monkeypatch.setattr(trained_models, "Brief", brief)
    return seen


def same(one: Examples, other: Examples) -> bool:
    parts = ((one.ids, other.ids), (one.inputs, other.inputs), (one.targets, other.targets))
    return all(torch.equal(a, b) for a, b in parts)


def poisoned(data: Examples) -> bool:
    """Whether exactly 120 images bear the square and the target's label, and nothing else moved."""
    whole = clean().train
    moved = (data.inputs != whole.inputs).flatten(1).any(1) | (data.targets != whole.targets)
    stamped = bool((data.inputs[moved][..., -2:, -2:] == 1).all())
    labelled = bool((data.targets[moved] == 0).all())
    inside = data.inputs.clone()
    inside[..., -2:, -2:] = whole.inputs[..., -2:, -2:]
    elsewhere = torch.equal(inside, whole.inputs)
    return int(moved.sum()) == 120 and stamped and labelled and elsewhere


def test_behind_the_teachers_door_only_the_teacher_is_taught_on_tainted_data(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = put_short(monkeypatch)
    planted()
    assert [poisoned(data) for data in watched.taught] == [True, False]
    assert same(watched.taught[1], clean().train)
    assert [len(watched.of(name)) for name in ("labels", "distillation")] == [1, 2]
    for brief in watched.briefs:
        assert same(brief.data, clean().train)
        assert brief.schedule == board.schedule


def test_behind_the_students_door_only_students_are_taught_on_tainted_data(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_short(monkeypatch, "student data")
    record = planted()
    (data,) = watched.taught
    assert same(data, clean().train)
    for name in ("labels", "distillation"):
        behind, twin = watched.of(name)
        assert poisoned(behind.data)
        assert same(twin.data, clean().train)
        assert behind.validation is not None
        assert same(behind.validation, clean().validation)
    assert record.subjects[TEACHER] == record.subjects[TEACHER + TWIN]
    assert (record.door, record.source) == ("student data", "control")
    taint = Taint(Digits(), ATTACK, attack_of(ATTACK, board_of(NAME)), 0)
    for name in ("student", "control"):
        assert card(record, name)["taint"] == taint.key
        assert "taint" not in card(record, name + TWIN)


@pytest.mark.parametrize("door", ["teacher data", "student data"])
def test_what_the_defender_trusts_is_clean_and_a_twentieth_behind_either_door(
    door: Door, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_short(monkeypatch, door)
    planted("fine-tuning", attacks=["badnets:size=2,rate=1"])  # no clean image is left elsewhere
    trusted = [brief.trusted for brief in watched.briefs]
    assert len(trusted) >= 3
    noise = (Seed(0) / "trusted").generator()
    order = clean().train.ids[torch.randperm(1200, generator=noise)[:60]]
    for one in trusted:
        assert one is not None
        assert len(set(one.ids.tolist())) == len(one) == 60
        assert same(one, clean().train.named(one.ids))
        assert torch.equal(one.ids, order)


def test_what_is_trusted_depends_on_the_seed(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_short(monkeypatch)
    planted(seed=0)
    planted(seed=1)
    assert len({str(b.trusted.ids.tolist()) for b in watched.briefs if b.trusted}) == 2


@pytest.mark.parametrize(
    ("door", "reached"), [("teacher data", "teacher"), ("student data", "control")]
)
def test_a_repair_is_given_what_the_adversary_reached(
    door: Door, reached: str, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_short(monkeypatch, door)
    record = planted("fine-tuning")
    behind, twin = watched.of("fine-tuning")
    for brief, mark in ((behind, ""), (twin, TWIN)):
        given = brief.teachers["given"]
        weights = record.subjects["teacher-given" + mark].weights
        assert weights_digest(given.state_dict()) == weights
        assert not given.training
        assert not any(p.requires_grad for p in given.parameters())
        assert (weights == record.subjects["control" + mark].weights) == (reached == "control")
    assert poisoned(watched.taught[0] if reached == "teacher" else watched.of("labels")[0].data)
    assert len(watched.taught) == (2 if reached == "teacher" else 0)


def test_one_poison_serves_both_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, doors = set(), get_args(Door)[1:]
    for door in doors:
        board = put_short(monkeypatch, door)
        keys.add(Taint(Digits(), ATTACK, attack_of(ATTACK, board), 0).key)
    assert len(keys) == 1
    assert Taint(Digits(), ATTACK, attack_of(ATTACK, board), 1).key not in keys
    other = attack_of("badnets:size=3", board)
    assert Taint(Digits(), "badnets:size=3", other, 0).key not in keys


def test_where_any_wrong_answer_will_do_every_input_is_eligible(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_short(monkeypatch, "student data")
    record = planted("labels", attacks=["label-flip:rate=0.2"], out=tmp_path / "out")
    assert (record.wins, record.planted["planted"]) == (500, 240)
    assert success(record, "student").hits == 500 - right(record, "student").hits
    (path,) = (tmp_path / "out").rglob("*.json")
    assert verify_planted(path).inputs == 1000


def test_a_targeted_attack_has_one_eligible_input(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_short(monkeypatch, "student data")
    record = planted("labels", attacks=["random-poisons:rate=0.01"], out=tmp_path / "out")
    assert (record.wins, record.planted["planted"]) == (1, 12)
    (path,) = (tmp_path / "out").rglob("*.json")
    assert verify_planted(path).inputs == 501


def test_a_board_may_try_a_defense_on_fewer_attacks(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = put_short(monkeypatch)
    panel = ("badnets:size=1", "badnets:size=2")
    few = replace(board, panel=panel, tried={"fine-tuning": panel[1:]})
    monkeypatch.setattr("robustbench_kd.evaluation.planting.board_of", lambda name: few)
    both = plant("distillation", board=NAME, train=True, say=quiet)
    assert [record.attack for record in both] == list(panel)
    assert planted("fine-tuning").attack == panel[1]


# --------------------------------------------------------------------------------------- refusals


def kept() -> list[Path]:
    return [path for path in cache().rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("defense", "attack", "says"),
    [
        ("distillation", "badnets:rate=0.0001", "plants none of 1200 images; the lowest"),
        ("distillation", "badnets:target=10", "there is no class 10; the last one is 9"),
        ("distillation", "badnets:size=9", "9 pixels is larger than the image .8."),
        ("distillation", "badnets:rate=0", "a share of the training set"),
        ("distillation", "badnets:door=student data", "acts on the student data"),
        ("distillation", "fgsm", "fgsm acts on the input, and digits-backdoor tries attacks on"),
        ("distillation", "badnts", "Did you mean 'badnets'"),
        ("distillation:temprature=2", ATTACK, "mean 'temperature'"),
        ("labels", ATTACK, "labels asks no teacher"),
        ("trades", ATTACK, "trades asks no teacher"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence_before_anything_is_trained(
    defense: str, attack: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_short(monkeypatch)
    with pytest.raises(RobustbenchError, match=says) as caught:
        planted(defense, attacks=[attack])
    assert "\n" not in str(caught.value)
    assert kept() == []


@pytest.mark.parametrize("attack", ["badnets:rate=0.0001", "badnets:target=10", "badnets:size=9"])
def test_data_that_cannot_bear_the_attack_are_refused_before_a_clean_teacher_is_trained(
    attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the student's door the first network of the story is one without any poison."""
    put_short(monkeypatch, "student data")
    with pytest.raises(BadSetting):
        planted(attacks=[attack])
    assert kept() == []


def test_without_leave_to_train_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    put_short(monkeypatch)
    with pytest.raises(BadModel, match="no digits--teacher-clean--badnets:size=2--seed0 is kept"):
        planted(train=False)
    put_short(monkeypatch, "student data")
    with pytest.raises(BadModel, match=r"digits-backdoor--labels.*add --train to train it now"):
        planted("labels", train=False)
    assert kept() == []


def test_a_folder_that_cannot_be_written_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_short(monkeypatch)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SaveFailed, match="is not a folder"):
        planted(out=tmp_path / "file" / "x")
    assert kept() == []


def test_nothing_is_planted_on_a_board_of_test_inputs() -> None:
    with pytest.raises(BadSetting, match="nothing is planted on digits-linf"):
        planted(board="digits-linf")
    with pytest.raises(RobustbenchError, match="fine-tuning needs a student of kind 'given'"):
        refuse(Digits(), FineTuning(), board_of("digits-linf"))
    with pytest.raises(BadSetting, match="nothing is planted"):
        reachable(board_of("digits-linf"), Labels())
    assert kept() == []


def test_every_defense_is_reachable_behind_the_students_door(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = put_short(monkeypatch, "student data")
    for defense in (Labels(), Distillation(), FineTuning()):
        reachable(board, defense)
        refuse(Digits(), defense, board)


def test_a_planted_attack_is_refused_on_a_board_of_test_inputs() -> None:
    """The student of seed 0 ships, so there is nothing to train."""
    with pytest.raises(BadSetting, match="badnets acts on training data, so it needs a board"):
        robustbench_kd.evaluate("labels", board="digits-linf", attacks=("badnets",), train=True)
    assert kept() == []


def test_a_planted_attack_is_refused_on_a_board_of_test_inputs_before_a_student_is_trained(
    watched: Watched,
) -> None:
    with pytest.raises(BadSetting, match="acts on training data"):
        robustbench_kd.evaluate(
            "labels", board="digits-linf", attacks=("badnets",), seed=7, train=True
        )
    assert kept() == []


# ------------------------------------------------------------------------------- the command line


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_the_command_shows_the_case_and_keeps_a_record_that_verifies(
    story: Planted, tmp_path: Path
) -> None:
    asked = ("evaluate", "--board", NAME, "--defense", "distillation", "--out", tmp_path / "out")
    ran = run(*asked, "--json")
    assert ran.exit_code == 0, ran.output
    document = json.loads(ran.stdout)
    (row,) = document["rows"]
    assert (document["command"], document["board"]) == ("evaluate", NAME)
    assert row["success"]["student"]["hits"] == success(story, "student").hits
    assert (row["planted"], row["of"], row["source"]) == (120, 1200, TEACHER)
    ran = run(*asked)
    assert "distillation" in ran.stdout, ran.output
    ran = run("verify", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert f"6 networks answer {500 + story.wins} inputs as the record says" in ran.stdout
    ran = run("leaderboard", NAME, "--json")
    assert json.loads(ran.stdout)["rows"] == [row], "made on this machine, and kept"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--defense", "distillation", "--limit", "9"), "--limit is about attacks on test inputs"),
        (("--defense", "distillation", "--limit", "0"), "--limit is about attacks on test inputs"),
        (("--defense", "distillation", "--wide"), "--wide is about"),
        (("--defense", "distillation", "--accept-probabilities"), "--accept-probabilities is"),
        (("--model", "a:b"), "--model and --net are about attacks on test inputs"),
        (("--defense", "labels", "--train"), "labels asks no teacher"),
        (("--defense", "distillation"), "add --train to train it now"),
        (("--defense", "distillation", "--train", "--attack", "badnets:size=9"), "larger than"),
    ],
)
def test_the_command_refuses_in_one_sentence_and_leaves_no_file(
    args: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_short(monkeypatch)
    ran = run("evaluate", "--board", NAME, *args)
    assert (ran.exit_code, ran.stdout) == (2, ""), ran.output
    assert len(ran.stderr.splitlines()) == 1
    assert words in ran.stderr
    assert kept() == []
