"""Reads what nvdisasm prints: instructions, their functions in the sources, and a thread's way.

Needs neither nvcc nor a GPU, and knows none of the kernels: tools/sass.py does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: What an instruction counts as, by the begin of its opcode; the first that matches.
CLASSES = {
    "other": r"U?MOV|[IH]?(MAD|FMA2)\.(MOV|MMA)|LDCU?\b|ULDC|S2U?R|CS2R|R2UR|VOTE|HFMA2",
    "memory": r"LD|ST|ATOM|RED\b|REDG|UBLK",
    "fp64": r"D(ADD|MUL|FMA|SETP|MNMX)",
    "special": r"MUFU|[IF]2|FRND|POPC|U?FLO|U?BREV",
    "fp32": r"F(ADD|MUL|FMA|SETP|SET|SEL|MNMX|CHK|SWZ)|H(ADD|MUL)",
    "int": r"U?(I|LOP|SH[FLR]\b|LEA|SEL|PRMT|PLOP|BMSK|SGXT|VI|VABS|P2R|R2P|P2UR)",
}
#: Units that may be busy before the issue slots are, and what they execute.
UNITS: dict[str, str] = {
    "alu": r"(?!U)(I(?!MAD|2F\b|2I)|LOP|SH[FLR]\b|LEA|SEL|PRMT|PLOP|VI|F(SET|SEL|MNMX)|MOV)",
    "imad": r"IMAD",
    "fma": r"IMAD|F(ADD|MUL|FMA)",
    "xu": r"MUFU|[IF]2[IF]\b|FRND|POPC|FLO|BREV",
    "fp64": CLASSES["fp64"],
}
_INSTRUCTION = re.compile(
    r"\s+/\*[0-9a-f]+\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*(?:;|$)"
)
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_TARGET = re.compile(r"`\((\S+?)\)")
_ENDS = re.compile(r"EXIT|RET|BPT|KILL")


@dataclass(frozen=True)
class Instruction:
    """One instruction, with the source lines it stands for, innermost first."""

    opcode: str
    operands: str
    conditional: bool
    frames: tuple[tuple[str, int], ...] = ()

    def is_a(self, name: str) -> bool:
        """Whether its opcode begins with one."""
        return self.opcode.startswith(name)

    def calls(self) -> bool:
        """Whether it calls a function; a "call" of a place in the same one is a jump."""
        return self.is_a("CALL") and "`(.L_" not in self.operands


@dataclass
class Block:
    """Instructions without a branch among them, and which blocks may follow."""

    code: list[Instruction] = field(default_factory=list)
    next: list[int] = field(default_factory=list)
    again: bool = False  # a copy, for leaving a loop after a turn


def kernels(lines: Iterable[str]) -> Iterator[tuple[str, list[Instruction | str]]]:
    """Yield name and code of each kernel that `nvdisasm -c -gi` prints; a label is a string."""
    name, code = "", list[Instruction | str]()
    frames, complete = list[tuple[str, int]](), True
    for line in lines:
        if line.startswith(".text."):
            if name:
                yield name, code
            name, code = line[len(".text.") :].rstrip(":\n"), []
        elif line.lstrip().startswith("//##"):
            if complete:
                frames = []
            found = _FRAME.search(line)
            complete = "inlined at" not in line
            if found:
                frames.append((found[1], int(found[2])))
        elif name and (given := _INSTRUCTION.match(line)):
            code.append(Instruction(given[2], given[3], bool(given[1]), tuple(frames)))
        elif line[:1] in ".$" and line.rstrip().endswith(":"):
            code.append(line.rstrip()[:-1])
    if name:
        yield name, code


def blocks(code: list[Instruction | str]) -> list[Block]:
    """Return the basic blocks of a kernel, the entry first."""
    found, at = [Block()], dict[str, int]()
    for item in code:
        last = found[-1].code[-1] if found[-1].code else None
        if isinstance(item, str):
            if last:
                found.append(Block())
            at[item] = len(found) - 1
            continue
        if last and _leaves(last):
            found.append(Block())
        found[-1].code.append(item)
    _link(found, at)
    return found


def _leaves(each: Instruction) -> bool:
    return bool(re.match(r"BR[AX]|JM|CALL|BSYNC|" + _ENDS.pattern, each.opcode))


def _link(found: list[Block], at: dict[str, int]) -> None:
    """Find which blocks follow which; where threads meet again depends on the way there."""
    to_do, seen = [(0, dict[str, int]())], set[int]()
    while to_do:
        number, meeting = to_do.pop()
        if number in seen or not found[number].code:
            continue
        seen.add(number)
        for each in found[number].code:
            if each.is_a("BSSY"):
                place = each.operands.split(",")[0]
                meeting = {**meeting, place: at[_target(each)]}
        last = found[number].code[-1]
        after = [number + 1] if number + 1 < len(found) else []
        if re.match(r"BRX|JMX", last.opcode):
            after = [at[name] for name in re.findall(r"\.L_x_\d+", last.operands)]
        elif re.match(r"BRA(?!.*DIV)|CALL", last.opcode) and not last.calls():
            after = [at[_target(last)]] + (after if last.conditional or "U" in last.opcode else [])
        elif last.is_a("BSYNC"):
            after = [meeting[last.operands]] + (after if last.conditional else [])
        elif _ENDS.match(last.opcode) and not last.conditional:
            after = []
        found[number].next = after
        to_do += [(each, meeting) for each in reversed(after)]


def _target(each: Instruction) -> str:
    found = _TARGET.search(each.operands)
    assert found, f"{each.opcode} {each.operands} names no place"
    return found[1]


def way(found: list[Block], does_work: Callable[[Instruction], bool]) -> list[Instruction]:
    """Return the way from entry to exit of a thread that has all of the work to do.

    Of all ways that make no call and take no second turn of a loop, but for leaving it, it is the
    one with most instructions that do the work, and of these the shortest.

    Raises:
        ValueError: If none that does work leads to an exit.
    """
    found = _without_turns(found)
    best = dict[int, tuple[tuple[int, int], int]]()  # (work, -length) from here on, next block
    for number in _search(found)[0]:
        code = found[number].code
        if any(each.calls() for each in code):
            continue
        onwards = [(best[n][0], n) for n in found[number].next if n in best]
        if code[-1].is_a("EXIT"):
            onwards.append(((0, 0), -1))
        if onwards:
            (work, length), after = max(onwards)
            own = 0 if found[number].again else sum(map(does_work, code))
            best[number] = ((work + own, length - len(code)), after)
    if 0 not in best or not best[0][0][0]:
        raise ValueError("no way that does the work leads to an exit")
    taken, number = list[Instruction](), 0
    while number >= 0:
        taken += found[number].code
        number = best[number][1]
    return taken


def _without_turns(found: list[Block]) -> list[Block]:
    """Let the ends of loops lead to copies of them, from which one can only go out."""
    found = [Block(each.code, list(each.next)) for each in found]
    while turns := _search(found)[1]:
        loops = {head: _loop(found, head, [t for t, h in turns if h == head]) for _, head in turns}
        head, loop = min(loops.items(), key=lambda each: len(each[1]))  # an inner one
        copy = {number: len(found) + place for place, number in enumerate(loop)}
        for number in loop:
            onwards = [copy.get(n, n) for n in found[number].next if n != head]
            found.append(Block(found[number].code, onwards, again=True))
        for tail, its_head in turns:
            if its_head == head:
                found[tail].next = [copy[head] if n == head else n for n in found[tail].next]
    return found


def _loop(found: list[Block], head: int, tails: list[int]) -> list[int]:
    """Blocks from which a loop's head is reached again without leaving the loop."""
    before: dict[int, list[int]] = {}
    for number, each in enumerate(found):
        for onwards in each.next:
            before.setdefault(onwards, []).append(number)
    inside, to_do = {head}, tails
    while to_do:
        number = to_do.pop()
        if number not in inside:
            inside.add(number)
            to_do = to_do + before.get(number, [])
    return sorted(inside)


def _search(found: list[Block]) -> tuple[list[int], list[tuple[int, int]]]:
    """Search depth first: blocks in the order in which they are left, and edges that go back."""
    order, turns, is_open = list[int](), list[tuple[int, int]](), {0: True}
    stack = [(0, iter(found[0].next))]
    while stack:
        number, rest = stack[-1]
        following = next(rest, None)
        if following is None:
            order.append(number)
            is_open[number] = False
            stack.pop()
        elif following not in is_open:
            is_open[following] = True
            stack.append((following, iter(found[following].next)))
        elif is_open[following]:
            turns.append((number, following))
    return order, turns


def counted(code: Iterable[Instruction], names: dict[str, str]) -> dict[str, int]:
    """Count instructions by the first pattern of several that the opcode begins with."""
    found = Counter[str]()
    for each in code:
        found[next((n for n, p in names.items() if re.match(p, each.opcode)), "other")] += 1
    return {name: found[name] for name in names}


def busy(code: Iterable[Instruction]) -> dict[str, int]:
    """Count the instructions of each unit; one may take part in two."""
    code = list(code)
    return {name: sum(bool(re.match(p, e.opcode)) for e in code) for name, p in UNITS.items()}


class Scopes:
    """Which function of a source file a line stands in.

    Functions are told by braces, which our formatter puts where they can be told by.
    """

    def __init__(self) -> None:
        self._files: dict[str, list[str]] = {}

    def of(self, frame: tuple[str, int]) -> str:
        """Return names around a line, outermost first: `L2::update`."""
        path, line = frame
        if path not in self._files:
            source = Path(path)
            self._files[path] = scopes(source.read_text()) if source.exists() else []
        lines = self._files[path]
        return lines[line - 1] if line <= len(lines) else ""


_HEAD = re.compile(r"(?:struct|class)\s+(\w+)|(~?\w+|operator\(\))\s*\(")
_NOT_CODE = re.compile(
    r"//[^\n]*|/\*[\s\S]*?\*/|^ *#(?:[^\n]*\\\n)*[^\n]*|template <[^\n]*>$", re.MULTILINE
)
_NO_NAMES = {"if", "for", "while", "switch", "return", "with_norm", "with_dtype", "constexpr"}


def scopes(text: str) -> list[str]:
    """Return for each line the names of the structs and functions that it is in or of."""
    text = _NOT_CODE.sub(lambda found: "\n" * found[0].count("\n"), text)
    lines, line, since = [""] * (text.count("\n") + 1), 0, 0
    names: list[str | None] = []  # None: braces around a value, which open nothing
    for place, sign in enumerate(text):
        closed = names.pop() if sign == "}" and names else ""
        if sign == "{":
            head = text[since:place]
            names.append(_named(head) if text[place - 1] in " \n" else None)
            first = line - head.lstrip().count("\n")
            lines[first : line + 1] = ["::".join(filter(None, names))] * (line + 1 - first)
        is_value = closed is None or (sign == "{" and names[-1] is None)
        if sign in "{};" and not is_value:
            since = place + 1
        if sign == "\n":
            line += 1
            lines[line] = "::".join(filter(None, names))
    return lines


def _named(head: str) -> str:
    """The name of what a brace opens, or "" for a namespace, a statement or a value."""
    head = re.sub(r"__\w+__(\([^)]*\))?", "", head)  # __device__, __launch_bounds__(256)
    found = _HEAD.search(head)
    if not found or "=" in head[: found.start()] or "namespace" in head:
        return ""
    name = found[1] or found[2]
    return "" if name in _NO_NAMES else name
