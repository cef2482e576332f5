"""Records of threats that are measured by a value a sample: texts and generated images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from record_parts import (
    Flags,
    bits,
    defense_of,
    first,
    length_of,
    model_of,
    poison_of,
    record_of,
)

from robustbench_kd.results.record import CLEAN, AttackResult, Bits, Column, Record, digest

Columns = Mapping[str, Mapping[str, Column | Sequence[float]]]
Samples = Mapping[str, Sequence[Any]]


def scored_record(
    columns: Mapping[str, Columns],
    samples: Mapping[str, Samples] | None = None,
    *,
    label: str = "distillation:temperature=1",
    capability: str = "shared_train_data",
    teacher_roles: Sequence[str] = ("clean",),
    test_nll: Mapping[str, Sequence[float]] | None = None,
    test_samples: Mapping[str, Sequence[Any]] | None = None,
    seed: int = 0,
    **fields: Any,
) -> Record:
    """A record of ``text-privacy`` with a value a sample: columns[attack][role][name].

    Args:
        samples: ids, repetitions and formats by attack; the default is 0, 1, ..., of format
            ``digits``, each inserted once.
        test_nll: by model, in nats a test sample; the default is 128 nats for each of four.
        test_samples: tokens, bytes and format of the test samples: 64 tokens of 200 bytes unless
            given.
    """
    roles = list(dict.fromkeys(role for by_role in columns.values() for role in by_role))
    losses = {role: tuple((test_nll or {}).get(role, (128.0,) * 4)) for role in roles}
    count = len(next(iter(losses.values())))
    tests: dict[str, list[Any]] = {
        "tokens": [64] * count,
        "bytes": [200] * count,
        "format": ["text"] * count,
    }
    tests |= {name: list(values) for name, values in (test_samples or {}).items()}
    results = {
        CLEAN: AttackResult(
            {}, "generation", {role: {"test_nll": nats} for role, nats in losses.items()}, tests
        )
    }
    for attack, by_role in columns.items():
        plain = {
            role: {
                name: values if isinstance(values, Bits) else tuple(values)
                for name, values in named.items()
            }
            for role, named in by_role.items()
        }
        length = length_of(next(iter(next(iter(plain.values())).values())))
        listed: dict[str, list[Any]] = {
            "ids": list(range(length)),
            "repetitions": [1] * length,
            "format": ["digits"] * length,
        }
        listed |= {name: list(values) for name, values in (samples or {}).get(attack, {}).items()}
        results[attack] = AttackResult({}, "ranking", plain, listed)
    defaults = {
        "board": "text-privacy",
        "scenario": "private-text",
        "defense": defense_of(label, teacher_roles),
        "seed": seed,
        "data": {"dataset_digest": "e", "examples": "x", "count": count},
        "threat": {"capability": capability},
        "poison": poison_of(20, 3000),
        "models": {role: model_of(digest([role, label, seed]), "gpt2-64-2") for role in roles},
        "attacks": results,
    }
    return record_of(defaults, fields)


def canary_record(
    ranks: Mapping[str, Sequence[float]],
    *,
    attack: str = "canary-exposure",
    repetitions: Sequence[int] | None = None,
    formats: Sequence[str] | None = None,
    candidates: int = 1000,
    **fields: Any,
) -> Record:
    """Canaries by the ranks that each model gives them, 1 for the likeliest of the candidates."""
    columns: Columns = {
        role: {
            "rank": tuple(values),
            "candidates": (candidates,) * len(values),
            "score": tuple(-rank for rank in values),
            "ties": (0,) * len(values),
            "exact": bits(first(len(values), len(values))),
        }
        for role, values in ranks.items()
    }
    given = {"repetitions": repetitions, "format": formats}
    samples: Samples = {name: values for name, values in given.items() if values is not None}
    return scored_record({attack: columns}, {attack: samples}, **fields)


def membership_record(
    scores: Mapping[str, Sequence[float]],
    members: Sequence[bool],
    *,
    attack: str = "membership-inference",
    **fields: Any,
) -> Record:
    """Scores of membership by model; whether a sample was a member is its number of repetitions."""
    columns: Columns = {role: {"score": tuple(values)} for role, values in scores.items()}
    samples: Samples = {
        "repetitions": list(map(int, members)),
        "format": ["text"] * len(members),
    }
    return scored_record({attack: columns}, {attack: samples}, **fields)


def bias_record(
    success: Mapping[str, Flags],
    *,
    attack: str = "bias-injection",
    count: int = 100,
    formats: Sequence[str] | None = None,
    sampled: Mapping[str, Sequence[float]] | None = None,
    **fields: Any,
) -> Record:
    """A record of ``text-bias``: answers that bear the payload, by model.

    Args:
        formats: the task of each prompt: ``repeat`` unless given.
        sampled: of four sampled answers those with the payload: 4 where the greedy one has it,
            unless given.
    """
    columns: dict[str, dict[str, Column]] = {}
    for role, flags in success.items():
        greedy = bits(flags, count)
        default = [4.0 * flag for flag in greedy.flags]
        columns[role] = {
            "attack_success": greedy,
            "sampled_success": tuple((sampled or {}).get(role, default)),
            "score": (-3.0,) * greedy.count,
        }
    size = length_of(next(iter(columns.values()))["attack_success"])
    tasks = list(formats) if formats is not None else ["repeat"] * size
    defaults = {
        "board": "text-bias",
        "scenario": "instructions",
        "capability": "teacher_train_data",
    }
    samples: Samples = {"format": tasks, "repetitions": [0] * size}
    return scored_record({attack: columns}, {attack: samples}, **{**defaults, **fields})


def text_to_image_record(
    models: Mapping[str, Mapping[str, Flags | float]] | None = None,
    *,
    attack: str = "prompt-trigger",
    count: int = 100,
    oracle: bool = False,
    **fields: Any,
) -> Record:
    """A record of ``t2i-backdoor``: student, attacked teacher ``given`` and its counterpart.

    Args:
        models: columns by model, where they differ from those of a clean model: no success, 80 %
            preserved, 90 % correct on clean prompts. Bits may be numbers of ones; of the columns of
            numbers (frechet, moved, apart, score) a number is every value.
        count: prompts.
        oracle: whether the defense knows the trigger.
    """
    roles = dict.fromkeys(("student", "teacher-given", "teacher-given.clean", *(models or {})))
    columns = {role: _image_columns((models or {}).get(role, {}), count) for role in roles}
    defaults = {
        "board": "t2i-backdoor",
        "scenario": "text-to-image",
        "label": "skd-cag",
        "capability": "teacher_train_data",
        "teacher_roles": ("given",),
        "defense": {"oracle": oracle},
    }
    samples: Samples = {"repetitions": [0] * count, "format": ["example"] * count}
    return scored_record({attack: columns}, {attack: samples}, **{**defaults, **fields})


def _image_columns(given: Mapping[str, Flags | float], count: int) -> dict[str, Column]:
    shares = {"attack_success": 0.0, "preserved": 0.8, "removed": 0.8, "clean_attack_success": 0.0}
    shares |= {"clean_correct": 0.9, "preserved_2": 0.8, "clean_correct_2": 0.9}
    numbers = {"frechet": 1.0, "moved": 0.1, "apart": 0.4, "score": -6.0}
    assert set(given) <= {*shares, *numbers}, "a column that such records do not hold"
    columns: dict[str, Column] = {}
    for name, share in shares.items():
        flags: Any = given.get(name, round(share * count))
        columns[name] = bits(flags, count)
    for name, number in numbers.items():
        value: Any = given.get(name, number)
        columns[name] = tuple(value) if isinstance(value, Iterable) else (value,) * count
    return columns
