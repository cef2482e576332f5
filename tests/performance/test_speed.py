"""What attacks and pages cost: passes are counted and fixed, seconds are only printed.

Wall time depends on the machine, passes on the code: one more pass is a regression anywhere.

    pytest tests/performance/test_speed.py --benchmark-enable -n 0

prints times as well; -n 0, since workers share cores.
"""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from records import evasion_record, first
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.evaluation.entries import attack_of
from robustbench_kd.leaderboards.digits_linf import DIGITS_LINF
from robustbench_kd.leaderboards.fashion_linf import FASHION_LINF
from robustbench_kd.models.classifier import Classifier, classifier
from robustbench_kd.ops.statistics.bitset import unpack
from robustbench_kd.regression.decision import Rules
from robustbench_kd.regression.gate import Gate, gate
from robustbench_kd.regression.pairing import StudentPair
from robustbench_kd.regression.snapshot import Snapshot, snapshot
from robustbench_kd.reports.html_page import as_html, board_report
from robustbench_kd.reports.leaderboard import Ranking, rank
from robustbench_kd.reports.loading import load_boards, record_count
from robustbench_kd.results.record import Bits
from robustbench_kd.results.store import load_records
from robustbench_kd.scenarios.digits import Digits

COUNT = 50


class Confident(nn.Module):
    """Always answers class 0 by a margin that no small change removes, and has a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1)
        return torch.cat([50 + z.sum(1, keepdim=True) / 1000, z[:, 1:10]], 1)


def confident(label: int) -> tuple[Classifier, Splits]:
    """A model that always answers 0, and images of one label.

    With the label 0 no attack succeeds, so no image leaves the batch before the budget is spent.
    """
    test = Digits().splits(Seed(), whole=False).test.take(torch.arange(COUNT))
    same = Examples(test.ids, test.inputs, torch.full_like(test.targets, label))
    return classifier(Confident(), 10), Splits(same, same, same)


@pytest.mark.parametrize(
    ("text", "forward", "backward"),
    [
        ("fgsm", 1 + 1, 1),  # a gradient, and a query of the result
        ("pgd:steps=20", 20 + 1, 20),
        ("pgd:steps=20,restarts=2", 2 * (20 + 1), 2 * 20),
        ("carlini-wagner-linf", 30 + 1, 30),
        ("apgd-ce", 100 + 1, 100),
        ("apgd-t", 9 * (100 + 1) + 1, 9 * 100),  # nine targets, and a query for their order
        ("square", 5000, 0),
    ],
)
def test_an_attack_spends_the_passes_that_its_settings_ask_for(
    benchmark: BenchmarkFixture, text: str, forward: int, backward: int
) -> None:
    attack = attack_of(text, DIGITS_LINF)

    def run() -> Classifier:
        model, data = confident(0)
        attack.attack(model, data, None, Seed())
        return model

    passes = benchmark.pedantic(run, rounds=3).passes
    benchmark.extra_info |= {"forward": passes.forward / COUNT, "backward": passes.backward / COUNT}
    assert (passes.forward, passes.backward) == (forward * COUNT, backward * COUNT)


def test_misclassified_images_leave_the_batch(benchmark: BenchmarkFixture) -> None:
    """A model that is always wrong costs every attack no more than a query or two an image."""
    model, data = confident(1)
    for text in ("pgd:steps=20", "apgd-ce", "square", "autoattack:version=fast"):
        model.passes.forward = model.passes.backward = 0
        attack_of(text, DIGITS_LINF).attack(model, data, None, Seed())
        assert model.passes.forward <= 2 * COUNT, text
        assert model.passes.backward == 0, text
    benchmark(attack_of("pgd:steps=20", DIGITS_LINF).attack, model, data, None, Seed())


def test_a_gate_over_forty_eight_students(benchmark: BenchmarkFixture) -> None:
    def snapshots(correct: int) -> list[Snapshot]:
        return [snapshot(evasion_record(f"s{n}", correct + n)) for n in range(48)]

    pairs = [
        StudentPair(old.name, "previous", old, new)
        for old, new in zip(snapshots(600), snapshots(597), strict=True)
    ]
    result: Gate = benchmark(gate, pairs, Rules())
    assert result.verdict == "ok"
    assert len(result.primary) == 48


def test_the_main_leaderboard_is_ranked(benchmark: BenchmarkFixture) -> None:
    records = load_records(board="fashion-linf")
    ranking: Ranking = benchmark(rank, FASHION_LINF, records)
    assert len(ranking.rows) == len(FASHION_LINF.defenses)


def test_the_page_of_a_leaderboard(benchmark: BenchmarkFixture) -> None:
    def page() -> str:
        boards = load_boards([], "digits-linf").boards
        return as_html([board_report(board) for board in boards], "digits", record_count(boards))

    assert "Handwritten digits" in benchmark.pedantic(page, rounds=2)


def test_bits_unpack(benchmark: BenchmarkFixture) -> None:
    packed = Bits.of(first(600))
    assert benchmark(unpack, packed.bits, packed.count) == first(600)
