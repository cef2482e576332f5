"""What determines a teacher, a student, a family: their cards, whose digests are their keys."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, cast

from robustbench_kd.core import options, registry
from robustbench_kd.core.config import Leaderboard, Schedule
from robustbench_kd.core.errors import BadSetting, Incompatible
from robustbench_kd.core.protocols import Defense, RaisesFamily, Scenario
from robustbench_kd.evaluation.composite_attack import implanting
from robustbench_kd.evaluation.poisoned_data import Taint
from robustbench_kd.results.planted import TWIN
from robustbench_kd.results.record import Json, digest

GIVEN = "given"  # the role, and the kind of network, of what a repair is given
UNPOISONED = "twin"  # the role of what that was before anything was planted; for oracles
IMAGES = "images"  # what a ground holds, and a defense learns on, unless they say otherwise
CONTROL = "labels"  # the undistilled control
TAUGHT = ("teacher data", "shared data")  # doors through which a taint reaches the teachers
LEARNT = ("student data", "shared data")  # and the student itself
RECIPES = 1  # raised whenever training changes what it makes of the same settings


def scenario_of(name: str, folder: str | None = None, **given: str | None) -> Scenario:
    """The scenario of this name; ``folder`` is where its data may lie.

    Args:
        given: its other settings, such as a checkpoint to start from; None leaves the default.

    Raises:
        BadSetting: where it has no such setting.
    """
    entry = registry.find("scenarios", name).load()
    chosen = {key: value for key, value in given.items() if value is not None}
    known = {field.name for field in fields(entry)}
    for key in chosen:
        if key not in known:
            raise BadSetting(f"{name} takes no --{key.replace('_', '-')}: its networks are its own")
    chosen |= {} if folder is None else {"folder": folder}
    return cast(Scenario, options.configure(entry, {}, **chosen))


def defense_of(text: str) -> Defense:
    """The defense as typed: ``ard`` or ``ard:alpha=0.9``."""
    name, _, rest = registry.split_name(text)
    entry = registry.find("defenses", name).load()
    return cast(Defense, options.configure(entry, options.parse(rest)))


def label_of(defense: Defense) -> str:
    """The defense as one types it, with the settings that differ from the default, in order."""
    plain, mine = options.written(type(defense)()), options.written(defense)
    changed = [f"{name}={_short(mine[name])}" for name in mine if mine[name] != plain.get(name)]
    return defense.name + (":" + ",".join(changed) if changed else "")


def named(defense: Defense) -> Json:
    """The defense as records name it."""
    return {
        "name": defense.name,
        "label": label_of(defense),
        "settings": options.written(defense),
        "needs": list(defense.needs),
    }


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
    laid = role in foundations(scenario)
    if role not in scenario.teaching and not laid:
        known = ", ".join((*scenario.teaching, *foundations(scenario))) or "none"
        raise BadSetting(f"{scenario.name} has no {role!r} teacher; it has: {known}")
    what = {
        "what": "teacher",
        "recipes": RECIPES,
        "scenario": scenario.name,
        "edition": scenario.edition,
        "role": role,
        "net": scenario.nets["teacher"],
        "schedule": {} if laid else asdict(teaching(scenario, role, board)),
    }
    title = f"{scenario.name}--teacher-{role}"
    if laid and (taint is None or implanting(taint.attack) is None):
        # It learnt before anything was planted.
        return {**what, "key": digest(what), "title": title}
    if planted(board):
        what |= {"seed": seed, "half": True}
        title += f"--{taint.text if taint else 'clean'}--seed{seed}"
    if taint is not None:
        what["taint"] = taint.key
    return {**what, "key": digest(what), "title": title}


def foundations(scenario: Scenario) -> tuple[str, ...]:
    """The roles of teachers that come with the scenario, and that nobody trains here."""
    return getattr(scenario, "foundations", ())


def teaching(scenario: Scenario, role: str, board: Leaderboard | None) -> Schedule:
    """How a teacher is trained: as the board says, or else the scenario."""
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
    theirs = taint if board.door in TAUGHT else None
    what = {
        "what": "student",
        "recipes": RECIPES,
        "scenario": scenario.name,
        "edition": scenario.edition,
        "net": _net(scenario, defense),
        "budget": asdict(board.budget),
        "schedule": asdict(board.schedule),
        "defense": defense.name,
        "settings": options.written(defense),
        "teachers": {
            role: role_card(scenario, role, board, seed, theirs, taint)["key"]
            for role in defense.needs
        },
        "seed": seed,
    }
    title = f"{board.name}--{label_of(defense)}"
    if planted(board):
        what["half"] = True
        title += f"--{taint.text if taint else 'clean'}"
    if taint is not None and board.door in LEARNT:
        what["taint"] = taint.key
    title += f"--seed{seed}"
    return {**what, "key": digest(what), "title": title}


def _net(scenario: Scenario, defense: Defense) -> str:
    """The network of a student; a repaired one is built as what it was given."""
    return defense.net if defense.net == GIVEN else scenario.nets[defense.net]


def role_card(
    scenario: Scenario,
    role: str,
    board: Leaderboard,
    seed: int,
    theirs: Taint | None,
    taint: Taint | None,
) -> Json:
    """The card of what a defense needs: a teacher, or the network that it is given to mend.

    What is given is what the adversary reached: behind the teacher's door the clean-role teacher,
    behind the student's door the undistilled student. An oracle also asks who was never poisoned.
    """
    if role == UNPOISONED:
        return teacher_card(scenario, "clean", board, seed)
    if role != GIVEN:
        return teacher_card(scenario, role, board, seed, theirs)
    if board.door in TAUGHT:
        return teacher_card(scenario, "clean", board, seed, taint)
    return student_card(board, scenario, defense_of(CONTROL), seed, taint)


def story(
    board: Leaderboard, scenario: Scenario, defense: Defense, seed: int, taint: Taint
) -> dict[str, Json]:
    """The card of every network that tells what became of a taint, by its name in the record.

    Student, undistilled control and teachers, each behind the taint and as its clean twin. Behind
    the teacher's door the control learns from clean labels, whatever was planted.
    """
    cards: dict[str, Json] = {}
    for mark, poison in (("", taint), (TWIN, None)):
        theirs = poison if board.door in TAUGHT else None
        own = poison if board.door in LEARNT else None
        for role in defense.needs:
            cards[f"teacher-{role}{mark}"] = role_card(scenario, role, board, seed, theirs, poison)
        control = defense_of(CONTROL)
        cards[f"control{mark}"] = student_card(board, scenario, control, seed, own)
        cards[f"student{mark}"] = student_card(board, scenario, defense, seed, poison)
    return cards


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
        BadSetting: where the defense cannot learn on such a ground at all.
        Incompatible: where the scenario offers no student of the kind, or no teacher of a role.
    """
    medium, media = getattr(scenario, "medium", IMAGES), getattr(defense, "media", (IMAGES,))
    if medium not in media:
        raise BadSetting(
            f"{defense.name} works on {' and '.join(media)}, and {scenario.name} is a ground of "
            f"{medium}; robustbench-kd show {defense.name} says more"
        )
    given = planted(board) and defense.net == GIVEN
    if not given and defense.net not in scenario.nets:
        raise Incompatible(defense.name, f"a student of kind {defense.net!r}", scenario.name)
    for role in defense.needs:
        known = (*scenario.teaching, *foundations(scenario))
        if role not in known and not (role in (GIVEN, UNPOISONED) and given):
            raise Incompatible(defense.name, f"a {role} teacher", scenario.name)


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
