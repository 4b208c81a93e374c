"""Handlers that leave a trace of having run."""

from typing import Any

from dadms_orchestrators import Task, handler


@handler("count")
def count(task: Task) -> dict[str, Any]:
    return {task.element: task.element, "pid": task.pid}


@handler("fail")
def fail(task: Task) -> None:
    raise ValueError(f"no luck with {task.variables.get('what', 'anything')}")


@handler("not-json")
def not_json(task: Task) -> dict[str, Any]:
    return {"fine": 1, "scores": {"alpha": [1, {2}]}}
