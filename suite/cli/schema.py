"""``schema``: what a record holds, as a JSON Schema that other tools can validate against."""

from __future__ import annotations

from importlib.resources import files

import click

KINDS = ("record", "planted", "probed")


@click.command("schema", short_help="Print the JSON Schema of a record.")
@click.argument("kind", type=click.Choice(KINDS), default="record")
def schema(kind: str) -> None:
    """Print the JSON Schema (2020-12) of the records that evaluate makes.

    \b
    record   a student under attacks on its test inputs (the default)
    planted  students behind tampered training data, asked about test inputs
    probed   students behind tampered training data, asked piece by piece

    It says what is where. Reading a record checks more: bits agree with counts, intervals with
    both, and the id with everything else. Additions keep the number of a schema; a record of an
    older number is migrated when it is read.
    """
    text = (
        files("robustbench_kd").joinpath(f"results/{kind}.schema.json").read_text(encoding="utf-8")
    )
    click.echo(text, nl=False)
