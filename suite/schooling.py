"""Students and their teachers, through the memo: shipped, trained before, or trained now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import nn

from robustbench_kd import catalogue, settings
from robustbench_kd.errors import BadModel, BadSetting, Incompatible
from robustbench_kd.protocols import Brief, Defense, RaisesFamily, Scenario
from robustbench_kd.records import Json, digest
from robustbench_kd.seed import Seed
from robustbench_kd.store import Keeper, Kept, find_net, save_net
from robustbench_kd.tainting import Taint
from robustbench_kd.types import Leaderboard, Schedule

Say = Callable[[str, int, int, str], None]
GIVEN = "given"  # the role, and the kind of network, of what a repair is given
CONTROL = "labels"  # the undistilled control
TRUSTED = 0.05  # the share of the clean training images that a defender vouches for
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


def planted(board: Leaderboard | None) -> bool:
    """Whether the board's attacks act on training data: then teachers have seeds too.

    Their many networks are rounded to float16, so that all of them can ship.
    """
    return board is not None and board.door != "input"


def teacher_card(
    scenario: Scenario,
    role: str,
    board: Leaderboard | None = None,
    seed: int = 0,
    taint: Taint | None = None,
) -> Json:
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
        "schedule": asdict(_teaching(scenario, role, board)),
    }
    title = f"{scenario.name}--teacher-{role}"
    if planted(board):
        what |= {"seed": seed, "half": True}
        title += f"--{taint.text if taint else 'clean'}--seed{seed}"
    if taint is not None:
        what["taint"] = taint.key
    return {**what, "key": digest(what), "title": title}


def _teaching(scenario: Scenario, role: str, board: Leaderboard | None) -> Schedule:
    own = scenario.teaching[role]
    return own if board is None else board.teaching.get(role, own)


def student_card(
    board: Leaderboard,
    scenario: Scenario,
    defense: Defense,
    seed: int,
    taint: Taint | None = None,
) -> Json:
    """What determines a student: board, recipe, settings, schedule, teachers and seed."""
    theirs = taint if board.door == "teacher data" else None
    what = {
        "what": "student",
        "recipes": RECIPES,
        "scenario": scenario.name,
        "edition": scenario.edition,
        "net": _net(scenario, defense),
        "budget": asdict(board.budget),
        "schedule": asdict(board.schedule),
        "defense": defense.name,
        "settings": settings.written(defense),
        "teachers": {
            role: _role_card(scenario, role, board, seed, theirs, taint)["key"]
            for role in defense.needs
        },
        "seed": seed,
    }
    title = f"{board.name}--{label_of(defense)}"
    if planted(board):
        what["half"] = True
        title += f"--{taint.text if taint else 'clean'}"
    if taint is not None and board.door == "student data":
        what["taint"] = taint.key
    title += f"--seed{seed}"
    return {**what, "key": digest(what), "title": title}


def _net(scenario: Scenario, defense: Defense) -> str:
    """The network of a student; a repaired one is built as what it was given."""
    return defense.net if defense.net == GIVEN else scenario.nets[defense.net]


def _role_card(
    scenario: Scenario,
    role: str,
    board: Leaderboard,
    seed: int,
    theirs: Taint | None,
    taint: Taint | None,
) -> Json:
    """The card of what a defense needs: a teacher, or the network that it is given to mend.

    What is given is what the adversary reached: behind the teacher's door the clean-role teacher,
    behind the student's door the undistilled student.
    """
    if role != GIVEN:
        return teacher_card(scenario, role, board, seed, theirs)
    if board.door == "teacher data":
        return teacher_card(scenario, "clean", board, seed, taint)
    return student_card(board, scenario, defense_of(CONTROL), seed, taint)


def reachable(board: Leaderboard, defense: Defense) -> None:
    """Refuses a board whose taint cannot reach the student.

    Raises:
        BadSetting: for an evasion board, or a defense without a teacher behind the teacher's door.
    """
    if not planted(board):
        raise BadSetting(f"nothing is planted on {board.name}: its attacks move test inputs")
    if board.door == "teacher data" and not defense.needs:
        raise BadSetting(
            f"{defense.name} asks no teacher, so nothing can reach it behind the teacher's door "
            f"of {board.name}; labels stands there as the undistilled control, and a board behind "
            "the student's door tries the others"
        )


def refuse(scenario: Scenario, defense: Defense, board: Leaderboard | None = None) -> None:
    """Says what does not fit, before anything is spent.

    Raises:
        Incompatible: where the scenario offers no student of the kind, or no teacher of a role.
    """
    given = planted(board) and defense.net == GIVEN
    if not given and defense.net not in scenario.nets:
        raise Incompatible(defense.name, f"a student of kind {defense.net!r}", scenario.name)
    for role in defense.needs:
        if role not in scenario.teaching and not (role == GIVEN and given):
            raise Incompatible(defense.name, f"a {role} teacher", scenario.name)


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
    kept = find_net(card["key"])
    if kept is not None:
        net = scenario.student(scenario.nets["teacher"], Seed())
        return Trained(_loaded(net, kept), kept.card, "shipped" if kept.shipped else "trained")
    if not train:
        raise BadModel(f"no {card['title']} is kept; add --train to train it now")
    own = Seed(seed) / "teacher" / role
    keeper = Keeper(card["key"], say)
    data = taint.data().train if taint else scenario.splits(own, whole=True).train
    schedule = _teaching(scenario, role, board)
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
    theirs = taint if board.door == "teacher data" else None
    if role == GIVEN and board.door == "student data":
        control = defense_of(CONTROL)
        return student(board, scenario, control, seed, train=train, say=say, taint=taint)
    role = "clean" if role == GIVEN else role
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
    tainted = taint is not None and board.door == "student data"
    splits = taint.data() if taint is not None and tainted else clean
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
    )


def family_card(
    board: Leaderboard,
    scenario: Scenario,
    defense: RaisesFamily,
    seed: int,
    taint: Taint | None = None,
) -> Json:
    """What determines a family: its training, and nothing that only chooses a student."""
    chosen = student_card(board, scenario, cast(Defense, defense), seed, taint)
    what = {k: v for k, v in chosen.items() if k not in ("key", "title")}
    what |= {"what": "family", "settings": defense.family_settings()}
    title = f"{board.name}--{chosen['defense']}-{what['settings']['sampler']}-family"
    title += (f"--{taint.text}" if taint else "") + f"--seed{seed}"
    return {**what, "key": digest(what), "title": title}


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
