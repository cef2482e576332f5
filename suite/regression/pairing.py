"""Which student is compared with which, endpoint by endpoint. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from robustbench_kd.core.errors import NotComparable
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.ops.statistics.paired_means import mean_loss_p
from robustbench_kd.ops.statistics.paired_tests import mcnemar_midp
from robustbench_kd.regression.baseline import Baseline
from robustbench_kd.regression.compare import expect_comparable
from robustbench_kd.regression.decision import CrossReplay, Rules, Verdict
from robustbench_kd.regression.endpoints import Endpoint, Role
from robustbench_kd.regression.snapshot import Snapshot
from robustbench_kd.results.record import Bits

WEAKER = 0.01  # the level, of all students together, at which misses show a weaker attack
OTHER_SEED = "trained with another seed: the verdict is about these two networks, not their method"
Replayer = Callable[[Snapshot, Snapshot], CrossReplay | str]


@dataclass(frozen=True)
class StudentPair:
    """A student before and after; where there is only one of the two, ``missing`` says why.

    Attributes:
        note: what is remarkable about the new run.
    """

    entry: str
    against: str
    old: Snapshot | None
    new: Snapshot | None
    missing: str = ""
    note: str = ""


@dataclass(frozen=True)
class EndpointPair:
    """One endpoint before and after.

    Attributes:
        margin: the tolerated loss, on the scale of the values.
        fixed: its verdict where no test is needed.
    """

    entry: str
    against: str
    role: Role
    endpoint: str
    before: Endpoint | None = None
    after: Endpoint | None = None
    margin: float = 0.0
    fixed: Verdict | None = None
    replay: CrossReplay | None = None
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> tuple[int, int]:
        """Of bits, how many samples were lost and won."""
        assert self.before is not None
        assert self.after is not None
        return discordant(self.before.favourable, self.after.favourable)

    @property
    def losses(self) -> tuple[float, ...]:
        """Of numbers, by how much each sample is worse."""
        assert self.before is not None
        assert self.after is not None
        return self.before.losses(self.after)

    @property
    def of_bits(self) -> bool:
        return self.before is not None and isinstance(self.before.values, Bits)


def pairs(
    baseline: Baseline, news: Iterable[Snapshot], against: str = "both"
) -> Iterator[StudentPair]:
    """Every student of the baseline beside its new run, and every new run that it lacks.

    A single student is paired with a single new run whatever their labels, since what changed may
    be how the defense is typed. An anchor that is the previous baseline is not tested twice. Where
    several new runs are about one student each is tested, so that the worst one counts: whichever
    of them is the newest, or has the last name, may be the one that hides a loss.
    """
    known: dict[str, list[Snapshot]] = {}
    for shot in news:
        if shot not in known.setdefault(shot.name, []):
            known[shot.name].append(shot)
    if len(known) == len(baseline.previous) == 1:
        known = dict(zip(baseline.previous, known.values(), strict=True))
    olds = {"previous": baseline.previous, "anchor": baseline.anchor}
    parts = ("previous", "anchor") if against == "both" else (against,)
    for part in parts:
        for name, old in olds[part].items():
            if part == "anchor" and len(parts) == 2 and baseline.previous.get(name) == old:
                continue
            if name not in known:
                missing = f"no record is about {name} of the baseline"
                yield StudentPair(name, part, old, None, missing)
            for entry, new, note in _runs(name, known.get(name, [])):
                yield StudentPair(entry, part, old, new, note=note)
    for name, shots in known.items():
        if all(name not in olds[part] for part in parts):
            missing = f"{name} is not in the baseline; accept it: robustbench-kd baseline update"
            for entry, new, note in _runs(name, shots):
                yield StudentPair(entry, parts[0], None, new, missing, note)


def _runs(name: str, shots: Sequence[Snapshot]) -> Iterator[tuple[str, Snapshot, str]]:
    """Each run under a name of its own, and how many there are."""
    if len(shots) == 1:
        yield name, shots[0], ""
        return
    note = f"{len(shots)} records are about {name}; each is tested, and the worst one counts"
    for shot in shots:
        yield f"{name} ({shot.claim[:12]})", shot, note


def endpoint_pairs(
    pair: StudentPair, rules: Rules, replayer: Replayer | None = None, students: int = 1
) -> Iterator[EndpointPair]:
    """The endpoints of a pair: the primary one, utility, and each attack of a panel.

    Args:
        students: how many pairs are tested together; the level of a weaker attack is shared among
            them (Bonferroni), so that more students raise no more false alarms.
    """
    old, new = pair.old, pair.new
    reason = pair.missing
    if old is not None and new is not None:
        try:
            expect_comparable(old, new)
        except NotComparable as why:
            reason = str(why)
    if old is None or new is None or reason:
        known = new or old
        name = known.primary_name if known else "primary"
        yield EndpointPair(
            pair.entry,
            pair.against,
            "primary",
            name,
            fixed="not-comparable",
            notes=tuple(filter(None, (reason, pair.note))),
        )
        return
    yield _primary(pair, old, new, rules, replayer, WEAKER / students)
    attacks = [name for name, end in old.endpoints.items() if end.role == "attack"]
    for name, before in old.endpoints.items():
        # A single attack of a panel is the primary endpoint.
        if before.role == "utility" or (before.role == "attack" and len(attacks) > 1):
            after = new.endpoints[name]
            margin = rules.margin_of(after)
            yield EndpointPair(pair.entry, pair.against, before.role, name, before, after, margin)


def _primary(
    pair: StudentPair,
    old: Snapshot,
    new: Snapshot,
    rules: Rules,
    replayer: Replayer | None,
    level: float,
) -> EndpointPair:
    margin = rules.margin_of(new.primary)
    end = EndpointPair(
        pair.entry, pair.against, "primary", new.primary_name, old.primary, new.primary, margin
    )
    result = replayer(old, new) if replayer else None
    replay = result if isinstance(result, CrossReplay) else None
    notes = [pair.note] if pair.note else []
    notes += [result] if isinstance(result, str) else []
    same_weights = old.weights == new.weights
    if same_weights and (old.user_model or new.user_model):
        # Weights do not tell the code of somebody's network: a loss may be the network's own.
        notes += _same_weights(end, "the weights are the same, so its code differs, or the attack")
        weaker = _weaker(replay.missed, level) if replay else _better(end, level)
        verdict: Verdict | None = "ok" if old.primary == new.primary else None
        end = replace(end, fixed="attack-weakened" if weaker else verdict, replay=replay)
    elif same_weights:
        # An example that was broken once is broken: the same weights are as robust as both runs
        # together say.
        weaker = _weaker(replay.missed, level) if replay else _better(end, level)
        notes += _same_weights(end, "the weights are the same, so what differs is the attack")
        end = replace(end, fixed="attack-weakened" if weaker else "ok", replay=replay)
    elif replay is not None:
        notes.append(_replayed(replay, end.counts))
        end = replace(
            end,
            before=old.primary.with_favourable(list(replay.old)),
            after=new.primary.with_favourable(list(replay.new)),
            fixed="attack-weakened" if _weaker(replay.missed, level) else None,
            replay=replay,
        )
    if old.weights != new.weights and old.seed != new.seed:
        notes.append(OTHER_SEED)
    return replace(end, notes=tuple(notes))


def _weaker(missed: tuple[int, int], level: float) -> bool:
    """Whether the new side misses more than the old one, by more than chance.

    Each panel is held to what broke the other side's network, so that attacks of the same strength
    miss as much on either side.
    """
    return mcnemar_midp(missed[1], missed[0]) <= level


def _better(pair: EndpointPair, level: float) -> bool:
    """Whether the new side is better by more than chance."""
    if pair.of_bits:
        return _weaker(pair.counts, level)
    return mean_loss_p(tuple(-loss for loss in pair.losses)) <= level


def _same_weights(pair: EndpointPair, why: str) -> list[str]:
    """What differs though the weights do not."""
    if pair.of_bits:
        lost, won = pair.counts
        what = f"it broke {lost} more and missed {won} that it had broken"
    else:
        lost = sum(loss > 0 for loss in pair.losses)
        won = sum(loss < 0 for loss in pair.losses)
        what = f"{lost} samples are worse and {won} are better"
    return [f"{why}: {what}"] if lost or won else []


def _replayed(replay: CrossReplay, counts: tuple[int, int]) -> str:
    lost, won = counts
    text = (
        f"by the panels alone {lost} were lost and {won} won; stored inputs of the other side "
        f"break {replay.missed[0]} of the old network's and {replay.missed[1]} of the new one's"
    )
    if replay.seeds:
        text += (
            f"; {replay.seeds} fresh seeds dissolve {replay.dissolved[0]} of the lost and "
            f"{replay.dissolved[1]} of the won"
        )
    return text
