"""Names as text of Markdown and LaTeX, whatever signs they are made of. Imports nothing heavy."""

from __future__ import annotations

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{sign: "\\" + sign for sign in "&%$#_{}"},
}


def markdown(text: str) -> str:
    """On one line; it can neither break a table nor carry markup."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join("\\" + sign if sign in r"\`*_{}[]|#!~" else sign for sign in plain)


def latex(text: str) -> str:
    """On one line; every special sign stands for itself."""
    return "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))
