"""What goes wrong in a run is said once, with task, line and cause; and how a main ends."""

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dadms_ipc import port
from dadms_orchestrators.decision.orchestrator import ORCHESTRATOR as DECISION
from dadms_orchestrators.sdk.line import PUBLICATIONS_LIMIT
from dadms_orchestrators.sdk.process import NOTES_LIMIT
from tests.integration.example.port_kernel import PortKernel

DATA = Path(__file__).parent / "data"
DMN = Path(__file__).parents[3] / "examples" / "uas_selection" / "go_no_go.dmn"
HEAD = '<bpmn:definitions xmlns:bpmn="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:camunda="http://camunda.org/schema/1.0/bpmn" id="d" targetNamespace="urn:test">\n'

Run = Callable[..., PortKernel]


@pytest.fixture
def run_tasks(run_model: Run, tmp_path: Path) -> Run:
    """Run a model that is these elements in a row; an element is (id, tag, attributes, content)."""

    def run(*elements: tuple[str, str, str, str], handlers: Path | None = DATA / "counting.py", **given: Any) -> PortKernel:
        names = ["start", *(one[0] for one in elements), "end"]
        flows = "".join(
            f'<bpmn:sequenceFlow id="f{index}" sourceRef="{one}" targetRef="{two}" />\n'
            for index, (one, two) in enumerate(itertools.pairwise(names))
        )
        tasks = "".join(
            f'<bpmn:{tag} id="{name}" name="Task {name}" {attributes}>{content}</bpmn:{tag}>\n'
            for name, tag, attributes, content in elements
        )
        model = tmp_path / "row.bpmn"
        model.write_text(
            f'{HEAD}<bpmn:process id="row" isExecutable="true">\n<bpmn:startEvent id="start" />\n{tasks}<bpmn:endEvent id="end" />\n{flows}</bpmn:process>\n</bpmn:definitions>\n'
        )
        return run_model(model, handlers, **given)

    return run


def external(name: str, topic: str) -> tuple[str, str, str, str]:
    return name, "serviceTask", f'camunda:type="external" camunda:topic="{topic}"', ""


def script(name: str, text: str) -> tuple[str, str, str, str]:
    return name, "scriptTask", 'scriptFormat="python" camunda:resultVariable="found"', f"<bpmn:script><![CDATA[{text}]]></bpmn:script>"


def test_raising_handler_fails_the_run_with_task_line_and_cause(run_tasks: Run) -> None:
    kernel = run_tasks(external("a", "count"), external("b", "fail"), external("c", "count"), variables={"what": "cards"})
    assert (kernel.status, kernel.exit_code) == ("failed", 0)
    assert kernel.reason.endswith("row.bpmn:5) failed: ValueError: no luck with cards")
    assert kernel.reason.startswith('"Task b" (')
    assert [label for _, _, label in kernel.journal.threads.values()] == ["Task a", "Task b"]
    assert kernel.outcome["error"]["element"] == "b"
    assert kernel.outcome["variables"]["a"] == "a"


def test_variable_that_is_not_json_names_its_way_and_type(run_tasks: Run) -> None:
    kernel = run_tasks(external("a", "not-json"))
    assert kernel.status == "failed"
    assert '"scores.alpha[1]" is of type set, which is not JSON' in kernel.reason


def test_topics_without_handlers_are_all_named_before_the_first_task(run_tasks: Run) -> None:
    kernel = run_tasks(external("a", "count"), external("b", "weigh"), external("c", "paint"))
    assert (kernel.status, kernel.journal.threads, kernel.journal.is_ready) == ("failed", {}, False)
    assert 'no handler for topic "weigh" (task "Task b", ' in kernel.reason
    assert 'no handler for topic "paint" (task "Task c", ' in kernel.reason
    assert "row.bpmn:5" in kernel.reason
    assert kernel.reason.endswith("counting.py declares: count, fail, not-json, work")


def test_missing_handlers_module_is_said(run_tasks: Run) -> None:
    from dadms_orchestrators import handlers

    handlers.forget()
    assert run_tasks(external("a", "count"), handlers=None).reason.endswith("no handlers module was given: --handlers FILE")


def test_missing_decision_is_said_before_the_first_task(run_tasks: Run) -> None:
    kernel = run_tasks(external("a", "count"), ("b", "businessRuleTask", 'camunda:decisionRef="go_no_go" camunda:resultVariable="r"', ""))
    assert (kernel.status, kernel.journal.threads) == ("failed", {})
    assert 'no decision "go_no_go"; the process was started without a DMN file (task "Task b", ' in kernel.reason


def test_lost_worker_fails_its_task(run_tasks: Run) -> None:
    kernel = run_tasks(script("a", "import os\nos._exit(9)"))
    assert kernel.status == "failed"
    assert "worker_lost" in kernel.reason


def test_script_sets_variables_and_gives_its_last_expression(run_tasks: Run) -> None:
    kernel = run_tasks(
        script("a", "import math\nitems.append(3)\ntotal = sum(items)\n_hidden = 1\ndef f(): pass\nprogress('half', .5)\ntotal * 2"),
        variables={"items": [1, 2], "kept": "x"},
    )
    assert kernel.outcome["variables"] == {"items": [1, 2, 3], "kept": "x", "total": 6, "found": 12}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\ny = x / 0", 'ScriptFailed: line 2 of the script of "Task a": ZeroDivisionError: division by zero'),
        ("x = {1}", 'NotJson: the script of "Task a" made a variable that cannot be kept: "x" is of type set, which is not JSON'),
    ],
)
def test_failing_script_names_its_line(run_tasks: Run, text: str, reason: str) -> None:
    assert reason in run_tasks(script("a", text)).reason


def test_unanswered_required_field_is_named(run_tasks: Run) -> None:
    form = '<bpmn:extensionElements><camunda:formData><camunda:formField id="size" type="long"><camunda:validation><camunda:constraint name="required" /></camunda:validation></camunda:formField></camunda:formData></bpmn:extensionElements>'
    question = ("a", "userTask", "", form)
    kernel = run_tasks(question)
    assert kernel.status == "failed"
    assert 'user task "Task a" (' in kernel.reason
    assert '"size" is required' in kernel.reason
    assert kernel.reason.endswith("give values with --set NAME=VALUE or --input FILE")
    assert "size" in run_tasks(question, answers={"size": "large"}).reason
    for answers in ({"size": 4}, {"a": {"size": 4}}, {"Task a": {"size": 4}}):
        assert run_tasks(question, answers=answers).outcome["variables"] == {"size": 4}
    assert run_tasks(question, variables={"size": 4}).outcome["variables"] == {"size": 4}


@pytest.mark.parametrize(
    ("how", "end", "ended"),
    [("at once", "done", "completed"), ("forever", "late", "terminated"), ("nothing left", "empty", "error")],
)
def test_boundary_events_catch_what_they_name(run_model: Run, tmp_path: Path, how: str, end: str, ended: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    model = tmp_path / "boundary.bpmn"
    text = (DATA / "boundary.bpmn").read_text()
    assert "PT0.2S" in text
    model.write_text(
        text if how == "forever" else text.replace("PT0.2S", "PT1H")
    )  # its timer ends only the thread that has no end of its own
    kernel = run_model(model, DATA / "counting.py", variables={"how": how, "fifo": str(tmp_path / "fifo")})
    assert (kernel.status, kernel.outcome["end_event"]) == ("completed", end)
    if how == "forever":
        assert kernel.journal.cancelled == {1}, "the thread was left running"
    else:
        assert [result.status for result in kernel.journal.results] == [ended]


def test_error_that_no_boundary_event_names_fails_the_run_with_its_code(run_model: Run) -> None:
    kernel = run_model(DATA / "boundary.bpmn", DATA / "counting.py", variables={"how": "otherwise"})
    assert kernel.status == "failed"
    assert kernel.reason.endswith("failed: BpmnError [SOMETHING_ELSE]: not expected")


class Echo(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if self.path == "/fine" else 503)
        self.end_headers()
        self.wfile.write(b"got " + body + b" as " + (self.headers["X-Kind"] or "").encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def connector(url: str) -> tuple[str, str, str, str]:
    return (
        "a",
        "serviceTask",
        "",
        f"""<bpmn:extensionElements><camunda:connector><camunda:inputOutput>
        <camunda:inputParameter name="url">{url}</camunda:inputParameter><camunda:inputParameter name="method">POST</camunda:inputParameter>
        <camunda:inputParameter name="headers"><camunda:map><camunda:entry key="X-Kind">text</camunda:entry></camunda:map></camunda:inputParameter>
        <camunda:inputParameter name="payload">${{question}}</camunda:inputParameter>
        <camunda:outputParameter name="answer">${{response}}</camunda:outputParameter>
        </camunda:inputOutput><camunda:connectorId>http-connector</camunda:connectorId></camunda:connector></bpmn:extensionElements>""",
    )


@pytest.mark.filterwarnings(
    "ignore:This process:DeprecationWarning"
)  # Python 3.12 warns of a fork beside the server's thread, which the child never touches
def test_http_connector_without_a_handler_makes_its_request(run_tasks: Run, server: str) -> None:
    kernel = run_tasks(connector(f"{server}/fine"), variables={"question": "why"})
    assert (kernel.status, kernel.reason) == ("completed", "")
    assert kernel.outcome["variables"]["answer"] == "got why as text"
    kernel = run_tasks(connector(f"{server}/broken"), variables={"question": "why"})
    assert "was answered with 503" in kernel.reason


def test_http_connector_reads_no_files(run_tasks: Run) -> None:
    assert "needs an http:// or https:// url" in run_tasks(connector("file:///etc/hostname"), variables={"question": "why"}).reason


def stop_by_message(kernel: PortKernel, _: port.Submit) -> None:
    kernel.send(port.Stop("shutdown", 1.0))


def stop_by_signal(kernel: PortKernel, _: port.Submit) -> None:
    os.kill(kernel.os_pid, signal.SIGTERM)


def stop_by_both(kernel: PortKernel, submit: port.Submit) -> None:
    stop_by_message(kernel, submit)
    stop_by_signal(kernel, submit)


@pytest.mark.parametrize("how", [stop_by_message, stop_by_signal, stop_by_both])
def test_stop_ends_the_main_without_an_outcome(run_tasks: Run, how: Callable[[PortKernel, port.Submit], None]) -> None:
    kernel = run_tasks(script("a", "import time\ntime.sleep(60)"), on_submit=how)
    assert (kernel.exit_code, kernel.journal.outcome) == (0, None)


def test_end_of_the_daemon_ends_the_main(run_tasks: Run, capfd: pytest.CaptureFixture[str]) -> None:
    kernel = run_tasks(script("a", "import time\ntime.sleep(60)"), on_submit=lambda kernel, _: kernel.abandon())
    assert kernel.exit_code == 3
    assert "the daemon is gone" in capfd.readouterr().err


def test_notes_that_no_kernel_reads_do_not_stop_the_run(run_tasks: Run) -> None:
    """Many more than a socket holds, in one breath."""
    steps = [(f"m{index}", "manualTask", "", "") for index in range(NOTES_LIMIT)]
    kernel = run_tasks(*steps)
    assert (kernel.status, kernel.exit_code) == ("completed", 0)


def test_run_without_a_bus_ends_as_well(run_tasks: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The line tries and tries; what it cannot say is dropped, and nobody waits for it."""
    steps = [(f"m{index}", "manualTask", "", "") for index in range(PUBLICATIONS_LIMIT)]
    kernel = run_tasks(*steps, external("a", "count"), control=f"ipc://{tmp_path}/absent/control.sock")
    assert (kernel.status, kernel.exit_code) == ("completed", 0)
    assert "Traceback" not in capfd.readouterr().err


def test_answers_are_told_with_what_the_form_supplied(run_tasks: Run) -> None:
    fields = '<camunda:formField id="size" type="long" defaultValue="3" /><camunda:formField id="colour" type="string" />'
    kernel = run_tasks(
        ("a", "userTask", "", f"<bpmn:extensionElements><camunda:formData>{fields}</camunda:formData></bpmn:extensionElements>"),
        answers={"colour": "red"},
    )
    assert [note.text for note in kernel.notes if note.kind == "bpmn.answered"] == ["Task a: size = 3 by default, colour = 'red'"]


def decide(config: dict[str, Any], tmp_path: Path, **given: Any) -> PortKernel:
    return PortKernel(DECISION, config, topics=[], directory=str(tmp_path), **given).run()


def test_decision_process_gives_value_and_rules(tmp_path: Path) -> None:
    config = {
        "model": {"name": DMN.name, "source": DMN.read_bytes()},
        "decision": None,
        "inputs": {"cost_risk": 0.3, "score_margin": 0.2, "robustness": 0.9},
    }
    kernel = decide(config, tmp_path)
    assert kernel.status == "completed"
    assert kernel.outcome["decision"] == "Go or no-go"
    assert kernel.outcome["value"]["verdict"] == "go with conditions"
    assert [row["rule"] for row in kernel.outcome["rules"]] == [2]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"decision": "nonsense"}, 'cannot evaluate "nonsense"'),
        ({"model": {"name": "x.dmn", "source": b"<no"}}, "x.dmn"),
        ({"model": 5}, "its configuration is not a decision process's"),
    ],
)
def test_decision_that_cannot_be_evaluated_fails_with_the_reason(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    kernel = decide({"model": {"name": DMN.name, "source": DMN.read_bytes()}, "inputs": {}, **change}, tmp_path)
    assert (kernel.status, kernel.exit_code) == ("failed", 0)
    assert reason in kernel.reason
