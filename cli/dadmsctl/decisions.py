"""A decision model on its way to the decision orchestrator: checked by the engine as a program, its decision chosen, its inputs compared with what was given.

1. A model that does not load is refused before anything is spawned, a line for each reason (``file:line:column: reason``).
2. A decision that is not there, or that is one of several, is refused with the names that there are, the nearest first.
3. An input that the model does not know, or that was not given, is a warning: what it means for the value only the evaluation can tell.
"""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc.errors import RequestRefused
from dadmsctl.job import Job, ModelUnfit, name_of, packed
from dadmsctl.reading import read_file
from dadmsctl.siblings import ask

NAMES_SHOWN = 12  # of the decisions or inputs that there are
LINES_SHOWN = 8  # warnings of one kind that have a line each; more are one line with their number


class Told(msgspec.Struct, frozen=True):
    """One thing that the engine says of a model, and where."""

    file: str
    line: int
    column: int
    node: str
    reason: str
    kind: str = ""
    severity: str = "error"
    rules: list[int] = []

    @property
    def place(self) -> str:
        """Give ``file:line:column``, as far as it is known."""
        return ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])

    def __str__(self) -> str:
        rules = f" ({'rule' if len(self.rules) == 1 else 'rules'} {', '.join(map(str, self.rules))})" if self.rules else ""
        return f"{self.place}: {self.node + ': ' if self.node else ''}{self.reason}{rules}"


class Input(msgspec.Struct, frozen=True):
    """An input of a model, with all names under which it may be given."""

    names: list[str]
    type: str


class Decision(msgspec.Struct, frozen=True):
    """What can be evaluated; ``outputs`` are the components of its value where a table names them."""

    id: str
    name: str
    kind: str
    inputs: list[str]
    outputs: list[str] = []


class Checked(msgspec.Struct, frozen=True):
    """A model that loads."""

    file: str
    name: str
    format: str
    top: list[str]
    decisions: list[Decision]
    inputs: list[Input]
    is_open: bool
    findings: list[Told] = []

    def type_of(self, name: str) -> str:
        """Give the declared type of an input."""
        return next((known.type for known in self.inputs if name in known.names), "Any")


class Refusal(msgspec.Struct, frozen=True):
    """Why a model does not load."""

    refused: list[Told] = []


def check(path: Path, others: Sequence[Path] = (), *, validates: bool = False) -> Checked:
    """Ask the decision engine; raises RequestRefused when the file cannot be read, ModelUnfit with every reason why it does not load."""
    read_file(path, "the model")
    for other in others:
        read_file(other, "the decisions")
    more = [word for other in others for word in ("--import", str(other))] + ([] if validates else ["--load-only"])
    answer = ask(f'check "{path}"', ["-m", "dadms_orchestrators.decision", "check", "--json", *more, "--", str(path)])
    if not answer.output:
        raise ModelUnfit(f'cannot check "{path.name}"', answer.complaints)
    refused = msgspec.json.decode(answer.output, type=Refusal).refused
    if refused:
        raise ModelUnfit(f'cannot use "{path.name}": the model does not load', [str(told) for told in refused])
    return msgspec.json.decode(answer.output, type=Checked)


def choose(checked: Checked, decision: str | None) -> Decision:
    """Give the decision that is meant; raises RequestRefused with the names that there are."""
    if checked.format == "jdm":
        if decision not in (None, *checked.top):
            raise RequestRefused(f'cannot evaluate "{decision}": a JDM model is one decision, "{checked.top[0]}"')
        return Decision(checked.top[0], checked.top[0], "decision", [])
    if decision is None:
        if len(checked.top) != 1:
            why = f"--decision NAME takes one of {listed(checked.top)}" if checked.top else "it has none that no other requires"
            raise RequestRefused(f'cannot choose a decision of "{Path(checked.file).name}": {why}')
        decision = checked.top[0]
    for known in checked.decisions:
        if decision in (known.id, known.name):
            return known
    if "." in decision:  # of an imported model: the engine knows
        return Decision(decision, decision, "decision", [])
    names = [known.name for known in checked.decisions]
    raise RequestRefused(f'cannot evaluate "{decision}": {_nearest(decision, names, "decision", names)}')


def warnings_of(checked: Checked, decision: Decision, given: Collection[str]) -> list[str]:
    """Say which of the names that were given the model does not know, and which inputs of the decision were not given."""
    missing = missing_inputs(checked, decision, given)
    absent = [known.names[0] for known in missing]
    lines = []
    if not checked.is_open:
        known_names = {name for known in checked.inputs for name in known.names}
        candidates = absent + sorted(known_names - set(absent))  # of two that are as near, the one that is missing is meant
        own = [known.names[0] for known in checked.inputs]
        unknown = [name for name in given if name not in known_names]
        if len(unknown) > LINES_SHOWN:
            lines.append(f"the model knows none of the {len(unknown)} inputs {listed(unknown)}")
        else:
            lines += [f'the model knows no input "{name}": {_nearest(name, candidates, "input", own)}' for name in unknown]
    if len(missing) > LINES_SHOWN:
        return [*lines, f"the {len(missing)} inputs {listed(absent)} were not given, and are null"]
    return [*lines, *(f'the input "{known.names[0]}" ({known.type}) was not given, and is null' for known in missing)]


def missing_inputs(checked: Checked, decision: Decision, given: Collection[str]) -> list[Input]:
    """Give the inputs that a decision reaches and that were given under none of their names."""
    wanted = set(decision.inputs)
    return [known for known in checked.inputs if known.names[0] in wanted and not any(name in given for name in known.names)]


def prepared(path: Path, given: Mapping[str, Any], others: Sequence[Path], decision: str | None) -> tuple[Job, Checked, Decision]:
    """Put the evaluation of a decision together; raises RequestRefused, ModelUnfit with every reason."""
    checked = check(path, others)
    chosen = choose(checked, decision)
    config = {**model_config(path, others), "decision": decision or chosen.name, "inputs": dict(given)}
    job = Job(name_of(path), "decision", packed(config), f"{path.name}: decision {chosen.name}", warnings_of(checked, chosen, given))
    return job, checked, chosen


def model_config(path: Path, others: Sequence[Path] = ()) -> dict[str, Any]:
    """Give a model with the files that it imports, as the orchestrator takes them."""
    source = read_file(path, "the model")
    siblings = {other.name: read_file(other, "the decisions") for other in others} | imported_files(path, source)
    return {"model": {"name": path.name, "source": source}, "siblings": siblings}


def imported_files(path: Path, source: bytes) -> dict[str, bytes]:
    """Give the files beside a DMN model that it imports, and those that they import; one that is absent is the engine's to name."""
    found: dict[str, bytes] = {}
    todo = [source]
    while todo:
        for location in re.findall(rb"<(?:[\w.-]+:)?import\b[^>]*\blocationURI\s*=\s*[\"']([^\"']+)[\"']", todo.pop()):
            name = Path(location.decode(errors="replace")).name
            if name not in found and name != path.name and (path.parent / name).is_file():
                found[name] = read_file(path.parent / name, "the imported model")
                todo.append(found[name])
    return found


def _nearest(name: str, known: Sequence[str], what: str, there: Sequence[str]) -> str:
    """Give the known name that was most likely meant, or those to list."""
    near = difflib.get_close_matches(name.casefold(), [other.casefold() for other in known], n=1)
    if near:
        meant = next(other for other in known if other.casefold() == near[0])
        return f'did you mean "{meant}"?'
    return f"its {what}s are {listed(there)}" if there else f"it has no {what}s"


def listed(names: Sequence[str]) -> str:
    """Give the first of some names, and how many more there are."""
    shown = ", ".join(f'"{name}"' for name in names[:NAMES_SHOWN])
    return shown + (f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else "")
