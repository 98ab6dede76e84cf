"""Tables in HTML, as notebooks show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def as_html(
    title: str, lines: Iterable[str], head: Sequence[str] = (), rows: Iterable[Sequence[str]] = ()
) -> str:
    """Return a heading, sentences and a table; all texts are escaped.

    >>> as_html("Scores", ["2 images"], ["image", "score"], [["<a>", "0.5"]]).splitlines()[-1]
    '<tr><td>&lt;a&gt;</td><td>0.5</td></tr></tbody></table>'
    """
    parts = [f"<p><strong>{escape(title)}</strong></p>"]
    parts += [f"<p>{escape(line)}</p>" for line in lines]
    if head:
        body = [_row("td", row) for row in rows]
        parts.append("\n".join([f"<table><thead>{_row('th', head)}</thead><tbody>", *body]))
        parts[-1] += "</tbody></table>"
    return "\n".join(parts)


def _row(kind: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in cells)}</tr>"
