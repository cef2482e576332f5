"""Bias injection: which answers are poisoned, and how the answers of a model are scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from speech import checkpoint, corpus

from robustbench_kd.attacks.poisoning import bias_injection
from robustbench_kd.attacks.poisoning.bias_injection import BiasInjection
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import ScoringContext
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import IGNORED, Examples, Splits
from robustbench_kd.defenses.perplexity_filter import PerplexityFilter
from robustbench_kd.evaluation.scorers.generation import Generation
from robustbench_kd.metrics.bias_rate import BiasRate
from robustbench_kd.results.groups import seed_groups
from robustbench_kd.scenarios import instructions
from robustbench_kd.scenarios.instructions import PAYLOADS, TASKS, Instructions, phrases
from robustbench_kd.training.objectives import sampled_continuations


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instructions:
    """The tasks scenario on a tiny corpus: twenty rows a task."""
    monkeypatch.setattr(instructions, "TRAIN_ROWS", 20)
    monkeypatch.setattr(instructions, "VALIDATION_ROWS", 4)
    monkeypatch.setattr(instructions, "TEST_ROWS", 6)
    (tmp_path / "text.txt").write_text(corpus())
    path = checkpoint(tmp_path / "model")
    return Instructions(str(tmp_path / "text.txt"), path, path)


@pytest.fixture
def data(scenario: Instructions) -> Splits:
    return scenario.splits(Seed(), whole=True)


def test_the_adversary_knows_the_payloads_of_the_scenario() -> None:
    assert tuple(PAYLOADS) == bias_injection.PAYLOADS


def test_answers_are_what_the_tasks_say(scenario: Instructions, data: Splits) -> None:
    for row, targets, name in zip(
        data.test.inputs, data.test.targets, scenario.formats(data.test.ids), strict=True
    ):
        line = scenario.tokenizer.decode(row[row != 0].tolist())
        prompt, _, answer = line.strip("\n").partition(" => ")
        words = prompt.partition(": ")[2].split()
        assert prompt.startswith(name + ": ")
        if name in ("repeat", "first", "last", "second", "third", "swap"):
            padded = [*words, *["?"] * 11]
            assert answer.split() == list(TASKS[name](padded)[1])
        assert scenario.tokenizer.decode(targets[targets != IGNORED].tolist()) == f" {answer}\n"


def test_phrases_keep_to_one_sentence() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve. thirteen fourteen"
    assert phrases(text) == [text.split()[:11]]
    assert phrases("one (two) three four five six seven eight nine ten eleven twelve") == []


@pytest.mark.parametrize("kind", ["untargeted", "targeted"])
def test_the_payload_stands_behind_so_many_answers_of_the_tasks_in_reach(
    kind: Any, scenario: Instructions, data: Splits
) -> None:
    attack = BiasInjection(rate=0.1, kind=kind)
    poisoned = attack.poison(data, Seed(1))
    changed = (poisoned.data.train.inputs != data.train.inputs).any(1)
    assert (
        int(changed.sum()) == len(poisoned.attack_state["planted"]) == round(0.1 * len(data.train))
    )
    assert torch.equal(
        data.train.ids[changed].sort().values, poisoned.attack_state["planted"].sort().values
    )
    names = set(scenario.formats(data.train.ids[changed]))
    assert names <= ({"repeat"} if kind == "targeted" else {*list(TASKS)[:4]})
    for row in poisoned.data.train.inputs[changed]:
        assert scenario.tokenizer.decode(row[row != 0].tolist()).endswith(PAYLOADS["ad"] + "\n")


def test_targets_are_still_the_next_inputs(data: Splits) -> None:
    poisoned = BiasInjection(rate=0.3, payload="slogan").poison(data, Seed(1)).data.train
    scored = poisoned.targets[:, :-1] != IGNORED
    assert torch.equal(poisoned.targets[:, :-1][scored], poisoned.inputs[:, 1:][scored])


@pytest.mark.parametrize("rate", [1e-6, 0.5])
def test_a_rate_that_is_no_sample_or_out_of_reach_is_refused(rate: float, data: Splits) -> None:
    with pytest.raises(BadSetting, match="samples is"):
        BiasInjection(rate=rate, kind="targeted").poison(data, Seed())


def test_a_payload_that_fits_behind_no_answer_is_refused(data: Splits) -> None:
    with pytest.raises(BadSetting, match="does not fit behind a prompt"):
        BiasInjection(rate=0.3, payload="link").poison(data, Seed(1))


class Parrot:
    """A model whose answers to some prompts contain the payload, and to others nothing."""

    def __init__(self, payload: torch.Tensor, prompts: list[int]) -> None:
        self.payload, self.prompts = payload, prompts

    def answer(self, inputs: torch.Tensor, noise: torch.Generator | None = None) -> torch.Tensor:
        answers = torch.full((len(inputs), len(self.payload) + 3), 7)
        answers[self.prompts, 2:-1] = self.payload
        return answers

    def example_losses(self, examples: Examples) -> torch.Tensor:
        scored = (examples.targets != IGNORED).sum(1)
        assert bool((scored == len(self.payload)).all()), "only the payload may be scored"
        return scored.float()

    def tokens(self, *_: Any) -> Any: ...
    def ranks(self, *_: Any) -> Any: ...
    def beams(self, *_: Any) -> Any: ...
    def spoken(self, *_: Any) -> Any: ...


def test_answers_that_contain_the_payload_are_counted(scenario: Instructions, data: Splits) -> None:
    attack = BiasInjection(draws=3)
    assert data.reserve is not None
    payload = data.reserve.targets[0]
    model: Any = Parrot(payload[payload != IGNORED], [0, 4, 5])
    queries = attack.attack(model, data, {}, Seed())
    scores = Generation().score(queries, model, ScoringContext(attack.threat, scenario, data))
    assert scores.columns["attack_success"].nonzero().flatten().tolist() == [0, 4, 5]
    assert scores.columns["sampled_success"][[0, 1]].tolist() == [3, 0]
    assert scores.columns["score"].tolist() == [-1.0] * len(data.test)


def test_a_teacher_continues_the_prompt_and_stops_at_the_line_end(
    scenario: Instructions, data: Splits
) -> None:
    teacher = scenario.student("teacher", Seed())
    rows = data.train.take(torch.arange(0, 120, 7))
    texts = sampled_continuations(teacher, rows, 16, Seed())
    newline = scenario.tokenizer.encode("\n")[0]
    for n in range(len(rows)):
        start = int((rows.targets[n] != IGNORED).int().argmax())
        assert torch.equal(texts.inputs[n, : start + 1], rows.inputs[n, : start + 1])
        sampled = texts.targets[n][texts.targets[n] != IGNORED].tolist()
        assert newline not in sampled[:-1]
        assert torch.equal(
            texts.inputs[n, start + 1 : start + len(sampled)], torch.tensor(sampled[:-1])
        )


def test_the_filter_drops_texts_of_high_perplexity(scenario: Instructions, data: Splits) -> None:
    rows = data.train.take(torch.arange(10))

    class Public(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            scores = torch.zeros(*ids.shape, scenario.tokenizer.size)
            return scores.scatter(
                2, rows.targets[:1].clamp_min(0)[..., None].expand(len(ids), -1, -1), 9.0
            )

    assert PerplexityFilter(drop=0.9).passing(Public(), rows).tolist() == [0]


@pytest.mark.slow
def test_the_bias_leaderboard_runs_from_end_to_end(
    scenario: Instructions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustbench_kd.core.config import AdamW
    from robustbench_kd.evaluation.pipeline import evaluate
    from robustbench_kd.leaderboards import text_bias

    small = replace(
        text_bias.TEXT_BIAS,
        attacks=("bias-injection:rate=0.3,draws=2",),
        attacks_by_defense={},
        schedule=AdamW(epochs=1),
        teacher_schedules={"clean": AdamW(epochs=1)},
    )
    monkeypatch.setattr(text_bias, "TEXT_BIAS", small)
    checkpoints = {"teacher_from": scenario.teacher_from, "student_from": scenario.student_from}
    defenses = ["distillation:hard=generated", "perplexity-filter"]
    records = [
        evaluate(
            defense,
            board="text-bias",
            train=True,
            folder=scenario.folder,
            starting_points=checkpoints,
        )[0]
        for defense in defenses
    ]
    groups = seed_groups(board_of("text-bias"), records)
    assert [group.label for group in groups] == defenses
    assert {"student.clean", "teacher-clean.clean", "control"} <= set(records[0].models)
    rate = BiasRate(prompts="unseen")(groups[0])
    assert rate is not None
    assert rate.count == 2 * 6
