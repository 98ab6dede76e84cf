"""Writes the tables of docs/reference/messages.md from the messages and words in the code.

python tools/messages.py            # writes
python tools/messages.py --check    # fails where the page is not what the code says
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "messages.md"
#: Where a table stands in the page: between this line and the next `<!-- end -->`.
_PLACE = re.compile(r"(<!-- messages: (?P<files>.*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
#: The same for a table of the glossary's words.
_WORDS = re.compile(r"(<!-- words: (?P<name>\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_GLOSSARY = ROOT / "clever_ext" / "results" / "glossary.py"
_HOLE = "…"


class Message(NamedTuple):
    """What a refusal or a finding says, with a sign for what is filled in."""

    file: str
    wrong: str
    expected: str
    fix: str


def messages(path: Path) -> Iterator[Message]:
    """Yield the messages of one module, in the order of its lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = path.relative_to(ROOT / "clever_ext").as_posix()
    for scope in ast.walk(tree):
        if not isinstance(scope, (ast.FunctionDef, ast.Module)):
            continue
        for call in _own_calls(scope):
            called = getattr(call.func, "id", getattr(call.func, "attr", None))
            given = [*call.args, *(each.value for each in call.keywords)]
            if called == "CleverError" and len(given) == 3:
                wrong, expected, fix = (_text(each, scope) for each in given)
                yield Message(name, wrong, expected, fix)
            elif called == "Finding" and len(given) >= 3:
                yield Message(name, _text(given[1], scope), "", _text(given[2], scope))


def _own_calls(scope: ast.AST) -> Iterator[ast.Call]:
    """The calls in a function that are in no function inside it."""
    for child in ast.iter_child_nodes(scope):
        if isinstance(child, ast.FunctionDef):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from _own_calls(child)


def _text(node: ast.expr, scope: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else _HOLE for part in node.values
        )
    if isinstance(node, ast.BinOp):
        return _text(node.left, scope) + _text(node.right, scope)
    if isinstance(node, ast.IfExp):
        return " / ".join((_text(node.body, scope), _text(node.orelse, scope)))
    if isinstance(node, ast.Name):
        return " / ".join(dict.fromkeys(_assigned(node.id, scope))) or _HOLE
    return _HOLE


def _assigned(name: str, scope: ast.AST) -> Iterator[str]:
    """The texts that a function gives a name, alone or with others."""
    for each in ast.walk(scope):
        if not isinstance(each, ast.Assign):
            continue
        target, value = each.targets[0], each.value
        if isinstance(target, ast.Name) and target.id == name:
            if not isinstance(value, ast.Name):
                yield _text(value, scope)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, its_value in zip(target.elts, value.elts, strict=False):
                if isinstance(one, ast.Name) and one.id == name:
                    yield _text(its_value, scope)


def table(patterns: str) -> str:
    """Return the table of the modules that some patterns, joined by commas, name."""
    rows = []
    for pattern in patterns.split(","):
        for path in sorted((ROOT / "clever_ext").glob(pattern.strip())):
            for message in sorted(messages(path), key=lambda each: each.wrong.casefold()):
                expected = f"Expected: {message.expected}. " if message.expected else ""
                fix = f"{message.fix[:1].upper()}{message.fix[1:]}."
                rows.append(f"| {_cell(message.wrong)} | {_cell(expected + fix)} |")
    return "\n".join(["| It says | What to do |", "| --- | --- |", *dict.fromkeys(rows), ""])


def _cell(text: str) -> str:
    plain = re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")
    return re.sub(f"{_HOLE}( ?{_HOLE})+", _HOLE, plain)


def words(name: str) -> str:
    """Return the table of one of the glossary's mappings from a word to its meaning."""
    tree = ast.parse(_GLOSSARY.read_text(encoding="utf-8"))
    [given] = [
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", None) == name
    ]
    assert isinstance(given, ast.Call), f"{name} is no MappingProxyType(...)"
    meanings: dict[str, str] = ast.literal_eval(given.args[0])
    rows = [f"| `{word}` | {_cell(meaning)} |" for word, meaning in meanings.items()]
    return "\n".join(["| Word | Meaning |", "| --- | --- |", *rows, ""])


def page(text: str) -> str:
    """Return the page with its tables made anew."""
    text = _WORDS.sub(lambda found: found[1] + words(found["name"]) + found[4], text)
    return _PLACE.sub(lambda found: found[1] + table(found["files"]) + found[4], text)


def covered(text: str) -> set[str]:
    """Return the modules, relative to the package, whose messages the page has."""
    root = ROOT / "clever_ext"
    patterns = [p.strip() for found in _PLACE.finditer(text) for p in found["files"].split(",")]
    return {path.relative_to(root).as_posix() for p in patterns for path in root.glob(p)}


def missing(text: str) -> list[str]:
    """Return the modules with messages of which the page has none."""
    speaking = {
        each.file for path in (ROOT / "clever_ext").rglob("*.py") for each in messages(path)
    }
    return sorted(speaking - covered(text))


def main() -> int:
    """Write the page, or check it."""
    text = PAGE.read_text(encoding="utf-8")
    made = page(text)
    for file in missing(text):
        print(f"{file} has messages and is in no table of {PAGE.name}", file=sys.stderr)
    if "--check" in sys.argv:
        if made != text:
            print(f"{PAGE.name} is out of date: run python tools/messages.py", file=sys.stderr)
        return int(made != text or bool(missing(text)))
    PAGE.write_text(made, encoding="utf-8")
    return int(bool(missing(text)))


if __name__ == "__main__":
    sys.exit(main())
