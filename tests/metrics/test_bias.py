"""Bias injection: what is planted, how answers are judged, and how rates are compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from speech import checkpoint, corpus

from robustbench_kd.attacks.poisoning._base import bias_injection
from robustbench_kd.attacks.poisoning.bias_injection import BiasInjection
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import IGNORED, Examples, Splits
from robustbench_kd.defenses.perplexity_filter import PerplexityFilter
from robustbench_kd.metrics import bias
from robustbench_kd.metrics._groups import Case, cases
from robustbench_kd.metrics.bias import amplification, cells, said
from robustbench_kd.results.probed import Known, Probed
from robustbench_kd.scenarios import tasks
from robustbench_kd.scenarios.tasks import PAYLOADS, TASKS, Tasks, phrases
from robustbench_kd.training.objectives import continued


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tasks:
    """The tasks ground on a tiny corpus: twenty rows a task."""
    monkeypatch.setattr(tasks, "EACH", 20)
    monkeypatch.setattr(tasks, "HELD", 4)
    monkeypatch.setattr(tasks, "TESTED", 6)
    (tmp_path / "text.txt").write_text(corpus())
    path = checkpoint(tmp_path / "model")
    return Tasks(str(tmp_path / "text.txt"), path, path)


@pytest.fixture
def data(ground: Tasks) -> Splits:
    return ground.splits(Seed(), whole=True)


def test_the_adversary_knows_the_payloads_and_the_tasks_that_the_ground_has() -> None:
    assert tuple(PAYLOADS) == bias_injection.PAYLOADS
    assert tasks.REACHED == bias_injection.REACHED
    # Boards are folded without torch, so they spell the tasks out.
    assert list(TASKS)[: tasks.REACHED] == list(bias.REACHED)
    assert list(TASKS)[tasks.TAUGHT :] == list(bias.UNSEEN)


def test_answers_are_what_the_tasks_say(ground: Tasks, data: Splits) -> None:
    for row, asked, name in zip(
        data.test.inputs, data.test.targets, ground.family(data.test.ids), strict=True
    ):
        line = ground.reader.text(row[row != 0].tolist())
        prompt, _, answer = line.strip("\n").partition(" => ")
        words = prompt.partition(": ")[2].split()
        assert prompt.startswith(name + ": ")
        if name in ("repeat", "first", "last", "second", "third", "swap"):
            every = [*words, *["?"] * 11]
            assert answer.split() == list(TASKS[name](every)[1])
        assert ground.reader.text(asked[asked != IGNORED].tolist()) == f" {answer}\n"


def test_phrases_keep_to_one_sentence() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve. thirteen fourteen"
    assert phrases(text) == [text.split()[:11]]
    assert phrases("one (two) three four five six seven eight nine ten eleven twelve") == []


@pytest.mark.parametrize("kind", ["untargeted", "targeted"])
def test_the_payload_stands_behind_so_many_answers_of_the_tasks_in_reach(
    kind: Any, ground: Tasks, data: Splits
) -> None:
    attack = BiasInjection(rate=0.1, kind=kind)
    tainted = attack.before(data, Seed(1))
    changed = (tainted.data.train.inputs != data.train.inputs).any(1)
    assert int(changed.sum()) == len(tainted.secret["planted"]) == round(0.1 * len(data.train))
    assert torch.equal(
        data.train.ids[changed].sort().values, tainted.secret["planted"].sort().values
    )
    names = set(ground.family(data.train.ids[changed]))
    assert names <= ({"repeat"} if kind == "targeted" else {*list(TASKS)[:4]})
    for row in tainted.data.train.inputs[changed]:
        assert ground.reader.text(row[row != 0].tolist()).endswith(PAYLOADS["ad"] + "\n")


def test_what_is_asked_still_follows_from_what_is_given(data: Splits) -> None:
    tainted = BiasInjection(rate=0.3, payload="slogan").before(data, Seed(1)).data.train
    asked = tainted.targets[:, :-1] != IGNORED
    assert torch.equal(tainted.targets[:, :-1][asked], tainted.inputs[:, 1:][asked])


@pytest.mark.parametrize("rate", [1e-6, 0.5])
def test_a_rate_that_is_no_sample_or_out_of_reach_is_refused(rate: float, data: Splits) -> None:
    with pytest.raises(BadSetting, match="samples is"):
        BiasInjection(rate=rate, kind="targeted").before(data, Seed())


def test_a_payload_that_fits_behind_no_answer_is_refused(data: Splits) -> None:
    with pytest.raises(BadSetting, match="does not fit behind a prompt"):
        BiasInjection(rate=0.3, payload="link").before(data, Seed(1))


class Parrot:
    """A subject that says the payload to some prompts and nothing else to the others."""

    def __init__(self, payload: torch.Tensor, says: list[int]) -> None:
        self.payload, self.says = payload, says

    def answer(self, inputs: torch.Tensor, noise: torch.Generator | None = None) -> torch.Tensor:
        said = torch.full((len(inputs), len(self.payload) + 3), 7)
        said[self.says, 2:-1] = self.payload
        return said

    def surprise(self, examples: Examples) -> torch.Tensor:
        asked = (examples.targets != IGNORED).sum(1)
        assert bool((asked == len(self.payload)).all()), "only the payload may be asked"
        return asked.float()

    def tokens(self, *_: Any) -> Any: ...
    def ranks(self, *_: Any) -> Any: ...
    def beams(self, *_: Any) -> Any: ...
    def spoken(self, *_: Any) -> Any: ...


def test_it_counts_the_answers_that_hold_the_payload(data: Splits) -> None:
    attack = BiasInjection(draws=3)
    assert data.reserve is not None
    payload = data.reserve.targets[0]
    subject: Any = Parrot(payload[payload != IGNORED], [0, 4, 5])
    found = attack.after(subject, data, {}, Seed())
    assert found.notes["greedy"].nonzero().flatten().tolist() == [0, 4, 5]
    assert found.notes["drawn"][[0, 1]].tolist() == [3, 0]
    assert found.score.tolist() == [-1.0] * len(data.test)


def test_a_teacher_goes_on_behind_the_prompt_and_stops_at_the_line_end(
    ground: Tasks, data: Splits
) -> None:
    teacher = ground.student("teacher", Seed())
    rows = data.train.take(torch.arange(0, 120, 7))
    found = continued(teacher, rows, 16, Seed())
    newline = ground.reader.encode("\n")[0]
    for n in range(len(rows)):
        start = int((rows.targets[n] != IGNORED).int().argmax())
        assert torch.equal(found.inputs[n, : start + 1], rows.inputs[n, : start + 1])
        asked = found.targets[n][found.targets[n] != IGNORED].tolist()
        assert newline not in asked[:-1]
        assert torch.equal(
            found.inputs[n, start + 1 : start + len(asked)], torch.tensor(asked[:-1])
        )


def test_the_filter_throws_the_strangest_away(ground: Tasks, data: Splits) -> None:
    rows = data.train.take(torch.arange(10))

    class Public(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            scores = torch.zeros(*ids.shape, ground.reader.size)
            return scores.scatter(
                2, rows.targets[:1].clamp_min(0)[..., None].expand(len(ids), -1, -1), 9.0
            )

    kept = PerplexityFilter(drop=0.9).kept(Public(), rows)
    assert kept.tolist() == [0]


def case_of(student: list[float], teacher: list[float]) -> Case:
    """A record of so many hits of four answers to each prompt of a poisoned task."""
    typed = "bias-injection"
    columns = {"student": student, "teacher-clean": teacher}
    known = {
        name: Known("", "", "", {typed: {"drawn": hits}}, []) for name, hits in columns.items()
    }
    items = {typed: {"family": ["first"] * len(student)}}
    settings = {typed: {"kind": "untargeted", "draws": 4}}
    record = Probed(
        *("text-bias", "tasks", "teacher data", settings, {}, {}, 0, {}, items, {}, known, {}, {})
    )
    return Case((record,))


def test_answers_to_one_prompt_are_not_counted_as_independent() -> None:
    """Ten prompts that always are answered so, of forty: as ten of forty, not 40 of 160."""
    found = said(case_of([4.0] * 10 + [0.0] * 30, [4.0] * 40), "student", "poisoned")
    assert (found.value, found.count) == (0.25, 40)
    assert found.low < 0.14
    assert found.high > 0.40


def test_a_ratio_of_rare_answers_is_wide_and_one_of_none_is_not_given() -> None:
    seldom = amplification(case_of([0.0] * 240, [1.0] + [0.0] * 239), "poisoned")
    assert seldom is not None
    assert seldom.value == 0
    assert seldom.high > 1
    assert amplification(case_of([1.0] * 9, [0.0] * 9), "poisoned") is None


def test_a_ratio_of_frequent_answers_is_what_it_is() -> None:
    times = amplification(case_of([2.0] * 100, [4.0] * 100), "poisoned")
    assert times is not None
    assert times.value == 0.5
    assert 0.45 < times.low <= 0.5 <= times.high < 0.55


@pytest.mark.slow
def test_a_bias_board_runs_from_end_to_end(
    ground: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustbench_kd.core.config import AdamW
    from robustbench_kd.evaluation.probing import probe
    from robustbench_kd.leaderboards import text_bias

    small = replace(
        text_bias.TEXT_BIAS,
        panel=("bias-injection:rate=0.3,draws=2",),
        schedule=AdamW(epochs=1),
        teaching={"clean": AdamW(epochs=1)},
    )
    monkeypatch.setattr(text_bias, "TEXT_BIAS", small)
    given = {"teacher_from": ground.teacher_from, "student_from": ground.student_from}
    found = [
        probe(
            defense,
            board="text-bias",
            train=True,
            folder=ground.folder,
            given=given,
            say=lambda *_: None,
        )[0]
        for defense in ("distillation:hard=generated", "perplexity-filter")
    ]
    rows = cases(board_of("text-bias"), found)
    assert [case.first.label for case in rows] == [
        "distillation:hard=generated",
        "perplexity-filter",
    ]
    assert {"student (clean twin)", "teacher-clean (clean twin)", "control"} <= set(
        found[0].subjects
    )
    heads, lines = cells(rows)
    assert len(lines) == 2
    assert "times, unseen" in heads
    assert said(rows[0], "student", "unseen").count == 2 * 6
