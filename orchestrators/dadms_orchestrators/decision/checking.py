"""What can be said of a model file before anything is started: whether it loads, what it asks for, and what ``validate`` finds in it.

Rule 1: a model that does not load is refused with everything that was found, each with the place in its file as editors count it.
Rule 2: an imported model is looked for in the directory of the model, by its file name, and among the files that were given besides.
Rule 3: what a decision asks for are the inputs that it reaches through the graph; any of their names will do.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dadms_orchestrators.decision.errors import DecisionError, Place
from dadms_orchestrators.decision.jdm import is_jdm, load_jdm
from dadms_orchestrators.decision.model import Model, Node, load_model
from dadms_orchestrators.decision.runnable import top_decisions
from dadms_orchestrators.decision.validation import validate

NAME_LIMIT = 200  # characters of a node's name that are shown
SEVERITIES = ("error", "warning")  # in the order of their weight
TOKEN = re.compile(r"&[#\w]+;|.", re.DOTALL)  # one character of a text, as XML writes it


class Told(msgspec.Struct, frozen=True):
    """One thing to say of a model, and where."""

    file: str
    line: int
    column: int  # from 1; 0: only the line is known
    node: str
    reason: str
    kind: str = ""
    severity: str = "error"
    rules: list[int] = []

    def __str__(self) -> str:
        """Return it as a line: ``file:line:column: node: reason (rules …)``."""
        where = ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])
        rules = f" (rules {', '.join(map(str, self.rules))})" if self.rules else ""
        node = self.node if len(self.node) <= NAME_LIMIT else f"{self.node[: NAME_LIMIT - 1]}…"
        return f"{where}: {node}: {self.reason}{rules}" if node else f"{where}: {self.reason}{rules}"


class Input(msgspec.Struct, frozen=True):
    """An input of a model; ``names`` are those under which it may be given, the first being its own."""

    names: list[str]
    type: str


class Decision(msgspec.Struct, frozen=True):
    """What can be evaluated; ``inputs`` are the own names of those that it reaches, ``outputs`` the columns of a table that gives one row."""

    id: str
    name: str
    kind: str  # decision, service or knowledge
    inputs: list[str]
    outputs: list[str] = []


class Checked(msgspec.Struct, frozen=True):
    """A model that loads."""

    file: str
    name: str
    format: str  # dmn or jdm
    top: list[str]  # decisions that no other requires: with exactly one, nobody has to name it
    decisions: list[Decision]
    inputs: list[Input]
    is_open: bool  # it takes inputs that it does not declare
    findings: list[Told] = []


class Refused(Exception):
    """The model does not load; ``told`` are all the reasons."""

    def __init__(self, told: Sequence[Told]) -> None:
        """Refuse it for these reasons."""
        super().__init__("\n".join(map(str, told)))
        self.told = list(told)


def check(path: Path, others: Iterable[Path] = (), *, validates: bool = True) -> Checked:
    """Load a model file and say what it asks for; raise ``Refused``, or ``OSError`` where it cannot be read."""
    source = path.read_bytes()
    files = _Files(path, others)
    try:
        if is_jdm(source) or path.suffix.lower() == ".json":
            load_jdm(source, name=path.name)
            return Checked(str(path), path.stem, "jdm", [path.stem], [], [], is_open=True)
        model = load_model(source, name=path.name, resolve=files.read, strict=False)
    except DecisionError as error:
        files.names[path.name] = path
        raise Refused([files.told(error.place, error.reason, "syntax")]) from None
    files.know(model)
    broken = [error for part in model.everywhere() for error in part.errors]
    if broken:
        raise Refused([files.told(error.place, error.reason, "syntax") for error in broken])
    findings = [
        files.told(found.place, found.reason, found.kind, found.severity, found.rules) for found in (validate(model) if validates else [])
    ]
    findings.sort(key=lambda found: (SEVERITIES.index(found.severity), found.file, found.line, found.column))
    inputs = [Input(names, str(node.type or "Any")) for names, node in _inputs(model)]
    decisions = [_decision(node) for node in model.nodes.values() if node.kind != "input"]
    is_open = any(part.is_open for part in model.everywhere())
    return Checked(str(path), model.name, "dmn", top_decisions(model), decisions, inputs, is_open, findings)


class _Files:
    """Models and the files that they came from."""

    def __init__(self, path: Path, others: Iterable[Path]) -> None:
        self.path = path
        self.others = {other.name: other for other in others}
        self.names: dict[str, Path] = {}  # name of a model -> its file
        self.lines: dict[Path, list[str]] = {}

    def read(self, where: str) -> bytes:
        """Return the bytes of an imported model."""
        name = where.rpartition("/")[2]
        if not name:
            raise KeyError(where)
        file = self.others.get(name, self.path.parent / name)
        if file.exists() and not file.is_file():
            raise OSError(f'"{file}" is no regular file')  # a FIFO would never end
        return file.read_bytes()

    def know(self, model: Model) -> None:
        """Remember which file each model came from."""
        for part in model.everywhere():
            name = part.file.rpartition("/")[2]
            self.names.setdefault(part.name, self.path if part is model else self.others.get(name, self.path.parent / name))

    def told(self, place: Place, reason: str, kind: str, severity: str = "error", rules: Iterable[int] = ()) -> Told:
        """Say something of a place, with line and column of the file."""
        file = self.names.get(place.model) or self.others.get(place.model.rpartition("/")[2], self.path)
        beside = self.path.parent / place.model.rpartition("/")[2]
        if place.model not in self.names and place.model and beside.is_file():  # it did not load, so only its location is known
            file = beside
        column = self._column(file, place) if place.expression else place.column
        return Told(str(file), place.line, column, place.node, reason, kind, severity, list(rules))

    def _column(self, file: Path, place: Place) -> int:
        if file not in self.lines:
            try:
                self.lines[file] = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
            except OSError:
                self.lines[file] = []
        lines = self.lines[file]
        return column_in(lines[place.line - 1], place.expression, place.column) if 0 < place.line <= len(lines) else 0


def column_in(line: str, expression: str, column: int) -> int:
    """Return the column of a file's line where a column of an expression stands, 0 where the expression is not found there.

    A text that goes on from the line before begins at the line's first column; one that begins here begins after its tag.
    """
    fragments = {fragment.strip() for fragment in expression.splitlines()}
    begins = [0, *(tag.end() for tag in re.finditer(r">(?:<!\[CDATA\[)?", line))]
    for begin in begins:
        text = re.split("]]>" if line[:begin].endswith("<![CDATA[") else "<", line[begin:], maxsplit=1)[0]
        if html.unescape(text).strip() in fragments and text.strip():
            offsets = [token.start() for token in TOKEN.finditer(text)]
            return begin + (offsets[column - 1] if column <= len(offsets) else len(text)) + 1
    return 0


def _inputs(model: Model) -> Iterator[tuple[list[str], Node]]:
    """Iterate over the inputs of a model and what it imports, with the names that each may be given under."""
    prefixes: dict[int, list[str]] = {}
    for part in model.everywhere():
        for prefix, imported in part.imports.items():
            prefixes.setdefault(id(imported), []).append(prefix)
    for part in model.everywhere():
        for node in part.nodes.values():
            if node.kind == "input":
                more = [name for prefix in prefixes.get(id(part), []) for name in (f"{prefix}.{node.variable}", prefix)]
                yield list(dict.fromkeys([node.variable, node.name, *more])), node


def _decision(node: Node) -> Decision:
    wanted = [parameter.variable for parameter in node.parameters] if node.kind == "service" else _reached(node)
    return Decision(node.id, node.name, node.kind, list(dict.fromkeys(wanted)), _outputs(node))


def _reached(node: Node) -> list[str]:
    """Return the own names of the inputs that a node reaches."""
    found: list[str] = []
    seen = {id(node)}
    waiting = [node]
    while waiting:
        for requirement in waiting.pop(0).requires:
            if id(requirement.node) not in seen:
                seen.add(id(requirement.node))
                waiting.append(requirement.node)
                if requirement.node.kind == "input":
                    found.append(requirement.node.variable)
    return found


def _outputs(node: Node) -> list[str]:
    """Return the names of the components that a decision's value has, where its table says so."""
    table: Any = node.element.child("decisionTable")
    if node.kind != "decision" or table is None or table.get("hitPolicy", "UNIQUE") in ("COLLECT", "RULE ORDER", "OUTPUT ORDER"):
        return []
    names = [output.get("name") for output in table.all("output")]
    return names if len(names) > 1 and all(names) else []
