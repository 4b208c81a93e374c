"""Importing a handlers module into this process: once, in a zygote, under its own caps.

The file is compiled here rather than by importlib's loader: nothing is written beside a user's file, and each way in which it may fail becomes one sentence
with the line. Its directory goes to the end of ``sys.path``, so that it can import its neighbours without hiding a module of anybody else.
"""

import sys
import traceback
from pathlib import Path
from types import ModuleType

from dadms_ipc.errors import DadmsError, HostFailure, RequestRefused
from dadms_orchestrators import handlers

MODULE_NAME = "dadms_handlers"  # in sys.modules: dataclasses and pickling look their module up


def load(path: str) -> list[str]:
    """Import the file and give the topics that it declares.

    Raises HostFailure when it cannot be read, RequestRefused when it does not import or declares nothing usable; the cause is chained for a log.
    """
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise HostFailure(f'cannot read handlers "{path}": {error.strerror}') from error
    directory = str(Path(path).resolve().parent)
    if directory not in sys.path:
        sys.path.append(directory)
    module = ModuleType(MODULE_NAME)
    module.__file__ = path
    sys.modules[MODULE_NAME] = module
    handlers.forget()
    try:
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the user's own code, as that user, is what this is for
    except SyntaxError as error:
        raise RequestRefused(f'cannot import handlers "{path}": {_place(error, path)}{error.msg}') from error
    except SystemExit as error:
        raise RequestRefused(
            f'cannot import handlers "{path}":{_line(error, path)} it exits (status {error.code}) while it is imported'
        ) from error
    except DadmsError as error:
        raise RequestRefused(f'cannot import handlers "{path}":{_line(error, path)} {error}') from error
    except MemoryError as error:
        raise RequestRefused(f'cannot import handlers "{path}":{_line(error, path)} out of memory') from error
    except Exception as error:
        raise RequestRefused(f'cannot import handlers "{path}":{_line(error, path)} {type(error).__name__}: {error}') from error
    return handlers.install(path)


def _place(error: SyntaxError, path: str) -> str:
    """Give the line, and the file where it is another one; a file as a whole (its encoding, a null byte) has no line."""
    if error.filename in (path, None):
        return f"line {error.lineno}: " if error.lineno else ""
    return f"{error.filename}:{error.lineno}: " if error.lineno else f"{error.filename}: "


def _line(error: BaseException, path: str) -> str:
    """Give the deepest line of the user's own file that led to the error."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f" line {lines[-1]}:" if lines else ""
