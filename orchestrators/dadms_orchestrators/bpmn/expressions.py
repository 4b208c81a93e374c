"""Evaluating what a model says over the variables of a run, and failing with a place in the model.

Rule 1: a name that nobody set is an error in a condition, an output parameter, a mapping and an expression. In an input parameter and in the default of a form field it counts as null,
  and the caller is told: a task may take what is not there, a decision may not rest on it.
Rule 2: a failure names the element, the file and the line.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from dadms_orchestrators.bpmn.juel import JuelError, Template, Undefined, parse_condition, parse_template
from dadms_orchestrators.bpmn.juel_eval import Execution, truth_of, value_of
from dadms_orchestrators.bpmn.model import Node, Parameter, Process, Script, Text, Value
from dadms_orchestrators.bpmn.steps import RunError, TaskError
from dadms_orchestrators.bpmn.variables import NotJson, Scope, json_copy


class Failure(Exception):
    """Something in the model failed at run time: why, and where."""

    def __init__(self, error: TaskError, node: Node, process: Process, line: int | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.node = node
        self.process = process
        self.line = node.line if line is None else line

    def told(self) -> RunError:
        """The error of the run."""
        error, node = self.error, self.node
        return RunError(error.type, error.message, error.cause, error.code, node.id, node.name, self.process.file, self.line)


@lru_cache(maxsize=4096)  # expressions of a few models; a loop evaluates the same ones again and again
def _template(source: str, is_condition: bool) -> Template:
    return parse_condition(source) if is_condition else parse_template(source)


class Evaluator:
    """Evaluates for one node in one scope. `assumed` collects the names that count as null; None makes them errors."""

    def __init__(
        self, scope: Scope, node: Node, process: Process, instance: str, business_key: str | None, *, assumed: list[str] | None = None
    ) -> None:
        self.scope = scope
        self.node = node
        self.process = process
        self.execution = Execution(instance, business_key, process.scope.id, node.id, node.name, scope.get)
        self.assumed = assumed

    def _lookup(self, name: str) -> Any:
        if name in self.scope:
            return self.scope[name]
        if name == "execution":
            return self.execution
        if self.assumed is None:
            raise KeyError(name)
        self.assumed.append(name)
        return None

    def _failure(self, owner: str, text: Text, error: JuelError, hint: str = "") -> Failure:
        shown = " ".join(text.source.split())
        message = f"{owner}: {error.message}, in {shown if len(shown) <= 120 else shown[:117] + '...'}{hint}"
        line = text.line + text.source.count("\n", 0, error.offset)
        return Failure(TaskError("ExpressionError", message), self.node, self.process, line)

    def condition(self, owner: str, text: Text) -> bool:
        """Whether a condition holds; raises Failure."""
        try:
            return truth_of(_template(text.source, True), self._lookup)
        except Undefined as error:
            hint = f"; give it with --set {error.name}=VALUE, or let a task before it return it"
            raise self._failure(owner, text, error, hint) from None
        except JuelError as error:
            raise self._failure(owner, text, error) from None

    def text(self, owner: str, text: Text) -> Any:
        """The value of a text, which is JSON; raises Failure."""
        try:
            return json_copy(value_of(_template(text.source, False), self._lookup), "its value")
        except JuelError as error:
            raise self._failure(owner, text, error) from None
        except NotJson as error:
            raise Failure(TaskError("NotJson", f"{owner}: {error}"), self.node, self.process, text.line) from None

    def value(self, owner: str, value: Value) -> Any:
        """The value of a parameter; a script in it is given as it stands, for whoever does the work."""
        if isinstance(value, Text):
            return self.text(owner, value)
        if isinstance(value, Script):
            return {"script": value.source, "language": value.language}
        if isinstance(value, dict):
            return {key: self.value(owner, inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.value(owner, inner) for inner in value]
        return None

    def parameter(self, parameter: Parameter) -> Any:
        """The value of an input or output parameter; raises Failure."""
        return self.value(f'parameter "{parameter.name}"', parameter.value)
