"""``schema``: what a record holds, as a JSON Schema that other tools can validate against."""

from __future__ import annotations

from importlib.resources import files

import click

OLD_KINDS = ("record", "planted", "probed")


@click.command("schema", short_help="Print the JSON Schema of a record.")
@click.argument("kind", required=False, metavar="")
def schema(kind: str | None) -> None:
    """Print the JSON Schema (2020-12) of the records that evaluate makes, whatever the threat.

    It says what is where. Reading a record checks more: columns agree with their counts, with the
    samples and with each other, and the id with everything else. Additions keep the number of the
    schema; a record of an older number is migrated when it is read.
    """
    if kind is not None:
        hint = f"there is one schema for all records; leave out {kind!r}"
        if kind not in OLD_KINDS:
            raise click.UsageError(hint)
        click.echo(f"robustbench-kd: {hint}", err=True)
    text = files("robustbench_kd.results").joinpath("record.schema.json").read_text("utf-8")
    click.echo(text, nl=False)
