"""Small models for tests, drawn in two lines: the nodes as XML, the flows as `A > B` or `A > B: ${condition}`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from dadms_orchestrators.bpmn import Cancelled, Finding, ModelRefused, Note, Run, Step, UserTask, Work, check, load

SHARED = Path(__file__).parents[3] / ".." / "shared"
MODELS = SHARED / "models"
MIWG = SHARED / "conformance" / "bpmn-miwg"

NAMESPACES = 'xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:camunda="http://camunda.org/schema/1.0/bpmn"'

Complete = Callable[[Work], dict[str, Any]]


def flows(text: str) -> str:
    """The sequence flows of `A > B; B > C: ${x}`, with the ids A_B, B_C."""
    found = []
    for part in text.split(";"):
        ends, _, condition = part.partition(":")
        source, target = (end.strip() for end in ends.split(">"))
        inner = f"<conditionExpression>{escape(condition.strip())}</conditionExpression>" if condition else ""
        found.append(f'<sequenceFlow id="{source}_{target}" sourceRef="{source}" targetRef="{target}">{inner}</sequenceFlow>')
    return "\n".join(found)


def task(identifier: str, inner: str = "", attributes: str = "") -> str:
    """An external task with a topic of the same name."""
    return f'<serviceTask id="{identifier}" camunda:type="external" camunda:topic="{identifier}" {attributes}>{inner}</serviceTask>'


def process(nodes: str, lines: str, identifier: str = "P", inner: str = "") -> str:
    """A process from S to E."""
    return f'<process id="{identifier}" isExecutable="true">\n<startEvent id="S"/>\n{nodes}\n<endEvent id="E"/>\n{flows(lines)}\n{inner}</process>'


def document(*parts: str) -> bytes:
    """A file."""
    return f"<definitions {NAMESPACES}>\n{''.join(parts)}\n</definitions>".encode()


def model(nodes: str, lines: str, *more: str) -> bytes:
    """A file with one process from S to E, and more."""
    return document(process(nodes, lines), *more)


def run_of(source: bytes, variables: dict[str, Any] | None = None, **options: Any) -> Run:
    """A run of a model."""
    return Run(load(source, name="drawn.bpmn"), variables, **options)


def works(steps: list[Step]) -> dict[str, Work]:
    """The work among steps, by element."""
    return {step.element: step for step in steps if isinstance(step, Work)}


def people(steps: list[Step]) -> dict[str, UserTask]:
    """The user tasks among steps, by element."""
    return {step.element: step for step in steps if isinstance(step, UserTask)}


def cancelled(steps: list[Step]) -> list[str]:
    """The elements whose work was taken back."""
    return [step.element for step in steps if isinstance(step, Cancelled)]


def notes(steps: list[Step], what: str) -> list[Note]:
    """The notes of a kind."""
    return [step for step in steps if isinstance(step, Note) and step.what == what]


def finish(run: Run, complete: Complete = lambda _: {}, answers: dict[str, Any] | None = None, *, limit: int = 10_000) -> list[str]:
    """Complete whatever comes until the run ends; the elements in the order in which they came."""
    seen: list[str] = []
    while True:
        steps = run.advance()
        if run.is_finished:
            return seen
        todo = [step for step in steps if isinstance(step, Work | UserTask)]
        assert todo, f"nothing is ready, and {run.open} are open"
        for step in todo:
            seen.append(step.element)
            assert len(seen) < limit
            if isinstance(step, Work):
                run.complete(step.id, complete(step))
            else:
                run.answer(step.id, answers or {})


def findings(source: bytes, name: str = "m.bpmn") -> tuple[Finding, ...]:
    """Why a file is refused; nothing when it can run."""
    try:
        check(source, name=name)
    except ModelRefused as refused:
        return refused.findings
    return ()
