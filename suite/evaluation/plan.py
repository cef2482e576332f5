"""What an evaluation is about. Whatever does not fit together is refused here, before any cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from robustbench_kd.core.aliases import current_label
from robustbench_kd.core.config import Budget, Leaderboard
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import AnyAttack, Defense, Scenario, ValidatesData
from robustbench_kd.core.registry import MAIN, board_of, home_board
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.text import is_one_line
from robustbench_kd.core.types import Splits
from robustbench_kd.evaluation.compatibility import (
    IMAGES,
    expect_attack_fits,
    expect_defense_fits,
    expect_model_fits,
    expect_whole_panel,
)
from robustbench_kd.evaluation.entries import (
    attack_of,
    common_budget,
    defense_of,
    described,
    label_of,
    scenario_of,
    with_eps,
)
from robustbench_kd.evaluation.poisoned_data import DataPoisoning
from robustbench_kd.evaluation.trained_models import ModelSource, ProgressCallback, no_progress
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode
from robustbench_kd.results.record import CLEAN, Json

Attacks = Mapping[str, AnyAttack]
LONGEST_NAME = 200


@dataclass(frozen=True)
class EvalPlan:
    """A defense (or somebody's model) on a leaderboard: which attacks, which data, which models.

    Attributes:
        board: the leaderboard.
        groups: attacks by label, those together that share a student. On leaderboards of attacks on
            test data ``clean`` is among them.
        source: where models come from.
        limit: only the first so many test samples.
        budget: what moves test inputs; None where attacks poison training data.
    """

    board: Leaderboard
    scenario: Scenario
    source: ModelSource
    groups: tuple[Attacks, ...]
    defense: Defense | None = None
    user_model: nn.Module | None = None
    name: str | None = None
    limit: int | None = None
    budget: Budget | None = None
    full_test: Attacks | None = None
    accept_probabilities: bool = False

    @classmethod
    def of(
        cls,
        who: str | nn.Module,
        *,
        board: str | None = None,
        attacks: Sequence[str] | None = None,
        seed: int = 0,
        limit: int | None = None,
        eps: float | None = None,
        train: bool = False,
        full_test: bool = False,
        name: str | None = None,
        folder: str | None = None,
        starting_points: Mapping[str, str | None] | None = None,
        accept_probabilities: bool = False,
        on_progress: ProgressCallback = no_progress,
    ) -> EvalPlan:
        """The plan; see ``pipeline.evaluate`` for the arguments.

        Raises:
            RobustbenchError: with one sentence that says what is wrong and what would be right.
        """
        defense = None if isinstance(who, nn.Module) else defense_of(who)
        model = who if isinstance(who, nn.Module) else None
        if board is None:
            board = home_board(defense.name) if defense else MAIN
        leaderboard = board_of(board)
        if leaderboard.poisons:
            _expect_trained(leaderboard, model, limit=limit, eps=eps, full_test=full_test)
        if limit is not None and limit < 1:
            raise BadSetting(f"limit must be at least 1, not {limit}: no sample shows nothing")
        if not 0 <= seed < 2**53:
            raise BadSetting(f"seed must be a whole number from 0 on, not {seed}")
        if name is not None and (len(name) > LONGEST_NAME or not is_one_line(name)):
            raise BadSetting(f"a name is one line of 1 to {LONGEST_NAME} characters, not {name!r}")
        attacked = with_eps(leaderboard, eps)
        scenario = scenario_of(leaderboard.scenario, folder, **(starting_points or {}))
        if defense is not None:
            expect_defense_fits(scenario, defense, leaderboard)
        usual = leaderboard.attacks_on(label_of(defense)) if defense else leaderboard.attacks
        texts = tuple(attacks or usual)
        if not leaderboard.poisons:
            texts = tuple(dict.fromkeys((CLEAN, *texts)))
        panel = {current_label("attacks", text): attack_of(text, attacked) for text in texts}
        for text, attack in panel.items():
            expect_attack_fits(text, attack, leaderboard)
        expect_whole_panel(panel, leaderboard)
        network = scenario.student("plain", Seed()) if model is None else model
        with frozen_eval_mode(network):  # a target model is frozen; the user's is given back
            expect_model_fits(scenario.target_model(network), panel, scenario)
        whole = {text: attack_of(text, attacked) for text in leaderboard.full_test_attacks}
        together = leaderboard.joint or not leaderboard.poisons
        plan = cls(
            board=leaderboard,
            scenario=scenario,
            source=ModelSource(leaderboard, scenario, seed, train, on_progress),
            groups=(panel,) if together else tuple({t: a} for t, a in panel.items()),
            defense=defense,
            user_model=model,
            name=name,
            limit=limit,
            budget=None if leaderboard.poisons else common_budget(panel, attacked),
            full_test=whole if full_test else None,
            accept_probabilities=accept_probabilities,
        )
        if train and leaderboard.poisons:
            plan.expect_data_allow()
        return plan

    def expect_data_allow(self) -> None:
        """Looks at what every attack would poison, before the first network is trained.

        Raises:
            BadSetting: for settings that these data do not allow.
        """
        train = self.scenario.splits(Seed(self.source.seed), whole=True).train
        for group in self.groups:
            for attack in group.values():
                if isinstance(attack, ValidatesData):
                    attack.validate_data(train)
        for group in self.groups:
            self.poisoning(group).facts()

    @property
    def seed(self) -> int:
        return self.source.seed

    def poisoning(self, attacks: Attacks) -> DataPoisoning:
        """What these attacks make of the training data."""
        return DataPoisoning(self.scenario, attacks, self.seed)

    @property
    def classifies(self) -> bool:
        """Whether everything is decided by labels: no text, no images, no ranks."""
        scorers = {attack.threat.scorer for group in self.groups for attack in group.values()}
        return scorers == {"classification"}

    def formats(self, ids: Tensor) -> list[object]:
        """What kind of sample each is, where the scenario has several."""
        family = getattr(self.scenario, "formats", None)
        return list(family(ids)) if family else ["example"] * len(ids)

    def data(self) -> Splits:
        """What attacks and scorers see: the test samples and, where not everything is decided by
        labels, all else that ships, or for images that ship no reserve the whole data set.
        """
        seed = Seed(self.seed)
        data = self.scenario.splits(seed, whole=False)
        test = data.test
        if self.limit is not None:
            test = test.take(torch.arange(min(self.limit, len(test))))
        if self.classifies:
            empty = test.take(test.ids[:0])
            return Splits(empty, empty, test)
        if data.reserve is None and getattr(self.scenario, "modality", IMAGES) == IMAGES:
            data = self.scenario.splits(seed, whole=True)
        return replace(data, test=test)

    def described(self) -> Json:
        """The defense, or the name of somebody's model, as records have it."""
        if self.defense is not None:
            return described(self.defense)
        name = self.name or type(self.user_model).__name__
        return {"name": name, "label": name, "oracle": False}


def _expect_trained(board: Leaderboard, model: nn.Module | None, **options: object) -> None:
    """Refuses what only attacks on test data allow.

    Raises:
        BadSetting: naming the option.
    """
    given = [n for n, value in options.items() if value is not None and value is not False]
    if model is None and not given:
        return
    what = f"--{given[0].replace('_', '-')} is" if given else "--model and --net are"
    raise BadSetting(
        f"{what} for attacks on test data; {board.name} runs attacks on training data, so it needs "
        "a --defense that is trained on the poisoned data"
    )
