"""How a user task is answered without a user: from the answers that the process was started with.

Rule 1: ``answers[task id]`` or ``answers[task name]``, when it is a map, holds the values of that task.
Rule 2: a field that is not there is taken from ``answers[field]``, and then from the variable of that name, as a form would show it filled in.
Rule 3: what is still missing keeps its default; whether that will do is the engine's to say.
Rule 4: a variable that a condition reads and nobody has set is answered with the task, when ``answers`` has it: many models ask for it in words only.
"""

from collections.abc import Mapping
from typing import Any

from dadms_orchestrators.bpmn import UserTask


def answer_for(task: UserTask, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Give the values for a user task."""
    own: dict[str, Any] = {}
    for key in (task.name, task.element):
        value = answers.get(key)
        if isinstance(value, Mapping):
            own.update(value)
    values = dict(own)
    for field in task.fields:
        if field.readonly or field.name in values:
            continue
        if field.name in answers:
            values[field.name] = answers[field.name]
        elif task.variables.get(field.name) is not None:
            values[field.name] = task.variables[field.name]
    for name in task.undefined:
        if name in answers:
            values.setdefault(name, answers[name])
    return values
