"""Every command, option and name that the documents show exists, under its current name."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from robustbench_kd.cli.main import main
from robustbench_kd.cli.report import building
from robustbench_kd.core import registry
from robustbench_kd.core.aliases import ENTRIES, current_label

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "leaderboards" / "RESULTS.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
OF_OTHERS = {"--help", "--benchmark-enable"}
"""Options of every command, and of pytest's plug-ins."""


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def spans(text: str) -> list[str]:
    """What stands between backticks in a line."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


def shell_lines(text: str) -> list[str]:
    """The lines of shell blocks, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line.partition("#")[0] for block in blocks for line in block.splitlines()]


def commands_in(path: Path) -> list[str]:
    """All calls of robustbench-kd that a document shows."""
    text = path.read_text(encoding="utf-8")
    calls = [
        part.strip() for line in [*shell_lines(text), *spans(text)] for part in line.split("&&")
    ]
    return sorted({call for call in calls if call.startswith("robustbench-kd ")})


def parsed(call: str) -> tuple[click.Command, dict[str, object], list[str]]:
    """The command of a call, its options and its arguments.

    Raises:
        click.UsageError: for an option that it does not have.
    """
    _, *args = shlex.split(call)
    command: click.Command = main
    while isinstance(command, click.Group) and args and args[0] in command.commands:
        command = command.commands[args.pop(0)]
    if command.name == "leaderboard" and args[:1] == [building.name]:
        command = building
        args = args[1:]
    context = click.Context(command, info_name=call)
    options, rest, _ = command.make_parser(context).parse_args(args)
    arguments = [p.name for p in command.params if isinstance(p, click.Argument)]
    texts = [options.pop(name) for name in arguments if name is not None]
    flat = [t for text in texts for t in (text if isinstance(text, tuple) else (text,))]
    return command, dict(options), [str(text) for text in [*flat, *rest] if text]


def of_examples() -> set[str]:
    """The names of entries that the documents' own examples add."""
    text = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    return set(re.findall(r'name(?:: ClassVar\[str\])? ?= ?"([\w-]+)"', text))


def entry_names(
    options: dict[str, object], command: click.Command, arguments: list[str]
) -> Iterator[tuple[str, str]]:
    """Kind and name of every entry that a call names, as typed; placeholders are in capitals."""
    for option, kind in (("board", "leaderboards"), ("defense", "defenses")):
        if isinstance(value := options.get(option), str):
            yield kind, value
    attacks = options.get("attacks", ())
    yield from (("attacks", text) for text in attacks) if isinstance(attacks, list | tuple) else ()
    if command.name == "leaderboard":
        yield "leaderboards", arguments[0]
    if command.name == "subnets":
        yield "defenses", arguments[0]


CALLS = [(path, call) for path in DOCUMENTS for call in commands_in(path)]


def test_the_documents_show_commands() -> None:
    assert len(CALLS) > 40
    assert {path for path, _ in CALLS} == set(DOCUMENTS)


@pytest.mark.parametrize(("path", "call"), CALLS, ids=[f"{named(p)}: {c}" for p, c in CALLS])
def test_a_command_that_a_document_shows_exists(path: Path, call: str) -> None:
    command, options, arguments = parsed(call)
    assert not isinstance(command, click.Group) or command.name == "baseline"
    hidden = {p.name for p in command.params if isinstance(p, click.Option) and p.hidden}
    assert not hidden & options.keys()
    for kind, text in entry_names(options, command, arguments):
        if text.isupper() or text.partition(":")[0] in of_examples():
            continue
        assert current_label(kind, text) == text, f"{text} is an old name"
        if kind == "leaderboards":
            assert registry.board_of(text).name == text
        else:
            registry.configured(kind, text)


def every_option() -> set[str]:
    """The options of all commands and of the pytest plug-in, but for hidden old names."""
    known = set(re.findall(r"--robustness-\w+", (ROOT / "suite" / "pytest_plugin.py").read_text()))
    groups: list[click.Command] = [main, building]
    while groups:
        command = groups.pop()
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                known |= {*parameter.opts, *parameter.secondary_opts}
        groups += command.commands.values() if isinstance(command, click.Group) else []
    return known


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_an_option_that_a_document_names_exists(path: Path) -> None:
    known = every_option() | OF_OTHERS
    for span in spans(path.read_text(encoding="utf-8")):
        for option in re.findall(r"(?:^|\s)(--[a-z][\w-]*)", span):
            assert option in known, f"{option} in `{span}`"


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_no_document_uses_an_old_name(path: Path) -> None:
    current = {name for kind in registry.KINDS for name in registry.entries(kind)}
    old = {name for names in ENTRIES.values() for name in names} - current
    for span in spans(path.read_text(encoding="utf-8")):
        assert span.partition(":")[0] not in old, f"`{span}`"


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_python_in_a_document_compiles(path: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        ast.parse(block)


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_a_file_that_a_document_links_to_exists(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []
