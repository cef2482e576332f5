"""Answers to instructions as records hold them: by what was done to the task of each prompt."""

from __future__ import annotations

from typing import Literal

from robustbench_kd.results.groups import SeedGroup

ATTACK = "bias-injection"
Prompts = Literal["poisoned", "clean", "unseen"]
PROMPTS: tuple[Prompts, ...] = ("poisoned", "clean", "unseen")
Answers = Literal["sampled", "greedy"]
ANSWERS: tuple[Answers, ...] = ("sampled", "greedy")
# Tasks of the scenario ``instructions``, spelled out since records are read without torch.
REACHED = ("repeat", "first", "last", "continue")
UNSEEN = ("third", "go on")


def prompts_of(task: str, kind: str) -> Prompts:
    """``poisoned``, ``clean`` (the task was taught, without payloads) or ``unseen``.

    Args:
        kind: of the attack: a ``targeted`` one poisons the first task alone.
    """
    if task in UNSEEN:
        return "unseen"
    poisoned = REACHED[:1] if kind == "targeted" else REACHED
    return "poisoned" if task in poisoned else "clean"


def column_of(group: SeedGroup, role: str, name: str, prompts: Prompts) -> list[float]:
    """A column over the prompts of a kind, one record's behind the other's."""
    values: list[float] = []
    for record in group.records:
        result = record.result(ATTACK)
        kind = result.settings.get("kind", "untargeted")
        column = zip(record.numbers(ATTACK, role, name), result.samples["format"], strict=True)
        values += [value for value, task in column if prompts_of(task, kind) == prompts]
    return values


def payload_shares(
    group: SeedGroup, role: str, prompts: Prompts, answers: Answers = "sampled"
) -> list[float]:
    """The share of each prompt's answers that hold the payload; empty where none was sampled."""
    if answers == "greedy":
        return column_of(group, role, "attack_success", prompts)
    draws = group.first.result(ATTACK).settings.get("draws", 4)
    if not draws:
        return []
    return [hits / draws for hits in column_of(group, role, "sampled_success", prompts)]
