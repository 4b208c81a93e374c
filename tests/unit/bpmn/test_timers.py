"""Timers: due in the time that comes in from outside, and in no other."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dadms_orchestrators.bpmn import Run
from dadms_orchestrators.bpmn.timers import NotATime, due
from tests.unit.bpmn.drawing import cancelled, model, notes, run_of, task, works

NOON = datetime(2030, 1, 31, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("kind", "text", "moment"),
    [
        ("timeDuration", "PT30S", NOON + 30),
        ("timeDuration", "PT0.5S", NOON + 0.5),
        ("timeDuration", "PT1,5S", NOON + 1.5),
        ("timeDuration", "P1DT2H3M4S", NOON + 86400 + 2 * 3600 + 3 * 60 + 4),
        ("timeDuration", "P2W", NOON + 14 * 86400),
        ("timeDuration", "P1M", datetime(2030, 2, 28, 12, tzinfo=UTC).timestamp()),
        ("timeDuration", "P1Y13M", datetime(2032, 2, 29, 12, tzinfo=UTC).timestamp()),
        ("timeDuration", "P1MT1H", datetime(2030, 2, 28, 13, tzinfo=UTC).timestamp()),
        ("timeDate", "2030-02-01T00:00:00Z", NOON + 12 * 3600),
        ("timeDate", "2030-02-01T02:00:00+02:00", NOON + 12 * 3600),
        ("timeDate", " 2030-02-01 ", NOON + 12 * 3600),
    ],
)
def test_iso_times(kind: str, text: str, moment: float) -> None:
    assert due(kind, text, now=NOON) == moment


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1", "30S", "P1S", "PT1D", "-PT5S", "P1.5D", "PT\u0661S", "P99999999999999D", "P9999Y", "P1D" * 40, "soon"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(NotATime):
        due("timeDuration", text, now=NOON)


@pytest.mark.parametrize("text", ["", "PT5S", "tomorrow", "2030-13-01", "9999-12-31T23:59:59-23:59x"])
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(NotATime):
        due("timeDate", text, now=NOON)


def timer(duration: str) -> str:
    return f"<timerEventDefinition><timeDuration>{duration}</timeDuration></timerEventDefinition>"


def test_an_intermediate_timer_waits_for_its_time() -> None:
    run = run_of(
        model(f'<intermediateCatchEvent id="T">{timer("PT10S")}</intermediateCatchEvent>' + task("A"), "S > T; T > A; A > E"), now=100.0
    )
    assert works(run.advance()) == {}
    assert run.next_deadline() == 110.0
    assert works(run.advance(now=109.9)) == {}
    run.tick(110.0)
    steps = run.advance()
    assert set(works(steps)) == {"A"}
    assert len(notes(steps, "timer")) == 1
    assert run.next_deadline() is None


def test_a_boundary_timer_takes_the_work_back() -> None:
    run = run_of(
        model(
            task("A") + f'<boundaryEvent id="T" attachedToRef="A">{timer("${patience}")}</boundaryEvent>' + task("B"),
            "S > A; A > E; T > B; B > E",
        ),
        {"patience": "PT5S"},
    )
    work = works(run.advance(now=50.0))["A"]
    assert run.next_deadline() == 55.0
    steps = run.advance(now=60.0)
    assert (cancelled(steps), set(works(steps))) == (["A"], {"B"})
    run.complete(work.id, {"late": 1})
    run.complete(works(steps)["B"].id)
    run.advance()
    assert (run.outcome().status, run.outcome().variables) == ("completed", {"patience": "PT5S"})


def test_a_boundary_timer_is_over_when_the_work_is_done() -> None:
    run = run_of(
        model(
            task("A") + f'<boundaryEvent id="T" attachedToRef="A">{timer("PT5S")}</boundaryEvent>' + task("B"), "S > A; A > B; T > E; B > E"
        )
    )
    run.complete(works(run.advance())["A"].id)
    assert set(works(run.advance())) == {"B"}
    assert run.next_deadline() is None
    assert run.advance(now=100.0) == []


def test_a_timer_that_does_not_interrupt_runs_beside_the_work() -> None:
    nodes = (
        task("A")
        + f'<boundaryEvent id="T" attachedToRef="A" cancelActivity="false">{timer("PT5S")}</boundaryEvent>'
        + task("B")
        + task("C")
    )
    run = run_of(model(nodes, "S > A; A > C; T > B; B > E; C > E"))
    work = works(run.advance())["A"]
    steps = run.advance(now=5.0)
    assert (cancelled(steps), set(works(steps))) == ([], {"B"})
    run.complete(work.id)
    late = works(run.advance())
    assert set(late) == {"C"}
    run.complete(late["C"].id)
    run.advance()
    assert not run.is_finished
    run.complete(works(steps)["B"].id)
    run.advance()
    assert run.outcome().status == "completed"


def test_a_timer_on_a_subprocess_ends_all_of_it() -> None:
    inner = (
        '<startEvent id="s"/>'
        + task("A")
        + '<endEvent id="e"/><sequenceFlow id="1" sourceRef="s" targetRef="A"/><sequenceFlow id="2" sourceRef="A" targetRef="e"/>'
    )
    run = run_of(
        model(
            f'<subProcess id="U">{inner}</subProcess><boundaryEvent id="T" attachedToRef="U">{timer("PT5S")}</boundaryEvent>',
            "S > U; U > E; T > E",
        )
    )
    run.advance()
    assert cancelled(run.advance(now=6.0)) == ["A"]
    assert run.outcome().status == "completed"


def test_timers_fire_in_the_order_in_which_they_are_due() -> None:
    nodes = '<parallelGateway id="G"/>' + "".join(
        f'<intermediateCatchEvent id="T{n}">{timer(f"PT{n}S")}</intermediateCatchEvent>{task(f"A{n}")}' for n in (3, 1, 2)
    )
    run = run_of(model(nodes, "; ".join(f"G > T{n}; T{n} > A{n}; A{n} > E" for n in (3, 1, 2)) + "; S > G"))
    run.advance()
    assert run.next_deadline() == 1.0
    assert list(works(run.advance(now=10.0))) == ["A1", "A2", "A3"]


def test_a_time_that_is_none_fails_the_run_at_its_line() -> None:
    run = run_of(model(f'<intermediateCatchEvent id="T">\n{timer("${when}")}</intermediateCatchEvent>', "S > T; T > E"), {"when": "soon"})
    run.advance()
    error = run.outcome().error
    assert error is not None
    assert (error.type, error.element, error.line) == ("NotATime", "T", 5)


def test_a_timer_survives_a_snapshot() -> None:
    run = run_of(
        model(task("A") + f'<boundaryEvent id="T" attachedToRef="A">{timer("PT5S")}</boundaryEvent>', "S > A; A > E; T > E"), now=10.0
    )
    run.advance()
    restored = Run.restore(run.definition, run.snapshot())
    assert restored.next_deadline() == 15.0
    assert cancelled(restored.advance(now=16.0)) == ["A"]
    assert restored.outcome().path == ("S", "T", "E")


def test_a_boundary_timer_that_says_no_time_is_not_caught_beside_it() -> None:
    nodes = task("A") + f'<boundaryEvent id="T" attachedToRef="A">{timer("${when}")}</boundaryEvent>'
    nodes += '<boundaryEvent id="C" attachedToRef="A"><errorEventDefinition/></boundaryEvent>'
    run = run_of(model(nodes, "S > A; A > E; T > E; C > E"), {"when": "soon"})
    run.advance()
    error = run.outcome().error
    assert error is not None
    assert (error.type, error.element) == ("NotATime", "T")


def test_time_does_not_go_back() -> None:
    run = run_of(
        model(task("A") + f'<intermediateCatchEvent id="T">{timer("PT5S")}</intermediateCatchEvent>', "S > A; A > T; T > E"), now=100.0
    )
    run.complete(works(run.advance(now=50.0))["A"].id)
    run.advance(now=60.0)
    assert run.next_deadline() == 105.0
