"""Several attacks on one training set: all poison it in turn, and each keeps its own state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_kd.attacks._poison import POISON_IDS
from robustbench_kd.core.aliases import stable_name
from robustbench_kd.core.config import ThreatModel
from robustbench_kd.core.protocols import AnyAttack, EditsModel, ProvidesOracle
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import Submission
from robustbench_kd.core.types import PoisonedData, Splits

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class CompositeAttack:
    """The attacks of a joint leaderboard. What each needs later is stored under its stable name."""

    attacks: tuple[AnyAttack, ...]

    @property
    def name(self) -> str:
        """``canary-exposure+membership-inference``."""
        return "+".join(attack.name for attack in self.attacks)

    @property
    def source(self) -> str:
        """Where each comes from."""
        return "; ".join(attack.source for attack in self.attacks)

    @property
    def requires(self) -> type:
        """What the first attack requires; each is asked by itself."""
        required: type = self.attacks[0].requires
        return required

    @property
    def threat(self) -> ThreatModel:
        """That of the first."""
        threat: ThreatModel = self.attacks[0].threat
        return threat

    def poison(self, data: Splits, seed: Seed) -> PoisonedData[State]:
        """The training set after all of them; the state holds the ids of everything inserted."""
        states: dict[str, Tensor] = {}
        for attack in self.attacks:
            name = stable_name("attacks", attack.name)
            poisoned = attack.poison(data, seed / name)
            data = poisoned.data
            states |= {f"{name}.{key}": value for key, value in poisoned.attack_state.items()}
        inserted = [value for key, value in states.items() if key.endswith(f".{POISON_IDS}")]
        empty = torch.zeros(0, dtype=torch.int64)
        return PoisonedData(data, {**states, POISON_IDS: torch.cat([empty, *inserted])})

    def attack(self, model: object, data: Splits, state: State, seed: Seed) -> Submission:
        """What the first submits."""
        first = self.attacks[0]
        name = stable_name("attacks", first.name)
        submission: Submission = first.attack(model, data, state_of(state, first), seed / name)
        return submission


def model_editor(attack: object) -> EditsModel | None:
    """The attack, or the one among several, that changes the network itself."""
    return next((part for part in _parts(attack) if isinstance(part, EditsModel)), None)


def oracle_provider(attack: object) -> ProvidesOracle | None:
    """The attack, or the first among several, that can inform an oracle defense."""
    return next((part for part in _parts(attack) if isinstance(part, ProvidesOracle)), None)


def _parts(attack: object) -> Sequence[object]:
    return attack.attacks if isinstance(attack, CompositeAttack) else (attack,)


def state_of(states: State, attack: AnyAttack) -> State:
    """The state of one attack among several."""
    prefix = f"{stable_name('attacks', attack.name)}."
    return {
        key.removeprefix(prefix): value for key, value in states.items() if key.startswith(prefix)
    }
