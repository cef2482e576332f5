"""What attacks and pages cost: passes are counted and held to, seconds are only told.

Wall time is the machine's, passes are the code's: a pass more is a regression wherever it runs.

    pytest tests/performance/test_speed.py --benchmark-enable -n 0

tells times as well; -n 0, since workers share cores.
"""

from __future__ import annotations

import pytest
import torch
from ledger import first, made
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Splits
from robustbench_kd.evaluation.attack_runner import attack_of
from robustbench_kd.leaderboards.digits_linf import DIGITS_LINF
from robustbench_kd.leaderboards.fashion_linf import FASHION_LINF
from robustbench_kd.models.classifier import Classifier, classifier
from robustbench_kd.ops.statistics.bitset import unpack
from robustbench_kd.regression.decision import Rules
from robustbench_kd.regression.endpoints import Pair
from robustbench_kd.regression.gate import Gate, gate
from robustbench_kd.regression.snapshot import snapshot
from robustbench_kd.reports.html_page import as_html, part
from robustbench_kd.reports.leaderboard import Board, fold
from robustbench_kd.reports.loading import gather
from robustbench_kd.results.store import load_records
from robustbench_kd.scenarios.digits import Digits

COUNT = 50


class Sure(nn.Module):
    """Always answers class 0 by a lead that no small change takes away, and has a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1)
        return torch.cat([50 + z.sum(1, keepdim=True) / 1000, z[:, 1:10]], 1)


def sure() -> tuple[Classifier, Splits]:
    """Nothing is won, so nothing leaves the batch: every image costs what an attack may spend."""
    test = Digits().splits(Seed(), whole=False).test.take(torch.arange(COUNT))
    zeros = type(test)(test.ids, test.inputs, torch.zeros_like(test.targets))
    return classifier(Sure(), 10), Splits(zeros, zeros, zeros, zeros)


@pytest.mark.parametrize(
    ("text", "forward", "backward"),
    [
        ("fgsm", 1 + 1, 1),  # a gradient, and a look at what came out
        ("pgd:steps=20", 20 + 1, 20),
        ("pgd:steps=20,restarts=2", 2 * (20 + 1), 2 * 20),
        ("carlini-wagner-linf", 30 + 1, 30),
        ("apgd-ce", 100 + 1, 100),
        ("apgd-t", 9 * (100 + 1) + 1, 9 * 100),  # nine targets, and one look at which they are
        ("square", 5000, 0),
    ],
)
def test_an_attack_spends_the_passes_that_its_settings_ask_for(
    benchmark: BenchmarkFixture, text: str, forward: int, backward: int
) -> None:
    attack = attack_of(text, DIGITS_LINF)

    def run() -> Classifier:
        subject, data = sure()
        attack.after(subject, data, None, Seed())
        return subject

    spent = benchmark.pedantic(run, rounds=3).passes
    benchmark.extra_info |= {"forward": spent.forward / COUNT, "backward": spent.backward / COUNT}
    assert (spent.forward, spent.backward) == (forward * COUNT, backward * COUNT)


def test_rows_that_are_won_leave_the_batch(benchmark: BenchmarkFixture) -> None:
    """A network that is always wrong costs every attack no more than a look or two."""
    subject, data = sure()
    wrong = type(data.test)(data.test.ids, data.test.inputs, torch.ones_like(data.test.targets))
    lost = Splits(wrong, wrong, wrong, wrong)
    for text in ("pgd:steps=20", "apgd-ce", "square", "autoattack:form=lean"):
        subject.passes.forward = subject.passes.backward = 0
        attack_of(text, DIGITS_LINF).after(subject, lost, None, Seed())
        assert subject.passes.forward <= 2 * COUNT, text
        assert subject.passes.backward == 0, text
    benchmark(attack_of("pgd:steps=20", DIGITS_LINF).after, subject, lost, None, Seed())


def test_a_gate_over_forty_eight_students(benchmark: BenchmarkFixture) -> None:
    old = [snapshot(made(f"s{n}", first(600 + n))) for n in range(48)]
    new = [snapshot(made(f"s{n}", first(597 + n))) for n in range(48)]
    pairs = [Pair(f"s{n}", "previous", a, b) for n, (a, b) in enumerate(zip(old, new, strict=True))]
    held: Gate = benchmark(gate, pairs, Rules())
    assert held.verdict == "ok"
    assert len(held.primary) == 48


def test_the_main_board_folds(benchmark: BenchmarkFixture) -> None:
    records = load_records(board="fashion-linf")
    board: Board = benchmark(fold, FASHION_LINF, records)
    assert len(board.rows) == len(FASHION_LINF.defenses)


def test_the_page_of_a_board(benchmark: BenchmarkFixture) -> None:
    def page() -> str:
        (facts,) = gather([], "digits-linf").boards
        return as_html([part(facts)], "digits", len(facts.entries))

    assert "Handwritten digits" in benchmark.pedantic(page, rounds=2)


def test_bits_unpack(benchmark: BenchmarkFixture) -> None:
    record = made("a", first(600))
    flags = benchmark(unpack, record.robust["bits"], 1000)
    assert flags == first(600)
