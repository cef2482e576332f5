"""Students and their teachers: shipped, trained before and stored, or trained now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from robustbench_kd.core.aliases import stable_name
from robustbench_kd.core.config import REACHES_STUDENT, REACHES_TEACHER, Leaderboard
from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.protocols import Defense, Scenario, TrainingContext, TrainsSupernet
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.evaluation.composite_attack import model_editor, oracle_provider
from robustbench_kd.evaluation.entries import control, label_of
from robustbench_kd.evaluation.fingerprints import (
    GIVEN,
    UNPOISONED,
    pretrained_roles,
    student_recipe,
    supernet_recipe,
    teacher_recipe,
    teacher_schedule,
)
from robustbench_kd.evaluation.poisoned_data import DataPoisoning
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.results.artifacts import CheckpointStore, StoredModel, find_model, save_model
from robustbench_kd.results.record import Json

ProgressCallback = Callable[[str, int, int, str], None]
"""Hears how far a run is: stage, done, total, note."""
TRUSTED = 0.05  # the share of the clean training examples that a defender vouches for


def no_progress(stage: str, done: int, total: int, note: str) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class TrainedModel:
    """A network with its recipe: what it is, and the settings that make it again.

    ``origin`` is ``shipped``, ``trained``, or ``user`` for somebody's own.
    """

    net: nn.Module
    recipe: Json
    origin: str


@dataclass(frozen=True)
class ModelSource:
    """Where the models of one leaderboard and seed come from, and whether to train missing ones."""

    board: Leaderboard
    scenario: Scenario
    seed: int
    train: bool = False
    on_progress: ProgressCallback = no_progress

    def teacher(self, role: str, poisoning: DataPoisoning | None = None) -> TrainedModel:
        """The teacher of this role.

        Args:
            poisoning: what the teacher's data were poisoned with.

        Raises:
            BadModel: where it is not stored and training was not asked for; clean teachers of
                leaderboards without poison serve all students, and are trained all the same.
        """
        board, scenario = self.board, self.scenario
        recipe = teacher_recipe(scenario, role, board, self.seed, poisoning)
        editor = model_editor(poisoning.attack) if poisoning else None
        checkpoints = CheckpointStore(recipe["key"], self.on_progress)
        if role in pretrained_roles(scenario) and editor is None:
            empty = torch.zeros(0, dtype=torch.int64)
            net = scenario.teacher(role, Examples(empty, empty, empty), Seed(), checkpoints)
            return TrainedModel(
                net, {**recipe, "weights": weights_digest(net.state_dict())}, "shipped"
            )
        stored = find_model(recipe["key"])
        if stored is not None:
            return _restored(scenario.student(scenario.architectures["teacher"], Seed()), stored)
        if not self.train and board.poisons:
            raise BadModel(f"no {recipe['title']} is stored; add --train to train it now")
        seed = Seed(self.seed if board.poisons else 0) / "teacher" / role
        if poisoning is not None and editor is not None:
            clean = self.teacher(role).net
            net = editor.edit_model(clean, poisoning.data(), seed / "implant", checkpoints)
            return _store(net, recipe, checkpoints)
        data = poisoning.data().train if poisoning else scenario.splits(seed, whole=True).train
        schedule = teacher_schedule(scenario, role, board)
        return _store(
            scenario.teacher(role, data, seed, checkpoints, schedule), recipe, checkpoints
        )

    def student(self, defense: Defense, poisoning: DataPoisoning | None = None) -> TrainedModel:
        """The student of a defense.

        Args:
            poisoning: of the leaderboard's attack; none for the clean counterpart.

        Raises:
            BadModel: where it is not stored and training was not asked for.
        """
        board, scenario = self.board, self.scenario
        recipe = student_recipe(board, scenario, defense, self.seed, poisoning)
        repairs = defense.net == GIVEN
        kind = scenario.architectures["teacher"] if repairs else defense.net
        fresh = scenario.student(kind, Seed(self.seed) / "student")
        if isinstance(defense, TrainsSupernet):
            defense.check(fresh)
        stored = find_model(recipe["key"])
        if stored is not None:
            return _restored(scenario.student(stored.metadata["net"], Seed()), stored)
        if not self.train:
            raise BadModel(self._not_trained(defense, recipe))
        checkpoints = CheckpointStore(recipe["key"], self.on_progress)
        if isinstance(defense, TrainsSupernet):
            supernet, context = self.supernet(defense, poisoning)
            net, name = defense.choose(supernet.net, context)
            recipe |= {"net": name, "family": supernet.recipe["weights"]}
            return _store(net, recipe, checkpoints)
        teachers = {role: self.teacher_of(role, poisoning) for role in defense.teacher_roles}
        context = self._context(defense, fresh, checkpoints, teachers, poisoning)
        weights = {role: teacher.recipe["weights"] for role, teacher in teachers.items()}
        recipe |= {"net": teachers[GIVEN].recipe["net"]} if repairs else {}
        return _store(defense.train(context), {**recipe, "teacher_weights": weights}, checkpoints)

    def _not_trained(self, defense: Defense, recipe: Json) -> str:
        if self.board.poisons:
            return f"no {recipe['title']} is stored; add --train to train it now"
        label, board = label_of(defense), self.board.name
        return (
            f"no trained student of {label} (seed {self.seed}) ships for {board}; add --train to "
            f"train one now, or: robustbench-kd train --defense {label} --board {board} "
            f"--seed {self.seed}"
        )

    def teacher_of(self, role: str, poisoning: DataPoisoning | None) -> TrainedModel:
        """The teacher that a defense has in this role, poisoned where the attack reaches it."""
        reached = poisoning if self.board.capability in REACHES_TEACHER else None
        if role == UNPOISONED:
            return self.teacher("clean")
        if role == GIVEN and self.board.capability not in REACHES_TEACHER:
            return self.student(control(), poisoning)
        return self.teacher("clean" if role == GIVEN else role, reached)

    def supernet(
        self, defense: TrainsSupernet, poisoning: DataPoisoning | None = None
    ) -> tuple[TrainedModel, TrainingContext]:
        """The supernet that students are cut from, and the context to choose one by.

        Raises:
            BadModel: where it is not stored and training was not asked for.
        """
        recipe = supernet_recipe(self.board, self.scenario, defense, self.seed, poisoning)
        fresh = self.scenario.student(recipe["net"], Seed(self.seed) / "student")
        stored = find_model(recipe["key"])
        checkpoints = CheckpointStore(recipe["key"], self.on_progress)
        entry = cast(Defense, defense)
        if stored is None and not self.train:
            raise BadModel(
                f"no supernet of {entry.name} (seed {self.seed}) is stored for {self.board.name}; "
                f"train it by: robustbench-kd train --defense {entry.name} --board "
                f"{self.board.name} --seed {self.seed}"
            )
        context = self._context(entry, fresh, checkpoints, {}, poisoning)
        if stored is not None:
            return _restored(fresh, stored), context
        return _store(defense.train_supernet(context), recipe, checkpoints), context

    def _context(
        self,
        defense: Defense,
        fresh: nn.Module,
        checkpoints: CheckpointStore,
        teachers: Mapping[str, TrainedModel],
        poisoning: DataPoisoning | None,
    ) -> TrainingContext:
        """All that the defender may use, the teachers frozen.

        What the defender trusts is clean even where the rest is poisoned: that is its use.
        """
        clean = self.scenario.splits(Seed(self.seed), whole=True)
        reached = poisoning is not None and self.board.capability in REACHES_STUDENT
        splits = poisoning.data() if poisoning is not None and reached else clean
        noise = (Seed(self.seed) / "trusted").generator()
        order = torch.randperm(len(clean.train), generator=noise)
        return TrainingContext(
            data=splits.train,
            teachers={
                role: teacher.net.eval().requires_grad_(False) for role, teacher in teachers.items()
            },
            student=fresh,
            budget=self.board.budget,
            schedule=self.board.schedule,
            seed=Seed(self.seed) / stable_name("defenses", defense.name),
            progress=checkpoints,
            validation=splits.validation,
            trusted=clean.train.take(order[: round(TRUSTED * len(order))]),
            oracle=_oracle(poisoning, clean) if getattr(defense, "oracle", False) else None,
            detokenize=getattr(self.scenario, "detokenize", None),
        )


def _oracle(poisoning: DataPoisoning | None, clean: Splits) -> Examples | None:
    """What an oracle defense knows of the poison; nothing for a clean counterpart."""
    provider = oracle_provider(poisoning.attack) if poisoning else None
    if poisoning is None or provider is None:
        return None
    return provider.oracle_examples(clean, Seed(poisoning.seed) / "tell")


def _store(net: nn.Module, recipe: Json, checkpoints: CheckpointStore) -> TrainedModel:
    net = net.half().float() if recipe.get("half") else net
    save_model(net.state_dict(), recipe)
    checkpoints.clear()
    stored = find_model(recipe["key"])
    if stored is None:
        raise BadModel(f"{recipe['title']} was trained and stored, but cannot be found again")
    return TrainedModel(net.eval(), stored.metadata, "trained")


def _restored(net: nn.Module, stored: StoredModel) -> TrainedModel:
    try:
        net.load_state_dict(stored.state)
    except RuntimeError as why:
        title = stored.metadata["title"]
        raise BadModel(f"the weights of {title} fit another network: {why}") from why
    return TrainedModel(net.eval(), stored.metadata, "shipped" if stored.shipped else "trained")
