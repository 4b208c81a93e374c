"""The executable form of a checked model: built once, shared by every run, never changed by one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from dadms_orchestrators.bpmn.checking import Checked, check
from dadms_orchestrators.bpmn.model import Process
from dadms_orchestrators.bpmn.specs import build, process_name

# SpiffWorkflow prepares a record of every change of state, also when nobody listens, and of all data when its loggers have no level of their own.
for _name in ("spiff", "spiff.workflow", "spiff.task"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Definition:
    """A model that can be run."""

    def __init__(self, checked: Checked) -> None:
        self.checked = checked
        self.process: Process = checked.processes[checked.process]
        self.specs: dict[str, Any] = build(checked.processes)
        self.main: Any = self.specs[process_name(checked.process)]


def load(
    model: Checked | bytes, *, name: str = "model.bpmn", siblings: Mapping[str, bytes] | None = None, process: str | None = None
) -> Definition:
    """The definition of a checked model, or of a source, which is checked first; raises ModelRefused."""
    return Definition(model if isinstance(model, Checked) else check(model, name=name, siblings=siblings, process=process))
