"""Whether a model can run, and what it needs: the whole answer before anything is started.

Rule 1: the model and every process that it calls, in this file or beside it, are judged by the same rules.
Rule 2: nothing here runs, opens a socket or imports the engine, so that a command line can ask in a tenth of a second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dadms_orchestrators.bpmn.markup import MAX_BYTES
from dadms_orchestrators.bpmn.model import FormField, Node, Process, every_node
from dadms_orchestrators.bpmn.reader import Reader
from dadms_orchestrators.bpmn.refusal import Finding, ModelRefused
from dadms_orchestrators.bpmn.rules import judge, parsed, texts

MAX_SIBLINGS = 1000  # files of a directory that are looked at for called processes


class Task(msgspec.Struct, frozen=True):
    """A task of the model; `kind` as in `Work.kind`, or "user", "manual" or "expression"."""

    id: str
    name: str
    kind: str
    topic: str
    decision: str
    documentation: str
    properties: dict[str, str]
    process: str
    file: str
    line: int


class FieldInfo(msgspec.Struct, frozen=True):
    """A form field as the model gives it; `default` may hold expressions."""

    name: str
    label: str
    type: str
    default: str | None
    required: bool
    readonly: bool
    choices: tuple[str, ...]


class UserTaskInfo(msgspec.Struct, frozen=True):
    """A user task and its form."""

    id: str
    name: str
    fields: tuple[FieldInfo, ...]
    line: int


class CallInfo(msgspec.Struct, frozen=True):
    """A call activity and the file that holds the process that it calls."""

    element: str
    process: str
    file: str
    line: int


class Checked(msgspec.Struct, frozen=True):
    """A model that can run. `processes` is the model itself, by process id; `digest` identifies the sources."""

    file: str
    process: str
    name: str
    documentation: str
    tasks: tuple[Task, ...]
    topics: tuple[str, ...]
    scripts: tuple[str, ...]
    decisions: tuple[str, ...]
    user_tasks: tuple[UserTaskInfo, ...]
    start_fields: tuple[FieldInfo, ...]
    condition_variables: tuple[str, ...]
    calls: tuple[CallInfo, ...]
    warnings: tuple[Finding, ...]
    digest: str
    processes: dict[str, Process]

    def to_json(self) -> bytes:
        """Everything but the model itself."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__struct_fields__ if name != "processes"}
        return msgspec.json.encode(fields)


class _Library:
    """The processes of the file and of the files beside it, which are read only when something is called."""

    def __init__(self, main: Reader, siblings: Mapping[str, bytes]) -> None:
        self.main = main
        self.siblings = siblings
        self.used: dict[str, Reader] = {main.file: main}
        self._others: dict[str, Reader] | None = None
        self.unreadable: list[str] = []

    def find(self, process: str) -> list[Process]:
        if process in self.main.processes:
            return [self.main.processes[process]]
        if self._others is None:
            self._others = {}
            for file, source in self.siblings.items():
                try:
                    self._others[file] = Reader(source, file)
                except ModelRefused:
                    self.unreadable.append(file)
        found = [reader.processes[process] for reader in self._others.values() if process in reader.processes]
        if len(found) == 1:
            self.used[found[0].file] = self._others[found[0].file]
        return found


def check(source: bytes, *, name: str, siblings: Mapping[str, bytes] | None = None, process: str | None = None) -> Checked:
    """What a model needs; raises ModelRefused with everything that keeps it from running."""
    library = _Library(Reader(source, name), siblings or {})
    findings: list[Finding] = []
    warnings: list[Finding] = []
    main = _main_process(library.main, process, findings, warnings)
    processes: dict[str, Process] = {}
    calls: list[CallInfo] = []
    todo = [main] if main is not None else []
    while todo:
        current = todo.pop(0)
        if current.scope.id in processes:
            continue
        processes[current.scope.id] = current

        def report(to: list[Finding], file: str = current.file) -> Any:
            return lambda line, element, reason: to.append(Finding(file, line, element, reason))

        judge(current, report(findings), report(warnings))
        for _, node in every_node(current.scope):
            if node.call is None or not node.call.names_a_process:
                continue
            found = library.find(node.call.element)
            if len(found) == 1:
                calls.append(CallInfo(node.id, node.call.element, found[0].file, node.line))
                todo.append(found[0])
            else:
                findings.append(Finding(current.file, node.line, node.id, _not_one(node, found, library)))
    for reader in library.used.values():
        findings.extend(reader.findings)
    if findings:
        raise ModelRefused(findings)
    assert main is not None
    digest = hashlib.sha256()
    for file in sorted(library.used):
        digest.update(hashlib.sha256(source if file == name else library.siblings[file]).digest())
    return _summary(main, processes, calls, warnings, digest.hexdigest())


def _not_one(node: Node, found: list[Process], library: _Library) -> str:
    assert node.call is not None
    said = f'call activity {node} calls process "{node.call.element}", which '
    if found:
        return said + "several files hold: " + ", ".join(f"{process.file}:{process.scope.line}" for process in found)
    said += f"neither this file nor the {len(library.siblings)} files given beside it hold"
    return said + (f" (of which {', '.join(library.unreadable)} cannot be read)" if library.unreadable else "")


def _main_process(reader: Reader, wanted: str | None, findings: list[Finding], warnings: list[Finding]) -> Process | None:
    """The process that a run of the file means."""
    if wanted is not None:
        if wanted not in reader.processes:
            findings.append(
                Finding(reader.file, None, None, f'the file holds no process "{wanted}", but {", ".join(reader.processes) or "none"}')
            )
        return reader.processes.get(wanted)
    called = {node.call.element for process in reader.processes.values() for _, node in every_node(process.scope) if node.call is not None}
    candidates = [process for process in reader.processes.values() if process.executable and process.scope.id not in called]
    if not candidates:
        candidates = list(reader.processes.values())
    if len(candidates) > 1:
        names = ", ".join(process.scope.id for process in candidates)
        findings.append(
            Finding(
                reader.file,
                candidates[1].scope.line,
                candidates[1].scope.id,
                f"the file holds {len(candidates)} processes ({names}); say which one is meant",
            )
        )
        return None
    if candidates and not candidates[0].executable:
        scope = candidates[0].scope
        warnings.append(
            Finding(reader.file, scope.line, scope.id, f'process "{scope.id}" says isExecutable="false"; it is run all the same')
        )
    return candidates[0] if candidates else None


def _fields(fields: tuple[FormField, ...]) -> tuple[FieldInfo, ...]:
    return tuple(
        FieldInfo(
            field.name,
            field.label,
            field.type,
            field.default.source if field.default is not None else None,
            field.required,
            field.readonly,
            field.choices,
        )
        for field in fields
    )


def _summary(main: Process, processes: dict[str, Process], calls: list[CallInfo], warnings: list[Finding], digest: str) -> Checked:
    tasks: list[Task] = []
    users: list[UserTaskInfo] = []
    for process in processes.values():
        for _, node in every_node(process.scope):
            implementation = node.implementation
            kind = implementation.kind if implementation is not None else {"userTask": "user", "manualTask": "manual"}.get(node.tag)
            if kind is None:
                continue
            topic, decision = (implementation.topic, implementation.decision) if implementation is not None else ("", "")
            tasks.append(
                Task(
                    node.id,
                    node.name,
                    kind,
                    topic,
                    decision,
                    node.documentation,
                    node.properties,
                    process.scope.id,
                    process.file,
                    node.line,
                )
            )
            if node.tag == "userTask":
                users.append(UserTaskInfo(node.id, node.name, _fields(node.fields), node.line))
    start = main.scope.start()
    assert start is not None
    conditions = [
        variable
        for process in processes.values()
        for _, text, is_condition in texts(process)
        if is_condition
        for variable in parsed(text, is_condition=True).names
    ]
    return Checked(
        file=main.file,
        process=main.scope.id,
        name=main.scope.name,
        documentation=main.documentation,
        tasks=tuple(tasks),
        topics=tuple(dict.fromkeys(task.topic for task in tasks if task.topic)),
        scripts=tuple(task.id for task in tasks if task.kind == "script"),
        decisions=tuple(dict.fromkeys(task.decision for task in tasks if task.decision)),
        user_tasks=tuple(users),
        start_fields=_fields(start.fields),
        condition_variables=tuple(dict.fromkeys(conditions)),
        calls=tuple(calls),
        warnings=tuple(warnings),
        digest=digest,
        processes=processes,
    )


def siblings_wanted(source: bytes, name: str) -> list[str]:
    """The processes that a file calls and does not hold; raises ModelRefused when it is no BPMN at all."""
    reader = Reader(source, name)
    called = [
        node.call.element
        for process in reader.processes.values()
        for _, node in every_node(process.scope)
        if node.call is not None and node.call.names_a_process
    ]
    return [element for element in dict.fromkeys(called) if element not in reader.processes]


def load_siblings(path: Path) -> dict[str, bytes]:
    """The other .bpmn files of a model's directory that hold what it calls, and what those call; raises OSError when the model itself cannot be read."""
    try:
        wanted = siblings_wanted(path.read_bytes(), str(path))
    except ModelRefused:
        return {}  # check() says why
    if not wanted:
        return {}
    beside = sorted(
        other for other in path.parent.glob("*.bpmn") if not other.name.startswith(".") and other.is_file()
    )  # a FIFO would never end
    files = {str(other): _content(other) for other in beside[:MAX_SIBLINGS] if other.name != path.name}
    found: dict[str, bytes] = {}
    seen: set[str] = set()
    while wanted:
        element = wanted.pop()
        if element in seen:
            continue
        seen.add(element)
        for file, content in files.items():
            if file not in found and _may_hold(content, element):
                found[file] = content
                try:
                    wanted += siblings_wanted(content, file)
                except ModelRefused:
                    continue  # check() says so where nothing else holds the process
    return found


def _may_hold(content: bytes, process: str) -> bool:
    """Whether a file may hold a process, without reading it as XML; one in two-byte characters always may."""
    return content[:2] in (b"\xff\xfe", b"\xfe\xff") or any(quote + process.encode() + quote in content for quote in (b'"', b"'"))


def _content(path: Path) -> bytes:
    """What a file beside the model holds; nothing when it is too large or cannot be read, for it is only a candidate."""
    try:
        return path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
    except OSError:
        return b""
