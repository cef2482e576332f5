"""The JSON Schema of a record, and the check that every record passes before anything reads it."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import fastjsonschema

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.results.record import Json


@cache
def record_schema() -> Json:
    """The schema that ships, as a document (JSON Schema, draft 7)."""
    text = files("robustbench_kd.results").joinpath("record.schema.json").read_text("utf-8")
    schema: Json = json.loads(text)
    return schema


def expect_schema(body: Any, where: str) -> None:
    """Every field is of the type, within the limits and of the form that the schema states.

    Raises:
        BadRecord: naming the first field that is not.
    """
    try:
        _validator()(body)
    except fastjsonschema.JsonSchemaValueException as why:
        field = ascii(".".join(map(str, why.path[1:])))[1:-1][:200]
        raise BadRecord(f"{where} is no record: {_sentence(field, why)}") from why


def _sentence(field: str, why: fastjsonschema.JsonSchemaValueException) -> str:
    """What is wrong with a field, and what would be right."""
    rule, definition = why.rule, why.rule_definition
    if rule == "required":
        missing = min(name for name in definition if name not in why.value)
        return f"it lacks the {missing} of its {field}" if field else f"it lacks the {missing}"
    if rule == "additionalProperties":
        known = why.definition.get("properties", {})
        extra = ascii(min(name for name in why.value if name not in known))[:80]
        return f"{field or 'it'} holds {extra}, which no record has there"
    if rule == "contains":
        return f"{field} lacks {json.dumps(definition.get('const'))}"
    bound = json.dumps(definition)
    return f"{field or 'it'} must be of {rule} {bound if len(bound) <= 160 else 'as in the schema'}"


@cache
def _validator() -> Any:
    # The identifier is a name and no address that references could be resolved against.
    schema = {name: value for name, value in record_schema().items() if name != "$id"}
    return fastjsonschema.compile(schema, use_default=False)
