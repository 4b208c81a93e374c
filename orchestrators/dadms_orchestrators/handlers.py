"""How a user declares what the service tasks of a model do: Python functions in a handlers module.

1. ``@handler("topic", ...)`` declares a function for one or several topics, ``@handler("*")`` for every topic that has none.
2. A function takes one ``Task`` and returns a mapping of new variables, or None. Its values must be JSON.
3. A function fails by raising. A ``BpmnError`` is a failure that the model may catch with an error boundary event; every other exception is a failed task.
4. The module is imported once, before any process of it starts; its functions run in worker processes, one call at a time in each.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from dadms_ipc.artifacts import as_map
from dadms_ipc.errors import RequestRefused
from dadms_ipc.shared import Context

if TYPE_CHECKING:
    from dadms_orchestrators.contract import Thread

ANY_TOPIC = "*"

Function = TypeVar("Function", bound=Callable[..., Any])


class BpmnError(Exception):
    """A failure that belongs to the model: an error boundary event with this code, or with none, catches it."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.bpmn_code = str(code)


class Task:
    """One service task, as its handler sees it. Changing it changes nothing: a handler speaks by what it returns."""

    __slots__ = (
        "_progress",
        "_thread",
        "connector",
        "directory",
        "documentation",
        "element",
        "inputs",
        "name",
        "pid",
        "properties",
        "tid",
        "topic",
        "variables",
    )

    def __init__(
        self,
        *,
        topic: str,
        name: str,
        element: str,
        variables: Mapping[str, Any],
        inputs: Mapping[str, Any],
        properties: Mapping[str, str],
        documentation: str,
        connector: Mapping[str, Any],
        pid: int,
        tid: int,
        directory: str,
        progress: Callable[[str, float | None], None],
        thread: "Thread | None" = None,
    ) -> None:
        self.topic = topic
        self.name = name  # as the diagram shows it
        self.element = element  # the id in the model
        self.variables = variables  # everything that the task sees, its input parameters included
        self.inputs = inputs  # the part that its own input parameters made
        self.properties = properties  # camunda:properties
        self.documentation = documentation  # often a prompt
        self.connector = connector  # the input parameters of a camunda:connector
        self.pid = pid
        self.tid = tid
        self.directory = directory  # the process's own working directory
        self._progress = progress
        self._thread = thread

    def progress(self, text: str, fraction: float | None = None) -> None:
        """Say how far the work is; ``fraction`` is 0..1. Costs one small message, lost without harm."""
        self._progress(text, fraction)

    @property
    def context(self) -> Context:
        """Give the shared context of the process."""
        return self._of_thread().context

    def artifact(self, value: object) -> dict[str, Any]:
        """Keep bytes, a NumPy array or an Arrow table; the reference can be a variable."""
        return dict(as_map(self._of_thread().artifact(value)))

    def open(self, value: object) -> Any:
        """Give what a reference stands for, mapped into memory and read-only."""
        return self._of_thread().open(value)

    def _of_thread(self) -> "Thread":
        if self._thread is None:
            raise RequestRefused(f'cannot share anything in task "{self.name}": it runs in no thread')
        return self._thread

    def __repr__(self) -> str:
        return f"Task(topic={self.topic!r}, name={self.name!r}, element={self.element!r}, tid={self.tid})"


class Declaration(msgspec.Struct, frozen=True):
    """A function for a topic, and where it stands."""

    topic: str
    function: Callable[[Task], Any]
    file: str
    line: int

    @property
    def place(self) -> str:
        """Give the file's name and line, for messages."""
        return f"{self.file.rpartition('/')[2]}:{self.line}"


_declared: list[Declaration] = []  # by the modules imported so far
_by_topic: dict[str, Declaration] = {}  # what ``install`` took over
_module: list[str] = []  # path of the handlers module, or nothing


def handler(*topics: str) -> Callable[[Function], Function]:
    """Declare the decorated function for these topics.

    Raises RequestRefused for what cannot be a handler, so that the mistake is shown at its line.
    """
    if not topics or not all(isinstance(topic, str) and topic for topic in topics):
        raise RequestRefused('cannot declare a handler without its topics: write @handler("my-topic")')

    def declare(function: Function) -> Function:
        _demand_callable_with_task(function)
        code = inspect.unwrap(function).__code__
        _declared.extend(Declaration(topic, function, code.co_filename, code.co_firstlineno) for topic in topics)
        return function

    return declare


def _demand_callable_with_task(function: Callable[..., Any]) -> None:
    name = getattr(function, "__name__", type(function).__name__)
    if not inspect.isfunction(function):
        raise RequestRefused(f'cannot declare "{name}" a handler: it is no function')
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise RequestRefused(f'cannot declare "{name}" a handler: it is async or yields, and a handler is a plain function')
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise RequestRefused(f'cannot declare "{name}" a handler: it must take exactly one argument, the task ({error})') from None


def forget() -> None:
    """Start from nothing: what was declared before belongs to another module."""
    _declared.clear()
    _by_topic.clear()
    _module.clear()


def install(path: str) -> list[str]:
    """Take over what the modules imported since ``forget`` have declared, and give the topics in their order.

    Raises RequestRefused when nothing was declared, or one topic twice.
    """
    chosen: dict[str, Declaration] = {}
    doubles: list[str] = []
    for declaration in _declared:
        first = chosen.setdefault(declaration.topic, declaration)
        if first is not declaration:
            doubles.append(f'topic "{declaration.topic}" has two functions: {_where(first)} and {_where(declaration)}')
    if doubles:
        raise RequestRefused(f'cannot use handlers "{path}": ' + "; ".join(doubles))
    if not chosen:
        raise RequestRefused(f'cannot use handlers "{path}": it declares none; decorate a function with @handler("my-topic")')
    _by_topic.update(chosen)
    _module.append(path)
    return list(chosen)


def _where(declaration: Declaration) -> str:
    return f"{declaration.function.__name__} ({declaration.place})"


def find(topic: str) -> Declaration | None:
    """Give the function for a topic, or the one for any topic, or None."""
    return _by_topic.get(topic) or _by_topic.get(ANY_TOPIC)


def module() -> str | None:
    """Give the path of the handlers module, or None when the process was started without."""
    return _module[0] if _module else None
