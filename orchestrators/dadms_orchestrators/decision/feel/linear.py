"""Matching without backtracking, for the patterns on which backtracking explodes.

Rule 1: all ways through the pattern advance together, one character at a time, in order of preference (Pike's machine); the
time is at most the length of the text times the size of the pattern, whatever the two are.
Rule 2: only patterns that need it come here: an unbounded repetition around something that varies itself. Python's ``re`` is
faster for all others, and alone can do back-references.
Rule 3: the outcome is the one that ``re`` would find, had it the time: the first match, preferring as the pattern prefers. Only
where a repetition has a round without a character, which ends it for ``re``, it goes on here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

from dadms_orchestrators.decision.feel.runtime import Exceeded

MAX_PROGRAM = 20_000  # instructions, after writing {n,m} out
FEW = 8  # repetitions up to which a bounded one cannot explode

Captures = tuple[int | None, ...]


class Piece(msgspec.Struct):
    """A part of a pattern: ``atom`` (one character), ``anchor``, ``back``, ``all``, ``any`` (alternatives), ``group``, ``times``."""

    kind: str
    text: str = ""
    parts: list[Piece] = []
    number: int = 0  # of a group that counts
    low: int = 0  # of times
    high: int | None = None
    is_lazy: bool = False


class Builder:
    """Puts the parts of a pattern together as a translator meets them."""

    def __init__(self) -> None:
        """Begin a pattern."""
        self.open: list[tuple[int, list[list[Piece]]]] = [(0, [[]])]

    def add(self, kind: str, text: str = "") -> None:
        """Add a part that has no parts."""
        self.open[-1][1][-1].append(Piece(kind, text))

    def enter(self, number: int) -> None:
        """Open a group; 0 is one that does not count."""
        self.open.append((number, [[]]))

    def leave(self) -> None:
        """Close the innermost group."""
        number, choices = self.open.pop()
        self.open[-1][1][-1].append(Piece("group", parts=[_choice(choices)], number=number))

    def otherwise(self) -> None:
        """Begin the next alternative."""
        self.open[-1][1].append([])

    def repeat(self, low: int, high: int | None, *, is_lazy: bool) -> None:
        """Repeat the part before."""
        parts = self.open[-1][1][-1]
        parts.append(Piece("times", parts=[parts.pop()], low=low, high=high, is_lazy=is_lazy))

    def whole(self) -> Piece:
        """Return the pattern."""
        return _choice(self.open[0][1])


def _choice(choices: list[list[Piece]]) -> Piece:
    sequences = [Piece("all", parts=parts) for parts in choices]
    return sequences[0] if len(sequences) == 1 else Piece("any", parts=sequences)


def may_explode(piece: Piece) -> bool:
    """Say whether backtracking over a pattern can take exponential time, and another way is there."""
    return _explodes(piece) and not _has(piece, ("back",))


def _explodes(piece: Piece) -> bool:
    many = piece.kind == "times" and (piece.high is None or piece.high > FEW)
    if many and (_has(piece.parts[0], ("any",)) or _varies(piece.parts[0])):
        return True
    return any(_explodes(part) for part in piece.parts)


def _has(piece: Piece, kinds: tuple[str, ...]) -> bool:
    return piece.kind in kinds or any(_has(part, kinds) for part in piece.parts)


def _varies(piece: Piece) -> bool:
    return (piece.kind == "times" and piece.low != piece.high) or any(_varies(part) for part in piece.parts)


class Found:
    """A match."""

    __slots__ = ("captures", "text")

    def __init__(self, text: str, captures: Captures) -> None:
        """Hold where the groups begin and end, group 0 first."""
        self.text = text
        self.captures = captures

    def start(self) -> int:
        """Return where it begins."""
        return self.captures[0] or 0

    def end(self) -> int:
        """Return where it ends."""
        return self.captures[1] or 0

    def group(self, number: int = 0) -> str | None:
        """Return the text of a group, None where it took no part."""
        begin, end = self.captures[2 * number], self.captures[2 * number + 1]
        return None if begin is None or end is None else self.text[begin:end]


class Linear:
    """A pattern, compiled to instructions."""

    def __init__(self, pattern: Piece, groups: int, options: int) -> None:
        """Compile a pattern whose atoms are Python's, read with ``options``."""
        self.groups = groups
        self.options = options
        self.is_multiline = bool(options & re.MULTILINE)
        self.program: list[tuple[str, int, int]] = []  # operation and two operands
        self.atoms: list[Callable[[str], bool]] = []
        self.known: dict[str, int] = {}
        self._emit(Piece("group", parts=[pattern]))
        self.program.append(("match", 0, 0))

    def _emit(self, piece: Piece) -> None:
        if len(self.program) > MAX_PROGRAM:
            raise Exceeded(f"the pattern is too large: more than {MAX_PROGRAM} steps, its repetitions written out")
        match piece.kind:
            case "atom":
                self.program.append(("atom", self._atom(piece.text), 0))
            case "anchor":
                self.program.append((piece.text, 0, 0))
            case "all":
                for part in piece.parts:
                    self._emit(part)
            case "group":
                counts = piece.number or not self.program  # the first is group 0
                if counts:
                    self.program.append(("save", 2 * piece.number, 0))
                self._emit(piece.parts[0])
                if counts:
                    self.program.append(("save", 2 * piece.number + 1, 0))
            case "any":
                self._emit_choice(piece.parts)
            case "times":
                self._emit_times(piece)

    def _emit_choice(self, choices: list[Piece]) -> None:
        jumps = []
        for choice in choices[:-1]:
            fork = self._reserve()
            self._emit(choice)
            jumps.append(self._reserve())
            self.program[fork] = ("fork", fork + 1, len(self.program))
        self._emit(choices[-1])
        for jump in jumps:
            self.program[jump] = ("jump", len(self.program), 0)

    def _emit_times(self, piece: Piece) -> None:
        body = piece.parts[0]
        for _ in range(piece.low):
            self._emit(body)
        if piece.high is None:
            fork = self._reserve()
            self._emit(body)
            self.program.append(("jump", fork, 0))
            self._fork(fork, len(self.program), piece)
            return
        forks = []
        for _ in range(piece.high - piece.low):
            forks.append(self._reserve())
            self._emit(body)
        for fork in forks:
            self._fork(fork, len(self.program), piece)

    def _reserve(self) -> int:
        self.program.append(("jump", 0, 0))
        return len(self.program) - 1

    def _fork(self, at: int, end: int, piece: Piece) -> None:
        self.program[at] = ("fork", end, at + 1) if piece.is_lazy else ("fork", at + 1, end)

    def _atom(self, text: str) -> int:
        if text not in self.known:
            self.known[text] = len(self.atoms)
            self.atoms.append(_tester(re.compile(text, self.options)))
        return self.known[text]

    def search(self, text: str, begin: int = 0) -> Found | None:
        """Return the first match from a place on."""
        marks = [-1] * len(self.program)  # the place for which an instruction is waiting already
        waiting: list[tuple[int, Captures]] = []
        found: Captures | None = None
        program, atoms, empty = self.program, self.atoms, (None,) * (2 * self.groups + 2)
        for at in range(begin, len(text) + 1):
            if found is None:
                self._follow(waiting, marks, 0, empty, text, at)
            if not waiting:
                break
            char = text[at : at + 1]
            following: list[tuple[int, Captures]] = []
            for where, captures in waiting:
                operation, operand, _ = program[where]
                if operation == "match":
                    found = captures
                    break  # whatever waits behind is preferred less
                if char and atoms[operand](char):
                    self._follow(following, marks, where + 1, captures, text, at + 1)
            waiting = following
        return None if found is None else Found(text, found)

    def _follow(self, into: list[tuple[int, Captures]], marks: list[int], where: int, captures: Captures, text: str, at: int) -> None:
        """Put an instruction, and those that it leads to without a character, in order of preference."""
        stack = [(where, captures)]
        while stack:
            where, captures = stack.pop()
            if marks[where] == at:
                continue
            marks[where] = at
            operation, one, two = self.program[where]
            match operation:
                case "jump":
                    stack.append((one, captures))
                case "fork":
                    stack.append((two, captures))
                    stack.append((one, captures))
                case "save":
                    stack.append((where + 1, (*captures[:one], at, *captures[one + 1 :])))
                case "atom" | "match":
                    into.append((where, captures))
                case _:
                    if self._holds(operation, text, at):
                        stack.append((where + 1, captures))

    def _holds(self, anchor: str, text: str, at: int) -> bool:
        if anchor == "^":
            return at == 0 or (self.is_multiline and text[at - 1] == "\n")
        return at == len(text) or (anchor == "$" and text[at] == "\n")

    def finditer(self, text: str) -> Iterator[Found]:
        """Iterate over the matches that do not overlap."""
        at = 0
        while at <= len(text):
            found = self.search(text, at)
            if found is None:
                return
            yield found
            at = max(found.end(), at + 1)


def _tester(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    known: dict[str, bool] = {}

    def test(char: str) -> bool:
        answer = known.get(char)
        if answer is None:
            answer = known[char] = pattern.fullmatch(char) is not None
        return answer

    return test
