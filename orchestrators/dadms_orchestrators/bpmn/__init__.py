"""BPMN: check a model, load it, run it. A pure library; docs/reference/bpmn.md has its API on one page.

The parts, from the file to the outcome: `markup` (safe XML), `model` and `reader` with `extensions` (what the file says), `juel` and `juel_eval` (expressions), `rules` and `checking` (what can
run), `specs` and `tokens` (SpiffWorkflow underneath), `run` with `work`, `mapping`, `expressions`, `timers` and `variables` (what happens), `steps` (what is said), `snapshot` (what is kept).

Names are imported when they are asked for: a check needs neither the engine nor SpiffWorkflow, and a command line waits for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dadms_orchestrators.bpmn.checking import Checked as Checked
    from dadms_orchestrators.bpmn.checking import check as check
    from dadms_orchestrators.bpmn.checking import load_siblings as load_siblings
    from dadms_orchestrators.bpmn.checking import siblings_wanted as siblings_wanted
    from dadms_orchestrators.bpmn.definition import Definition as Definition
    from dadms_orchestrators.bpmn.definition import load as load
    from dadms_orchestrators.bpmn.refusal import Finding as Finding
    from dadms_orchestrators.bpmn.refusal import ModelRefused as ModelRefused
    from dadms_orchestrators.bpmn.refusal import RunRefused as RunRefused
    from dadms_orchestrators.bpmn.run import UNSET as UNSET
    from dadms_orchestrators.bpmn.run import Run as Run
    from dadms_orchestrators.bpmn.steps import Cancelled as Cancelled
    from dadms_orchestrators.bpmn.steps import Field as Field
    from dadms_orchestrators.bpmn.steps import Note as Note
    from dadms_orchestrators.bpmn.steps import Outcome as Outcome
    from dadms_orchestrators.bpmn.steps import RunError as RunError
    from dadms_orchestrators.bpmn.steps import Step as Step
    from dadms_orchestrators.bpmn.steps import TaskError as TaskError
    from dadms_orchestrators.bpmn.steps import UserTask as UserTask
    from dadms_orchestrators.bpmn.steps import Work as Work

_HOMES = {
    "checking": ("Checked", "check", "load_siblings", "siblings_wanted"),
    "definition": ("Definition", "load"),
    "refusal": ("Finding", "ModelRefused", "RunRefused"),
    "run": ("UNSET", "Run"),
    "steps": ("Cancelled", "Field", "Note", "Outcome", "RunError", "Step", "TaskError", "UserTask", "Work"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
