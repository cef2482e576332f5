"""A ranking as text for papers and pages; every name in it is escaped."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_kd.reports.captions import signature
from robustbench_kd.reports.cells import LEFT, note, table_of
from robustbench_kd.reports.formats._escape import latex, markdown
from robustbench_kd.reports.leaderboard import Ranking


def as_markdown(ranking: Ranking, only: Sequence[str] = ()) -> str:
    """A pipe table; names can neither break it nor carry markup."""
    return pipes(*table_of(ranking, only), note(ranking))


def pipes(heads: Sequence[str], lines: Sequence[Sequence[str]], below: str) -> str:
    """Heads and lines as a pipe table, with a line of words below."""
    text = ["| " + " | ".join(markdown(cell) for cell in row) + " |" for row in (heads, *lines)]
    return "\n".join((text[0], "|" + " --- |" * len(heads), *text[1:], "", below, ""))


def as_latex(ranking: Ranking, only: Sequence[str] = ()) -> str:
    r"""A tabular with the rules of booktabs (``\usepackage{booktabs}``).

    The value that ranks is bold of every row that may be the first; the comment above says, by its
    signature, which question the table answers.
    """
    heads, lines = table_of(ranking, only)
    text = [[latex(cell) for cell in line] for line in lines]
    bold = ranking.rank_by.metric.heading
    for row, line in zip(ranking.rows, text, strict=True):
        if row.best == 1 and bold in heads:
            place = heads.index(bold)
            line[place] = rf"\textbf{{{line[place]}}}"
    return _typeset(heads, text, f"{note(ranking)} {signature(ranking)}".rstrip())


def tabular(heads: Sequence[str], lines: Sequence[Sequence[str]], above: str) -> str:
    """Heads and lines as a tabular, with a comment above."""
    return _typeset(heads, [[latex(cell) for cell in line] for line in lines], above)


def _typeset(heads: Sequence[str], lines: Sequence[Sequence[str]], above: str) -> str:
    """The same, of lines that are LaTeX already."""
    rows = ([latex(head) for head in heads], *lines)
    text = [" & ".join(row) + r" \\" for row in rows]
    return "\n".join(
        (
            "% " + " ".join(above.split()),
            rf"\begin{{tabular}}{{{''.join('l' if head in LEFT else 'r' for head in heads)}}}",
            r"\toprule",
            text[0],
            r"\midrule",
            *text[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        )
    )
