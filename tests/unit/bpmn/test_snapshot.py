"""A run that is written down and read again goes on as if nothing had happened, at every moment of it."""

from __future__ import annotations

import itertools
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dadms_orchestrators.bpmn import Definition, Outcome, Run, RunRefused, TaskError, UserTask, Work, check, load, load_siblings
from tests.unit.bpmn.drawing import MODELS, document, model, process, run_of, task, works
from tests.unit.bpmn.test_models import MUST_RUN, generic


def play(definition: Definition, variables: dict[str, Any], seed: int, *, restoring: bool) -> Outcome:
    """One whole run in an order that the seed decides; with a snapshot and a restore between any two calls if asked."""
    choice = random.Random(seed)
    run = Run(definition, variables, now=100.0, instance="7")
    pending: dict[str, Work | UserTask] = {}
    while True:
        if restoring:
            run = Run.restore(definition, run.snapshot())
        for step in run.advance():
            if isinstance(step, Work | UserTask):
                assert step == pending.get(step.id, step)  # given again, it is the same
                pending[step.id] = step
        if run.is_finished:
            return run.outcome()
        if restoring:
            run = Run.restore(definition, run.snapshot())
        identifier = choice.choice(sorted(run.open))
        step = pending[identifier]
        if isinstance(step, UserTask):
            run.answer(identifier, {"analysis_type": "graph"} if "analysis_type" in step.undefined else {})
        elif choice.random() < 0.1 and "fails" in step.properties:
            run.fail(identifier, TaskError("BpmnError", "on purpose", code="A1"))
        else:
            run.complete(identifier, {**generic(step), step.element: choice.randrange(10)})


@pytest.mark.skipif(not MODELS.is_dir(), reason="the folder shared/models is not beside the checkout")
@pytest.mark.parametrize("name", MUST_RUN)
def test_a_model_that_was_used_survives_a_restore_between_any_two_calls(name: str) -> None:
    path = MODELS / f"{name}.bpmn"
    definition = load(check(path.read_bytes(), name=str(path), siblings=load_siblings(path)))
    variables, end, _ = MUST_RUN[name]
    for seed in range(3):
        plain = play(definition, variables, seed, restoring=False)
        assert plain.end_event == end
        assert play(definition, variables, seed, restoring=True) == plain


class Drawn:
    """A block-structured process: what it holds, how it is entered and left, and how often each of its tasks must run."""

    def __init__(self) -> None:
        self.nodes: list[str] = []
        self.flows: list[str] = []
        self.count = 0

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def flow(self, source: str, target: str, condition: str = "") -> None:
        self.flows.append(f"{source} > {target}" + (f": {condition}" if condition else ""))

    def block(self, shape: Any) -> tuple[str, str]:
        kind, parts = shape
        if kind == "task":
            name = self.name("T")
            properties = '<extensionElements><camunda:properties><camunda:property name="fails" value="sometimes"/></camunda:properties></extensionElements>'
            self.nodes.append(task(name, properties))
            if parts == "guarded":
                caught, merge = self.name("B"), self.name("X")
                self.nodes.append(
                    f'<boundaryEvent id="{caught}" attachedToRef="{name}"><errorEventDefinition/></boundaryEvent><exclusiveGateway id="{merge}"/>'
                )
                self.flow(name, merge)
                self.flow(caught, merge)
                return name, merge
            return name, name
        if kind == "row":
            ends = [self.block(part) for part in parts]
            for (_, left), (right, _) in itertools.pairwise(ends):
                self.flow(left, right)
            return ends[0][0], ends[-1][1]
        if kind == "loop":
            first, last = self.block(parts)
            enter, leave, counter = self.name("X"), self.name("X"), self.name("n")
            self.nodes.append(
                f'<exclusiveGateway id="{enter}"/><exclusiveGateway id="{leave}" default="{leave}_D{leave}"/><manualTask id="D{leave}"/>'
            )
            self.nodes.append(
                f'<serviceTask id="{counter}" camunda:expression="${{execution.hasVariable(\'{counter}\') ? {counter} + 1 : 1}}" camunda:resultVariable="{counter}"/>'
            )
            self.flow(enter, first)
            self.flow(last, counter)
            self.flow(counter, leave)
            self.flow(leave, enter, f"${{{counter} % 2 == 1}}")
            self.flow(leave, f"D{leave}")
            return enter, f"D{leave}"
        tag = {"and": "parallelGateway", "or": "inclusiveGateway", "xor": "exclusiveGateway"}[kind]
        split, join = self.name("G"), self.name("G")
        self.nodes.append(f'<{tag} id="{split}"/><{tag} id="{join}"/>')
        for index, part in enumerate(parts):
            first, last = self.block(part)
            self.flow(split, first, {"and": "", "or": f"${{{index} != 1}}", "xor": f"${{{index} == {len(parts) - 1}}}"}[kind])
            self.flow(last, join)
        return split, join


_SHAPES = st.recursive(
    st.tuples(st.just("task"), st.sampled_from(["plain", "guarded"])),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["row", "and", "or", "xor"]), st.lists(inner, min_size=2, max_size=3)),
        st.tuples(st.just("loop"), inner),
    ),
    max_leaves=7,
)


def runs_of(shape: Any) -> int:
    """How many tasks of a shape run."""
    kind, parts = shape
    if kind == "task":
        return 1
    if kind == "loop":
        return 2 * runs_of(parts)
    if kind == "xor":
        return runs_of(parts[-1])
    return sum(runs_of(part) for index, part in enumerate(parts) if kind != "or" or index != 1)


def never_fails(shape: Any) -> bool:
    kind, parts = shape
    return parts == "guarded" if kind == "task" else never_fails(parts) if kind == "loop" else all(map(never_fails, parts))


@settings(max_examples=120, deadline=None)
@given(_SHAPES, st.integers(0, 2**16))
def test_any_structured_process_runs_each_task_as_often_as_drawn_also_with_restores(shape: Any, seed: int) -> None:
    drawn = Drawn()
    first, last = drawn.block(shape)
    drawn.flow("S", first)
    drawn.flow(last, "E")
    definition = load(model("".join(drawn.nodes), "; ".join(drawn.flows)))
    plain = play(definition, {}, seed, restoring=False)
    if plain.status == "completed":
        assert sum(element.startswith(("T", "B")) for element in plain.path) == runs_of(shape)
        assert plain.end_event == "E"
    else:
        assert not never_fails(shape)
    assert play(definition, {}, seed, restoring=True) == plain


def test_a_snapshot_within_a_call_and_a_subprocess() -> None:
    inner = (
        '<startEvent id="i"/>'
        + task("A")
        + '<endEvent id="j"/><sequenceFlow id="1" sourceRef="i" targetRef="A"/><sequenceFlow id="2" sourceRef="A" targetRef="j"/>'
    )
    parameters = '<extensionElements><camunda:inputOutput><camunda:inputParameter name="p">${x + 1}</camunda:inputParameter></camunda:inputOutput></extensionElements>'
    called = (
        process(f'<subProcess id="U">{parameters}{inner}</subProcess>', "S > U; U > E", "Q").replace('"S"', '"s"').replace('"E"', '"e"')
    )
    mappings = '<extensionElements><camunda:in source="n" target="x"/><camunda:out source="r" target="got"/></extensionElements>'
    run = run_of(document(process(f'<callActivity id="C" calledElement="Q">{mappings}</callActivity>', "S > C; C > E"), called), {"n": 1})
    run.advance()
    run = Run.restore(run.definition, run.snapshot())
    work = works(run.advance())["A"]
    assert work.variables == {"x": 1, "p": 2}
    run.complete(work.id, {"r": "done", "p": 5, "x": 9})
    run = Run.restore(run.definition, run.snapshot())
    run.advance()
    assert run.outcome().variables == {"n": 1, "got": "done"}


def test_cancelled_work_is_still_known_after_a_restore() -> None:
    nodes = (
        '<parallelGateway id="G"/><subProcess id="U"><startEvent id="s"/>'
        + task("A")
        + task("B")
        + '<parallelGateway id="g"/><endEvent id="e"/>'
    )
    nodes += "".join(f'<sequenceFlow id="{a}{b}" sourceRef="{a}" targetRef="{b}"/>' for a, b in ("sg", "gA", "gB", "Ae", "Be"))
    nodes += '</subProcess><boundaryEvent id="X" attachedToRef="U"><errorEventDefinition/></boundaryEvent>' + task("Z")
    run = run_of(model(nodes, "S > G; G > U; G > Z; U > E; X > E; Z > E"))
    ready = works(run.advance())
    run.fail(ready["A"].id, TaskError("Crash", "gone"))
    run.advance()
    run = Run.restore(run.definition, run.snapshot())
    run.complete(ready["B"].id, {"late": 1})
    assert run.variables == {}
    assert run.open == (ready["Z"].id,)


def test_a_snapshot_of_other_sources_is_refused() -> None:
    run = run_of(model(task("A"), "S > A; A > E"))
    other = load(model(task("B"), "S > B; B > E"))
    with pytest.raises(RunRefused, match="other sources"):
        Run.restore(other, run.snapshot())


@pytest.mark.parametrize("data", [b"", b"{}", b"nothing", b'{"version": 1}', b"[" * 100_000])
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    with pytest.raises(RunRefused, match="cannot be read"):
        Run.restore(load(model(task("A"), "S > A; A > E")), data)


def test_a_snapshot_that_contradicts_itself_is_refused() -> None:
    run = run_of(model(task("A"), "S > A; A > E"))
    run.advance()
    for change in ({"version": 2}, {"ready": [99]}, {"arming": [99]}):
        content = {**msgspec.json.decode(run.snapshot()), **change}
        with pytest.raises(RunRefused):
            Run.restore(run.definition, msgspec.json.encode(content))
    content = msgspec.json.decode(run.snapshot())
    content["trees"][0]["tokens"][0][1] = "no such part"
    with pytest.raises(RunRefused, match="contradicts itself"):
        Run.restore(run.definition, msgspec.json.encode(content))
