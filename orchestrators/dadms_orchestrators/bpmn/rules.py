"""What a model must be so that it can run: one function a rule, and the tables of what cannot run.

Rule 1: a model that passes can be executed to an end that it draws, except for what only the data can decide.
Rule 2: a rule reports every offence with the line of the offender, and never stops at the first.
Rule 3: what would be shown as done without anybody having done it is refused: a task without an implementation, a script in a language that cannot run.
"""

from __future__ import annotations

import ast
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator

from dadms_orchestrators.bpmn import timers
from dadms_orchestrators.bpmn.juel import JuelError, Template, parse_condition, parse_template
from dadms_orchestrators.bpmn.model import MAX_ID_CHARS, Flow, Node, Parameter, Process, Scope, Script, Text, Value, every_node, shown

Report = Callable[[int | None, str | None, str], None]  # line, element id, reason

WAITS = "waits for {0}, and nothing can send one to it yet"
CANNOT_RUN = {
    "receiveTask": WAITS.format("a message"),
    "eventBasedGateway": WAITS.format("one of several events"),
    "complexGateway": "is a complex gateway, whose behaviour BPMN leaves open",
    "transaction": "is a transaction, and cancelling with compensation cannot run yet",
    "adHocSubProcess": "is an ad-hoc sub-process, in which a person chooses what comes next; that cannot run yet",
    "eventSubProcess": "is an event sub-process, which cannot run yet",
}
# What an event may be, by the kind of node.
RUNNABLE_EVENTS = {
    "startEvent": ("none",),
    "endEvent": ("none", "error", "terminate"),
    "intermediateCatchEvent": ("timer",),
    "intermediateThrowEvent": ("none",),
    "boundaryEvent": ("error", "timer"),
}
NEED_IMPLEMENTATION = ("serviceTask", "sendTask", "businessRuleTask", "task")
SERVICE_KEYS = ("service.type", "service.name", "service.version")
SCRIPT_LANGUAGES = ("", "python", "python3", "text/x-python")
MAP_RESULTS = ("singleEntry", "singleResult", "collectEntries", "resultList")
KINDS = {
    "startEvent": "start event",
    "endEvent": "end event",
    "intermediateCatchEvent": "intermediate event",
    "intermediateThrowEvent": "intermediate event",
    "boundaryEvent": "boundary event",
    "callActivity": "call activity",
    "subProcess": "sub-process",
}


def kind_of(node: Node) -> str:
    """How a person calls the node."""
    if node.tag in KINDS:
        return KINDS[node.tag]
    return (
        "gateway"
        if node.tag.endswith("Gateway")
        else "task"
        if node.tag == "task"
        else node.tag.replace("Task", " task").replace("Rule", " rule")
    )


def judge(process: Process, refuse: Report, warn: Report) -> None:
    """Apply every rule to a process and the sub-processes in it."""
    scopes = [process.scope, *(node.inner for _, node in every_node(process.scope) if node.inner is not None and node.tag == "subProcess")]
    for scope in scopes:
        _one_start(scope, refuse)
        for node in scope.nodes.values():
            named = f"{kind_of(node)} {node}"
            _can_run(node, named, refuse)
            _implemented(node, named, refuse)
            _has_ways(scope, node, named, refuse)
            _chooses(scope, node, named, refuse, warn)
            _attached(scope, node, named, refuse)
            _parameters(node, named, refuse, warn)
            _form(node, named, refuse)
            for part, line in node.unused:
                warn(line, node.id, f"{named}: {part} is not executed")
        _reached(scope, refuse)
        _ends(scope, refuse)
    for owner, text, is_condition in texts(process):
        _readable(owner, text, refuse, is_condition=is_condition)


def _one_start(scope: Scope, refuse: Report) -> None:
    starts = [node for node in scope.nodes.values() if node.tag == "startEvent"]
    if not starts:
        refuse(scope.line, scope.id, f'"{scope.id}" has no start event')
    for extra in starts[1:]:
        refuse(extra.line, extra.id, f'"{scope.id}" has a second start event {extra}; the first is {starts[0]} on line {starts[0].line}')


def _can_run(node: Node, named: str, refuse: Report) -> None:
    if node.tag in CANNOT_RUN:
        refuse(node.line, node.id, f"{named} {CANNOT_RUN[node.tag]}")
    if node.loop:
        how = "is a loop" if node.loop == "standardLoopCharacteristics" else "is done for many items (multi-instance)"
        refuse(node.line, node.id, f"{named} {how}, which cannot run yet; draw the loop with gateways")
    if node.event is not None and node.event.kind not in RUNNABLE_EVENTS[node.tag]:
        allowed = " or ".join(RUNNABLE_EVENTS[node.tag])
        refuse(
            node.line, node.id, f'{named} is of the kind "{node.event.kind}", which cannot run yet; here an event of the kind {allowed} can'
        )
    if node.event is not None and node.event.kind == "timer" and node.event.when is not None:
        if node.event.timer == "timeCycle":
            refuse(node.event.when.line, node.id, f"{named} repeats (timeCycle), which cannot run yet; a timeDuration or a timeDate can")
        elif "{" not in node.event.when.source:
            try:
                timers.due(node.event.timer, node.event.when.source, now=0.0)
            except timers.NotATime as error:
                refuse(node.event.when.line, node.id, f"{named}: {error}")
    if node.tag == "boundaryEvent" and node.event is not None and node.event.kind == "error" and not node.interrupting:
        refuse(node.line, node.id, f"{named} catches an error and must interrupt its task, and says that it does not")
    if node.tag == "callActivity" and node.call is not None and not node.call.names_a_process:
        refuse(
            node.line,
            node.id,
            f"{named} does not name the process that it calls" + (f": {node.call.element!r} is computed" if node.call.element else ""),
        )


def _implemented(node: Node, named: str, refuse: Report) -> None:
    implementation = node.implementation
    if node.tag in NEED_IMPLEMENTATION and implementation is None:
        missing = [key for key in SERVICE_KEYS if not node.properties.get(key)]
        reason = "no camunda:topic of an external task, no class, expression or connector"
        if 0 < len(missing) < len(SERVICE_KEYS):
            reason += f", and its service properties lack {' and '.join(missing)}"
        if node.tag == "task":
            reason = "it says nowhere who does it; make it a service, script, user or manual task"
        refuse(node.line, node.id, f"{named} has no implementation: {reason}")
    if implementation is None:
        return
    if implementation.script is not None:
        _script(node, named, implementation.script, refuse)
    if implementation.kind == "decision":
        if "{" in implementation.decision:
            refuse(node.line, node.id, f"{named} computes which decision it asks ({implementation.decision}), and only a fixed one can run")
        if implementation.map_result not in MAP_RESULTS:
            refuse(node.line, node.id, f'{named}: mapDecisionResult is "{implementation.map_result}", and can be {", ".join(MAP_RESULTS)}')
    if "{" in implementation.topic and implementation.kind == "external":
        refuse(
            node.line, node.id, f"{named} computes its topic ({implementation.topic}), and only a fixed one can be checked for a handler"
        )


def _script(node: Node, named: str, script: Script, refuse: Report) -> None:
    if script.language not in SCRIPT_LANGUAGES:
        refuse(script.line, node.id, f'{named} is written in "{script.language}", and only Python can run')
    elif not script.source.strip():
        refuse(script.line, node.id, f"{named} has no script")
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a doubtful escape sequence is for the script's author, when it runs
                ast.parse(textwrap.dedent(script.source))
        except SyntaxError as error:
            refuse(script.line + (error.lineno or 1) - 1, node.id, f"{named}: the script is not Python: {error.msg}")
        except (ValueError, MemoryError, RecursionError):
            refuse(script.line, node.id, f"{named}: the script is too deeply nested or holds a null character")


def _has_ways(scope: Scope, node: Node, named: str, refuse: Report) -> None:
    leaving = scope.leaving(node)
    if node.tag == "endEvent":
        if leaving:
            refuse(node.line, node.id, f"{named} is left by sequence flow {_flow(leaving[0])}; nothing comes after an end")
        return
    if not leaving:
        hint = "".join(f' (it names "{flow}", {_whose(scope, flow)})' for flow in node.declared_out[:1])
        refuse(node.line, node.id, f"{named} has no way out: no sequence flow leaves it{hint}")
    if node.tag in ("startEvent", "boundaryEvent") and (entering := scope.entering(node)):
        refuse(entering[0].line, node.id, f"{named} is entered by sequence flow {_flow(entering[0])}, which BPMN forbids")


def _whose(scope: Scope, flow: str) -> str:
    return f"which leaves {scope.nodes[scope.flows[flow].source]}" if flow in scope.flows else "which the file does not hold"


def _chooses(scope: Scope, node: Node, named: str, refuse: Report, warn: Report) -> None:
    leaving = scope.leaving(node)
    if node.default and node.default not in {flow.id for flow in leaving}:
        refuse(node.line, node.id, f'{named} names "{node.default}" as its default flow, which does not leave it')
    if node.tag == "exclusiveGateway" and len(leaving) > 1:
        for flow in leaving:
            if flow.condition is None and flow.id != node.default:
                refuse(
                    flow.line,
                    node.id,
                    f"{named} has {len(leaving)} ways out, and sequence flow {_flow(flow)} has no condition and is not the default",
                )
    for flow in leaving:
        if flow.condition is not None and (flow.id == node.default or node.tag == "parallelGateway"):
            why = "it is the default flow" if flow.id == node.default else "a parallel gateway takes all its ways"
            warn(flow.line, flow.id, f"the condition of sequence flow {_flow(flow)} is not evaluated: {why}")


def _flow(flow: Flow) -> str:
    name, identifier = shown(flow.name), shown(flow.id, MAX_ID_CHARS)
    return f'"{name}" ({identifier})' if name else f'"{identifier}"'


def _attached(scope: Scope, node: Node, named: str, refuse: Report) -> None:
    if node.tag != "boundaryEvent":
        return
    host = scope.nodes.get(node.attached_to)
    if host is None:
        refuse(node.line, node.id, f'{named} is attached to "{node.attached_to}", which is no node of "{scope.id}"')
    elif host.tag.endswith(("Event", "Gateway")):
        refuse(node.line, node.id, f"{named} is attached to {kind_of(host)} {host}, and belongs on a task or sub-process")


def _parameters(node: Node, named: str, refuse: Report, warn: Report) -> None:
    for parameter in (*node.inputs, *node.outputs):
        if not parameter.name:
            refuse(parameter.line, node.id, f"{named} has a parameter without a name")
        for script in scripts_in(parameter.value):
            refuse(
                script.line,
                node.id,
                f'{named}: parameter "{parameter.name}" is computed by a script, which cannot run here; compute it in a script task or in the handler',
            )
    if node.connector is None or node.implementation is None:
        return
    for parameter in (*node.connector.inputs, *node.connector.outputs):
        for script in scripts_in(parameter.value):
            what = f'{named}: parameter "{parameter.name}" of its connector is a {script.language or "Python"} script, which is not run'
            if node.implementation.kind == "http":
                refuse(script.line, node.id, what)
            else:  # an external task: its handler does the work, and sees the script
                warn(script.line, node.id, f'{what}; the handler of topic "{node.implementation.topic}" answers for it')


def _form(node: Node, named: str, refuse: Report) -> None:
    for name, count in _counts(entry.name for entry in node.fields).items():
        if count > 1 or not name:
            refuse(
                node.line,
                node.id,
                f'{named}: form field "{name}" is there {count} times' if name else f"{named} has a form field without an id",
            )


def _counts(names: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


def _walk(scope: Scope, roots: Iterable[str], *, backwards: bool = False) -> set[str]:
    """Every node that can be reached from the roots, boundary events with the node that carries them."""
    steps: dict[str, list[str]] = {}
    edges = [(flow.source, flow.target) for flow in scope.flows.values()]
    edges += [(node.attached_to, node.id) for node in scope.nodes.values() if node.attached_to]
    for source, target in edges:
        steps.setdefault(target if backwards else source, []).append(source if backwards else target)
    seen = set(roots)
    todo = list(seen)
    while todo:
        for following in steps.get(todo.pop(), ()):
            if following not in seen:
                seen.add(following)
                todo.append(following)
    return seen


def _reached(scope: Scope, refuse: Report) -> None:
    start = scope.start()
    if start is None:
        return
    reached = _walk(scope, [node.id for node in scope.nodes.values() if node.tag in ("startEvent", "eventSubProcess")])
    for node in scope.nodes.values():
        if node.id not in reached:
            why = "no path from the start event leads to it" if scope.entering(node) or node.attached_to else "no sequence flow leads to it"
            refuse(node.line, node.id, f"{kind_of(node)} {node} is never reached: {why}")


def _ends(scope: Scope, refuse: Report) -> None:
    """A loop that nothing leaves would run for ever; a dead end is reported where it is."""
    dead = [node.id for node in scope.nodes.values() if node.tag == "endEvent" or not scope.leaving(node)]
    ending = _walk(scope, dead, backwards=True)
    caught = [node for node in scope.nodes.values() if node.id not in ending]
    if caught:
        refuse(
            caught[0].line,
            caught[0].id,
            f"{kind_of(caught[0])} {caught[0]} never comes to an end: every path from it leads back ({len(caught)} nodes)",
        )


def texts(process: Process) -> Iterator[tuple[str, Text, bool]]:
    """Every text that may hold expressions: what it is, the text, and whether it is a condition."""
    for scope, node in every_node(process.scope):
        for flow in scope.leaving(node):
            if flow.condition is not None and node.tag != "parallelGateway" and flow.id != node.default:
                yield f"the condition of sequence flow {_flow(flow)}", flow.condition, True
        named = f"{kind_of(node)} {node}"
        for parameter in (*node.inputs, *node.outputs, *_connected(node)):
            for text in texts_in(parameter.value):
                yield f'{named}: parameter "{parameter.name}"', text, False
        for entry in node.fields:
            if entry.default is not None:
                yield f'{named}: default of form field "{entry.name}"', entry.default, False
        if node.event is not None and node.event.when is not None:
            yield f"{named}: its time", node.event.when, False
        if node.implementation is not None and node.implementation.expression is not None:
            yield f"{named}: its expression", node.implementation.expression, False
        if node.assignee is not None:
            yield f"{named}: its assignee", node.assignee, False
        for mapping in (*node.call.ins, *node.call.outs) if node.call is not None else ():
            if mapping.expression is not None:
                yield f"{named}: a mapping", mapping.expression, False


def _connected(node: Node) -> tuple[Parameter, ...]:
    return (*node.connector.inputs, *node.connector.outputs) if node.connector is not None else ()


def texts_in(value: Value) -> Iterator[Text]:
    """The texts of a parameter's value, through maps and lists."""
    if isinstance(value, Text):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts_in(inner)


def scripts_in(value: Value) -> Iterator[Script]:
    """The scripts of a parameter's value, through maps and lists."""
    if isinstance(value, Script):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from scripts_in(inner)


def parsed(text: Text, *, is_condition: bool) -> Template:
    """The template of a text; raises JuelError."""
    return parse_condition(text.source) if is_condition else parse_template(text.source)


def line_of(text: Text, error: JuelError) -> int:
    """The line of the file at which an expression is wrong."""
    return text.line + text.source.count("\n", 0, error.offset)


def _readable(owner: str, text: Text, refuse: Report, *, is_condition: bool) -> None:
    try:
        parsed(text, is_condition=is_condition)
    except JuelError as error:
        shown = text.source if len(text.source) <= 80 else text.source[:77] + "..."
        refuse(line_of(text, error), None, f"{owner} cannot be read: {error.message} ({shown})")
