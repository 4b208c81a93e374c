"""How tokens move: gateways, loops, sub-processes, calls and ends."""

from __future__ import annotations

import pytest

from dadms_orchestrators.bpmn import Note, Run, RunRefused, load
from tests.unit.bpmn.drawing import cancelled, document, finish, model, notes, process, run_of, task, works


def test_tasks_in_a_row_come_one_after_the_other() -> None:
    run = run_of(model(task("A") + task("B"), "S > A; A > B; B > E"), {"x": 1})
    first = works(run.advance())
    assert set(first) == {"A"}
    assert first["A"].variables == {"x": 1}
    assert run.advance() == []  # a step is said once
    run.complete(first["A"].id, {"y": [1, {"z": None}]})
    second = works(run.advance())
    assert second["B"].variables == {"x": 1, "y": [1, {"z": None}]}
    run.complete(second["B"].id)
    run.advance()
    assert run.outcome().status == "completed"
    assert run.outcome().path == ("S", "A", "B", "E")
    assert run.outcome().variables == {"x": 1, "y": [1, {"z": None}]}


def test_an_exclusive_gateway_takes_the_first_that_holds_and_says_why() -> None:
    source = model(
        '<exclusiveGateway id="G" default="G_C"/>' + task("A") + task("B") + task("C"),
        "S > G; G > A: ${n > 10}; G > B: ${n > 5}; G > C; A > E; B > E; C > E",
    )
    for n, taken in ((11, "A"), (6, "B"), (1, "C")):
        steps = (run := run_of(source, {"n": n})).advance()
        assert set(works(steps)) == {taken}
        (branch,) = notes(steps, "branch")
        assert branch.detail == {"flow": f"G_{taken}"}
        assert "default" in branch.text if taken == "C" else "n >" in branch.text
        assert finish(Run(load(source), {"n": n})) == [taken]
        assert not run.is_finished


def test_no_condition_and_no_default_fails_the_run() -> None:
    run = run_of(model('<exclusiveGateway id="G"/>' + task("A"), "S > G; G > A: ${n > 10}; G > E: ${n > 5}; A > E"), {"n": 1})
    run.advance()
    error = run.outcome().error
    assert error is not None
    assert (error.type, error.element) == ("NoWay", "G")
    assert "no condition" in error.message


def test_an_undefined_variable_in_a_condition_names_variable_condition_flow_and_line() -> None:
    run = run_of(model('<exclusiveGateway id="G" default="G_E"/>' + task("A"), "S > G; G > A:\n${approved == true}; G > E; A > E"))
    run.advance()
    outcome = run.outcome()
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.message == (
        'condition of sequence flow "G_A" (G_A): variable "approved" is not defined, in ${approved == true}'
        "; give it with --set approved=VALUE, or let a task before it return it"
    )
    assert (outcome.error.file, outcome.error.line, outcome.error.element) == ("drawn.bpmn", 7, "G")


def test_a_null_variable_in_a_condition_is_null() -> None:
    source = model('<exclusiveGateway id="G" default="G_E"/>' + task("A"), "S > G; G > A: ${approved == null}; G > E; A > E")
    assert finish(run_of(source, {"approved": None})) == ["A"]


def test_a_parallel_gateway_splits_at_once_and_waits_for_all() -> None:
    run = run_of(
        model(
            '<parallelGateway id="G"/><parallelGateway id="H"/>' + "".join(map(task, "ABCD")),
            "S > G; G > A; G > B; G > C; A > H; B > H; C > H; H > D; D > E",
        )
    )
    ready = works(run.advance())
    assert set(ready) == {"A", "B", "C"}
    for name in "CAB":
        assert not works(run.advance())
        run.complete(ready[name].id, {f"of_{name}": name, "last": name, "list": [name]})
    (last,) = works(run.advance()).values()
    assert last.element == "D"
    assert last.variables == {"of_A": "A", "of_B": "B", "of_C": "C", "last": "B", "list": ["B"]}  # the last to say wins; nothing is mixed


def test_a_parallel_join_keeps_a_second_token_of_the_same_flow() -> None:
    """Two tokens over one flow are not two flows: the join must wait for the other one."""
    nodes = '<parallelGateway id="G"/><exclusiveGateway id="M"/><parallelGateway id="J"/>' + "".join(map(task, "ABCD"))
    run = run_of(model(nodes, "S > G; G > A; G > B; G > C; A > M; B > M; M > J; C > J; J > D; D > E"))
    ready = works(run.advance())
    run.complete(ready["A"].id)
    run.complete(ready["B"].id)
    assert not works(run.advance())
    run.complete(ready["C"].id)
    assert set(works(run.advance())) == {"D"}


def test_an_implicit_merge_runs_what_follows_once_for_each_token() -> None:
    run = run_of(model('<parallelGateway id="G"/>' + "".join(map(task, "ABC")), "S > G; G > A; G > B; A > C; B > C; C > E"))
    assert sorted(finish(run)) == ["A", "B", "C", "C"]


def test_several_ways_out_of_a_task_are_all_taken_and_conditional_ones_when_they_hold() -> None:
    nodes = task("A", attributes='default="A_D"') + task("B") + task("C") + task("D")
    lines = "S > A; A > B; A > C: ${n > 1}; A > D; B > E; C > E; D > E"
    assert set(finish(run_of(model(nodes, lines), {"n": 2}))) == {"A", "B", "C"}
    assert set(finish(run_of(model(nodes, lines), {"n": 1}))) == {"A", "B", "D"}


@pytest.mark.parametrize(("n", "branches"), [(0, "D"), (1, "A"), (3, "AB"), (7, "ABC")])
def test_an_inclusive_gateway_takes_what_holds_and_joins_what_was_taken(n: int, branches: str) -> None:
    nodes = '<inclusiveGateway id="G" default="G_D"/><inclusiveGateway id="H"/>' + "".join(map(task, "ABCDZ"))
    lines = "S > G; G > A: ${n >= 1}; G > B: ${n >= 3}; G > C: ${n >= 7}; G > D; A > H; B > H; C > H; D > H; H > Z; Z > E"
    run = run_of(model(nodes, lines), {"n": n})
    ready = works(run.advance())
    assert set(ready) == set(branches)
    for work in list(ready.values()):
        assert "Z" not in works(run.advance())
        run.complete(work.id)
    assert set(works(run.advance())) == {"Z"}


def test_an_inclusive_join_waits_for_a_token_that_is_still_far_away() -> None:
    nodes = '<inclusiveGateway id="G"/><inclusiveGateway id="H"/>' + "".join(map(task, "ABCDZ"))
    run = run_of(model(nodes, "S > G; G > A; G > B; B > C; C > D; D > H; A > H; H > Z; Z > E"))
    ready = works(run.advance())
    run.complete(ready["A"].id)
    for name in "BCD":
        ready.update(works(run.advance()))
        assert "Z" not in ready
        run.complete(ready[name].id)
    assert set(works(run.advance())) == {"Z"}


def test_a_loop_runs_until_its_condition_and_leaves_no_history() -> None:
    source = model(
        '<exclusiveGateway id="G" default="G_E"/><exclusiveGateway id="M"/>' + task("A"),
        "S > M; M > A; A > G; G > M: ${count < 3000}; G > E",
    )
    run = run_of(source, {"count": 0})
    assert len(finish(run, lambda work: {"count": work.variables["count"] + 1})) == 3000
    assert run.outcome().status == "completed"
    run = run_of(source, {"count": 0})
    (work,) = works(run.advance()).values()
    size = len(run.snapshot())
    for _ in range(300):
        run.complete(work.id, {"count": 1})
        (work,) = works(run.advance()).values()
    grown = len(run.snapshot()) - size
    assert grown < 300 * 3 * 20  # the path that was taken, and nothing else


def test_a_parallel_block_in_a_loop_joins_every_time() -> None:
    nodes = (
        '<exclusiveGateway id="M"/><parallelGateway id="G"/><parallelGateway id="J"/><exclusiveGateway id="X" default="X_E"/>'
        + "".join(map(task, "AB"))
    )
    run = run_of(model(nodes, "S > M; M > G; G > A; G > B; A > J; B > J; J > X; X > M: ${count < 200}; X > E"), {"count": 0})
    seen = finish(run, lambda work: {"count": work.variables["count"] + 1} if work.element == "A" else {})
    assert seen == ["A", "B"] * 200


def test_a_loop_without_work_fails_instead_of_running_for_ever() -> None:
    run = run_of(
        model('<exclusiveGateway id="M"/><exclusiveGateway id="G" default="G_M"/>', "S > M; M > G; G > M; G > E: ${out}"), {"out": False}
    )
    run.advance()
    error = run.outcome().error
    assert error is not None
    assert error.type == "EndlessLoop"


def test_a_thousand_tasks_in_a_row() -> None:
    names = [f"T{number}" for number in range(1000)]
    lines = "; ".join(f"{left} > {right}" for left, right in zip(["S", *names], [*names, "E"], strict=True))
    assert finish(run_of(model("".join(map(task, names)), lines))) == names


def test_a_terminate_end_cancels_everything_else() -> None:
    nodes = '<parallelGateway id="G"/><endEvent id="X"><terminateEventDefinition/></endEvent>' + "".join(map(task, "AB"))
    run = run_of(model(nodes, "S > G; G > A; G > B; A > X; B > E"))
    ready = works(run.advance())
    run.complete(ready["A"].id, {"a": 1})
    assert cancelled(run.advance()) == ["B"]
    assert (run.outcome().status, run.outcome().end_event, run.outcome().variables) == ("completed", "X", {"a": 1})
    run.complete(ready["B"].id, {"late": True})  # it was on its way; nothing happens
    assert run.outcome().variables == {"a": 1}


def test_a_terminate_end_in_a_subprocess_ends_only_that() -> None:
    inner = (
        '<startEvent id="s"/><parallelGateway id="g"/><endEvent id="e"/><endEvent id="x"><terminateEventDefinition/></endEvent>'
        + task("A")
        + task("B")
    )
    from_inner = "".join(f'<sequenceFlow id="{a}_{b}" sourceRef="{a}" targetRef="{b}"/>' for a, b in ("sg", "gA", "gB", "Ax", "Be"))
    run = run_of(model(f'<subProcess id="U">{inner}{from_inner}</subProcess>' + task("C"), "S > U; U > C; C > E"))
    ready = works(run.advance())
    run.complete(ready["A"].id)
    steps = run.advance()
    assert cancelled(steps) == ["B"]
    assert set(works(steps)) == {"C"}


def test_subprocesses_within_each_other_are_entered_and_left() -> None:
    source = task("A")
    for depth in range(5):
        inside = "A" if depth == 0 else f"U{depth - 1}"
        source = f'<subProcess id="U{depth}"><startEvent id="s{depth}"/>{source}<endEvent id="e{depth}"/>'
        source += f'<sequenceFlow id="f{depth}" sourceRef="s{depth}" targetRef="{inside}"/><sequenceFlow id="h{depth}" sourceRef="{inside}" targetRef="e{depth}"/></subProcess>'
        source = source.replace(f'<subProcess id="U{depth}">', f'<subProcess id="U{depth}" name="level {depth}">')
    run = run_of(model(source, "S > U4; U4 > E"))
    steps = run.advance()
    assert [note.element for note in notes(steps, "entered")] == ["U4", "U3", "U2", "U1", "U0"]
    run.complete(works(steps)["A"].id, {"deep": 1})
    assert [note.element for note in notes(run.advance(), "left")] == ["U0", "U1", "U2", "U3", "U4"]
    assert run.outcome().variables == {"deep": 1}


def test_a_manual_task_and_an_intermediate_event_pass_by_themselves() -> None:
    run = run_of(model('<manualTask id="M"/><intermediateThrowEvent id="I"/>', "S > M; M > I; I > E"))
    run.advance()
    assert run.outcome().path == ("S", "M", "I", "E")


def called(mappings: str = "", inner: str | None = None) -> bytes:
    call = f'<callActivity id="C" calledElement="Q"><extensionElements>{mappings}</extensionElements></callActivity>'
    return document(
        process(call + task("Z"), "S > C; C > Z; Z > E"),
        inner or process(task("A"), "S > A; A > E", "Q").replace('"S"', '"s"').replace('"E"', '"e"'),
    )


def test_a_call_without_mappings_takes_everything_in_and_out() -> None:
    run = run_of(called(), {"x": 1, "y": 2})
    steps = run.advance()
    assert works(steps)["A"].variables == {"x": 1, "y": 2}
    assert works(steps)["A"].process == "Q"
    assert [note.detail for note in notes(steps, "called")] == [{"process": "Q"}]
    run.complete(works(steps)["A"].id, {"x": 5, "z": 3})
    after = run.advance()
    assert works(after)["Z"].variables == {"x": 5, "y": 2, "z": 3}
    assert notes(after, "returned")


def test_a_call_with_mappings_takes_exactly_those() -> None:
    mappings = '<camunda:in source="x" target="a"/><camunda:in sourceExpression="${x + 1}" target="b"/><camunda:in source="absent" target="c"/><camunda:out source="r" target="result"/>'
    run = run_of(called(mappings), {"x": 1, "y": 2})
    work = works(run.advance())["A"]
    assert work.variables == {"a": 1, "b": 2, "c": None}
    run.complete(work.id, {"r": "yes", "a": 9, "other": 1})
    assert works(run.advance())["Z"].variables == {"x": 1, "y": 2, "result": "yes"}


def test_a_call_can_take_all_by_name() -> None:
    run = run_of(called('<camunda:in variables="all"/><camunda:in businessKey="#{x}"/><camunda:out variables="all"/>'), {"x": 1})
    work = works(run.advance())["A"]
    assert work.variables == {"x": 1}
    run.complete(work.id, {"y": 2})
    assert works(run.advance())["Z"].variables == {"x": 1, "y": 2}


def test_a_process_that_calls_itself_for_ever_fails_at_a_depth() -> None:
    run = run_of(document(process('<callActivity id="C" calledElement="P"/>', "S > C; C > E")))
    run.advance()
    error = run.outcome().error
    assert error is not None
    assert error.type == "CallDepth"


def test_a_process_that_calls_itself_some_times_comes_back() -> None:
    nodes = '<exclusiveGateway id="G" default="G_E"/><callActivity id="C" calledElement="P"/>' + task("A")
    run = run_of(document(process(nodes, "S > A; A > G; G > C: ${n < 20}; G > E; C > E")), {"n": 0})
    assert len(finish(run, lambda work: {"n": work.variables["n"] + 1})) == 20
    assert run.outcome().variables == {"n": 20}


def test_two_runs_of_one_definition_do_not_meet() -> None:
    definition = load(model(task("A") + task("B"), "S > A; A > B; B > E"))
    left, right = Run(definition, {"who": "left"}), Run(definition, {"who": "right"})
    a, b = works(left.advance())["A"], works(right.advance())["A"]
    left.complete(a.id, {"list": [1]})
    right.complete(b.id, {"list": [2]})
    assert works(left.advance())["B"].variables == {"who": "left", "list": [1]}
    assert works(right.advance())["B"].variables == {"who": "right", "list": [2]}


def test_results_for_what_is_not_open_are_refused() -> None:
    run = run_of(model('<userTask id="U"/>' + task("A"), "S > A; A > U; U > E"))
    work = works(run.advance())["A"]
    with pytest.raises(RunRefused, match="no such work is open"):
        run.complete("Z#1")
    with pytest.raises(RunRefused, match="it is a work"):
        run.answer(work.id, {})
    with pytest.raises(RunRefused, match="no outcome yet: 1 tasks are out"):
        run.outcome()
    run.complete(work.id)
    with pytest.raises(RunRefused, match="no such work is open"):
        run.complete(work.id)


def test_the_first_step_says_what_started() -> None:
    (first, *_) = run_of(model(task("A"), "S > A; A > E")).advance()
    assert isinstance(first, Note)
    assert (first.what, first.element) == ("started", "P")


def test_element_ids_may_be_called_like_the_parts_underneath() -> None:
    nodes = "".join(map(task, ("Start", "End", "Last", "Root")))
    assert finish(run_of(model(nodes, "S > Start; Start > End; End > Last; Last > Root; Root > E"))) == ["Start", "End", "Last", "Root"]
