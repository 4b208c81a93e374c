"""Client library of DADMS' execution microkernel: imports msgspec, and pyzmq for a daemon behind a network only.

Names are loaded when they are first used, so that a program that needs only channels and ports (kernel, zygotes, workers) imports little.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dadms_ipc.client import Client as Client
    from dadms_ipc.errors import DadmsError as DadmsError
    from dadms_ipc.errors import RequestRefused as RequestRefused

_HOME = {"Client": "client", "DadmsError": "errors", "RequestRefused": "errors"}


def __getattr__(name: str) -> object:
    """Import the module that holds a public name (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
