"""Finds what the pages name and the repository has not: files, options, functions, targets of make.

python tools/docs_names.py    # prints each with its page and line; fails if there is one

Only code is looked at, in a line (`like this`) or in a block, and only names that can be told for
ours by their form. A page that cannot be understood by these rules is never called wrong.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from clever_ext.models.catalogue import GROUP

ROOT = Path(__file__).resolve().parent.parent
#: Where comments and messages may name pages.
SOURCES = ("clever_ext", "csrc", "tools", "benchmarks", "examples", "pyproject.toml", "Makefile")
#: Programs of others: what is an option in a line that calls one is an option of theirs.
OTHERS = (
    "apt-get", "chromium", "cmake", "docker", "git", "mkdocs", "ncu", "nsys", "nvcc", "nvidia-smi",
    "npm", "numactl", "pip", "pytest", "sbatch", "SBATCH", "srun", "taskset", "torchrun",
)  # fmt: skip

_FENCE = re.compile(r"\s*(?:```|~~~)(?P<language>\S*)")
_SPAN = re.compile(r"(?<!`)(`{1,2})(?!`)(?P<text>.+?)(?<!`)\1(?!`)")
_PATH = re.compile(
    r"(?<![\w./-])(?:benchmarks|clever_ext|csrc|docs|examples|tests|tools)/[\w./*{},-]*[\w*}/]"
)
#: A module that is named from its room on.
_MODULE_PATH = re.compile(r"(?<![\w./-])[a-z_]+/[\w/]+\.py\b")
#: What a reader replaces by a name or a number.
_PLACEHOLDER = re.compile(r"(?<![A-Za-z_])(?:NAME|[A-Z])(?![A-Za-z])")
_PAGE = re.compile(r"(?<![\w./-])docs/[\w./-]*\w\.(?:md|png|svg)\b")
_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
_OURS = re.compile(r"(?:clever-ext|-m clever_ext|python -m clever_ext)(?: (?P<command>[a-z]+)\b)?")
_SCRIPT = re.compile(r"\bpython [\w./]*\.py\b")
_OTHER = re.compile(rf"(?<![\w-])(?:{'|'.join(OTHERS)})(?![\w-])")
_DOTTED = re.compile(r"(?<![\w./-])(?:cx|clever_ext)(?:\.[A-Za-z_]\w*)+(?![\w/-])")
_IMPORT = re.compile(r"^\s*from (?P<module>clever_ext[\w.]*) import (?P<names>[\w, ]+)")
_MEMBER = re.compile(r"^(?P<owner>[A-Za-z_]\w*)\.(?P<name>[A-Za-z_]\w*)(?:\(.*\))?$")
_TARGET = re.compile(r"(?:^|&& )make (?P<target>[a-z][a-z-]*)")
#: What follows the dot in a file's name.
_SUFFIXES = {"cpp", "csv", "cu", "gz", "h", "html", "jpg", "json", "jsonl", "md", "npy", "npz",
             "parquet", "png", "pt", "pth", "py", "safetensors", "so", "svg", "tar", "toml",
             "txt", "yml"}  # fmt: skip


class Code(NamedTuple):
    """A piece of code in a page."""

    line: int
    text: str  # of a block: one line of it, those that it goes on in with a \ included
    around: str  # the line of the page
    language: str | None  # of the block; None: in a line of text


class Missing(NamedTuple):
    """What a page names and the repository has not."""

    page: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: there is no {self.name}"


def code_of(page: str) -> Iterator[Code]:
    """Yield the pieces of code in the text of a page."""
    language: str | None = None
    begun, begun_at = "", 0
    for number, line in enumerate(page.splitlines(), 1):
        fence = _FENCE.match(line)
        if fence:
            language = fence["language"] if language is None else None
        elif language is None:
            for span in _SPAN.finditer(line):
                yield Code(number, span["text"].strip(), line, None)
        elif line.rstrip().endswith("\\"):
            begun_at = begun_at or number
            begun += line.rstrip()[:-1] + " "
        else:
            yield Code(begun_at or number, begun + line.strip(), line, language)
            begun, begun_at = "", 0


# --- What there is -------------------------------------------------------------------------------


def is_path(name: str, root: Path = ROOT) -> bool:
    """Tell whether a path exists, or something that its pattern fits."""
    braces = re.search(r"\{([^{}]*)\}", name)
    if braces:
        choices = braces[1].split(",")
        return all(is_path(name.replace(braces[0], each, 1), root) for each in choices)
    if "*" in name:
        return any(root.glob(name.rstrip("/")))
    return (root / name).exists()


@functools.cache
def commands() -> dict[str, set[str]]:
    """Map each command to its options; "" to those of `clever-ext` itself."""
    from docs_site import parsers

    every = {parser.prog.split()[-1]: _options(parser) for _, parser in parsers()}
    return {"": {"--help", "--version"}, **every}


def _options(parser: argparse.ArgumentParser) -> set[str]:
    return {text for action in parser._actions for text in action.option_strings}


@functools.cache
def script_options() -> set[str]:
    """Return the options that the repository's own scripts read."""
    found = {"--help"}
    for folder in ("tools", "benchmarks", "examples"):
        for path in (ROOT / folder).glob("*.py"):
            found.update(re.findall(r"\"(--[a-z][\w-]*)\"", path.read_text(encoding="utf-8")))
        for path in (ROOT / folder).glob("*.sh"):
            found.update(_OPTION.findall(path.read_text(encoding="utf-8")))
    return found


@functools.cache
def targets() -> set[str]:
    """Return the targets of make."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@functools.cache
def modules() -> dict[str, list[str]]:
    """Map the last name of each module of the package to its full names, and each class's too."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "clever_ext").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        full = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if parts[-1] == "__main__":
            continue  # importing it runs the program
        if "compat" in parts[:-1]:
            continue  # it has the name of another library, which pages mean by it
        found.setdefault(full.rpartition(".")[2], []).append(full)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(f"{full}.{node.name}")
    return found


@functools.cache
def parameters() -> set[str]:
    """Return names that examples give to tensors, results and the like, not to modules."""
    names = {"images", "labels", "model", "result", "row", "run", "comparison"}
    for path in (ROOT / "clever_ext").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.arg):
                names.add(node.arg)
    return names


_NOTHING = object()


@functools.cache
def look_up(name: str) -> Any:
    """Return what a dotted name stands for; `_NOTHING` where there is no such thing."""
    owner, dot, last = name.rpartition(".")
    if not dot:
        return importlib.import_module(name)
    above = look_up(owner)
    if above is _NOTHING:
        return above
    if isinstance(above, type):
        return _member(above, last)
    if owner == "clever_ext.compat" and not hasattr(above, last):
        return _as_written(name)
    if isinstance(above, ModuleType) and not hasattr(above, last):
        try:
            return importlib.import_module(name)  # one that nobody has imported yet
        except ModuleNotFoundError:
            return _NOTHING
    return getattr(above, last, _NOTHING)


def _as_written(name: str) -> Any:
    """Return a module's names without importing it, for which another library may be missing."""
    path = ROOT / f"{name.replace('.', '/')}.py"
    if not path.exists():
        return _NOTHING
    module = ModuleType(name)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            setattr(module, node.name, None)
    return module


def _member(owner: type, name: str) -> Any:
    """Return what instances of a class have by a name: fields have no value of the class's own."""
    if hasattr(owner, name):
        return getattr(owner, name)
    noted = {key for each in owner.__mro__ for key in vars(each).get("__annotations__", {})}
    return None if name in noted else _NOTHING


# --- The rules -----------------------------------------------------------------------------------


def paths(code: Code) -> Iterator[str]:
    """Files and folders, from the repository's root on or from a room of the package on."""
    for found in _PATH.finditer(code.text):
        if not _PLACEHOLDER.search(found[0]) and not is_path(found[0]):
            yield f"file {found[0]}"
    for found in _MODULE_PATH.finditer(code.text):
        room = found[0].split("/")[0]
        if (ROOT / "clever_ext" / room).is_dir() and not is_path(f"clever_ext/{found[0]}"):
            yield f"file clever_ext/{found[0]}"


def options(code: Code, foreign: set[str]) -> Iterator[str]:
    """Options: in a call of `clever-ext`, of a script of ours, or by themselves in the text."""
    text = code.text.partition(" #")[0]
    in_text = code.language is None
    first = text.split(" ")[0]
    ours, script = _OURS.search(text), _SCRIPT.search(text)
    if ours or (in_text and first in commands()):
        command = (ours["command"] or "") if ours else first
        if command not in commands():
            yield f"command clever-ext {command}"
            return
        called = re.split(r"[;|]|&&", text[ours.end() :] if ours else text)[0]
        for each in _OPTION.findall(called):
            if each not in commands()[command]:
                yield f"option {each} of clever-ext {command}".rstrip()
    elif script or (in_text and not _OTHER.search(code.around)):
        known = script_options() | (set() if script else foreign.union(*commands().values()))
        for each in _OPTION.findall(text[script.end() :] if script else text):
            if each not in known:
                yield f"option {each}"


def foreign_options(pages: list[str]) -> set[str]:
    """Return the options in lines that call programs of others."""
    found: set[str] = set()
    for page in pages:
        for code in code_of(page):
            other = _OTHER.search(code.text)
            if other:
                theirs = _OURS.split(code.text[other.end() :])[0]
                found.update(_OPTION.findall(theirs))
    return found


def names(code: Code) -> Iterator[str]:
    """Names: `cx.x`, `clever_ext.x.y`, what is imported from there, and `module.x`, `Class.x`."""
    for found in _DOTTED.finditer(code.text):
        name = re.sub(r"^cx\.", "clever_ext.", found[0])
        if name != GROUP and look_up(name) is _NOTHING:
            yield f"name {found[0]}"
    imported = _IMPORT.match(code.text)
    if imported:
        for each in re.split(r",\s*", imported["names"].strip()):
            if look_up(f"{imported['module']}.{each.split(' as ')[0]}") is _NOTHING:
                yield f"name {each} in {imported['module']}"
    member = _MEMBER.match(code.text) if code.language is None else None
    if member and member["owner"] not in {"cx", "clever_ext"} | parameters():
        owners = modules().get(member["owner"], [])
        there = (look_up(f"{owner}.{member['name']}") for owner in owners)
        if owners and member["name"] not in _SUFFIXES and all(x is _NOTHING for x in there):
            yield f"name {code.text}"


def make_targets(code: Code) -> Iterator[str]:
    """Targets of make."""
    if code.language != "python":
        for found in _TARGET.finditer(code.text):
            if found["target"] not in targets():
                yield f"target of make {found['target']}"


def missing(page: str, text: str, foreign: set[str]) -> Iterator[Missing]:
    """Yield what a page names and the repository has not."""
    rules: tuple[Callable[[Code], Iterator[str]], ...] = (
        paths,
        functools.partial(options, foreign=foreign),
        names,
        make_targets,
    )
    for code in code_of(text):
        for rule in rules:
            for name in rule(code):
                yield Missing(page, code.line, name)


def missing_pages(file: str, text: str) -> Iterator[Missing]:
    """Yield the pages that a source file names, in a comment or a message, and that are not."""
    for number, line in enumerate(text.splitlines(), 1):
        for found in _PAGE.finditer(line):
            if not is_path(found[0]):
                yield Missing(file, number, f"page {found[0]}")


def pages() -> dict[str, str]:
    """Map the name of each page to its text."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
    found += sorted((ROOT / "docs").rglob("*.md"))
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in found}


def sources() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each source file."""
    kinds = {".py", ".pyi", ".cpp", ".h", ".cu", ".cuh", ".sh"}
    for name in SOURCES:
        path = ROOT / name
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        for file in files:
            if file.is_file() and (file == path or file.suffix in kinds):
                yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")


def everything_missing() -> list[Missing]:
    """Return what any page or source file names and the repository has not."""
    texts = pages()
    foreign = foreign_options(list(texts.values()))
    found = [each for page, text in texts.items() for each in missing(page, text, foreign)]
    return found + [each for file, text in sources() for each in missing_pages(file, text)]


def main() -> int:
    """Print what is missing."""
    found = everything_missing()
    for each in found:
        print(each, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
