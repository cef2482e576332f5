"""Verify a planted record: every network is asked again about the plain and the stored inputs."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadModel, BadRecord
from robustbench_kd.core.io import read_bytes
from robustbench_kd.core.options import written
from robustbench_kd.core.protocols import Scenario
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Logits
from robustbench_kd.core.types import Examples
from robustbench_kd.evaluation.attack_runner import attack_of, examples_digest
from robustbench_kd.evaluation.fingerprints import defense_of, scenario_of, story
from robustbench_kd.evaluation.poisoned_data import Taint
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.attacks.gradients import held_still
from robustbench_kd.ops.attacks.quantization import decode
from robustbench_kd.ops.statistics.bitset import unpack
from robustbench_kd.results.artifacts import find_net, undump
from robustbench_kd.results.planted import Planted, flags
from robustbench_kd.results.record import digest
from robustbench_kd.results.store import exhibit_name, read_planted

MARGINAL = 1e-3  # two best scores this close may fall either way on another machine


@dataclass(frozen=True)
class Reasked:
    """So many networks asked again, about so many inputs; ``marginal`` are too close to call."""

    networks: int
    inputs: int
    marginal: int


def verify_planted(path: Path) -> Reasked:
    """Replays a planted record: digests, counts, and every answer of every network.

    That proves what the networks say of the inputs that were handed in, and that they are kept
    under the recipes of the record. That they were trained so, only training again can prove.

    Raises:
        BadRecord: naming the first thing that does not hold.
        BadModel: where a network is not kept here.
    """
    record = read_planted(path)
    scenario = scenario_of(record.scenario)
    _told_right(record, scenario, path)
    test = scenario.splits(Seed(record.seed), whole=False).test
    known = (examples_digest(test), digest(test.ids.tolist()))
    if known != (record.data["examples"], record.data["ids"]):
        raise BadRecord(f"{path} is about other images than the ones here")
    inputs, wanted = exhibit_of(record, test, path)
    eligible = torch.tensor(unpack(record.eligible, record.data["count"]))
    if not torch.equal(eligible, (wanted != test.targets) | (wanted < 0)):
        raise BadRecord(f"{path}: the eligible inputs are not those that the adversary wanted")
    marginal = 0
    for name in record.subjects:
        net = _network(record, name, scenario, path)
        with held_still(net):
            plain, moved = _scores(net, test.inputs), _scores(net, inputs[eligible])
        right = plain.argmax(1) == test.targets
        true = moved.argmax(1) == test.targets[eligible]
        won = torch.where(wanted[eligible] < 0, ~true, moved.argmax(1) == wanted[eligible])
        for column, said, scores in (
            ("right", right, plain),
            ("won", won, moved),
            ("true", true, moved),
        ):
            close = _close(scores)
            wrong = (said != torch.tensor(flags(record, name, column))) & ~close
            marginal += int(close.sum()) if column != "true" else 0
            if bool(wrong.any()):
                raise BadRecord(
                    f"{path}: {name} does not answer as the record says "
                    f"({int(wrong.sum())} of {len(said)}, column {column})"
                )
    return Reasked(len(record.subjects), len(test) + int(eligible.sum()), marginal)


def _told_right(record: Planted, scenario: Scenario, path: Path) -> None:
    """The networks are those that its board, defense, attack and seed stand for.

    Raises:
        BadRecord: where a setting, a key or what was planted is another than it would be.
    """
    board, defense = board_of(record.board), defense_of(record.label)
    taint = Taint(scenario, record.attack, attack_of(record.attack, board), record.seed)
    if (written(taint.attack), written(defense)) != (record.settings, record.defense["settings"]):
        raise BadRecord(f"{path} claims other settings than its {record.attack} or {record.label}")
    for name, card in story(board, scenario, defense, record.seed, taint).items():
        if record.subjects[name].key != card["key"]:
            raise BadRecord(f"{path}: its {name} was not trained as {board.name} trains it")
    kept = find_net(taint.key)
    if kept is not None and any(kept.card[n] != value for n, value in record.planted.items()):
        raise BadRecord(f"{path} claims to have planted something else than {record.attack} did")


def exhibit_of(record: Planted, test: Examples, path: Path) -> tuple[Images, Tensor]:
    """The submitted inputs and what was wanted of them, from beside the record.

    Raises:
        BadRecord: where they are damaged, another's, or about other examples.
    """
    raw = read_bytes(path.parent / exhibit_name(record))
    if hashlib.sha256(raw).hexdigest() != record.exhibit["sha256"]:
        raise BadRecord(f"the inputs beside {path} are not those its record was made with")
    stored = undump(raw, str(path))[0]
    try:
        codes = np.frombuffer(zlib.decompress(stored["codes"].numpy().tobytes()), np.int8).copy()
        inputs = decode(
            torch.from_numpy(codes).view(test.inputs.shape), test.inputs, Budget("linf", 1.0)
        )
        ids, wanted = stored["ids"], stored["wanted"].view(test.targets.shape)
    except (KeyError, RuntimeError, ValueError, zlib.error) as why:
        raise BadRecord(f"the inputs beside {path} are damaged: {why}") from why
    if not torch.equal(ids, test.ids):
        raise BadRecord(f"the inputs beside {path} are about other examples than its record")
    return inputs, wanted


def _network(record: Planted, name: str, scenario: Scenario, path: Path) -> nn.Module:
    one = record.subjects[name]
    kept = find_net(one.key)
    if kept is None:
        raise BadModel(
            f"{path}: the {name} is not kept here; make it again: robustbench-kd evaluate --train "
            f"--board {record.board} --defense {record.label} --attack {record.attack} "
            f"--seed {record.seed}"
        )
    net = scenario.student(one.net, Seed())
    try:
        net.load_state_dict(kept.state)
    except RuntimeError as why:
        raise BadRecord(f"{path}: the weights of its {name} fit no {one.net}") from why
    if weights_digest(net.state_dict()) != one.weights:
        raise BadRecord(f"{path} is about other weights than those kept of its {name}")
    return net.eval()


def _scores(net: nn.Module, inputs: Images) -> Logits:
    with torch.inference_mode():
        return torch.cat([net(part) for part in inputs.split(500)])


def _close(scores: Logits) -> Tensor:
    best = scores.topk(2, 1).values
    return best[:, 0] - best[:, 1] < MARGINAL
