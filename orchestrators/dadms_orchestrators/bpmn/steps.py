"""What a run says to whoever executes it, and how it ends: plain data, ready for the wire.

Rule: a step is said once. Work and user tasks stay open until somebody completes, fails or answers them, or a Cancelled step takes them back.
"""

from __future__ import annotations

from typing import Any

import msgspec


class TaskError(msgspec.Struct, frozen=True):
    """Why a task failed; `code` is that of a BPMN error which a handler raised on purpose."""

    type: str
    message: str
    cause: str = ""
    code: str | None = None


class Work(msgspec.Struct, frozen=True, tag=True):
    """A task to be run elsewhere. `variables` is everything that it sees; `inputs` the part that its own input parameters made. Neither may be changed."""

    id: str
    kind: str
    element: str
    name: str
    topic: str
    properties: dict[str, str]
    documentation: str
    variables: dict[str, Any]
    inputs: dict[str, Any]
    script: str
    script_format: str
    decision: str
    connector: dict[str, Any] | None
    result_variable: str
    file: str
    line: int
    process: str


class Field(msgspec.Struct, frozen=True):
    """A field of a form; `default` is the variable of its name, or else the default of the model."""

    name: str
    label: str
    type: str
    default: Any
    required: bool
    readonly: bool
    choices: tuple[str, ...]


class UserTask(msgspec.Struct, frozen=True, tag=True):
    """A question to a person. `undefined` are variables that conditions of the process read and that nobody has set yet."""

    id: str
    element: str
    name: str
    documentation: str
    fields: tuple[Field, ...]
    assignee: str
    groups: str
    undefined: tuple[str, ...]
    variables: dict[str, Any]
    file: str
    line: int


class Note(msgspec.Struct, frozen=True, tag=True):
    """Something that happened and is worth showing."""

    what: str
    element: str
    text: str
    detail: dict[str, Any] = {}


class Cancelled(msgspec.Struct, frozen=True, tag=True):
    """Work or a user task that is not wanted any more."""

    id: str
    element: str
    reason: str


Step = Work | UserTask | Note | Cancelled


class RunError(msgspec.Struct, frozen=True):
    """Why a run failed, and where in the model."""

    type: str
    message: str
    cause: str
    code: str | None
    element: str
    name: str
    file: str
    line: int | None

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        what = f'"{" ".join(self.name.split())}" ({self.element})' if self.name.strip() else f'"{self.element}"'
        return f"{where}: {what}: {self.type}: {self.message}" + (f" [{self.cause}]" if self.cause else "")


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended. `status` is "completed" or "failed"; `path` the elements that were passed, in order."""

    status: str
    variables: dict[str, Any]
    end_event: str | None
    error: RunError | None
    path: tuple[str, ...]
