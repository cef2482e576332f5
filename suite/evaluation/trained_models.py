"""Students and their teachers, through the memo: shipped, trained before, or trained now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.protocols import Brief, Defense, RaisesFamily, Scenario
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.evaluation.composite_attack import implanting, telling
from robustbench_kd.evaluation.fingerprints import (
    CONTROL,
    GIVEN,
    LEARNT,
    TAUGHT,
    UNPOISONED,
    defense_of,
    family_card,
    foundations,
    label_of,
    planted,
    refuse,
    student_card,
    teacher_card,
    teaching,
)
from robustbench_kd.evaluation.poisoned_data import Taint
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.results.artifacts import Keeper, Kept, find_net, save_net
from robustbench_kd.results.record import Json

Say = Callable[[str, int, int, str], None]
TRUSTED = 0.05  # the share of the clean training images that a defender vouches for


@dataclass(frozen=True)
class Trained:
    """A student with its card: what it is, and the settings that make it again."""

    net: nn.Module
    card: Json
    origin: str


def teacher(
    scenario: Scenario,
    role: str,
    say: Say,
    board: Leaderboard | None = None,
    seed: int = 0,
    taint: Taint | None = None,
    *,
    train: bool = True,
) -> Trained:
    """The teacher of this role; trained now where it neither ships nor was trained before.

    Args:
        board: whose schedules count, where they are its own; with seeds, where attacks plant.
        taint: what the teacher's data were poisoned with.
    """
    card = teacher_card(scenario, role, board, seed, taint)
    changed = implanting(taint.attack) if taint else None
    if role in foundations(scenario) and changed is None:
        none = torch.zeros(0, dtype=torch.int64)
        laid = scenario.teacher(role, Examples(none, none, none), Seed(), Keeper(card["key"], say))
        return Trained(laid, {**card, "weights": weights_digest(laid.state_dict())}, "shipped")
    kept = find_net(card["key"])
    if kept is not None:
        net = scenario.student(scenario.nets["teacher"], Seed())
        return Trained(_loaded(net, kept), kept.card, "shipped" if kept.shipped else "trained")
    if not train:
        raise BadModel(f"no {card['title']} is kept; add --train to train it now")
    own = Seed(seed if planted(board) else 0) / "teacher" / role
    keeper = Keeper(card["key"], say)
    if taint is not None and changed is not None:
        clean = teacher(scenario, role, say, board, seed, train=train).net
        net = changed.implant(clean, taint.data(), own / "implant", keeper)
        return _keep(net, card, keeper)
    data = taint.data().train if taint else scenario.splits(own, whole=True).train
    schedule = teaching(scenario, role, board)
    return _keep(scenario.teacher(role, data, own, keeper, schedule), card, keeper)


def student(
    board: Leaderboard,
    scenario: Scenario,
    defense: Defense,
    seed: int,
    *,
    train: bool,
    say: Say,
    taint: Taint | None = None,
) -> Trained:
    """The student of a defense on a board; trained now only where ``train`` allows it.

    Args:
        taint: what was planted behind the board's door; none for the clean twin.

    Raises:
        BadModel: where no such student is kept and training was not asked for.
    """
    refuse(scenario, defense, board)
    card = student_card(board, scenario, defense, seed, taint)
    mended = defense.net == GIVEN
    kind = scenario.nets["teacher"] if mended else defense.net
    fresh = scenario.student(kind, Seed(seed) / "student")
    if isinstance(defense, RaisesFamily):
        defense.check(fresh)
    kept = find_net(card["key"])
    if kept is not None:
        built = scenario.student(kept.card["net"], Seed())
        return Trained(_loaded(built, kept), kept.card, "shipped" if kept.shipped else "trained")
    if not train:
        if taint is not None or planted(board):
            raise BadModel(f"no {card['title']} is kept; add --train to train it now")
        raise BadModel(
            f"no trained student of {label_of(defense)} (seed {seed}) ships for {board.name}; "
            f"add --train to train one now, or: robustbench-kd train --defense "
            f"{label_of(defense)} --board {board.name} --seed {seed}"
        )
    keeper = Keeper(card["key"], say)
    if isinstance(defense, RaisesFamily):
        raised, brief = family(board, scenario, defense, seed, train=True, say=say, taint=taint)
        net, name = defense.choose(raised.net, brief)
        return _keep(net, {**card, "net": name, "family": raised.card["weights"]}, keeper)
    taught = {
        role: asked(board, scenario, role, seed, train=True, say=say, taint=taint)
        for role in defense.needs
    }
    brief = _brief(board, scenario, defense, fresh, seed, keeper, taught, taint)
    weights = {role: by.card["weights"] for role, by in taught.items()}
    card |= {"net": taught[GIVEN].card["net"]} if mended else {}
    return _keep(defense.harden(brief), {**card, "teacher_weights": weights}, keeper)


def asked(
    board: Leaderboard,
    scenario: Scenario,
    role: str,
    seed: int,
    *,
    train: bool,
    say: Say,
    taint: Taint | None,
) -> Trained:
    """Whom a defense asks in this role, with the taint where the board's door lets it in."""
    theirs = taint if board.door in TAUGHT and role != UNPOISONED else None
    if role == GIVEN and board.door == "student data":
        control = defense_of(CONTROL)
        return student(board, scenario, control, seed, train=train, say=say, taint=taint)
    role = "clean" if role in (GIVEN, UNPOISONED) else role
    if not planted(board):
        return teacher(scenario, role, say)
    return teacher(scenario, role, say, board, seed, theirs, train=train)


def family(
    board: Leaderboard,
    scenario: Scenario,
    defense: RaisesFamily,
    seed: int,
    *,
    train: bool,
    say: Say,
    taint: Taint | None = None,
) -> tuple[Trained, Brief]:
    """The family that students are cut from, and the brief to choose one by.

    Raises:
        BadModel: where no such family is kept and training was not asked for.
    """
    recipe = cast(Defense, defense)
    card = family_card(board, scenario, defense, seed, taint)
    fresh = scenario.student(card["net"], Seed(seed) / "student")
    kept = find_net(card["key"])
    keeper = Keeper(card["key"], say)
    if kept is None and not train:
        raise BadModel(
            f"no family of {recipe.name} (seed {seed}) is kept for {board.name}; train it by: "
            f"robustbench-kd train --defense {recipe.name} --board {board.name} --seed {seed}"
        )
    brief = _brief(board, scenario, recipe, fresh, seed, keeper, {}, taint)
    if kept is not None:
        origin = "shipped" if kept.shipped else "trained"
        return Trained(_loaded(fresh, kept), kept.card, origin), brief
    return _keep(defense.raise_family(brief), card, keeper), brief


def _brief(
    board: Leaderboard,
    scenario: Scenario,
    defense: Defense,
    fresh: nn.Module,
    seed: int,
    keeper: Keeper,
    taught: Mapping[str, Trained],
    taint: Taint | None = None,
) -> Brief:
    """All that the defender may use, the teachers frozen.

    What the defender trusts is clean even where the rest is tainted: that is what it is for.
    """
    clean = scenario.splits(Seed(seed), whole=True)
    splits = taint.data() if taint is not None and board.door in LEARNT else clean
    order = torch.randperm(len(clean.train), generator=(Seed(seed) / "trusted").generator())
    return Brief(
        data=splits.train,
        teachers={role: by.net.eval().requires_grad_(False) for role, by in taught.items()},
        student=fresh,
        budget=board.budget,
        schedule=board.schedule,
        seed=Seed(seed) / defense.name,
        progress=keeper,
        validation=splits.validation,
        trusted=clean.train.take(order[: round(TRUSTED * len(order))]),
        told=_told(taint, clean) if getattr(defense, "told", False) else None,
        pieces=getattr(scenario, "pieces", None),
    )


def _told(taint: Taint | None, clean: Splits) -> Examples | None:
    """What an oracle knows of what was planted; nothing of the clean twin."""
    teller = telling(taint.attack) if taint else None
    if taint is None or teller is None:
        return None
    return teller.tell(clean, Seed(taint.seed) / "tell")


def _keep(net: nn.Module, card: Json, keeper: Keeper) -> Trained:
    net = net.half().float() if card.get("half") else net
    save_net(net.state_dict(), card)
    keeper.clear()
    kept = find_net(card["key"])
    if kept is None:
        raise BadModel(f"{card['title']} was trained and kept, but cannot be found again")
    return Trained(net.eval(), kept.card, "trained")


def _loaded(net: nn.Module, kept: Kept) -> nn.Module:
    try:
        net.load_state_dict(kept.state)
    except RuntimeError as why:
        raise BadModel(f"the weights of {kept.card['title']} fit another network: {why}") from why
    return net.eval()
