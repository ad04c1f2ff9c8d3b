"""A table of texts for the screen, for Markdown and for LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "τ": r"$\tau$",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "–": "--",
}


@dataclass(frozen=True)
class TableCell:
    text: str
    bold: bool = False


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned text; the last column is not padded."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[TableCell]], align: str = "--:") -> str:
    """A table of GitHub's Markdown; ``align``: of all columns after the first, to the right by default."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    body = [line([f"**{c.text}**" if c.bold else c.text for c in row]) for row in rows]
    return "\n".join([line(head), line(["---", *[align] * (len(head) - 1)]), *body]) + "\n"


def latex_table(head: Sequence[str], rows: Sequence[Sequence[TableCell]]) -> str:
    """A tabular for LaTeX; needs the package booktabs."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    body = [
        line([rf"\textbf{{{_latex(c.text)}}}" if c.bold else _latex(c.text) for c in row]) for row in rows
    ]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            line([_latex(name) for name in head]),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _latex(text: str) -> str:
    return re.sub(r".", lambda found: _LATEX.get(found[0], found[0]), text)
