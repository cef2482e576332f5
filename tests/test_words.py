"""The words are the field's: none of the project's former private ones stands where people read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from robustbench_kd.cli.main import main

ROOT = Path(__file__).parents[1]
FOLDERS = ("suite", "attacks", "defenses", "leaderboards")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "action.yml",
    ROOT / "leaderboards" / "RESULTS.md",
    *sorted((ROOT / "docs").glob("*.md")),
]

PRIVATE = (
    "door",
    "told",
    "taint(ed|ing|s)?",
    "shelf|shelves",
    "schooling",
    "painters?",
    "strangers?",
    "grounds?(?! truth)",
    "so and so often",
    "doubts?",
    "judge[ds]?",  # a judgement is a plain word
    "brief",
    "twins?",
    "planted",
    "suspicions?",
    "exhibits?",
    "harden(s|ed|ing)?",
)
WORDS = re.compile(rf"\b({'|'.join(PRIVATE)})\b", re.IGNORECASE)
PLAN = re.compile(r"\bplots?\b", re.IGNORECASE)
"""``plot`` is a figure: it stands for no plan where evaluations are planned."""
PLANNING = ("suite/core/", "suite/evaluation/", "suite/results/", "attacks/", "defenses/")

OLD_NAMES = ("suite/core/aliases.py", "suite/results/migrations.py")
"""Files that exist to understand old names."""
STATE = "a key of stored attack states"
DIGEST = "part of what recipe digests and seeds are made from"
STORED = {
    ("attacks/_poison.py", "planted"): "the key of poisoned ids in stored attack states",
    ("suite/cli/_records.py", "told"): "the old name of --oracle, a hidden option",
    (
        "suite/cli/schema.py",
        "planted",
    ): "an old argument, which still prints the schema",
    ("suite/evaluation/attack_runner.py", "taint"): "the name of a random stream",
    ("suite/evaluation/evidence.py", "exhibit"): "metadata of stored inputs, part of their digest",
    ("suite/evaluation/evidence.py", "taint"): "metadata of stored inputs, part of their digest",
    ("suite/evaluation/fingerprints.py", "taint"): "a field of recipes, part of their digest",
    ("suite/evaluation/fingerprints.py", "twin"): "a teacher role in recipes, part of their digest",
    ("suite/evaluation/poisoned_data.py", "door"): "a setting that digests leave out",
    ("suite/evaluation/poisoned_data.py", "planted"): "a field of stored poison",
    ("suite/evaluation/poisoned_data.py", "taint"): "a field of recipes, and a random stream",
    ("suite/evaluation/poisoned_data.py", "taints"): "a field of recipes, part of their digest",
    ("suite/scenarios/text_to_image.py", "painter"): "the network's name in recipes and records",
}
"""Strings without spaces that are stored, or typed, as they are: (file, word) -> why.

Neither messages nor docstrings, comments or identifiers are excepted.
"""


class Hit(NamedTuple):
    """A private word, and where it stands."""

    file: str
    line: int
    word: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.word!r} in {self.text.strip()[:100]!r}"


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def found_in(file: str, line: int, text: str) -> Iterator[Hit]:
    """The private words of a text; ``line`` is that of its first line."""
    patterns = [WORDS, PLAN] if file.startswith(PLANNING) else [WORDS]
    for number, part in enumerate(text.splitlines(), line):
        for pattern in patterns:
            for match in pattern.finditer(part):
                yield Hit(file, number, match[0].lower(), part)


def texts_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string of a file (messages, help texts, docstrings) with its first line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def identifiers_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name that a file defines or uses, with its line."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 1)
        if isinstance(node, ast.Name):
            yield line, node.id
        elif isinstance(node, ast.Attribute):
            yield line, node.attr
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.alias):
            yield line, node.name
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield getattr(node, "lineno", 1), node.arg


def spaced(identifier: str) -> str:
    """``_told_byHand`` -> ``told by Hand``: the words of a name."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", identifier).replace("_", " ").strip()


def is_stored(hit: Hit) -> bool:
    return (hit.file, hit.word) in STORED and " " not in hit.text


def expect_none(hits: Iterable[Hit]) -> None:
    """Fails with a line for each hit that is no stored string."""
    lines = sorted({str(hit) for hit in hits if not is_stored(hit)})
    assert not lines, "\n".join(["private words:", *lines])


def commands(group: click.Group, path: str = "robustbench-kd") -> Iterator[tuple[str, str]]:
    """The help text of a command and of everything below it."""
    with click.Context(group, info_name=path) as context:
        yield path, group.get_help(context)
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from commands(command, f"{path} {name}")
            else:
                inner = click.Context(command, info_name=f"{path} {name}")
                yield f"{path} {name}", command.get_help(inner)


def test_no_help_text_holds_a_private_word() -> None:
    hits = [hit for path, text in commands(main) for hit in found_in(f"{path} --help", 1, text)]
    expect_none(hits)


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_no_document_holds_a_private_word(path: Path) -> None:
    expect_none(found_in(named(path), 1, path.read_text(encoding="utf-8")))


def test_no_message_and_no_docstring_holds_a_private_word() -> None:
    hits = (
        hit
        for path in SOURCES
        if named(path) not in OLD_NAMES
        for line, text in texts_in(ast.parse(path.read_text(encoding="utf-8")))
        for hit in found_in(named(path), line, text)
    )
    expect_none(hits)


def test_no_comment_holds_a_private_word() -> None:
    hits = (
        hit
        for path in SOURCES
        if named(path) not in OLD_NAMES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "#" in line
        for hit in found_in(named(path), number, line.partition("#")[2])
    )
    expect_none(hits)


def test_no_identifier_holds_a_private_word() -> None:
    hits = (
        hit
        for path in SOURCES
        if named(path) not in OLD_NAMES
        for line, name in identifiers_in(ast.parse(path.read_text(encoding="utf-8")))
        for hit in found_in(named(path), line, spaced(name))
    )
    expect_none(hits)


def test_every_exception_is_still_needed() -> None:
    texts = {file: (ROOT / file).read_text(encoding="utf-8") for file, _ in STORED}
    assert [key for key in STORED if key[1] not in texts[key[0]]] == []
    assert len(STORED) <= 16


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("an attack behind that door", ["door"]),
        ("Doubts are printed; the judge was told", ["doubts", "judge", "told"]),
        ("a judgement on the background, which hardens nothing", ["hardens"]),
        ("ground truth of a doorstep", []),
        (spaced("PaintersShelf.told_twins"), ["painters", "shelf", "told", "twins"]),
    ],
)
def test_words_are_found_whole_and_in_names(text: str, words: list[str]) -> None:
    assert [hit.word for hit in found_in("somewhere", 1, text)] == words
