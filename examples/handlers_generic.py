"""One handlers module for any model: it does every task by saying what it was asked to do.

It stands in for the services that a model would call, so that a model can be walked through before any of them exists. What a task declares as its outputs
(``data.output``) is set to a short text; nothing is computed and nothing leaves the machine.
"""

from typing import Any

from dadms_orchestrators import Task, handler

# What the real services answered with, where a model's gateways ask for it.
STATUS_OF_TOPIC = {
    "dadm-analysis": "success",
    "integrated-analysis": "completed",
}


def outputs_of(task: Task) -> list[str]:
    """Give the names of the variables that a task says it makes: ``data.output``, with commas between them."""
    return [name.strip() for name in task.properties.get("data.output", "").split(",") if name.strip()]


@handler("*")
def describe(task: Task) -> dict[str, Any]:
    """Do any task."""
    service = task.properties.get("service.name", task.topic)
    said = f"{task.name or task.element}: done by the generic handler in place of {service}"
    variables: dict[str, Any] = dict.fromkeys(outputs_of(task), said)
    variables[f"{task.element}_result"] = {"topic": task.topic, "inputs": sorted(task.inputs), "said": said}
    if task.topic in STATUS_OF_TOPIC:
        variables["analysis_status"] = STATUS_OF_TOPIC[task.topic]
    return variables
