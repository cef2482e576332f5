"""Verify a probed record: every network is asked again, and must know what the record says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.options import written
from robustbench_kd.core.registry import board_of
from robustbench_kd.evaluation.attack_runner import examples_digest
from robustbench_kd.evaluation.fingerprints import defense_of, scenario_of
from robustbench_kd.evaluation.plots import Plot, networks, plots, rehearsed
from robustbench_kd.evaluation.probing import ask, ground
from robustbench_kd.results.probed import Known, Probed
from robustbench_kd.results.store import read_probed

# Another machine rounds differently: scores move in the last digits, ranks by a few places, and an
# answer whose two best tokens are as good as equal may turn out the other way.
CLOSE, FAR, FLIPS = 1e-3, 0.02, 0.01


@dataclass(frozen=True)
class Reprobed:
    """So many networks asked again, so many numbers compared; ``marginal`` differ by rounding."""

    networks: int
    numbers: int
    marginal: int


def verify_probed(path: Path, canaries: int | None = None) -> Reprobed:
    """Asks every network of a probed record again.

    Args:
        canaries: rank only the first so many again; ranks are what takes long.

    Raises:
        BadRecord: naming the first thing that does not hold.
        BadModel: where a network is not kept here.
    """
    record = read_probed(path)
    plot = plot_of(record, path)
    data = ground(plot.scenario, record.seed)
    if examples_digest(data.test) != record.data["examples"]:
        raise BadRecord(f"{path} is about another test text than the one here")
    if plot.taint.facts() != record.planted:
        raise BadRecord(f"{path} claims to have planted something else than its attacks did")
    secrets = _fewer(plot, rehearsed(plot, data), canaries)
    nets = dict(networks(plot))
    if set(nets) != set(record.subjects):
        raise BadRecord(f"{path} is about other networks than its defense has")
    numbers = marginal = 0
    for name, trained in nets.items():
        said, card = record.subjects[name], trained.card
        if (said.weights, said.key) != (card["weights"], card["key"]):
            raise BadRecord(f"{path}: its {name} is another network than the one kept here")
        again, _ = ask(plot, trained, data, secrets, fresh=True)
        pairs = _pairs(said, again)
        for what, (old, new) in pairs.items():
            off = _differ(old, new)
            numbers, marginal = numbers + len(new), marginal + off
            if off > FLIPS * len(old) + 1:
                raise BadRecord(
                    f"{path}: {name} answers otherwise than recorded: {what}, {off} of {len(new)}"
                )
    return Reprobed(len(nets), numbers, marginal)


def plot_of(record: Probed, path: Path) -> Plot:
    """What the record says that it is about, under the settings that its names stand for.

    Raises:
        BadRecord: where it claims others, or is about other data than those here.
    """
    contest = board_of(record.board)
    scenario = scenario_of(record.scenario)
    if record.data["edition"] != scenario.edition:
        raise BadRecord(f"{path} is about another text; evaluate it again with --data")
    plot = plots(
        record.label,
        record.board,
        list(record.attacks),
        record.seed,
        scenario,
        train=False,
        say=lambda *_: None,
    )[0]
    settings = {text: written(attack) for text, attack in plot.attacks.items()}
    known = (settings, written(defense_of(record.label)), contest.door)
    if known != (record.attacks, record.defense["settings"], record.door):
        raise BadRecord(f"{path} claims other settings than its attacks, defense or board have")
    return plot


def _fewer(
    plot: Plot, secrets: dict[str, Mapping[str, Tensor]], canaries: int | None
) -> dict[str, Mapping[str, Tensor]]:
    for text, attack in plot.attacks.items():
        if attack.name == "canary" and canaries is not None:
            few = {key: value[:canaries] for key, value in secrets[text].items()}
            secrets[text] = few
    return secrets


def _pairs(said: Known, again: Known) -> dict[str, tuple[list[float], list[float]]]:
    """Old and new numbers by what they are; of a column that was asked in part, its beginning."""
    pairs = {"surprise": (said.nats, again.nats)}
    for attack, columns in again.columns.items():
        for name, values in columns.items():
            old = said.columns.get(attack, {}).get(name, [])
            pairs[f"{name} of {attack}"] = (old[: len(values)], values)
    return pairs


def _differ(old: list[float], new: list[float]) -> int:
    """How many numbers differ by more than rounding."""
    if len(old) != len(new):
        return len(new)
    a, b = torch.tensor(old).double(), torch.tensor(new).double()
    whole = bool((a == a.round()).all()) and bool((b == b.round()).all())
    room = FAR * a.abs() if whole else CLOSE * (1 + a.abs())
    return int(((a - b).abs() > room).sum())
