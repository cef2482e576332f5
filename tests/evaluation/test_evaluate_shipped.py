"""``evaluate`` from what ships: the same records as the committed ones, and nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import robustbench_kd
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.registry import board_of
from robustbench_kd.results.record import Bits, Column, Record
from robustbench_kd.results.store import load_records

FLIPS = 0.01  # the share of bits that rounding on another machine may turn over, besides one
CLOSE = 1e-3
NORMAL = [
    ("digits-linf", "standard-training", 0, None),
    ("digits-poisoning", "transfer-learning", 0, None),
    ("fashion-backdoor", "distillation", 0, ["badnets"]),
]
SLOW = [
    ("digits-linf", "ard", 0, None),
    ("digits-poisoning", "distillation", 29, None),
    ("fashion-linf", "standard-training", 1, None),
    ("fashion-backdoor", "fine-pruning", 0, ["wanet"]),
    ("fashion-poisoning", "proard", 0, ["blend"]),
    ("fashion-poisoning", "nad", 0, ["label-flip"]),
    ("t2i-backdoor", "clean-model-oracle", 0, ["prompt-trigger"]),
    ("text-bias", "perplexity-filter", 0, ["bias-injection:rate=0.1"]),
    ("text-privacy", "standard-training", 0, None),
    ("text-transfer", "distillation:temperature=1", 1, None),
]
CASES = [*NORMAL, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]


def committed(record: Record) -> Record:
    """The committed record of the same defense, seed and attacks."""
    (match,) = (
        other
        for other in load_records(board=record.board)
        if (other.label, other.seed, list(other.attacks))
        == (record.label, record.seed, list(record.attacks))
    )
    return match


def expect_close(fresh: Column, recorded: Column, what: str) -> None:
    if isinstance(recorded, Bits):
        assert isinstance(fresh, Bits), what
        differences = bin(fresh.number ^ recorded.number).count("1")
        assert differences <= FLIPS * recorded.count + 1, what
    else:
        assert list(fresh) == pytest.approx(list(recorded), rel=CLOSE, abs=CLOSE), what


def expect_same_claim(record: Record, other: Record) -> None:
    """All that a record claims, but versions; what is observed up to what rounding explains."""
    for label, result in other.attacks.items():
        for role, columns in result.columns.items():
            for name, column in columns.items():
                if name not in ("rank", "ties"):
                    fresh = record.attacks[label].columns[role][name]
                    expect_close(fresh, column, f"{name} of {label} on {role}")
    if record.attacks == other.attacks:
        assert replace(record, versions=other.versions).claim == other.claim
    assert with_observations_of(record, other) == other


def with_observations_of(record: Record, other: Record) -> Record:
    """A record whose settings, models and samples are its own, and what was observed another's."""
    assert list(record.attacks) == list(other.attacks)
    attacks = {}
    for label, result in record.attacks.items():
        recorded = other.attacks[label]
        assert result.metadata.keys() == recorded.metadata.keys()
        attacks[label] = replace(
            result, columns=recorded.columns, metadata=recorded.metadata, passes=recorded.passes
        )
    return replace(
        record,
        attacks=attacks,
        evidence=other.evidence,
        sanity_checks=other.sanity_checks,
        versions=other.versions,
        compute=other.compute,
    )


@pytest.mark.parametrize(("board", "defense", "seed", "attacks"), CASES)
def test_a_committed_record_is_made_again_from_what_ships(
    board: str,
    defense: str,
    seed: int,
    attacks: Sequence[str] | None,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if board.startswith("text"):
        pytest.importorskip("transformers")
    monkeypatch.setenv("ROBUSTBENCH_KD_DATA", "nowhere")
    records = robustbench_kd.evaluate(defense, board=board, seed=seed, attacks=attacks)
    leaderboard = board_of(board)
    apart = leaderboard.poisons and not leaderboard.joint
    assert len(records) == (len(attacks or leaderboard.attacks_on(defense)) if apart else 1)
    for record in records:
        expect_same_claim(record, committed(record))
    assert not (own_cache / "nets").exists(), "a network was trained"


def test_one_committed_record_of_every_leaderboard_is_made_again() -> None:
    boards = {path.parent.name for path in shipped("records").glob("*/*.json")}
    assert {case[0] for case in (*NORMAL, *SLOW)} == boards


def test_evaluations_are_stored_and_told_how_far_they_are() -> None:
    heard: list[tuple[str, int, int, str]] = []
    (record,) = robustbench_kd.evaluate(
        "ard",
        board="digits-linf",
        attacks=["fgsm"],
        limit=20,
        on_progress=lambda *stage: heard.append(stage),
    )
    assert [stage for stage, *_ in heard] == ["clean", "fgsm", "done"]
    assert [done for _, done, *_ in heard] == [0, 1, 2]
    assert {total for _, _, total, _ in heard} == {2}
    assert (record.limit, record.data["count"]) == (20, 20)
    assert robustbench_kd.verify(record).values > 20


def test_a_limit_that_leaves_nothing_out_reduces_nothing() -> None:
    (record,) = robustbench_kd.evaluate("ard", board="digits-linf", attacks=["fgsm"], limit=500)
    assert record.limit is None
    assert record.data["count"] == 500
