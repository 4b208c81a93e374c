"""The BPMN orchestrator: the main of a process that runs one instance of a model.

1. It decides nothing about the model: ``Run`` says which work is ready, workers do it, and what they give goes back into ``Run``.
2. Everything that can be known to be missing (a handler, a decision) is an error before the first task runs.
3. What became ready together is submitted together, so parallel branches run in different OS processes as far as there are slots.
4. A thread that ended in any way but "completed" is a failed task. A task has no retries unless its model says so, and version 0.1 reads no such saying.
5. User tasks are answered from what the process was started with; a field that nobody answered fails the task with its name.
6. What the run has come to is a checkpoint before anything is submitted that follows from it: an incarnation that begins with one runs no task again that was done in it.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import dadms_orchestrators.sdk.line  # noqa: F401 - heavy: loaded here, once, in the zygote
from dadms_ipc.envelope import Kind
from dadms_ipc.errors import DadmsError, RequestRefused
from dadms_ipc.inbox import Message
from dadms_orchestrators import handlers
from dadms_orchestrators.bpmn import Cancelled, Checked, Definition, ModelRefused, Run, RunRefused, TaskError, UserTask, Work, check, load
from dadms_orchestrators.bpmn.answers import answer_for
from dadms_orchestrators.bpmn.decisions import DecisionLibrary, run_decision
from dadms_orchestrators.bpmn.entries import ENTRIES
from dadms_orchestrators.contract import Orchestrator
from dadms_orchestrators.sdk.process import MessageArrived, Process
from dadms_orchestrators.sdk.session import Accepted, Event, Refused, StopRequested, ThreadEnded

VERSION = "0.1.0"
ENTRY_OF_KIND = {
    "external": "external",
    "class": "external",
    "service": "external",
    "http": "http",
    "script": "script",
    "decision": "decision",
}
KEEPING = 0.05  # part of the time that goes into checkpoints before which nothing is submitted: those of a thousand parallel branches would cost more than their tasks
NEEDS_HANDLER = frozenset({"external", "class", "service"})


class Source(msgspec.Struct, frozen=True):
    """A model file."""

    name: str
    source: bytes


class Config(msgspec.Struct, frozen=True):
    """What a BPMN process is started with."""

    model: Source
    siblings: dict[str, bytes] = {}  # other .bpmn files, for call activities
    decisions: dict[str, bytes] = {}  # .dmn files, for business rule tasks
    variables: dict[str, Any] = {}
    answers: dict[str, Any] = {}  # of user tasks: by field, or by task and then by field


CONFIG = msgspec.msgpack.Decoder(Config)


class TaskRecord(msgspec.Struct):
    """How one task went, for the outcome."""

    element: str
    name: str
    entry: str
    status: str
    seconds: float
    worker: int
    tid: int


class Kept(msgspec.Struct, frozen=True):
    """A checkpoint: from where the next incarnation goes on."""

    run: bytes  # of Run.snapshot
    tasks: list[TaskRecord]  # that have ended


class Drive:
    """One run of a model, between its engine and the kernel."""

    def __init__(self, process: Process, definition: Definition, config: Config, *, topics: Sequence[str]) -> None:
        self._process = process
        self._topics = topics
        self._answers = config.answers
        self.warnings: list[str] = []  # of its start
        self._tasks: list[TaskRecord] = []
        self._keeps = True  # checkpoints; they are given up when one cannot be made
        self._keep_at = 0.0  # monotonic: when one may be made that nothing waits for
        self._kept: object = None  # how far the run was when the last was made
        kept = self._restored()
        if kept is None:
            self._run = Run(definition, config.variables, now=time.time(), instance=str(process.pid))
            self._keep()
        else:
            self._run = Run.restore(definition, kept.run)
            self._tasks = kept.tasks
            self._kept = self._progress()
            done = f"{len(kept.tasks)} {'task' if len(kept.tasks) == 1 else 'tasks'} had ended"
            self._process.note("bpmn.resumed", f"goes on from a checkpoint: {done}, {len(self._run.open)} open", {"done": len(kept.tasks)})
        self._open: dict[tuple[int, int], Work] = {}  # ticket and index -> work
        self._places: dict[str, tuple[int, int]] = {}  # id of the work -> ticket and index
        self._refusal = ""

    def to_the_end(self) -> bool:
        """Run until the model has ended, or until the process is asked to stop: then False."""
        while True:
            self._advance()
            if self._run.is_finished or self._refusal:
                return True
            event = self._process.next_event(self._patience())
            while event is not None:
                if isinstance(event, StopRequested):
                    return False
                self._take(event)
                event = self._process.next_event(0.0)
            self._run.tick(time.time())

    def _patience(self) -> float | None:
        """Give the seconds until the next timer, or until a checkpoint that was put off; None without either."""
        deadline = self._run.next_deadline()
        left = [] if deadline is None else [max(0.0, deadline - time.time())]
        if self._keeps and self._kept != self._progress():
            left.append(max(0.0, self._keep_at - time.monotonic()))
        return min(left, default=None)

    def _restored(self) -> Kept | None:
        value = self._process.restored
        try:
            return None if value is None else msgspec.convert(value, Kept)
        except msgspec.ValidationError as error:
            raise RunRefused(f"its checkpoint cannot be read: {error}") from None

    def _progress(self) -> object:
        return len(self._tasks), self._run.open, self._run.next_deadline()

    def _keep(self, *, may_wait: bool = False) -> None:
        """Give a checkpoint of the run as it is (rule 6), unless it is where it was; where none can be made, say so once."""
        began = time.monotonic()
        if not self._keeps or self._run.is_finished or self._kept == self._progress() or (may_wait and began < self._keep_at):
            return
        try:
            self._process.checkpoint(Kept(self._run.snapshot(), self._tasks))
            self._kept = self._progress()
            now = time.monotonic()
            self._keep_at = now + (now - began) / KEEPING
        except (TypeError, ValueError, RecursionError, DadmsError) as error:
            self._keeps = False
            text = f"no checkpoints are kept from now on, and what is lost begins anew: {error}"
            self.warnings.append(text)
            self._process.note("bpmn.unkept", text)

    def _advance(self) -> None:
        """Do what the engine says is next, until it only waits."""
        while steps := self._run.advance(time.time()):
            ready: dict[str, list[Work]] = {}
            for step in steps:
                if isinstance(step, Work):
                    ready.setdefault(self._entry(step), []).append(step)
                elif isinstance(step, UserTask):
                    self._answer(step)
                elif isinstance(step, Cancelled):
                    self._cancel(step)
                else:
                    self._tell(f"bpmn.{step.what}", step.text, {"element": step.element, "detail": step.detail})
            self._keep()
            for entry, works in ready.items():
                self._submit(entry, works)
            if self._refusal:
                return
        self._keep(may_wait=True)  # what ended may have made nothing ready: a join or a timer waits

    def _entry(self, work: Work) -> str:
        if work.kind == "http" and handler_for(work.topic, self._topics):
            return "external"
        return ENTRY_OF_KIND[work.kind]

    def _submit(self, entry: str, works: list[Work]) -> None:
        try:
            ticket = self._process.submit(
                entry, [arguments_of(work) for work in works], labels=[work.name or work.element for work in works]
            )
        except RequestRefused as refused:
            for work in works:
                self._run.fail(work.id, TaskError("NotSubmitted", str(refused), "refused"))
            return
        for index, work in enumerate(works):
            self._open[ticket, index] = work
            self._places[work.id] = ticket, index

    def _answer(self, task: UserTask) -> None:
        try:
            values = answer_for(task, self._answers)
            self._run.answer(task.id, values)
        except RunRefused as refused:
            self._refusal = f'user task "{task.name or task.element}" ({task.file}:{task.line}) was not answered: {refused}; give values with --set NAME=VALUE or --input FILE'
            return
        filled = {field.name: field.default for field in task.fields if not field.readonly and field.default is not None} | values
        shown = ", ".join(f"{key} = {value!r}" + ("" if key in values else " by default") for key, value in filled.items())
        self._tell(
            "bpmn.answered", f"{task.name or task.element}: {shown or 'nothing to fill in'}", {"element": task.element, "values": filled}
        )

    def _tell(self, kind: str, text: str, data: Mapping[str, Any]) -> None:
        """Say what happens in the model, to the kernel's event stream and to whoever subscribes to this process."""
        self._process.note(kind, text, data)
        self._process.publish(f"process/{self._process.pid}/activity", {"type": "STATUS_UPDATE", "kind": kind, "text": text, "data": data})

    def _heard(self, message: Message) -> None:
        """Answer a request with the state of the run; nothing else is taken."""
        if message.kind == Kind.REQUEST:
            shown = sorted(work.name or work.element for work in self._open.values())
            self._process.reply(message, {"status": "running", "open": shown, "variables": self._run.variables})
        elif message.kind == Kind.SEND:
            self._process.refuse(message, f"process {self._process.pid} runs a model, which takes no messages yet")

    def _cancel(self, step: Cancelled) -> None:
        place = self._places.pop(step.id, None)
        if place is not None:
            self._open.pop(place, None)
            self._process.cancel(*place)
        self._tell("bpmn.cancelled", step.reason, {"element": step.element})

    def _take(self, event: Event) -> None:
        if isinstance(event, MessageArrived):
            self._heard(event.message)
        elif isinstance(event, ThreadEnded):
            work = self._open.pop((event.ticket, event.index), None)
            if work is not None:  # else the model took the work back meanwhile
                del self._places[work.id]
                self._ended(work, event)
        elif isinstance(event, Refused):
            for place in [place for place in self._open if place[0] == event.ticket]:
                work = self._open.pop(place)
                del self._places[work.id]
                self._run.fail(work.id, TaskError("Refused", event.reason, "refused"))
        else:
            assert isinstance(event, Accepted), event

    def _ended(self, work: Work, event: ThreadEnded) -> None:
        result = event.result
        self._tasks.append(
            TaskRecord(work.element, work.name, self._entry(work), result.status, round(result.run_seconds, 6), result.worker, result.tid)
        )
        if not event.is_completed:
            message = result.message or f"its thread ended: {result.cause or result.status}"
            if result.cause == "result" and (
                declared := handlers.find(work.topic)
            ):  # the worker judged the bytes, and knows of no handlers
                message = f'handler "{declared.function.__name__}" ({declared.place}): {message}'
            self._run.fail(work.id, TaskError(result.kind or result.cause or result.status, message, result.cause, result.code or None))
            return
        if work.kind == "decision":
            for row in event.value["rules"]:
                self._tell("bpmn.rule", f"{row['decision']}: rule {row['rule']} matched", row)
        complete(self._run, work, event.value)

    def give_outcome(self) -> None:
        """Say what the run came to."""
        if self._refusal:
            self._process.outcome(
                "failed",
                self._value({"variables": dict(self._run.variables), "end_event": None, "error": self._refusal, "path": []}),
                self._refusal,
            )
            return
        outcome = self._run.outcome()
        value = {
            "variables": outcome.variables,
            "end_event": outcome.end_event,
            "error": None if outcome.error is None else msgspec.to_builtins(outcome.error),
            "path": msgspec.to_builtins(outcome.path),
        }
        self._process.outcome(outcome.status, self._value(value), failure_sentence(outcome.error))

    def _value(self, rest: dict[str, Any]) -> dict[str, Any]:
        return {**rest, "tasks": [msgspec.to_builtins(task) for task in self._tasks]}


def arguments_of(work: Work) -> dict[str, Any]:
    """Give what a worker needs to do a work, and no more."""
    if work.kind == "script":
        return {"name": work.name or work.element, "script": work.script, "variables": work.variables}
    if work.kind == "decision":
        return {"name": work.name or work.element, "decision": work.decision, "variables": work.variables}
    return {
        "topic": work.topic,
        "name": work.name,
        "element": work.element,
        "variables": work.variables,
        "inputs": work.inputs,
        "properties": work.properties,
        "documentation": work.documentation,
        "connector": (work.connector or {}).get("inputs") or {},
    }


def complete(run: Run, work: Work, value: Any) -> None:
    """Put what a worker gave into the run, which fails the task when it does not fit."""
    if work.kind == "decision":
        run.complete(work.id, value["value"])
    elif work.kind != "script":
        run.complete(work.id, value)
    elif "result" in value:
        run.complete(work.id, value["variables"], result=value["result"])
    else:
        run.complete(work.id, value["variables"])


def handler_for(topic: str, topics: Sequence[str]) -> bool:
    """Tell whether the handlers module serves a topic."""
    return topic in topics or handlers.ANY_TOPIC in topics


def demand_handlers(checked: Checked, topics: Sequence[str], module: str | None) -> None:
    """Refuse a model some of whose topics nobody serves; raises RequestRefused with all of them."""
    missing = [task for task in checked.tasks if task.kind in NEEDS_HANDLER and not handler_for(task.topic, topics)]
    if not missing:
        return
    shown = "; ".join(f'no handler for topic "{task.topic}" (task "{task.name or task.id}", {task.file}:{task.line})' for task in missing)
    if module is None:
        raise RequestRefused(f"{shown}; no handlers module was given: --handlers FILE")
    raise RequestRefused(f"{shown}; {module.rpartition('/')[2]} declares: {', '.join(topics)}")


def failure_sentence(error: Any) -> str:
    """Give the reason of a failed run: which task, where in the file, why."""
    if error is None:
        return ""
    who = error.name or error.element
    where = f" ({error.file}:{error.line})" if error.file and error.line else ""
    code = f" [{error.code}]" if error.code else ""
    cause = f" (cause: {error.cause})" if error.cause and error.cause not in ("exception", "result", error.type) else ""
    return f'"{who}"{where} failed: {error.type}{code}: {error.message}{cause}'


def read_config(process: Process) -> Config:
    """Decode what the process was started with; raises RequestRefused when it is not a BPMN process's."""
    try:
        return CONFIG.decode(process.gate.config)
    except msgspec.ValidationError as error:
        raise RequestRefused(f'cannot start "{process.name}": its configuration is not a BPMN process\'s: {error}') from None


def run(process: Process) -> None:
    """Run the model of a process to its end."""
    config = read_config(process)
    try:
        checked = check(config.model.source, name=config.model.name, siblings=config.siblings)
        demand_handlers(checked, process.topics, handlers.module())
        DecisionLibrary(config.decisions).demand(checked)
        definition = load(checked)
        drive = Drive(process, definition, config, topics=process.topics)
    except ModelRefused as refused:
        raise RequestRefused("; ".join(map(str, refused.findings))) from None
    except RunRefused as refused:
        raise RequestRefused(f'cannot start "{config.model.name}": {refused}') from None
    process.ready(ORCHESTRATOR.entries, [*map(str, checked.warnings), *drive.warnings])
    if drive.to_the_end():
        drive.give_outcome()


def _entries() -> Mapping[str, Any]:
    return {**ENTRIES, "decision": run_decision}


ORCHESTRATOR = Orchestrator(name="bpmn", version=VERSION, run=run, entries=_entries(), takes_handlers=True)
