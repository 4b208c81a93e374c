"""Business rule tasks: which DMN file holds the decision that a task names, and its evaluation in a worker.

Rule 1: a decision is found by its id, or by its name, in one of the files that the process was started with; two that hold it are an error, not a choice.
Rule 2: a decision whose value is null because something went wrong is a failed task, with the engine's reasons.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dadms_ipc.errors import RequestRefused
from dadms_orchestrators.bpmn import Checked
from dadms_orchestrators.contract import Thread
from dadms_orchestrators.decision import DecisionError, Model, evaluate, load_model, to_json_value
from dadms_orchestrators.decision.errors import failure

MODELS_KEPT = 64  # compiled DMN files that a worker keeps; one more than a process has costs a compilation each time


class DecisionFailed(Exception):
    """A decision came to nothing; the text has the engine's reasons."""


class DecisionLibrary:
    """The DMN files of a process, by file name."""

    def __init__(self, sources: Mapping[str, bytes]) -> None:
        self._sources = sources

    def model_of(self, decision: str) -> Model:
        """Give the model that holds a decision; raises DecisionError, RequestRefused when none or several do."""
        found = [model for model in self._models() if (node := model.find(decision)) is not None and node.kind == "decision"]
        if len(found) == 1:
            return found[0]
        if found:
            raise RequestRefused(f'the decision "{decision}" stands in {len(found)} files: {", ".join(model.file for model in found)}')
        known = [f"{name} ({model.file})" for model in self._models() for name in model.decisions()]
        raise RequestRefused(
            f'no decision "{decision}"; ' + (f"there are {', '.join(known)}" if known else "the process was started without a DMN file")
        )

    def demand(self, checked: Checked) -> None:
        """Refuse a BPMN model whose decisions are not all here; raises RequestRefused with all that is missing."""
        problems = []
        for task in checked.tasks:
            if task.kind == "decision":
                try:
                    self.model_of(task.decision)
                except (RequestRefused, DecisionError) as error:
                    problems.append(f'{error} (task "{task.name or task.id}", {task.file}:{task.line})')
        if problems:
            raise RequestRefused("; ".join(problems))

    def _models(self) -> list[Model]:
        others = tuple(sorted(self._sources.items()))
        return [_compiled(name, others) for name in sorted(self._sources)]


@lru_cache(maxsize=MODELS_KEPT)
def _compiled(name: str, sources: tuple[tuple[str, bytes], ...]) -> Model:
    """Compile one of these files; it may import the others by their name, with or without a directory."""
    by_name = dict(sources)

    def resolve(where: str) -> bytes:
        for other, source in by_name.items():
            if other == where or other.rpartition("/")[2] == where.rpartition("/")[2]:
                return source
        raise KeyError(where)

    return load_model(by_name[name], name=name, resolve=resolve)


def run_decision(arguments: Mapping[str, Any], thread: Thread) -> dict[str, Any]:
    """Entry: evaluate the decision of a business rule task. Gives its ``value``, and the ``rules`` that matched, for people."""
    decision = arguments["decision"]
    result = evaluate(DecisionLibrary(thread.config.get("decisions", {})).model_of(decision), decision, arguments["variables"])
    if result.errors:  # a rule that takes anything may have given a value all the same: it was not meant for this
        raise DecisionFailed(failure(decision, result.value, list(map(str, result.errors))))
    return {"value": to_json_value(result.value), "rules": to_json_value(result.trace.rows())}
