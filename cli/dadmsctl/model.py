"""A model file on its way to an orchestrator: read, checked, and put together with everything that it needs, before anything is spawned.

1. The engine's own check judges a model (of a decision: decisions.py); its findings are shown as they are, a line each (``file:line: reason``).
2. A decision that a business-rule task refers to must be in a ``.dmn`` file that was given, or in one beside the model.
3. Values that forms demand and that nobody gave are asked for here, all of them at once, in the words that would give them.
4. A value whose name stands nowhere in what is run, but nearly so in a form or a condition, is a warning: it may be meant for a task that makes up its names.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc.errors import RequestRefused
from dadmsctl.decisions import prepared
from dadmsctl.job import Job, ModelUnfit, name_of, packed
from dadmsctl.reading import read_file
from dadmsctl.siblings import ask

NEAR = 0.7  # of difflib's likeness: one slip in a word of four letters, or two letters the wrong way round in one of five


class Field(msgspec.Struct, frozen=True):
    """A field of a form, as far as it matters here."""

    name: str
    default: str | None = None
    required: bool = False
    readonly: bool = False


class UserTask(msgspec.Struct, frozen=True):
    """A user task and its form."""

    id: str
    name: str
    fields: list[Field] = []


class Task(msgspec.Struct, frozen=True):
    """A task of the model."""

    id: str
    name: str
    kind: str
    file: str
    line: int
    decision: str = ""


class Call(msgspec.Struct, frozen=True):
    """A call activity's file."""

    file: str


class Finding(msgspec.Struct, frozen=True):
    """Something about a model that its author should know."""

    file: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.reason}"


class Checked(msgspec.Struct, frozen=True):
    """What the check says that a model needs; it says more, which is not for us."""

    file: str
    name: str = ""
    tasks: list[Task] = []
    topics: list[str] = []
    user_tasks: list[UserTask] = []
    start_fields: list[Field] = []
    condition_variables: list[str] = []
    calls: list[Call] = []
    warnings: list[Finding] = []


class Refusal(msgspec.Struct, frozen=True):
    """What the check says of a model that cannot run."""

    refused: list[Finding] = []


def prepare(path: Path, given: Mapping[str, Any], decisions: Sequence[Path], decision: str | None, handlers: bytes = b"") -> Job:
    """Put a job together, where ``handlers`` is the text of a handlers module; raises RequestRefused, ModelUnfit with every reason."""
    if path.suffix.lower() == ".dmn":
        return prepared(path, given, decisions, decision)[0]
    if decision is not None:
        raise RequestRefused(f'cannot evaluate "{decision}": {path.name} is no .dmn file')
    return _bpmn_job(path, given, decisions, handlers)


def _bpmn_job(path: Path, given: Mapping[str, Any], decisions: Sequence[Path], handlers: bytes) -> Job:
    source = read_file(path, "the model")
    checked = check(path)
    missing = values_missing(checked, given)
    if missing:
        raise ModelUnfit(f'cannot run "{path.name}": values are missing; --input FILE with a JSON object gives many at once', missing)
    called = dict.fromkeys(call.file for call in checked.calls if Path(call.file).name != path.name)
    siblings = {Path(file).name: read_file(Path(file), "the called model") for file in called}
    tables = decision_files(path, checked, decisions)
    config = {
        "model": {"name": path.name, "source": source},
        "siblings": siblings,
        "decisions": tables,
        "variables": dict(given),
        "answers": dict(given),
    }
    texts = [source, *siblings.values(), *tables.values(), handlers]
    work = [task for task in checked.tasks if task.kind not in ("user", "manual")]
    headline = f"{path.name}: {checked.name or path.stem}, {_count(len(work), 'task')}"
    headline += f" of {_count(len(checked.topics), 'topic')}" if checked.topics else ""
    return Job(name_of(path), "bpmn", packed(config), headline, [*map(str, checked.warnings), *misspelt(checked, given, texts)])


def check(path: Path) -> Checked:
    """Ask the BPMN engine; raises ModelUnfit with its findings."""
    answer = ask(f'check "{path}"', ["-m", "dadms_orchestrators.bpmn", "check", str(path), "--json"])
    if answer.is_yes:
        return msgspec.json.decode(answer.output, type=Checked)
    refusal = msgspec.json.decode(answer.output, type=Refusal) if answer.output else Refusal()
    raise ModelUnfit(f'cannot run "{path.name}": the model is refused', [str(finding) for finding in refusal.refused] or answer.complaints)


def values_missing(checked: Checked, given: Mapping[str, Any]) -> list[str]:
    """Say which forms lack which values, and how to give them: ``user task "X" needs: --set a=…``."""
    forms = [("the start form", [given], checked.start_fields)]
    for task in checked.user_tasks:
        own = [given[key] for key in (task.name, task.id) if isinstance(given.get(key), Mapping)]  # values for this task alone
        forms.append((f'user task "{task.name or task.id}"', [given, *own], task.fields))
    lines = []
    for who, sources, fields in forms:
        absent = [field.name for field in fields if _is_demanded(field) and not any(field.name in source for source in sources)]
        if absent:
            lines.append(f"{who} needs: {' '.join(f'--set {name}=…' for name in absent)}")
    return lines


def misspelt(checked: Checked, given: Iterable[str], texts: Iterable[bytes]) -> list[str]:
    """Say which names were given that stand in none of the texts of a run (models, decisions, handlers) and look like one that is read."""
    forms = [*checked.start_fields, *(field for task in checked.user_tasks for field in task.fields)]
    read = list(dict.fromkeys([*(field.name for field in forms), *checked.condition_variables]))
    words = {word for text in texts for word in re.findall(r"\w+", text.decode(errors="replace"))}
    lines = []
    for name in given:
        near = difflib.get_close_matches(name, read, n=1, cutoff=NEAR) if not words.issuperset(re.findall(r"\w+", name)) else []
        if near:
            lines.append(f'nothing in the model reads "{name}"; did you mean "{near[0]}"?')
    return lines


def _is_demanded(field: Field) -> bool:
    return field.required and not field.readonly and field.default is None


def decision_files(model: Path, checked: Checked, given: Sequence[Path]) -> dict[str, bytes]:
    """Give the ``.dmn`` files that the model's decisions are in: all that were given, and of those beside the model the ones that are needed."""
    found = {path.name: read_file(path, "the decisions") for path in given}
    if len(found) != len(given):
        raise RequestRefused("cannot use --decisions: two of the files have the same name")
    wanted = {task.decision: task for task in checked.tasks if task.decision}
    absent = [name for name in wanted if not any(holds(source, name) for source in found.values())]
    beside = decisions_beside(model) if absent else []
    unread: list[str] = []
    for path in beside:
        try:
            source = b"" if path.name in found else read_file(path, "the decisions")
        except RequestRefused as refused:  # of a file that may have nothing to do with this model
            unread.append(str(refused))
            continue
        if any(holds(source, name) for name in absent):
            found[path.name] = source
    lines = [
        f'{task.file}:{task.line}: task "{task.name or task.id}" needs the decision "{name}", which is in none of: {_names([*given, *beside])}'
        for name, task in wanted.items()
        if not any(holds(source, name) for source in found.values())
    ]
    if lines:
        raise ModelUnfit(f'cannot run "{model.name}": decisions are missing; --decisions FILE.dmn gives them', [*lines, *unread])
    return found


def decisions_beside(model: Path) -> list[Path]:
    """Give the ``.dmn`` files beside a model: regular ones that are not hidden (an editor's locks and copies are)."""
    return sorted(path for path in model.parent.glob("*.dmn") if not path.name.startswith(".") and path.is_file())


def holds(source: bytes, decision: str) -> bool:
    """Tell whether a DMN file seems to define a decision; the decision engine is the judge, later."""
    return re.search(rb"<(?:[\w.-]+:)?decision\b[^>]*\bid\s*=\s*[\"']" + re.escape(decision.encode()) + rb"[\"']", source) is not None


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(dict.fromkeys(path.name for path in paths)) or "no .dmn file was given or stands beside it"
