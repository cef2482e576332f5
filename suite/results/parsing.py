"""From JSON to a record: digests, types, and whether its parts agree with each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.json_document import read_json
from robustbench_kd.results.migrations import MIGRATIONS, migrated
from robustbench_kd.results.record import (
    SCHEMA,
    AttackResult,
    Bits,
    Column,
    Json,
    Record,
    digest,
)
from robustbench_kd.results.schema import expect_schema


def parse(text: str, where: str) -> Record:
    """The record in a text.

    Raises:
        BadRecord: where it is no record of a known schema, is damaged, or contradicts itself.
    """
    try:
        return parse_body(read_json(text.encode()), where)
    except ValueError as why:
        raise BadRecord(f"{where} is no record: {type(why).__name__}: {why}") from why


def parse_body(body: Any, where: str) -> Record:
    """The record in a document that was read already; older schemas are migrated.

    Raises:
        BadRecord: where it is no record of a known schema, is damaged, or contradicts itself.
    """
    try:
        schema = body.get("schema")
        if schema != SCHEMA and schema not in MIGRATIONS:
            known = ", ".join(sorted((SCHEMA, *MIGRATIONS)))
            raise BadRecord(f"{where} has schema {schema!r}; this version reads {known}")
        current = migrated(unsealed(body, where))
        expect_schema({**current, "id": body["id"]}, where)
        record = _built(current)
        _expect_consistent(record, where)
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as why:
        raise BadRecord(f"{where} is no record: {type(why).__name__}: {why}") from why
    return record


def unsealed(body: Json, where: str) -> Json:
    """The record without its digest, which must be that of all the rest.

    Raises:
        BadRecord: where it was damaged or edited.
    """
    rest = {name: value for name, value in body.items() if name != "id"}
    if digest(rest) != body["id"]:
        raise BadRecord(f"{where} does not match its own digest: it was damaged or edited")
    return rest


def _built(body: Json) -> Record:
    fields = {name: value for name, value in body.items() if name != "panel"}
    results = {label: _result(body["attacks"][label]) for label in body["panel"]}
    if sorted(body["panel"]) != sorted(body["attacks"]):
        raise ValueError("panel and attacks name different attacks")
    whole = {label: _result(result) for label, result in body["full_test"].items()}
    fields |= {"attacks": results, "full_test": whole, "warnings": tuple(body["warnings"])}
    return Record(**fields)


def _result(body: Json) -> AttackResult:
    columns = {
        model: {name: _column(column) for name, column in named.items()}
        for model, named in body["columns"].items()
    }
    eligible = body.get("eligible")
    fields = {**body, "columns": columns, "eligible": _column(eligible) if eligible else None}
    return AttackResult(**{**fields, "warnings": tuple(body.get("warnings", ()))})


def _column(value: Any) -> Column:
    if isinstance(value, dict):
        return _bits(**value)
    if not isinstance(value, list) or any(type(number) not in (int, float) for number in value):
        raise ValueError("a column holds something else than bits or numbers")
    return tuple(value)


def _bits(count: int, ones: int, bits: str) -> Bits:
    column = Bits(count, bits)
    if column.number.bit_count() != ones:
        raise ValueError(f"a column counts {ones} ones, its bits do not")
    return column


def _expect_consistent(record: Record, where: str) -> None:
    """Columns, counts and models must agree.

    Raises:
        BadRecord: naming the first thing that does not.
    """
    for label, result in (*record.attacks.items(), *record.full_test.items()):
        _expect_columns(result, record.models, f"{where}: {label}")
    for label, result in record.attacks.items():
        _expect_counts(result, record.data["count"], f"{where}: {label}")
    counts = {_length(column) for result in record.full_test.values() for column in _all(result)}
    if len(counts) > 1:
        raise BadRecord(f"{where}: the attacks on the whole test set saw different test sets")


def _expect_columns(result: AttackResult, models: Mapping[str, Json], where: str) -> None:
    if "student" not in result.columns or not set(result.columns) <= set(models):
        raise BadRecord(f"{where} lacks the student, or holds models that the record does not list")
    names = {frozenset(columns) for columns in result.columns.values()}
    if len(names) > 1:
        raise BadRecord(f"{where} holds other columns of one model than of another")
    for role, columns in result.columns.items():
        verdicts = [columns.get(name) for name in ("attack_success", "recovered")]
        exclusive = [verdict.number for verdict in verdicts if isinstance(verdict, Bits)]
        if len(exclusive) == 2 and exclusive[0] & exclusive[1]:
            raise BadRecord(f"{where}: an input of {role} is both correct and as the attack wants")
        ranks, candidates = columns.get("rank", ()), columns.get("candidates", ())
        if isinstance(ranks, Bits) or isinstance(candidates, Bits):
            raise BadRecord(f"{where} holds bits of {role} where ranks were expected")
        if any(not 1 <= rank <= of for rank, of in zip(ranks, candidates, strict=True)):
            raise BadRecord(f"{where}: a rank of {role} is outside of its candidates")


def _expect_counts(result: AttackResult, count: int, where: str) -> None:
    """Each column has one value a sample: of those listed, of the eligible, or of the test set."""
    listed = {len(values) for values in result.samples.values()}
    if len(listed) > 1:
        raise BadRecord(f"{where} lists different numbers of samples")
    eligible = result.eligible
    if eligible is not None and eligible.count != count:
        raise BadRecord(f"{where} marks eligible inputs among another number of examples")
    size = eligible.number.bit_count() if eligible else next(iter(listed), count)
    if size < 1 or any(_length(column) != size for column in _all(result)):
        raise BadRecord(f"{where} was scored on another number of samples than it lists")


def _all(result: AttackResult) -> list[Column]:
    return [column for columns in result.columns.values() for column in columns.values()]


def _length(column: Column) -> int:
    return column.count if isinstance(column, Bits) else len(column)
