"""A board as text for papers and pages; every name in it is escaped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from robustbench_kd.core.errors import UnknownName
from robustbench_kd.reports.captions import signature
from robustbench_kd.reports.formats._escape import latex, markdown
from robustbench_kd.reports.leaderboard import Board, Row

# Columns that stand on the left.
WORDS = ("rank", "attack", "defense", "teachers", "verdict", "doubts")


def as_markdown(board: Board, only: Sequence[str] = ()) -> str:
    """A pipe table; names can neither break it nor carry markup."""
    return pipes(*cells(board, only), note(board))


def pipes(heads: Sequence[str], lines: Sequence[Sequence[str]], below: str) -> str:
    """Heads and lines as a pipe table, with a line of words below."""
    text = ["| " + " | ".join(markdown(cell) for cell in row) + " |" for row in (heads, *lines)]
    return "\n".join((text[0], "|" + " --- |" * len(heads), *text[1:], "", below, ""))


def as_latex(board: Board, only: Sequence[str] = ()) -> str:
    r"""A tabular with the rules of booktabs (``\usepackage{booktabs}``).

    The robust accuracy is bold of every row that may be the first; the comment above says, by its
    signature, which question the table answers.
    """
    heads, lines = cells(board, only)
    text = [[latex(cell) for cell in line] for line in lines]
    for row, line in zip(board.rows, text, strict=True):
        if row.best == 1 and "robust" in heads:
            place = heads.index("robust")
            line[place] = rf"\textbf{{{line[place]}}}"
    return _typeset(heads, text, f"{note(board)} {signature(board)}".rstrip())


def tabular(heads: Sequence[str], lines: Sequence[Sequence[str]], above: str) -> str:
    """Heads and lines as a tabular, with a comment above."""
    return _typeset(heads, [[latex(cell) for cell in line] for line in lines], above)


def _typeset(heads: Sequence[str], lines: Sequence[Sequence[str]], above: str) -> str:
    """The same, of lines that are LaTeX already."""
    rows = ([latex(head) for head in heads], *lines)
    text = [" & ".join(row) + r" \\" for row in rows]
    return "\n".join(
        (
            "% " + above,
            rf"\begin{{tabular}}{{{''.join('l' if head in WORDS else 'r' for head in heads)}}}",
            r"\toprule",
            text[0],
            r"\midrule",
            *text[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        )
    )


def cells(board: Board, only: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Heads and lines of the board as people read them; doubts in words.

    ``only`` names the columns that are wanted, attacks with or without their settings.

    Raises:
        UnknownName: for a column that the board has not.
    """
    attacks = [attack for attack in board.contest.panel if attack != "untouched"]
    columns: dict[str, Callable[[Row], str]] = {
        "rank": lambda row: row.rank,
        "defense": lambda row: row.label + (" (yours)" if row.yours else ""),
        "robust": lambda row: str(row.record.worst),
        "clean": lambda row: str(row.record.clean),
    }
    for attack in attacks:
        columns[attack] = lambda row, name=attack: str(row.record.cell(name).share)  # type: ignore[misc]
    columns["images"] = lambda row: str(row.record.worst.count)
    if any(row.wide for row in board.rows):
        columns["wide"] = wide
    if any(row.known for row in board.rows):
        columns["best known"] = known
    columns |= {
        "seed (others)": seeds,
        "parameters": lambda row: str(row.record.model["parameters"]),
        "MACs": lambda row: str(row.record.model["macs"]),
        "forward": lambda row: str(row.passes[0]),
        "backward": lambda row: str(row.passes[1]),
        "CPU seconds": lambda row: f"{row.record.spent.get('cpu_seconds', '')}",
        "teachers": lambda row: ", ".join(sorted(row.record.teachers)) or "none",
        "doubts": lambda row: "; ".join(row.record.doubts),
    }
    typed = {name.partition(":")[0]: name for name in columns} | {name: name for name in columns}
    for name in only:
        if name not in typed:
            raise UnknownName("column", name, columns)
    wanted = [typed[name] for name in only] or list(columns)
    return wanted, [[columns[name](row) for name in wanted] for row in board.rows]


def wide(row: Row) -> str:
    """The worst case over the cheap attacks on the whole test set, with its own count."""
    return f"{row.wide} of {row.wide.count}" if row.wide else ""


def known(row: Row) -> str:
    """What survives every record of the row's network, and how many there are."""
    return f"{row.known.share} in {len(row.known.first)} records" if row.known else ""


def seeds(row: Row) -> str:
    """The seed of the row, and the robust accuracy of the other ones."""
    rest = ", ".join(f"{seed}: {share}" for seed, share in row.seeds[1:])
    return f"{row.record.seed} ({rest})" if rest else str(row.record.seed)


def note(board: Board) -> str:
    """What the numbers are, in one line."""
    return (
        f"{board.contest.title}: percent of the images answered right, with 95 % Wilson intervals; "
        "robust is the worst case over all attacks, image by image. Ranks that paired tests "
        "cannot tell apart are intervals; rows with doubts stand below the others."
    ) + caveats(board)


def caveats(board: Board) -> str:
    """What else must be said: which records were asked for, and what best known means."""
    words = f" Only {board.only}; ranks are among these." if board.only else ""
    if any(row.known for row in board.rows):
        words += (
            " Best known: survives every record of the same network, so robust are at most so many."
        )
    return words
