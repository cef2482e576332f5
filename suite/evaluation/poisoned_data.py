"""Training data as an adversary hands them back, and what it will need to remember."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from torch import Tensor

from robustbench_kd.core import options
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import AnyAttack, Scenario
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Splits, Tainted
from robustbench_kd.evaluation.composite_attack import Together
from robustbench_kd.results.artifacts import Kept, find_net, save_net
from robustbench_kd.results.record import Json, digest

TAINTS = 1  # raised whenever an attack plants something else for the same settings


@dataclass(frozen=True)
class Taint:
    """An attack on the training data of a scenario, under one seed.

    Behind which door the data then stand is not its affair: the same poison serves both.
    """

    scenario: Scenario
    text: str
    attack: AnyAttack
    seed: int

    @property
    def card(self) -> Json:
        """What determines the tainted data; its digest is the key."""
        what = {
            "what": "taint",
            "taints": TAINTS,
            "scenario": self.scenario.name,
            "edition": self.scenario.edition,
            "attack": self.attack.name,
            "settings": doorless(planting(self.attack)),
            "seed": self.seed,
        }
        title = f"{self.scenario.name}--taint-{self.text}--seed{self.seed}"
        return {**what, "key": digest(what), "title": title}

    @property
    def key(self) -> str:
        """The digest of all that determines it."""
        key: str = self.card["key"]
        return key

    def data(self) -> Splits:
        """The tainted data; made anew from the seed, since only the secret is kept.

        The test split is the packaged slice, so that a victim is one that everybody has.

        Raises:
            BadSetting: for settings that these data cannot bear, before anything is trained.
        """
        return _made(self)[0].data

    def secret(self) -> Mapping[str, Tensor]:
        """What the adversary remembers: shipped, kept, or found now."""
        return _kept(self).state

    def facts(self) -> Json:
        """The number of images that were really planted, of how many, and the digest of their ids.

        Raises:
            BadSetting: for settings that these data cannot bear, before anything is trained.
            MissingData: where nothing was planted yet and the training data are not here.
        """
        card = _kept(self).card
        return {name: card[name] for name in ("planted", "covers", "of", "ids")}


def planting(attack: object) -> Json:
    """Settings without those that act only once a network is asked (``asking`` of an attack)."""
    written = options.written(attack)
    if isinstance(attack, Together):
        pairs = zip(written["attacks"], attack.attacks, strict=True)
        return {"attacks": [_without(one, part) for one, part in pairs]}
    return _without(written, attack)


def _without(written: Json, attack: object) -> Json:
    asking = getattr(attack, "asking", ())
    return {name: value for name, value in written.items() if name not in asking}


def doorless(written: Any) -> Any:
    """Settings without the door, which changes where the data stand and not the data."""
    if isinstance(written, dict):
        return {name: doorless(value) for name, value in written.items() if name != "door"}
    if isinstance(written, list | tuple):
        return [doorless(value) for value in written]
    return written


def _kept(taint: Taint) -> Kept:
    """The secret with its counts; kept for later where it is found only now."""
    kept = find_net(taint.key)
    if kept is None:
        tainted, counts = _made(taint)
        save_net(tainted.secret, {**taint.card, **counts})
        kept = find_net(taint.key)
    if kept is None:
        raise MissingData(f"what {taint.text} planted was kept, but cannot be found again")
    return kept


@lru_cache(maxsize=1)
def _made(taint: Taint) -> tuple[Tainted[Mapping[str, Tensor]], Json]:
    """The adversary at work, and what it planted in numbers."""
    seed = Seed(taint.seed)
    whole = taint.scenario.splits(seed, whole=True)
    slice_ = taint.scenario.splits(seed, whole=False).test
    clean = replace(whole, test=slice_)
    tainted: Tainted[Mapping[str, Tensor]] = taint.attack.before(clean, seed / "taint" / "before")
    planted = tainted.secret.get("planted")
    if planted is None or len(planted) == 0:
        raise BadSetting(f"{taint.text} planted nothing, so there is nothing to inherit")
    counts = {
        "planted": len(planted),
        "covers": len(tainted.secret.get("covers", ())),
        "of": len(whole.train),
        "ids": digest(sorted(planted.tolist())),
    }
    return tainted, counts
