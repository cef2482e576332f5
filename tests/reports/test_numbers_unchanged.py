"""Today's table holds every number that the tables of the first release held.

``tests/fixtures/golden`` keeps documents of ``leaderboard BOARD --format json`` as they were, some
cut to a few rows. Each of their numbers must have a place in today's document, and be equal there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from math import isclose
from pathlib import Path
from typing import Any

import pytest

from robustbench_kd.core.aliases import current_label, current_name
from robustbench_kd.core.registry import board_of
from robustbench_kd.reports.formats.dataframe import as_json
from robustbench_kd.reports.leaderboard import rank
from robustbench_kd.results.store import take_inventory

GOLDEN = sorted((Path(__file__).parents[1] / "fixtures" / "golden").glob("*.json"))
Json = dict[str, Any]
Places = dict[str, str]
"""Old path, as a pattern -> the steps to the number today, put together from the groups."""

PART = r"(?P<part>value|low|high|hits|count)"
ROLE, REPETITIONS = r"(?P<role>[^.]+)", r"(?P<repetitions>\d+)"
FORMAT, CONTENT = r"(?P<format>[a-z ]+)", r"(?P<content>canaries|text)"
METHOD, PROMPTS = r"membership\.(?P<method>\w+)", r"(?P<prompts>poisoned|clean|unseen)"
MODEL = r"(?P<model>attacked|mended|never)"

EVASION: Places = {
    r"rank\.best": "rank|0",
    r"rank\.last": "rank|1",
    rf"robust\.{PART}": "metrics|robust-accuracy|{part}",
    rf"clean\.{PART}": "metrics|clean-accuracy|{part}",
    rf"attacks\.(?P<attack>.+)\.{PART}": "metrics|attack-accuracy:attack={attack}|{part}",
    rf"wide\.{PART}": "full_test|{part}",
    r"best_known\.(?P<part>\w+)": "best_known|{part}",
    rf"seeds\.(?P<seed>\d+)\.{PART}": "seeds|seed={seed}|value|{part}",
    r"seed": "seeds|0|seed",
    r"(?P<size>parameters|macs)": "model|{size}",
    r"(?P<way>forward|backward)": "passes|{way}",
    r"cpu_seconds": "cpu_seconds",
}
POISONED: Places = {
    r"planted": "poison|count",
    r"of": "poison|train_size",
    r"seeds\.(?P<n>\d+)": "seeds|{n}|seed",
}
BACKDOOR: Places = POISONED | {
    rf"success\.{ROLE}\.{PART}": "breakdown|attack-success|{role}|{part}",
    rf"accuracy\.{ROLE}\.{PART}": "breakdown|clean-accuracy|{role}|{part}",
    rf"recovered\.{PART}": "metrics|recovered-accuracy|{part}",
    r"inheritance\.(?P<n>\d+)\.seed": "seeds|{n}|seed",
    r"inheritance\.0\.value": "metrics|inheritance-ratio|value",
    r"inheritance\.0\.interval\.0": "metrics|inheritance-ratio|low",
    r"inheritance\.0\.interval\.1": "metrics|inheritance-ratio|high",
}
PRIVACY: Places = POISONED | {
    rf"exposure\.{ROLE}\.all\.{PART}": "breakdown|exposure|{role}|{part}",
    rf"exposure\.{ROLE}\.{FORMAT}\.{PART}": "breakdown|exposure|{role}/{format}|{part}",
    rf"exposure_by_dose\.{ROLE}\.{REPETITIONS}\.{PART}": (
        "breakdown|exposure|{role}/repetitions={repetitions}|{part}"
    ),
    rf"leakage\.all\.{PART}": "breakdown|leakage|student|{part}",
    rf"leakage\.{FORMAT}\.{PART}": "breakdown|leakage|student/{format}|{part}",
    r"memorised_p": "breakdown|memorization-p|student|value",
    rf"chance_p_at_dose_0\.{ROLE}": "breakdown|chance-p|{role}|value",
    rf"rank_1\.{PART}": "breakdown|first-ranked|student|{part}",
    rf"rank_1_by_dose\.{ROLE}\.{REPETITIONS}\.{PART}": (
        "breakdown|first-ranked|{role}/repetitions={repetitions}|{part}"
    ),
    r"epsilon\.bound": "other_metrics|epsilon-bound|value",
    r"epsilon\.copies": "other_metrics|epsilon-bound|remark",
    rf"extracted\.{CONTENT}\.{ROLE}\.{PART}": ("breakdown|extraction-rate|{role}/{content}|{part}"),
    rf"discoverable\.{CONTENT}\.{PART}": (
        "breakdown|discoverable-extraction|student/{content}|{part}"
    ),
    r"dynamics\.(?P<who>\w+)\.0": "breakdown|inherited-memorization|{who}|hits",
    r"dynamics\.(?P<who>\w+)\.1": "breakdown|inherited-memorization|{who}|count",
    rf"{METHOD}\.auc\.{PART}": "breakdown|membership-auc|student/{method}|{part}",
    rf"{METHOD}\.auc\.members": "breakdown|membership-tpr|student/{method}|count",
    rf"{METHOD}\.auc\.strangers": "breakdown|membership-auc|student/{method}|count",
    rf"{METHOD}\.tpr_at_1_percent_fpr\.{PART}": (
        "breakdown|membership-tpr|student/{method}|{part}"
    ),
    rf"perplexity\.{ROLE}\.{PART}": "breakdown|perplexity|{role}|{part}",
    rf"bits_per_byte\.{ROLE}": "breakdown|bits-per-byte|{role}|value",
    rf"against\.exposure_below\.{FORMAT}\.{PART}": ("breakdown|exposure-reduction|{format}|{part}"),
    rf"against\.perplexity_above\.{PART}": "metrics|perplexity-increase|{part}",
}
BIAS: Places = POISONED | {
    rf"{PROMPTS}\.(?P<answers>drawn|greedy)\.{ROLE}\.{PART}": (
        "breakdown|bias-rate|{role}/{prompts}/{answers}|{part}"
    ),
    rf"{PROMPTS}\.amplification\.{PART}": "metrics|bias-amplification:prompts={prompts}|{part}",
    rf"{PROMPTS}\.nats_over_twin\.{ROLE}": ("breakdown|payload-likelihood|{role}/{prompts}|value"),
}
TEXT_TO_IMAGE: Places = POISONED | {
    rf"removal\.{PART}": "metrics|removal-rate|{part}",
    rf"normalised\.{PART}": "metrics|normalised-removal|{part}",
    rf"{MODEL}\.hit\.{PART}": "breakdown|attack-success|{model}|{part}",
    rf"{MODEL}\.removed\.{PART}": "breakdown|joint-removal|{model}|{part}",
    rf"{MODEL}\.right\.{PART}": "breakdown|preservation|{model}|{part}",
    rf"{MODEL}\.right2\.{PART}": "breakdown|preservation|{model} second oracle|{part}",
    rf"{MODEL}\.clean_right\.{PART}": "breakdown|utility|{model}|{part}",
    rf"{MODEL}\.clean_right2\.{PART}": "breakdown|utility|{model} second oracle|{part}",
    rf"{MODEL}\.clean_hit\.{PART}": "breakdown|clean-attack-success|{model}|{part}",
    rf"{MODEL}\.frechet": "breakdown|frechet-distance|{model}|value",
    rf"{MODEL}\.restored": "breakdown|trigger-shift|{model}|value",
}
KINDS = {"robust": EVASION, "success": BACKDOOR, "exposure": PRIVACY, "poisoned": BIAS}
"""A name that only rows of this kind hold -> where their numbers stand."""
WORDS = {
    "untouched": "pretrained",
    "teacher-twin": "teacher-unpoisoned",
    "score": "loss",
    "drawn": "sampled",
    "attacked": "teacher-given",
    "mended": "student",
    "never": "teacher-given.clean",
}


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a document, with its path."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in pairs:
            yield from numbers(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def current_word(word: str) -> str:
    """A role, method or attack of an old path under its name of today."""
    plain = word.removesuffix(" (clean twin)")
    name = WORDS.get(plain, plain)
    return current_label("attacks", name) + (".clean" if plain != word else "")


def number_now(places: Places, row: Json, path: str) -> float:
    """The number that an old path names, in a row of today.

    Raises:
        LookupError: where it has no place.
    """
    for pattern, place in places.items():
        if match := re.fullmatch(pattern, path):
            words = {name: current_word(word) for name, word in match.groupdict().items()}
            value: Any = row
            for step in place.format_map(words).split("|"):
                if step.startswith("seed="):
                    value = next(s for s in value if s["seed"] == int(step.removeprefix("seed=")))
                elif value is None and path.startswith("dynamics"):
                    return 0  # a share of nothing is null today
                else:
                    value = value[int(step)] if isinstance(value, list) else value[step]
            return int(value.partition("=")[2]) if isinstance(value, str) else value
    raise LookupError(f"no place is known for {path}")


def numbers_compared(old: Json, new: Json) -> int:
    """How many numbers of an old document are the same in today's.

    Raises:
        AssertionError: where one is another, naming it.
        LookupError: where one has no place.
    """
    rows = {(row["attack"], row["defense"]): row for row in (*new["rows"], *new["outside"])}
    count = 0
    for row in (*old["rows"], *old.get("outside", ())):
        attack = current_label("attacks", row["attack"]) if "attack" in row else None
        if "exposure" in row:
            attack = next(iter(rows))[0]  # the board's attacks share one training set
        now = rows[attack, current_label("defenses", row["defense"])]
        places = next((KINDS[name] for name in KINDS if name in row), TEXT_TO_IMAGE)
        for path, value in numbers(row):
            if path.endswith(".strangers"):  # counted together with members today
                value += row["membership"][path.split(".")[1]]["auc"]["members"]
            found = number_now(places, now, path)
            where = f"{old['board']}, {row.get('attack', '')} {row['defense']}: {path}"
            assert isclose(found, value, rel_tol=1e-12), f"{where} was {value} and is {found}"
            count += 1
    return count


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_number_of_the_first_release_stands_where_it_is_looked_for(path: Path) -> None:
    old = json.loads(path.read_text(encoding="utf-8"))
    board = board_of(current_name("leaderboards", old["board"]))
    records = take_inventory(None, board.name).records
    defenses = {current_label("defenses", row["defense"]) for row in old["rows"]}
    if not board.poisons:
        defenses = {record.label for record in records.values()}  # ranks are among all rows
    plain = {"distillation", "distillation:temperature=1"}  # what others are measured against
    kept = [record for record in records.values() if record.label in defenses | plain]
    new = json.loads(json.dumps(as_json(rank(board, kept)), allow_nan=False))
    assert numbers_compared(old, new) > 100
    if not board.poisons:
        assert [row["defense"] for row in new["rows"]] == [
            current_label("defenses", row["defense"]) for row in old["rows"]
        ]


def test_a_number_that_changed_or_has_no_place_is_named() -> None:
    share = {"value": 0.5, "hits": 500, "count": 1000}
    old: Json = {"board": "b", "rows": [{"defense": "labels", "robust": share}]}
    row = {"attack": None, "defense": "standard-training"}
    new = {"rows": [{**row, "metrics": {"robust-accuracy": share}}], "outside": []}
    assert numbers_compared(old, new) == 3
    changed = {"robust-accuracy": {**share, "hits": 499}}
    with pytest.raises(AssertionError, match=r"labels: robust\.hits was 500 and is 499"):
        numbers_compared(old, {"rows": [{**row, "metrics": changed}], "outside": []})
    old["rows"][0]["speed"] = 3
    with pytest.raises(LookupError, match="no place is known for speed"):
        numbers_compared(old, new)
