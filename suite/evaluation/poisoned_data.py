"""Training data as an adversary returns them, and the state that its attack needs later."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from torch import Tensor

from robustbench_kd.attacks._poison import COVER_IDS, POISON_IDS
from robustbench_kd.core import options
from robustbench_kd.core.aliases import stable_name, stable_settings
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import AnyAttack, Scenario
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import PoisonedData, Splits
from robustbench_kd.evaluation.composite_attack import CompositeAttack, state_of
from robustbench_kd.results.artifacts import StoredModel, find_model, save_model
from robustbench_kd.results.record import Json, digest

VERSION = 1  # raised whenever an attack poisons otherwise under the same settings


@dataclass(frozen=True)
class DataPoisoning:
    """Attacks on the training data of a scenario, under one seed.

    Whose training data they are is not its affair: the same poison serves teacher and student.
    """

    scenario: Scenario
    attacks: Mapping[str, AnyAttack]
    seed: int

    @property
    def label(self) -> str:
        """The attacks as typed, joined by ``+``."""
        return "+".join(self.attacks)

    @property
    def attack(self) -> AnyAttack | CompositeAttack:
        """The attack, or all of them as one.

        Attacks that are not decided by classification are combined even alone: keys and seeds of
        what was trained hang on it.
        """
        first = next(iter(self.attacks.values()))
        if len(self.attacks) == 1 and first.threat.scorer == "classification":
            return first
        return CompositeAttack(tuple(self.attacks.values()))

    @property
    def metadata(self) -> Json:
        """What determines the poisoned data; its digest is the key."""
        attack = self.attack
        parts = attack.attacks if isinstance(attack, CompositeAttack) else (attack,)
        names = "+".join(stable_name("attacks", part.name) for part in parts)
        recipe = {
            "what": "taint",
            "taints": VERSION,
            "scenario": stable_name("scenarios", self.scenario.name),
            "edition": self.scenario.dataset_digest,
            "attack": names,
            "settings": poison_settings(attack),
            "seed": self.seed,
        }
        title = f"{self.scenario.name}--poison-{self.label}--seed{self.seed}"
        return {**recipe, "key": digest(recipe), "title": title}

    @property
    def key(self) -> str:
        """The digest of all that determines it."""
        key: str = self.metadata["key"]
        return key

    def data(self) -> Splits:
        """The poisoned data; made anew from the seed, since only the attack's state is stored.

        The test split is the packaged slice, so that a victim is one that everybody has.

        Raises:
            BadSetting: for settings that these data do not allow, before anything is trained.
        """
        return _poisoned(self)[0].data

    def states(self) -> dict[str, Mapping[str, Tensor]]:
        """What each attack needs later, by its label: shipped, stored, or made now."""
        whole = _stored(self).state
        if not isinstance(self.attack, CompositeAttack):
            return dict.fromkeys(self.attacks, whole)
        return {label: state_of(whole, attack) for label, attack in self.attacks.items()}

    def repetitions(self) -> dict[int, int]:
        """How often each sample was inserted in the training data, by its id."""
        state = _stored(self).state
        return {
            int(sample): int(count)
            for key in state
            if key == "dose" or key.endswith(".dose")
            for sample, count in zip(state[key.replace("dose", "ids")], state[key], strict=True)
        }

    def facts(self) -> Json:
        """How many samples are poison, of how many, and the digest of their ids.

        Raises:
            BadSetting: for settings that these data do not allow, before anything is trained.
            MissingData: where nothing was poisoned yet and the training data are not here.
        """
        metadata = _stored(self).metadata
        return {
            "count": metadata["planted"],
            "cover_count": metadata["covers"],
            "train_size": metadata["of"],
            "ids_digest": metadata["ids"],
        }


def poison_settings(attack: AnyAttack | CompositeAttack) -> Json:
    """The settings that decide the poison, under their stable names.

    Settings that act only once a model is attacked (``test_settings`` of an attack) are left out,
    and so is whose training data are poisoned.
    """
    if isinstance(attack, CompositeAttack):
        # Here settings that came later stand in full, as they did in the first release.
        parts = [(part, dataclasses.asdict(cast(Any, part))) for part in attack.attacks]
        return {"attacks": [_poison_settings(part, settings) for part, settings in parts]}
    return _poison_settings(attack, options.written(attack))


def _poison_settings(attack: AnyAttack, settings: Json) -> Json:
    left_out = (*getattr(attack, "test_settings", ()), "door")
    stable = stable_settings(attack.name, settings)
    return {name: value for name, value in stable.items() if name not in left_out}


def _stored(poisoning: DataPoisoning) -> StoredModel:
    """The attack's state with its counts; stored for later where it is made only now."""
    stored = find_model(poisoning.key)
    if stored is None:
        poisoned, counts = _poisoned(poisoning)
        save_model(poisoned.attack_state, {**poisoning.metadata, **counts})
        stored = find_model(poisoning.key)
    if stored is None:
        raise MissingData(f"the poison of {poisoning.label} was stored, but cannot be found again")
    return stored


_latest: dict[str, tuple[PoisonedData[Mapping[str, Tensor]], Json]] = {}
"""The poisoned data that were made last, by key: several models are trained on the same ones."""


def _poisoned(poisoning: DataPoisoning) -> tuple[PoisonedData[Mapping[str, Tensor]], Json]:
    """The adversary at work, and its poison in numbers."""
    key = poisoning.key
    if key not in _latest:
        made = _make(poisoning)
        _latest.clear()
        _latest[key] = made
    return _latest[key]


def _make(poisoning: DataPoisoning) -> tuple[PoisonedData[Mapping[str, Tensor]], Json]:
    seed = Seed(poisoning.seed)
    whole = poisoning.scenario.splits(seed, whole=True)
    packaged = poisoning.scenario.splits(seed, whole=False).test
    clean = replace(whole, test=packaged)
    poisoned: PoisonedData[Any] = poisoning.attack.poison(clean, seed / "taint" / "before")
    ids = poisoned.attack_state.get(POISON_IDS)
    if ids is None or len(ids) == 0:
        raise BadSetting(f"{poisoning.label} poisons no sample, so there is nothing to measure")
    counts = {
        "planted": len(ids),
        "covers": len(poisoned.attack_state.get(COVER_IDS, ())),
        "of": len(whole.train),
        "ids": digest(sorted(ids.tolist())),
    }
    return poisoned, counts
