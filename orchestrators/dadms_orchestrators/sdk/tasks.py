"""Calling a handler for a task, in a worker: what it is given, and what of its answer is taken."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dadms_ipc.errors import InternalError, RequestRefused
from dadms_orchestrators import handlers
from dadms_orchestrators.contract import Thread
from dadms_orchestrators.sdk.json_values import NotJson, as_json


class BadReturn(RequestRefused):
    """A handler returned what cannot be variables."""


def call_handler(arguments: Mapping[str, Any], thread: Thread) -> dict[str, Any]:
    """Entry: call the function for ``topic`` with a Task and give its new variables.

    ``arguments`` has topic, name, element, variables, inputs, properties, documentation, connector. Raises whatever the function raises.
    """
    topic = arguments["topic"]
    declaration = handlers.find(topic)
    if declaration is None:
        raise InternalError(f'no handler for topic "{topic}" in this worker')
    task = handlers.Task(
        topic=topic,
        name=arguments["name"],
        element=arguments["element"],
        variables=MappingProxyType(arguments["variables"]),
        inputs=MappingProxyType(arguments["inputs"]),
        properties=MappingProxyType(arguments["properties"]),
        documentation=arguments["documentation"],
        connector=MappingProxyType(arguments["connector"]),
        pid=thread.pid,
        tid=thread.tid,
        directory=thread.directory,
        progress=thread.progress,
        thread=thread,
    )
    return _variables(declaration.function(task), f'handler "{declaration.function.__name__}" ({declaration.place})')


def _variables(returned: object, who: str) -> dict[str, Any]:
    """Take what a handler returned; raises BadReturn with the key and the type."""
    if returned is None:
        return {}
    if not isinstance(returned, Mapping):
        raise BadReturn(f"{who} returned {type(returned).__name__}, and returns a mapping of variables, or None")
    try:
        variables: dict[str, Any] = as_json(returned, "", -1)
    except NotJson as error:
        raise BadReturn(f"{who} returned a variable that cannot be kept: {error}") from None
    return variables
