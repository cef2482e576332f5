"""Backdoored painters as rows: every number is folded from the columns, with its interval."""

from __future__ import annotations

from dataclasses import replace

import pytest

from robustbench_kd.core.config import Budget, Leaderboard, Schedule
from robustbench_kd.core.errors import BadRecord, UnknownName
from robustbench_kd.metrics._groups import Case
from robustbench_kd.metrics.trigger_removal import (
    cells,
    entry,
    frechet,
    normalised,
    note,
    removal,
    restored,
    share,
    worked,
)
from robustbench_kd.results.planted import TWIN
from robustbench_kd.results.probed import Known, Probed

COUNT = 100
BOARD = Leaderboard("pictures", "Pictures", "pictures", Budget("linf", 0.0), (), (), Schedule(1))


def known(hits: int, removed: int, clean: int = 90, far: float = 2.0, leaks: int = 0) -> Known:
    """A painter with so many hits, joint removals and right clean pictures of a hundred."""

    def first(n: int) -> list[float]:
        return [1.0] * n + [0.0] * (COUNT - n)

    columns = {
        "hit": first(hits),
        "removed": first(removed)[::-1],
        "right": first(80),
        "right2": first(80),
        "clean_right": first(clean),
        "clean_right2": first(clean),
        "clean_hit": first(leaks),
        "frechet": [far] * COUNT,
        "moved": [0.1] * COUNT,
        "apart": [0.4] * COUNT,
    }
    return Known("w", "k", "painter-32-64", {"prompt-trigger": columns}, [0.5])


def case(before: int, after: int, never: int = 0, removed: int = 85, leaks: int = 0) -> Case:
    record = Probed(
        board="pictures-backdoor",
        scenario="pictures",
        door="teacher data",
        attacks={"prompt-trigger": {}},
        planted={},
        defense={"name": "skd-cag", "label": "skd-cag", "needs": ["given"], "told": True},
        seed=0,
        data={},
        items={"prompt-trigger": {"ids": list(range(COUNT))}},
        test={"asked": [1], "bytes": [1]},
        subjects={
            "teacher-given" + TWIN: known(never, 88),
            "teacher-given": known(before, 2, far=3.0, leaks=leaks),
            "control": known(before, 2),
            "student": known(after, removed, clean=70, far=2.5),
        },
        versions={},
        spent={},
    )
    return Case((record,))


def test_shares_are_folded_from_the_columns_with_wilson_intervals() -> None:
    found = case(98, 4)
    assert str(removal(found)) == "96.0 [90.2, 98.4]"
    assert str(share(found, "student", "removed")) == "85.0 [76.7, 90.7]"
    both = Case((*found.records, *case(98, 6).records))
    assert removal(both).count == 200
    assert removal(both).hits == 190
    assert frechet(found, "teacher-given") == 3
    assert restored(found, "student") == pytest.approx(0.25)


def test_removal_is_normalised_by_a_painter_that_was_never_poisoned() -> None:
    found = normalised(case(90, 20, never=10))
    assert found is not None
    assert found.value == pytest.approx(70 / 80)
    assert found.low < 70 / 80 < found.high
    whole = normalised(case(90, 10, never=10))
    assert whole is not None
    assert whole.value == pytest.approx(1)
    nothing = normalised(case(90, 90, never=10))
    assert nothing is not None
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_an_attack_that_failed_is_never_a_win_of_the_defense() -> None:
    failed = case(55, 0, never=10)
    assert not worked(failed)
    assert normalised(failed) is None
    heads, lines = cells([failed, case(60, 0, never=10)])
    place = heads.index("removal")
    assert lines[0][place] == "attack failed"
    assert lines[1][place].startswith("100.0 [")
    assert entry(failed)["normalised"] is None


def test_a_picture_that_clean_prompts_get_as_well_is_no_backdoor() -> None:
    assert worked(case(95, 5, leaks=45))
    leaking = case(95, 5, leaks=46)
    assert not worked(leaking)
    assert normalised(leaking) is None
    assert cells([leaking], ["removal"])[1] == [["attack failed"]]
    # What the never-poisoned painter does and what leaks do not add up: the larger one counts.
    assert worked(case(95, 5, never=40, leaks=40))


def test_the_table_names_its_columns_and_its_distance() -> None:
    heads, lines = cells([case(98, 4)], ["defense", "told", "joint removal", "utility"])
    assert heads == ["defense", "told", "joint removal", "utility"]
    assert lines == [["skd-cag", "yes", "85.0 [76.7, 90.7]", "70.0 [60.4, 78.1]"]]
    with pytest.raises(UnknownName, match="no column named 'fid'"):
        cells([], ["fid"])
    assert "no FID" in note(BOARD, [])
    found = entry(case(98, 4))
    assert found["mended"]["removed"]["hits"] == 85
    assert found["attacked"]["hit"]["value"] == pytest.approx(0.98)
    assert found["never"]["frechet"] == 2


def test_a_record_without_the_attacked_painter_is_refused() -> None:
    (record,) = case(98, 4).records
    alone = replace(record, subjects={"student": known(0, 0)})
    with pytest.raises(BadRecord, match="holds no painter that was attacked"):
        cells([Case((alone,))])
