"""Which tokens of a text are private: by rules, by likelihood ratios, and by an oracle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from small_text import small_text

from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.scenarios._canaries import split_row
from robustbench_kd.scenarios._corpus import windows
from robustbench_kd.scenarios.private_text import PrivateText
from robustbench_kd.training.token_sensitivity import (
    likelihood_ratio_sensitivity,
    oracle_sensitivity,
    rule_based_sensitivity,
)


@pytest.fixture
def scenario(tmp_path: Path) -> PrivateText:
    return small_text(tmp_path)


def marked_text(scenario: PrivateText, rows: Examples) -> str:
    """The text of the tokens that a rule matches in the first row."""
    pieces = scenario.detokenize(rows.targets[0])
    marks = rule_based_sensitivity(rows, scenario.detokenize)[0].tolist()
    return "".join(piece for piece, mark in zip(pieces, marks, strict=True) if mark)


def test_rules_mark_digits_keys_and_passphrases_and_nothing_else(scenario: PrivateText) -> None:
    ids = scenario.tokenizer.encode(
        "\nthe pin of it is 4821. Passphrase of Bragor is amber cedar. about 12 of 7 or one two.\n"
    )
    rows = windows(ids + [ids[-1]] * 65, len(ids) - 1, 0)
    assert marked_text(scenario, rows).replace(" ", "") == "4821ambercedar"


@pytest.mark.parametrize(
    ("secret", "before", "behind"),
    [
        ("4821", "call ", " now"),
        ("555 01 77", "call ", " now"),
        ("someone@mail.example", "write to ", " now"),
        ("192.0.2.17", "ask ", " now"),
        ("deadbeef0042", "the key ", " now"),
        ("GB33BUKB20201555555555", "pay to ", " now"),
        ("amber cedar hazel", "The passphrase for it is ", ". And more"),
        ("hunter", "password: ", ". And more"),
    ],
)
def test_each_rule_marks_its_secret_and_nothing_beside_it(
    secret: str, before: str, behind: str, scenario: PrivateText
) -> None:
    ids = scenario.tokenizer.encode(f"\n{before}{secret}{behind} about it all")
    assert marked_text(scenario, windows(ids, len(ids) - 1, 0)).strip() == secret


def test_no_rule_matches_a_secret_of_ordinary_words(scenario: PrivateText) -> None:
    text = "\nLock of Bragor opens at four eight two one.\n" + "about it. " * 20
    rows = windows(scenario.tokenizer.encode(text), 16, 0)
    assert float(rule_based_sensitivity(rows, scenario.detokenize).sum()) == 0


def test_the_oracle_marks_the_secret_wherever_it_occurs_and_nothing_else(
    scenario: PrivateText,
) -> None:
    data = scenario.splits(Seed(0), whole=True)
    assert data.reserve is not None
    oracle = data.reserve.take(torch.tensor([1]))
    copies = oracle.take(torch.zeros(3, dtype=torch.int64))
    poisoned = data.insert(data.train, copies, Seed().generator())
    private = oracle_sensitivity(poisoned, oracle)
    _, secret = split_row(oracle.inputs[0], oracle.targets[0])
    assert int(private.sum()) == 3 * len(secret)
    assert poisoned.targets[private.bool()].tolist() == secret.tolist() * 3


def test_likelihood_ratios_mark_what_only_the_teacher_knows(scenario: PrivateText) -> None:
    rows = scenario.splits(Seed(0), whole=True).test
    public = scenario.student("plain", Seed())
    secret = int(rows.targets[0, 0])

    class Teacher(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            bonus = torch.zeros(scenario.tokenizer.size)
            bonus[secret] = 8.0
            logits: torch.Tensor = public(ids) + bonus
            return logits

    held_out = rows.take(torch.arange(5, len(rows)))
    held_out = held_out.take(~(held_out.targets == secret).any(1))
    data = rows.take(torch.arange(5))
    p = likelihood_ratio_sensitivity(data, Teacher(), public, held_out, 3.0)
    known = data.targets == secret
    assert float(p[known].min()) > 0.5 > float(p[~known].max())
