"""What a probed record is about: contest, ground, defense, what was planted, and every network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.errors import BadSetting, Incompatible
from robustbench_kd.core.protocols import AnyAttack, Defense, Rehearses, Scenario
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Splits
from robustbench_kd.evaluation.attack_runner import attack_of
from robustbench_kd.evaluation.composite_attack import Together, own
from robustbench_kd.evaluation.fingerprints import (
    CONTROL,
    GIVEN,
    defense_of,
    foundations,
    reachable,
    refuse,
)
from robustbench_kd.evaluation.poisoned_data import Taint
from robustbench_kd.evaluation.trained_models import Say, Trained, asked, student
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.results.planted import TWIN

SHADOW_SEED = 1000  # shadows are the same for every seed, and no student has a seed as high


@dataclass(frozen=True)
class Plot:
    """The contest, its ground, who defends, and what was planted."""

    board: Leaderboard
    scenario: Scenario
    defense: Defense
    attacks: Mapping[str, AnyAttack]
    taint: Taint
    train: bool
    say: Say


def plots(
    defense: str,
    board: str,
    texts: Sequence[str],
    seed: int,
    scenario: Scenario,
    *,
    train: bool,
    say: Say,
) -> list[Plot]:
    """What each record is about, looked at before anything is paid for.

    Raises:
        BadSetting: where the board is another kind of contest, its taint reaches no student, or one
            attack is asked for where all are tried on one student.
        Incompatible: where an attack asks for more than the ground's subjects offer.
    """
    contest, chosen = board_of(board), defense_of(defense)
    if not contest.probed:
        raise BadSetting(f"the attacks of {contest.name} hand in inputs: nothing is probed there")
    if contest.together and set(texts) != set(contest.panel):
        raise BadSetting(
            f"{contest.name} tries {', '.join(contest.panel)} on one student; leave out --attack"
        )
    reachable(contest, chosen)
    refuse(scenario, chosen, contest)
    attacks = {text: attack_of(text, contest) for text in texts}
    fresh = scenario.subject(scenario.student("plain", Seed()))
    for text, attack in attacks.items():
        if not isinstance(fresh, attack.meets):
            raise Incompatible(text, f"a {attack.meets.__name__}", scenario.name)
    groups = [attacks] if contest.together else [{text: one} for text, one in attacks.items()]
    return [
        Plot(contest, scenario, chosen, group, taint_of(scenario, group, seed), train, say)
        for group in groups
    ]


def taint_of(scenario: Scenario, attacks: Mapping[str, AnyAttack], seed: int) -> Taint:
    """What these attacks plant in one training set."""
    together = cast(AnyAttack, Together(tuple(attacks.values())))
    return Taint(scenario, "+".join(attacks), together, seed)


def networks(plot: Plot) -> Iterator[tuple[str, Trained]]:
    """Teachers, the student without a teacher, the student, and one that saw nothing private.

    A repair has no such control: what it was given is what it is measured against.
    """
    board, scenario, seed = plot.board, plot.scenario, plot.taint.seed
    twins = () if board.together else ((TWIN, None),)  # together, the dose of zero is the control
    for mark, taint in (("", plot.taint), *twins):
        how = {"train": plot.train, "say": plot.say, "taint": taint}
        for role in plot.defense.needs or ("clean",):
            yield f"teacher-{role}{mark}", asked(board, scenario, role, seed, **how)
        if plot.defense.net == GIVEN:
            if taint is not None:
                yield "student", student(board, scenario, plot.defense, seed, **how)
            continue
        yield f"control{mark}", student(board, scenario, defense_of(CONTROL), seed, **how)
        yield f"student{mark}", student(board, scenario, plot.defense, seed, **how)
    if foundations(scenario) and plot.defense.net != GIVEN:
        fresh = scenario.student("plain", Seed(seed) / "student").eval()
        weights = weights_digest(fresh.state_dict())
        yield (
            "untouched",
            Trained(
                fresh, {"weights": weights, "key": "", "net": scenario.nets["plain"]}, "shipped"
            ),
        )


def rehearsed(plot: Plot, data: Splits) -> dict[str, Mapping[str, Tensor]]:
    """What each attack remembers, with what its shadows said where it has any."""
    whole = plot.taint.secret()
    secrets = {text: own(whole, attack.name) for text, attack in plot.attacks.items()}
    for text, attack in plot.attacks.items():
        if isinstance(attack, Rehearses) and attack.shadows:
            secrets[text] = attack.rehearse(
                [plot.scenario.subject(net) for net in _shadows(plot, attack.shadows)],
                data,
                secrets[text],
            )
    return secrets


def _shadows(plot: Plot, count: int) -> Iterator[nn.Module]:
    """Students without a teacher, of other seeds, that saw nothing of what was planted."""
    for k in range(count):
        control, seed = defense_of(CONTROL), SHADOW_SEED + k
        yield student(plot.board, plot.scenario, control, seed, train=plot.train, say=plot.say).net
