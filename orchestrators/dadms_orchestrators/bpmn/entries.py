"""What the workers of a BPMN process run: one function for each way in which a task can be done.

Rule 1: a worker keeps nothing between threads but what can be thrown away (decision models that it has read).
Rule 2: whatever comes back is JSON, and what is not names its variable and type here, where it was made.
Rule 3: a script sees the variables of its task as its global names, in copies. The names that it sets or changes are its outputs, except those that begin with
an underscore, and modules, functions and classes. If its last statement is an expression, that value is its result (camunda:resultVariable).
"""

import ast
import json
import textwrap
import types
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from dadms_orchestrators.contract import Thread
from dadms_orchestrators.sdk.json_values import NotJson, as_json
from dadms_orchestrators.sdk.tasks import call_handler

HTTP_TIMEOUT = 30.0  # seconds for each step of an http-connector's request; the thread's own time-out stands above it
HTTP_LIMIT = 200_000  # bytes of a response: a result of a thread holds 256 KiB, and this one has headers too


class ScriptFailed(Exception):
    """A script task raised; the text has the line of the script."""


class ConnectorFailed(Exception):
    """The request of an http-connector could not be made, or was answered with an error."""


def run_script(arguments: Mapping[str, Any], thread: Thread) -> dict[str, Any]:
    """Entry: run a script task. Gives ``variables``, and ``result`` when its last statement is an expression."""
    name = f'script of "{arguments["name"]}"'
    before: dict[str, Any] = arguments["variables"]
    scope: dict[str, Any] = {**before, "__name__": "dadms_script", "progress": before.get("progress", thread.progress)}
    body, last = _parsed(arguments["script"], name)
    answer: dict[str, Any] = {}
    untouched = as_json(before, "", -1)  # a script may change a list in place, and that is an output too
    try:
        exec(compile(body, name, "exec"), scope)  # noqa: S102 - the model's own code, in a capped worker, is what a script task is
        if last is not None:
            answer["result"] = eval(compile(last, name, "eval"), scope)  # noqa: S307 - the same
    except Exception as error:
        raise _script_failed(error, name) from error
    outputs = {key: value for key, value in scope.items() if _is_output(key, value, untouched)}
    try:
        answer["variables"] = as_json(outputs, "", -1)
        if "result" in answer:
            answer["result"] = as_json(answer["result"], "its result")
    except NotJson as error:
        raise NotJson(f"the {name} made a variable that cannot be kept: {error}") from None
    return answer


def _parsed(source: str, name: str) -> tuple[ast.Module, ast.Expression | None]:
    """Split a script into its statements and, when it ends in one, the expression."""
    tree = ast.parse(textwrap.dedent(source), name)
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = tree.body.pop()
        assert isinstance(last, ast.Expr)
        return tree, ast.Expression(last.value)
    return tree, None


def _is_output(key: str, value: object, untouched: Mapping[str, Any]) -> bool:
    if key.startswith("_") or isinstance(value, types.ModuleType | type) or callable(value):
        return False
    return key not in untouched or type(value) is not type(untouched[key]) or value != untouched[key]


def _script_failed(error: Exception, name: str) -> Exception:
    if isinstance(getattr(error, "bpmn_code", None), str):
        return error
    trace = error.__traceback__
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return ScriptFailed(f"line {line} of the {name}: {type(error).__name__}: {error}")


def run_http(arguments: Mapping[str, Any], _thread: Thread) -> dict[str, Any]:
    """Entry: make the request of a camunda http-connector for which no handler was declared.

    Gives ``statusCode``, ``headers`` and ``response`` (text), the names that Camunda's own connector uses; an answer of 400 or above is a failed task.
    """
    connector = arguments["connector"]
    url, method = str(connector.get("url") or ""), str(connector.get("method") or "GET").upper()
    if not url.startswith(("http://", "https://")):
        raise ConnectorFailed(f'cannot request "{url}": the connector needs an http:// or https:// url')
    payload = connector.get("payload")
    data = None if payload is None else (payload if isinstance(payload, str) else json.dumps(payload)).encode()
    headers = {str(key): str(value) for key, value in (connector.get("headers") or {}).items()}
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - the scheme was looked at above
    try:
        with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT) as response:  # noqa: S310 - the same
            body = response.read(HTTP_LIMIT + 1)
            status, answered = response.status, dict(response.headers.items())
    except urllib.error.HTTPError as error:
        raise ConnectorFailed(f'{method} "{url}" was answered with {error.code} {error.reason}') from None
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise ConnectorFailed(f'cannot {method} "{url}": {getattr(error, "reason", error)}') from None
    if len(body) > HTTP_LIMIT:
        raise ConnectorFailed(f'the answer to {method} "{url}" is above {HTTP_LIMIT} bytes')
    return {"statusCode": status, "headers": answered, "response": body.decode("utf-8", "replace")}


ENTRIES: dict[str, Callable[[Any, Thread], object]] = {"external": call_handler, "script": run_script, "http": run_http}
