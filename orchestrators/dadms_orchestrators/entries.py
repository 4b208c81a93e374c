"""Entries with declared arguments: ``@thread`` functions, whose arguments are checked before their thread is queued.

1. The parameters of the function are the arguments, with their annotations as types and their defaults; a thread is submitted with a map of them.
2. A parameter that is annotated with ``Thread`` is given the thread, wherever it stands.
3. An ``async def`` is an async entry: many of its threads run in one worker at a time, and its parameter for the thread is an ``AsyncThread``.
4. What does not fit is refused where it is submitted, in the main, with the argument's name. The worker converts once more: what travels is data.
"""

import inspect
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from dadms_ipc.errors import RequestRefused
from dadms_ipc.port import Retry
from dadms_orchestrators.contract import AsyncThread, Thread

_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)  # parameters that a name can fill


class Declared:
    """A function that threads run, as an entry. It stays callable as the function that it was, by ``function``."""

    def __init__(
        self,
        function: Callable[..., object],
        *,
        name: str = "",
        retry: Retry | None = None,
        memory_limit: int | None = None,
        at_once: int | None = None,
    ) -> None:
        """Look at the signature once; raises RequestRefused for a function that cannot be an entry."""
        self.function = function
        self.retry = retry  # when its threads are tried again, unless their submission says otherwise
        self.name = name or function.__name__
        self.is_async = inspect.iscoroutinefunction(function)
        self.memory_limit = memory_limit  # bytes, of the worker that it runs in
        self.at_once = at_once  # threads of it that one worker has at a time; None: the kernel's default
        if at_once is not None and not self.is_async:
            raise RequestRefused(f'cannot declare the entry "{self.name}" with at_once = {at_once}: it is no async function')
        self._thread_parameter, fields = _fields(function, self.name)
        try:
            self._arguments = msgspec.defstruct(f"{self.name} arguments", fields, kw_only=True, forbid_unknown_fields=True)
            msgspec.msgpack.Decoder(self._arguments)  # so that a type that does not travel is refused here
        except TypeError as error:
            raise RequestRefused(f'cannot declare the entry "{self.name}": {error}') from None
        self._names = self._arguments.__struct_fields__

    def __call__(self, arguments: Any, thread: Thread | AsyncThread) -> object:
        """Run the function in a worker; of an async one, give its coroutine."""
        converted = self._converted(arguments)
        values = {name: getattr(converted, name) for name in self._names}
        if self._thread_parameter:
            values[self._thread_parameter] = thread
        return self.function(**values)

    def check(self, arguments: Any) -> None:
        """Raise RequestRefused with the argument's name when these arguments do not fit."""
        self._converted(arguments)

    def _converted(self, arguments: Any) -> msgspec.Struct:
        try:
            return msgspec.convert({} if arguments is None else arguments, self._arguments)
        except msgspec.ValidationError as error:
            raise RequestRefused(f'cannot run "{self.name}": {_told(str(error))}') from None


def _told(words: str) -> str:
    """Say of a msgspec error which argument it means: "Expected `int`, got `str` - at `$.count`"."""
    what, _, path = words.partition(" - at `$")
    what = what[:1].lower() + what[1:]
    return f"argument {path.strip('.`')}: {what}" if path else what


def _fields(function: Callable[..., object], name: str) -> tuple[str, list[tuple[str, Any] | tuple[str, Any, Any]]]:
    """Give the parameter that takes the thread, or "", and the others as fields of a Struct."""
    if not inspect.isfunction(function):
        raise RequestRefused(f'cannot declare the entry "{name}": it is no function')
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise RequestRefused(f'cannot declare the entry "{name}": it yields, and an entry returns once')
    own, other = (AsyncThread, Thread) if inspect.iscoroutinefunction(function) else (Thread, AsyncThread)
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # whatever evaluating an annotation raises
        raise RequestRefused(f'cannot declare the entry "{name}": an annotation cannot be read: {type(error).__name__}: {error}') from None
    thread_parameter = ""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in _KINDS:
            raise RequestRefused(f'cannot declare the entry "{name}": its parameter "{parameter}" has no name of its own to be given by')
        hint = hints.get(parameter.name, Any)
        if hint is other:
            what = "async, and" if own is AsyncThread else "a plain function, and"
            raise RequestRefused(f'cannot declare the entry "{name}": it is {what} its "{parameter.name}" has to be of type {own.__name__}')
        if hint is own:
            thread_parameter = parameter.name
        elif parameter.default is inspect.Parameter.empty:
            fields.append((parameter.name, hint))
        else:
            fields.append((parameter.name, hint, _default(parameter.default)))
    return thread_parameter, fields


def _default(value: object) -> object:
    """Give a default of a Struct's field: one that could be changed is made anew for each thread."""
    if isinstance(value, list | dict | set):
        kept = value
        return msgspec.field(default_factory=lambda: type(kept)(kept))
    return value


@typing.overload
def thread(function: Callable[..., object], /) -> Declared: ...
@typing.overload
def thread(
    *, name: str = "", retry: Retry | None = None, memory_limit: int | None = None, at_once: int | None = None
) -> Callable[[Callable[..., object]], Declared]: ...
def thread(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str = "",
    retry: Retry | None = None,
    memory_limit: int | None = None,
    at_once: int | None = None,
) -> Declared | Callable[[Callable[..., object]], Declared]:
    """Declare a function as an entry, under its own name or ``name``; raises RequestRefused for one that cannot be.

    ``retry`` says when a thread of it that failed is tried again; without it, each is begun at most once. ``memory_limit`` is in bytes and holds for the worker
    that a thread of it runs in. ``at_once`` is how many threads of an async entry one worker has at a time; without it, what the kernel has for a default.
    """

    def declare(decorated: Callable[..., object]) -> Declared:
        return Declared(decorated, name=name, retry=retry, memory_limit=memory_limit, at_once=at_once)

    return declare if function is None else declare(function)


__all__ = ["Declared", "Retry", "thread"]
