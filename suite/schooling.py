"""Students and their teachers, through the memo: shipped, trained before, or trained now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from torch import nn

from robustbench_kd import catalogue, settings
from robustbench_kd.errors import BadModel, BadSetting, Incompatible
from robustbench_kd.protocols import Brief, Defense, RaisesFamily, Scenario
from robustbench_kd.records import Json, digest
from robustbench_kd.seed import Seed
from robustbench_kd.store import Keeper, Kept, find_net, save_net
from robustbench_kd.types import Leaderboard

Say = Callable[[str, int, int, str], None]
RECIPES = 1  # raised whenever training changes what it makes of the same settings


@dataclass(frozen=True)
class Trained:
    """A student with its card: what it is, and the settings that make it again."""

    net: nn.Module
    card: Json
    origin: str


def scenario_of(name: str, folder: str | None = None) -> Scenario:
    """The scenario of this name; ``folder`` is where its data may lie."""
    entry = catalogue.find("scenarios", name).load()
    given = {} if folder is None else {"folder": folder}
    return cast(Scenario, settings.configure(entry, {}, **given))


def defense_of(text: str) -> Defense:
    """The defense as typed: ``ard`` or ``ard:alpha=0.9``."""
    name, _, rest = catalogue.split_name(text)
    entry = catalogue.find("defenses", name).load()
    return cast(Defense, settings.configure(entry, settings.parse(rest)))


def label_of(defense: Defense) -> str:
    """The defense as one types it, with the settings that differ from the default, in order."""
    plain, mine = settings.written(type(defense)()), settings.written(defense)
    changed = [f"{name}={_short(mine[name])}" for name in mine if mine[name] != plain[name]]
    return defense.name + (":" + ",".join(changed) if changed else "")


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def teacher_card(scenario: Scenario, role: str) -> Json:
    """What determines a teacher; its digest is the key."""
    if role not in scenario.teaching:
        known = ", ".join(scenario.teaching) or "none"
        raise BadSetting(f"{scenario.name} has no {role!r} teacher; it has: {known}")
    what = {
        "what": "teacher",
        "recipes": RECIPES,
        "scenario": scenario.name,
        "edition": scenario.edition,
        "role": role,
        "net": scenario.nets["teacher"],
        "schedule": asdict(scenario.teaching[role]),
    }
    return {**what, "key": digest(what), "title": f"{scenario.name}--teacher-{role}"}


def student_card(board: Leaderboard, scenario: Scenario, defense: Defense, seed: int) -> Json:
    """What determines a student: board, recipe, settings, schedule, teachers and seed."""
    what = {
        "what": "student",
        "recipes": RECIPES,
        "scenario": scenario.name,
        "edition": scenario.edition,
        "net": scenario.nets[defense.net],
        "budget": asdict(board.budget),
        "schedule": asdict(board.schedule),
        "defense": defense.name,
        "settings": settings.written(defense),
        "teachers": {role: teacher_card(scenario, role)["key"] for role in defense.needs},
        "seed": seed,
    }
    title = f"{board.name}--{label_of(defense)}--seed{seed}"
    return {**what, "key": digest(what), "title": title}


def refuse(scenario: Scenario, defense: Defense) -> None:
    """Says what does not fit, before anything is spent.

    Raises:
        Incompatible: where the scenario offers no student of the kind, or no teacher of a role.
    """
    if defense.net not in scenario.nets:
        raise Incompatible(defense.name, f"a student of kind {defense.net!r}", scenario.name)
    for role in defense.needs:
        if role not in scenario.teaching:
            raise Incompatible(defense.name, f"a {role} teacher", scenario.name)


def teacher(scenario: Scenario, role: str, say: Say) -> Trained:
    """The teacher of this role; trained now where it neither ships nor was trained before."""
    card = teacher_card(scenario, role)
    kept = find_net(card["key"])
    if kept is not None:
        net = scenario.student(scenario.nets["teacher"], Seed())
        return Trained(_loaded(net, kept), kept.card, "shipped" if kept.shipped else "trained")
    seed = Seed() / "teacher" / role
    keeper = Keeper(card["key"], say)
    data = scenario.splits(seed, whole=True).train
    net = scenario.teacher(role, data, seed, keeper)
    return _keep(net, card, keeper)


def student(
    board: Leaderboard,
    scenario: Scenario,
    defense: Defense,
    seed: int,
    *,
    train: bool,
    say: Say,
) -> Trained:
    """The student of a defense on a board; trained now only where ``train`` allows it.

    Raises:
        BadModel: where no such student is kept and training was not asked for.
    """
    refuse(scenario, defense)
    card = student_card(board, scenario, defense, seed)
    fresh = scenario.student(defense.net, Seed(seed) / "student")
    if isinstance(defense, RaisesFamily):
        defense.check(fresh)
    kept = find_net(card["key"])
    if kept is not None:
        built = scenario.student(kept.card["net"], Seed())
        return Trained(_loaded(built, kept), kept.card, "shipped" if kept.shipped else "trained")
    if not train:
        raise BadModel(
            f"no trained student of {label_of(defense)} (seed {seed}) ships for {board.name}; "
            f"add --train to train one now, or: robustbench-kd train --defense "
            f"{label_of(defense)} --board {board.name} --seed {seed}"
        )
    keeper = Keeper(card["key"], say)
    if isinstance(defense, RaisesFamily):
        raised, brief = family(board, scenario, defense, seed, train=True, say=say)
        net, name = defense.choose(raised.net, brief)
        return _keep(net, {**card, "net": name, "family": raised.card["weights"]}, keeper)
    taught = {role: teacher(scenario, role, say) for role in defense.needs}
    brief = _brief(board, scenario, defense, fresh, seed, keeper, taught)
    weights = {role: by.card["weights"] for role, by in taught.items()}
    return _keep(defense.harden(brief), {**card, "teacher_weights": weights}, keeper)


def family(
    board: Leaderboard,
    scenario: Scenario,
    defense: RaisesFamily,
    seed: int,
    *,
    train: bool,
    say: Say,
) -> tuple[Trained, Brief]:
    """The family that students are cut from, and the brief to choose one by.

    Raises:
        BadModel: where no such family is kept and training was not asked for.
    """
    recipe = cast(Defense, defense)
    card = family_card(board, scenario, defense, seed)
    fresh = scenario.student(card["net"], Seed(seed) / "student")
    kept = find_net(card["key"])
    keeper = Keeper(card["key"], say)
    if kept is None and not train:
        raise BadModel(
            f"no family of {recipe.name} (seed {seed}) is kept for {board.name}; train it by: "
            f"robustbench-kd train --defense {recipe.name} --board {board.name} --seed {seed}"
        )
    brief = _brief(board, scenario, recipe, fresh, seed, keeper, {})
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
) -> Brief:
    """All that the defender may use, the teachers frozen."""
    splits = scenario.splits(Seed(seed), whole=True)
    return Brief(
        data=splits.train,
        teachers={role: by.net.eval().requires_grad_(False) for role, by in taught.items()},
        student=fresh,
        budget=board.budget,
        schedule=board.schedule,
        seed=Seed(seed) / defense.name,
        progress=keeper,
        validation=splits.validation,
    )


def family_card(board: Leaderboard, scenario: Scenario, defense: RaisesFamily, seed: int) -> Json:
    """What determines a family: its training, and nothing that only chooses a student."""
    chosen = student_card(board, scenario, cast(Defense, defense), seed)
    what = {k: v for k, v in chosen.items() if k not in ("key", "title")}
    what |= {"what": "family", "settings": defense.family_settings()}
    title = f"{board.name}--{chosen['defense']}-{what['settings']['sampler']}-family--seed{seed}"
    return {**what, "key": digest(what), "title": title}


def _keep(net: nn.Module, card: Json, keeper: Keeper) -> Trained:
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
