"""Handlers that leave a trace of having run."""

from pathlib import Path
from typing import Any

from dadms_orchestrators import BpmnError, Task, handler


@handler("count")
def count(task: Task) -> dict[str, Any]:
    return {task.element: task.element, "pid": task.pid}


@handler("fail")
def fail(task: Task) -> None:
    raise ValueError(f"no luck with {task.variables.get('what', 'anything')}")


@handler("not-json")
def not_json(task: Task) -> dict[str, Any]:
    return {"fine": 1, "scores": {"alpha": [1, {2}]}}


@handler("work")
def work(task: Task) -> None:
    if task.variables["how"] == "forever":
        Path(task.variables["fifo"]).read_text()  # nobody ever writes
    if task.variables["how"] == "nothing left":
        raise BpmnError("NONE_LEFT", "all gone")
    if task.variables["how"] == "otherwise":
        raise BpmnError("SOMETHING_ELSE", "not expected")
