"""Importing the code that a zygote forks: an orchestrator, and a handlers module for it. What does not import becomes one sentence for a person.

1. ``module:attribute`` names an object that is an ``Orchestrator``: the contract of dadms_orchestrators, which dadmsd never imports by itself.
2. Nothing that the code does while it is imported gets past this module: it may raise, exit, or be no code at all.
3. The sentence names the file, the line of the user's own code that led there, and the error; what is shown of the traceback begins there too.
"""

import importlib
import os
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from dadms_ipc.errors import DadmsError
from dadms_ipc.port import Gate

REASON_LIMIT = 2_000  # characters of the sentence, which is told in events and on terminals
OUTPUT_LIMIT = 16_000  # characters of a traceback, here and in the log: where it begins and where it ends say most
_OWN = str(Path(__file__).resolve().parent.parent) + os.sep  # frames below it are the daemon's


class Orchestrator(Protocol):
    """What is expected of the imported object."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def entries(self) -> Mapping[str, Callable[[Any, Any], object]]: ...
    def load_handlers(self, path: str) -> list[str]: ...
    def main(self, port: socket.socket, gate: Gate) -> int: ...


class NotImported(DadmsError):
    """Code did not import; ``output`` is the traceback from the user's own frames on."""

    def __init__(self, reason: str, output: str = "") -> None:
        super().__init__(reason if len(reason) <= REASON_LIMIT else f"{reason[: REASON_LIMIT - 1]}…")
        self.output = output


def import_orchestrator(reference: str) -> Orchestrator:
    """Give the object that ``module:attribute`` names.

    Raises NotImported.
    """
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise NotImported(f'cannot import orchestrator "{reference}": it must be named as module:attribute')
    subject = f'cannot import orchestrator "{reference}"'
    try:
        found = getattr(importlib.import_module(module_name), attribute, None)
    except BaseException as error:
        raise NotImported(f"{subject}: {_sentence(error, None)}", shortened(error)) from error
    if found is None:
        raise NotImported(f'{subject}: the module "{module_name}" has no "{attribute}"')
    _demand_contract(found, subject)
    orchestrator: Orchestrator = found
    return orchestrator


def _demand_contract(found: object, subject: str) -> None:
    if isinstance(found, type):
        raise NotImported(f"{subject}: it is the class {found.__name__}, not an object of it")
    for attribute, kind in (("name", str), ("version", str), ("entries", Mapping)):
        value = getattr(found, attribute, None)
        if not isinstance(value, kind):
            raise NotImported(f'{subject}: its "{attribute}" is {_described(value)}, and must be a {kind.__name__.lower()}')
    for attribute in ("load_handlers", "main"):
        if not callable(getattr(found, attribute, None)):
            raise NotImported(f'{subject}: it has no method "{attribute}"')
    broken = [str(name) for name, entry in found.entries.items() if not isinstance(name, str) or not callable(entry)]  # type: ignore[attr-defined] # looked at above
    if broken:
        raise NotImported(f'{subject}: its entry "{broken[0]}" cannot be called')


def _described(value: object) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"


def load_handlers(orchestrator: Orchestrator, path: str) -> list[str]:
    """Have the orchestrator import a handlers module, and give its topics; modules beside it can be imported, then and later.

    Raises NotImported.
    """
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise NotImported(f'cannot read handlers "{path}": {error.strerror}') from error
    except ValueError as error:
        raise NotImported(f'cannot read handlers "{path}": {error}') from error
    directory = str(Path(path).resolve().parent)
    if directory not in sys.path:
        sys.path.append(directory)  # last: it must not hide anybody else's module
    try:
        return list(orchestrator.load_handlers(path))
    except DadmsError as error:
        cause = error.__cause__  # the user's own error, where there was one; a refusal of ours says all in its sentence
        raise NotImported(str(error), "" if cause is None or isinstance(cause, DadmsError) else shortened(cause)) from error
    except BaseException as error:
        raise NotImported(f'cannot import handlers "{path}": {_sentence(error, path)}', shortened(error)) from error


def _sentence(error: BaseException, path: str | None) -> str:
    """Say where and what, in a line."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{_place(error.filename, error.lineno, path)}: {error.msg}"
    if isinstance(error, SyntaxError):  # of the file as a whole: its encoding, or a null byte
        return error.msg if error.filename in (path, None) else f"{error.filename}: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    own = [frame for frame in frames if frame.filename == path] or frames
    where = f"{_place(own[-1].filename, own[-1].lineno or 1, path)}: " if own else ""
    if isinstance(error, SystemExit):
        return f"{where}it exits (status {error.code}) while it is imported"
    if isinstance(error, MemoryError):
        return f"{where}out of memory"
    return f"{where}{type(error).__name__}: {_text(error)}"


def _place(filename: str, line: int, path: str | None) -> str:
    return f"line {line}" if filename == path else f"{filename}: line {line}"


def _text(error: BaseException) -> str:
    try:
        return " ".join(str(error).split())[:1000]
    except Exception:  # a user's __str__
        return "(its text cannot be shown)"


def _is_users(filename: str) -> bool:
    return not filename.startswith(("<frozen ", _OWN)) and not filename.startswith(os.path.dirname(importlib.__file__))  # noqa: PTH120 - text of a code object


def shortened(error: BaseException) -> str:
    """Format a traceback from the first frame of the user's own on."""
    try:
        text = "".join(traceback.format_exception(type(error), error, _users_part(error.__traceback__)))
    except Exception as failure:  # a user's __str__ again
        text = f"{type(error).__name__} (its traceback cannot be shown: {type(failure).__name__})\n"
    if len(text) <= OUTPUT_LIMIT:
        return text
    end = OUTPUT_LIMIT // 2 - 50  # the note between them has fewer than 100 characters
    return f"{text[:end]}\n… {len(text) - 2 * end} characters left out …\n{text[-end:]}"


def _users_part(frames: TracebackType | None) -> TracebackType | None:
    part = frames
    while part is not None and not _is_users(part.tb_frame.f_code.co_filename):
        part = part.tb_next
    return part
