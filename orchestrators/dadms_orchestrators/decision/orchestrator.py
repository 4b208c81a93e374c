"""The decision orchestrator: a process that evaluates decisions of DMN models.

1. Started with a model, it evaluates one decision in a worker and ends with its value and the story of it: which rules matched on what.
2. Started without one, it becomes ready and stays: other processes and clients ask it over the bus, until it is stopped.
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
from dadms_orchestrators.decision import DecisionError, Model, evaluate, load_model, to_json_value
from dadms_orchestrators.sdk.process import MessageArrived, Process
from dadms_orchestrators.sdk.session import Refused, StopRequested, ThreadEnded

VERSION = "0.1.0"
MODELS_KEPT = 64  # compiled models that a worker keeps between evaluations


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


CONFIG = msgspec.msgpack.Decoder(Config)


class Request(msgspec.Struct, frozen=True):
    """What a serving process is asked."""

    model: Source
    decision: str | None = None
    inputs: dict[str, Any] = {}
    siblings: dict[str, bytes] = {}


@lru_cache(maxsize=MODELS_KEPT)
def compiled(name: str, source: bytes, siblings: tuple[tuple[str, bytes], ...] = ()) -> Model:
    """Compile a model, once a worker."""
    by_name = {other.rpartition("/")[2]: content for other, content in siblings}
    return load_model(source, name=name, resolve=lambda where: by_name[where.rpartition("/")[2]])


def top_decision(model: Model) -> str:
    """Give the decision that no other decision requires; raises DecisionError when there is not exactly one."""
    decisions = [node for node in model.nodes.values() if node.kind == "decision"]
    required = {id(requirement.node) for node in decisions for requirement in node.requires}
    tops = [node.name for node in decisions if id(node) not in required]
    if len(tops) == 1:
        return tops[0]
    raise DecisionError(
        f'cannot choose a decision of "{model.name}"',
        f"name one of {', '.join(tops)}" if tops else "it has no decision that nothing requires",
    )


def evaluate_entry(arguments: Mapping[str, Any], thread: Thread) -> dict[str, Any]:
    """Entry: evaluate a decision. ``arguments`` may hold a model of its own; else it is the process's.

    Gives ``decision``, ``value``, ``rules`` (those that matched, with the values that they matched on) and ``errors`` (why something in it is null).
    """
    given = arguments.get("model") or thread.config.get("model")
    if not given:
        raise RequestRefused("cannot evaluate: neither the request nor the process has a model")
    siblings = arguments.get("siblings") or thread.config.get("siblings") or {}
    source = given["source"]
    model = compiled(given["name"], source.encode() if isinstance(source, str) else source, tuple(sorted(siblings.items())))
    decision = arguments.get("decision") or top_decision(model)
    result = evaluate(model, decision, arguments.get("inputs") or {})
    return {
        "decision": decision,
        "value": to_json_value(result.value),
        "rules": to_json_value(result.trace.rows()),
        "errors": [str(error) for error in result.errors],
    }


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
    if value["value"] is None and value["errors"]:
        process.outcome("failed", value, f'the decision "{value["decision"]}" came to nothing: {"; ".join(value["errors"])}')
    else:
        process.outcome("completed", value)


def run(process: Process) -> None:
    """Decide, or serve."""
    try:
        config = CONFIG.decode(process.gate.config)
    except msgspec.ValidationError as error:
        raise RequestRefused(f'cannot start "{process.name}": its configuration is not a decision process\'s: {error}') from None
    if config.model is not None:
        decide(process, config)
    else:
        serve(process)


def serve(process: Process) -> None:
    """Evaluate what others ask for, each request in a thread of its own, until stopped."""
    process.ready(ORCHESTRATOR.entries)  # the line to the bus is opened when somebody asks for us
    asked: dict[int, Message] = {}  # ticket -> request
    while True:
        match process.next_event():
            case StopRequested():
                return
            case MessageArrived(message=message):
                _begin(process, message, asked)
            case Refused(ticket=ticket, reason=reason):
                process.refuse(asked.pop(ticket), f"cannot evaluate: {reason}")
            case ThreadEnded() as end if end.is_completed:
                process.reply(asked.pop(end.ticket), end.value)
            case ThreadEnded() as end:
                process.refuse(asked.pop(end.ticket), end.result.message or f"its thread ended: {end.result.cause or end.result.status}")


def _begin(process: Process, message: Message, asked: dict[int, Message]) -> None:
    """Submit the evaluation that a request asks for, or refuse it."""
    if message.kind != Kind.REQUEST:
        if message.kind == Kind.SEND:
            process.refuse(message, "a decision process answers requests, and takes no other messages")
        return
    try:
        request = msgspec.msgpack.decode(message.body, type=Request)
    except (msgspec.DecodeError, ValueError) as error:
        process.refuse(message, f"cannot evaluate: the request is no msgpack map of model, decision and inputs: {error}")
        return
    asked[process.submit("evaluate", [msgspec.to_builtins(request, builtin_types=(bytes,))], labels=[request.decision or "decision"])] = (
        message
    )


ORCHESTRATOR = Orchestrator(name="decision", version=VERSION, run=run, entries={"evaluate": evaluate_entry})
