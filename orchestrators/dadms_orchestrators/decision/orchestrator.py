"""The decision orchestrator: a process that evaluates decisions of DMN models, and of JDM models where zen-engine is installed.

1. Started with a model, it evaluates one decision in a worker and ends with its value and the story of it: which rules matched on what.
2. Started without one, or told to serve, it becomes ready and stays: other processes and clients ask it over the bus, until it is stopped, told that
   the work is done, or left alone for as long as it was told.
3. An evaluation never runs in the main: an expression without end costs a thread its time-out, and nobody else anything.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

import dadms_orchestrators.sdk.line  # noqa: F401 - heavy: loaded here, once, in the zygote
from dadms_ipc.envelope import Kind
from dadms_ipc.errors import RequestRefused
from dadms_ipc.inbox import Message
from dadms_orchestrators.contract import Orchestrator, Thread
from dadms_orchestrators.decision.chunks import evaluate_chunk
from dadms_orchestrators.decision.errors import failure
from dadms_orchestrators.decision.runnable import Answer, Runnable, load_runnable
from dadms_orchestrators.sdk.process import MessageArrived, Process
from dadms_orchestrators.sdk.session import Refused, StopRequested, ThreadEnded

VERSION = "0.1.0"
MODELS_KEPT = 64  # compiled models that a worker keeps between evaluations
ROWS_TOPIC = "ROWS"  # of a request for rows
# Bytes of an answer: its value, and its rules, errors and reasons. Together less than a thread's result may take, 256 KiB (docs/reference/page.md).
VALUE_ROOM = 160 * 1024
STORY_ROOM = 80 * 1024


class Source(msgspec.Struct, frozen=True):
    """A model file."""

    name: str
    source: bytes


class Config(msgspec.Struct, frozen=True):
    """What a decision process is started with; an empty map for one that serves."""

    model: Source | None = None
    decision: str | None = None  # id or name; None: the one that no other requires
    inputs: dict[str, Any] = {}
    siblings: dict[str, bytes] = {}  # models that the model imports
    serves: bool = False  # with a model: it is the one that requests without a model mean
    idle_timeout: float | None = None  # seconds without a request, after which a process that serves ends; None: never


CONFIG = msgspec.msgpack.Decoder(Config)


class Request(msgspec.Struct, frozen=True):
    """What a serving process is asked: a decision for one set of inputs, or for rows (chunks.py); or told that the work is done."""

    model: Source | None = None  # None: the process's own
    decision: str | None = None
    inputs: dict[str, Any] = {}
    siblings: dict[str, bytes] = {}
    rows: msgspec.Raw = msgspec.Raw(b"\xc0")
    done: dict[str, Any] | None = None  # what the process came to, in the words of who asked it


NO_ROWS = Request().rows


@lru_cache(maxsize=MODELS_KEPT)
def compiled(name: str, source: bytes, siblings: tuple[tuple[str, bytes], ...] = ()) -> Runnable:
    """Compile a model, once a worker."""
    return load_runnable(source, name, dict(siblings))


def _meant(arguments: Mapping[str, Any], thread: Thread) -> tuple[Runnable, str]:
    """Give the model and the decision that arguments mean: their own, or the process's."""
    given = arguments.get("model") or thread.config.get("model")
    if not given:
        raise RequestRefused("cannot evaluate: neither the request nor the process has a model")
    siblings = arguments.get("siblings") or thread.config.get("siblings") or {}
    source = given["source"]
    model = compiled(given["name"], source.encode() if isinstance(source, str) else source, tuple(sorted(siblings.items())))
    return model, model.choose(arguments.get("decision") or (None if arguments.get("model") else thread.config.get("decision")))


def evaluate_entry(arguments: Mapping[str, Any], thread: Thread) -> dict[str, Any]:
    """Entry: evaluate a decision. ``arguments`` may hold a model of its own; else it is the process's.

    Gives ``decision``, ``value``, ``rules`` (those that matched, with the values that they matched on), ``errors`` (what went wrong), ``nulls`` (why values
    on the way were null) and ``left_out`` (how many of these found no room).
    """
    model, decision = _meant(arguments, thread)
    answer = model.answer(decision, arguments.get("inputs") or {})
    size = len(msgspec.msgpack.encode(answer.value))
    if size > VALUE_ROOM:
        raise RequestRefused(f"its value takes {size} bytes, and at most {VALUE_ROOM} travel between processes")
    return {"decision": decision, "value": answer.value, **_story(answer)}


def _story(answer: Answer) -> dict[str, Any]:
    """Give as much of the story of an answer as fits, errors first, and say how much of it does not."""
    parts: dict[str, list[Any]] = {"errors": answer.errors, "rules": answer.rules, "nulls": answer.nulls}
    kept: dict[str, Any] = {"rules": [], "errors": [], "nulls": []}
    left_out = {}
    room = STORY_ROOM
    for name, items in parts.items():
        for item in items:
            room -= len(msgspec.msgpack.encode(item))
            if room < 0:
                left_out[name] = len(items) - len(kept[name])
                break
            kept[name].append(item)
    return {**kept, "left_out": left_out}


def rows_entry(arguments: Mapping[str, Any], thread: Thread) -> dict[str, Any]:
    """Entry: evaluate a decision for rows. Gives ``results`` of the first of them; the others are to be asked for again (chunks.py)."""
    model, decision = _meant(arguments, thread)
    return {"results": evaluate_chunk(model, decision, arguments["rows"])}


def decide(process: Process, config: Config) -> None:
    """Evaluate what the process was started for, and give the outcome."""
    process.ready(ORCHESTRATOR.entries)
    process.submit("evaluate", [{"decision": config.decision, "inputs": config.inputs}], labels=[config.decision or "decision"])
    while True:
        match process.next_event():
            case StopRequested():
                return
            case Refused(reason=reason):
                process.outcome("failed", {}, f"cannot evaluate: {reason}")
                return
            case ThreadEnded() as end:
                _conclude(process, end)
                return


def _conclude(process: Process, end: ThreadEnded) -> None:
    if not end.is_completed:
        reason = end.result.message or f"its thread ended: {end.result.cause or end.result.status}"
        process.outcome("failed", {}, reason)
        return
    value = end.value
    for row in value["rules"]:
        process.note("decision.rule", f"{row['decision']}: rule {row['rule']} matched", row)
    if value["errors"]:
        process.outcome("failed", value, failure(value["decision"], value["value"], value["errors"]))
    else:
        process.outcome("completed", value)


def run(process: Process) -> None:
    """Decide, or serve."""
    try:
        config = CONFIG.decode(process.gate.config)
    except msgspec.ValidationError as error:
        raise RequestRefused(f'cannot start "{process.name}": its configuration is not a decision process\'s: {error}') from None
    if config.model is not None and not config.serves:
        decide(process, config)
    else:
        serve(process, config)


def serve(process: Process, config: Config) -> None:
    """Evaluate what others ask for, each request in a thread of its own, until stopped or done."""
    process.ready(ORCHESTRATOR.entries)  # the line to the bus is opened when somebody asks for us
    asked: dict[int, Message] = {}  # ticket -> request
    while True:
        match process.next_event(config.idle_timeout):
            case StopRequested():
                return
            case None if not asked:
                process.outcome("failed", {}, f"nobody asked for {config.idle_timeout:g} s")
                return
            case MessageArrived(message=message):
                done = _begin(process, message, asked, config)
                if done is not None:
                    process.outcome("completed", done)
                    return
            case Refused(ticket=ticket, reason=reason):
                process.refuse(asked.pop(ticket), f"cannot evaluate: {reason}")
            case ThreadEnded() as end:
                _answer(process, asked.pop(end.ticket), end)


def _answer(process: Process, message: Message, end: ThreadEnded) -> None:
    """Give what a thread came to. Of rows, a failure is an answer too: who asked sends them one by one to find the one that is to blame."""
    reason = end.result.message or f"its thread ended: {end.result.cause or end.result.status}"
    if end.is_completed:
        process.reply(message, end.result.value)
    elif message.topic == ROWS_TOPIC:
        process.reply(message, {"failed": reason})
    else:
        process.refuse(message, reason)


def _begin(process: Process, message: Message, asked: dict[int, Message], config: Config) -> dict[str, Any] | None:
    """Submit the evaluation that a request asks for, or refuse it; give what the process came to when the request says so."""
    if message.kind != Kind.REQUEST:
        if message.kind == Kind.SEND:
            process.refuse(message, "a decision process answers requests, and takes no other messages")
        return None
    try:
        request = msgspec.msgpack.decode(message.body, type=Request)
    except (msgspec.DecodeError, ValueError) as error:
        process.refuse(message, f"cannot evaluate: the request is no msgpack map of model, decision and inputs: {error}")
        return None
    if request.done is not None:
        if config.idle_timeout is None:  # it was started to stay: for whom else, who asks cannot know
            process.refuse(message, "cannot end: this process serves until it is stopped")
            return None
        process.reply(message, {})
        return request.done
    entry, labels = ("evaluate", [request.decision or "decision"]) if request.rows == NO_ROWS else ("evaluate_rows", ["rows"])
    try:
        asked[process.submit(entry, [request], labels=labels)] = message
    except RequestRefused as refused:
        process.refuse(message, str(refused))
    return None


ORCHESTRATOR = Orchestrator(name="decision", version=VERSION, run=run, entries={"evaluate": evaluate_entry, "evaluate_rows": rows_entry})
