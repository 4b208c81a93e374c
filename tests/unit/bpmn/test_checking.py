"""What is refused before anything starts, and what a checked model says about itself."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dadms_orchestrators.bpmn import ModelRefused, check, load_siblings, siblings_wanted
from dadms_orchestrators.bpmn.markup import MAX_BYTES
from tests.unit.bpmn.drawing import MODELS, NAMESPACES, document, findings, model, process, task


def reasons(source: bytes) -> list[str]:
    with pytest.raises(ModelRefused) as refused:
        check(source, name="m.bpmn")
    return [str(finding) for finding in refused.value.findings]


SUB = '<startEvent id="s"/><endEvent id="e"/><sequenceFlow id="i" sourceRef="s" targetRef="e"/>'

# What is drawn -> the line and a part of the reason, for each finding.
REFUSED: list[tuple[str, str, list[str]]] = [
    ('<receiveTask id="A"/>', "S > A; A > E", ['m.bpmn:4: receive task "A" waits for a message']),
    ('<eventBasedGateway id="A"/>', "S > A; A > E", ["waits for one of several events"]),
    ('<complexGateway id="A"/>', "S > A; A > E", ["complex gateway"]),
    (f'<transaction id="A">{SUB}</transaction>', "S > A; A > E", ["is a transaction"]),
    (f'<adHocSubProcess id="A">{SUB}</adHocSubProcess>', "S > A; A > E", ["ad-hoc"]),
    (f'<subProcess id="A" triggeredByEvent="true">{SUB}</subProcess>', "S > E", ["event sub-process", "has no way out"]),
    ('<userTask id="A"><multiInstanceLoopCharacteristics/></userTask>', "S > A; A > E", ["multi-instance"]),
    ('<userTask id="A"><standardLoopCharacteristics/></userTask>', "S > A; A > E", ["is a loop"]),
    ('<intermediateCatchEvent id="A"><signalEventDefinition/></intermediateCatchEvent>', "S > A; A > E", ['kind "signal"']),
    ('<intermediateThrowEvent id="A"><messageEventDefinition/></intermediateThrowEvent>', "S > A; A > E", ['kind "message"']),
    ('<intermediateCatchEvent id="A"><timerEventDefinition/></intermediateCatchEvent>', "S > A; A > E", ["says no duration"]),
    ('<intermediateCatchEvent id="A"><timerEventDefinition><timeCycle>R3/PT1S</timeCycle></timerEventDefinition></intermediateCatchEvent>', "S > A; A > E", ["repeats (timeCycle)"]),
    ('<intermediateCatchEvent id="A"><timerEventDefinition>\n<timeDuration>5 s</timeDuration></timerEventDefinition></intermediateCatchEvent>', "S > A; A > E", ['m.bpmn:5: intermediate event "A": "5 s" is not an ISO 8601 duration']),
    ('<userTask id="A"/><boundaryEvent id="B" attachedToRef="A" cancelActivity="false"><errorEventDefinition/></boundaryEvent>', "S > A; A > E; B > E", ["must interrupt"]),
    ('<userTask id="A"/><boundaryEvent id="B" attachedToRef="A"><errorEventDefinition errorRef="none"/></boundaryEvent>', "S > A; A > E; B > E", ['names the error "none"']),
    ('<userTask id="A"/><boundaryEvent id="B" attachedToRef="Z"><errorEventDefinition/></boundaryEvent>', "S > A; A > E; B > E", ['attached to "Z"', "is never reached"]),
    ('<boundaryEvent id="B" attachedToRef="E"><errorEventDefinition/></boundaryEvent>', "S > E; B > E", ["attached to end event"]),
    ('<callActivity id="A"/>', "S > A; A > E", ["does not name the process"]),
    ('<callActivity id="A" calledElement="${x}"/>', "S > A; A > E", ["'${x}' is computed"]),
    ('<callActivity id="A" calledElement="Q"/>', "S > A; A > E", ['calls process "Q", which neither this file nor the 0 files given beside it hold']),
    ('<task id="A"/>', "S > A; A > E", ["has no implementation: it says nowhere who does it"]),
    ('<serviceTask id="A" camunda:type="external"/>', "S > A; A > E", ["has no implementation: no camunda:topic"]),
    ('<businessRuleTask id="A"/>', "S > A; A > E", ["business rule task \"A\" has no implementation"]),
    ('<businessRuleTask id="A" camunda:decisionRef="${d}"/>', "S > A; A > E", ["computes which decision"]),
    ('<businessRuleTask id="A" camunda:decisionRef="d" camunda:mapDecisionResult="best"/>', "S > A; A > E", ['mapDecisionResult is "best"']),
    ('<serviceTask id="A" camunda:type="external" camunda:topic="${t}"/>', "S > A; A > E", ["computes its topic"]),
    ('<scriptTask id="A" scriptFormat="groovy"><script>x</script></scriptTask>', "S > A; A > E", ['is written in "groovy", and only Python can run']),
    ('<scriptTask id="A"/>', "S > A; A > E", ["has no script"]),
    ('<scriptTask id="A"><script>\nx = 1\ny = (\n</script></scriptTask>', "S > A; A > E", ["m.bpmn:6: script task \"A\": the script is not Python"]),
    (task("A"), "S > A", ['service task "A" has no way out', 'end event "E" is never reached']),
    (task("A"), "S > E", ['service task "A" has no way out', "never reached: no sequence flow leads to it"]),
    (task("A") + task("B"), "S > E; A > B; B > A", ['"A" is never reached: no path', '"B" is never reached', '"A" never comes to an end: every path from it leads back (2 nodes)']),
    (task("A"), "S > A; A > E; E > A", ["nothing comes after an end"]),
    (task("A"), "S > A; A > S; A > E", ['start event "S" is entered by sequence flow "A_S"']),
    ('<startEvent id="S2"/>', "S > E; S2 > E", ['second start event "S2"; the first is "S" on line 3']),
    ('<exclusiveGateway id="G" default="S_G"/>', "S > G; G > E", ['names "S_G" as its default flow']),
    ('<exclusiveGateway id="G"/>' + task("A"), "S > G; G > A: ${x}; G > E; A > E", ['sequence flow "G_E" has no condition']),
    ('<exclusiveGateway id="G" default="G_E"/>' + task("A"), "S > G; G > A: ${x ==}; G > E; A > E", ['condition of sequence flow "G_A" cannot be read: the expression ends too early']),
    ('<exclusiveGateway id="G" default="G_E"/>' + task("A"), "S > G; G > A: x; G > E; A > E", ["a condition is one expression"]),
    (task("A", '<extensionElements><camunda:inputOutput><camunda:inputParameter name="p">\n\n${1 +}</camunda:inputParameter></camunda:inputOutput></extensionElements>'), "S > A; A > E", ['m.bpmn:6: service task "A": parameter "p" cannot be read']),
    (task("A", '<extensionElements><camunda:inputOutput><camunda:inputParameter name="p"><camunda:script scriptFormat="javascript">1</camunda:script></camunda:inputParameter></camunda:inputOutput></extensionElements>'), "S > A; A > E", ['parameter "p" is computed by a script']),
    (task("A", '<extensionElements><camunda:inputOutput><camunda:inputParameter>1</camunda:inputParameter></camunda:inputOutput></extensionElements>'), "S > A; A > E", ["parameter without a name"]),
    ('<serviceTask id="A"><extensionElements><camunda:connector><camunda:inputOutput><camunda:inputParameter name="p"><camunda:list><camunda:script scriptFormat="groovy">1</camunda:script></camunda:list></camunda:inputParameter></camunda:inputOutput></camunda:connector></extensionElements></serviceTask>', "S > A; A > E", ['parameter "p" of its connector is a groovy script, which is not run']),
    ('<userTask id="A"><extensionElements><camunda:formData><camunda:formField id="f"/><camunda:formField id="f"/></camunda:formData></extensionElements></userTask>', "S > A; A > E", ['form field "f" is there 2 times']),
    (task("A") + task("A"), "S > A; A > E", ['the id "A" is used twice, first on line 4', "no way out", "never reached"]),
    (task("A"), "S > A; A > E; A > Nowhere", ['names "Nowhere" as its target']),
    ("<userTask/>", "S > E", ["has no id", "no way out", "never reached"]),
    (f'<subProcess id="U">{SUB.replace("startEvent", "manualTask")}</subProcess>', "S > U; U > E", ['"U" has no start event']),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "lines", "expected"), REFUSED, ids=[expected[0][:50] for _, _, expected in REFUSED])
def test_refused_with_every_reason(nodes: str, lines: str, expected: list[str]) -> None:
    found = reasons(model(nodes, lines))
    assert len(found) == len(expected)
    for part in expected:
        assert any(part in reason for reason in found), found


def test_findings_carry_file_line_element_and_reason() -> None:
    with pytest.raises(ModelRefused) as caught:
        check(model('<task id="A" name="Do\n it"/>', "S > A; A > E"), name="dir/m.bpmn")
    refused = caught.value
    assert (refused.file, refused.line, refused.element) == ("dir/m.bpmn", 4, "A")
    assert refused.reason.startswith('task "Do it" (A) has no implementation')
    assert str(refused) == f"dir/m.bpmn:4: {refused.reason}"


def test_a_file_that_is_wrong_all_over_is_told_in_fifty_lines() -> None:
    nodes = "".join(f'<task id="T{number}" name="{"long " * 100}"/>' for number in range(60))
    with pytest.raises(ModelRefused) as refused:
        check(model(nodes, "S > E"), name="m")
    assert len(refused.value.findings) == 180
    lines = str(refused.value).splitlines()
    assert (len(lines), lines[-1]) == (51, "and 130 more")
    assert all(len(line) < 300 for line in lines)


def test_a_doubtful_escape_in_a_script_is_no_reason_to_refuse_it() -> None:
    nodes = r'<scriptTask id="A"><script>x = "\d"</script></scriptTask>'
    assert findings(model(nodes, "S > A; A > E")) == ()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"", "m.bpmn: the file is empty (0 bytes)"),
        (b" \n ", "m.bpmn: the file is empty (3 bytes)"),
        (b"not xml", "m.bpmn:1: this is not XML: syntax error"),
        (b"\n<a><b></a>", "m.bpmn:2: this is not XML: mismatched tag (column 9)"),
        (b"<a>", "m.bpmn:1: this is not XML: no element found"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "m.bpmn:1: "),
        (b'<?xml version="1.0" encoding="big5"?><a/>', "m.bpmn:1: "),
        (b"<html/>", 'm.bpmn:1: the root element is "html"'),
        (f"<definitions {NAMESPACES}/>".encode(), "m.bpmn:1: the file holds no process"),
        (f"<definitions {NAMESPACES}><process id='P'/></definitions>".encode(), 'm.bpmn:1: "P" has no start event'),
        (b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "m.bpmn:1: the file declares a document type"),
        (b"<!DOCTYPE a SYSTEM 'http://example.com/a.dtd'><a/>", "m.bpmn:1: the file declares a document type"),
        (b"<a>&undefined;</a>", "m.bpmn:1: this is not XML: undefined entity"),
        (b"<a>" * 200, "m.bpmn:1: elements are nested deeper than 100 levels"),
        (b"<a>" + b"<b/>" * 200_001 + b"</a>", "m.bpmn:1: the file has more than 200000 elements"),
        (b" " * (MAX_BYTES + 1) + b"<", f"m.bpmn: the file has {MAX_BYTES + 2} bytes, and {MAX_BYTES} are allowed"),
        (b"\xff\xfe\x00", "m.bpmn:1: "),
        (b"\x00\x01", "m.bpmn:1: "),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_hostile_and_broken_files_are_refused(source: bytes, reason: str) -> None:
    (found,) = reasons(source)
    assert found.startswith(reason)


def test_other_encodings_are_read() -> None:
    text = model(task("A", attributes='name="Größe"'), "S > A; A > E").decode()
    for encoding in ("utf-8", "utf-16", "iso-8859-1"):
        checked = check(f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding), name="m")
        assert checked.tasks[0].name == "Größe"


def test_a_long_text_in_many_pieces_is_read_in_linear_time() -> None:
    documentation = "<documentation>" + "\n" * 4_000_000 + "end</documentation>"
    checked = check(model(task("A", documentation), "S > A; A > E"), name="m")
    assert checked.tasks[0].documentation == "end"


def test_a_large_model_is_checked_in_linear_time() -> None:
    names = [f"T{number}" for number in range(20_000)]
    lines = "; ".join(f"{left} > {right}" for left, right in zip(["S", *names], [*names, "E"], strict=True))
    assert len(check(model("".join(map(task, names)), lines), name="m").tasks) == 20_000


def test_what_a_checked_model_needs() -> None:
    nodes = (
        task(
            "A",
            "<documentation>Think.</documentation><extensionElements><camunda:properties><camunda:property name='k' value='v'/></camunda:properties></extensionElements>",
        )
        + '<scriptTask id="B"><script>x = 1</script></scriptTask><businessRuleTask id="C" camunda:decisionRef="rate"/>'
        + '<userTask id="D"><extensionElements><camunda:formData><camunda:formField id="f" type="long" defaultValue="1"/></camunda:formData></extensionElements></userTask>'
        + '<exclusiveGateway id="G" default="G_E"/>'
    )
    checked = check(model(nodes, "S > A; A > B; B > C; C > D; D > G; G > A: ${again && n < 3}; G > E"), name="m.bpmn")
    assert (checked.process, checked.topics, checked.scripts, checked.decisions) == ("P", ("A",), ("B",), ("rate",))
    assert checked.condition_variables == ("again", "n")
    assert [(info.id, info.kind) for info in checked.tasks] == [("A", "external"), ("B", "script"), ("C", "decision"), ("D", "user")]
    assert (checked.tasks[0].documentation, checked.tasks[0].properties) == ("Think.", {"k": "v"})
    assert [(field.name, field.type, field.default) for field in checked.user_tasks[0].fields] == [("f", "long", "1")]
    said = msgspec.json.decode(checked.to_json())
    assert said["topics"] == ["A"]
    assert "processes" not in said


def test_what_is_read_and_not_executed_is_a_warning() -> None:
    nodes = task(
        "A",
        "<extensionElements><camunda:outputParameter name='x'>1</camunda:outputParameter></extensionElements><dataOutputAssociation id='d'/>",
    )
    nodes += '<exclusiveGateway id="G" default="G_E"/><parallelGateway id="H"/>'
    source = model(nodes, "S > A; A > G; G > E: ${x}; G > H: ${y}; H > E: ${z}").replace(b'isExecutable="true"', b'isExecutable="false"')
    said = [str(warning) for warning in check(source, name="m").warnings]
    assert len(said) == 5
    for part in (
        "m:4: ",
        "outputParameter is not executed",
        "dataOutputAssociation is not executed",
        'isExecutable="false"',
        "it is the default flow",
        "a parallel gateway takes all its ways",
    ):
        assert any(part in warning for warning in said)


def test_the_process_that_is_called_is_not_the_one_that_is_meant() -> None:
    called = process(task("A"), "S > A; A > E", "Q").replace('"S"', '"s"').replace('"E"', '"e"')
    caller = process('<callActivity id="C" calledElement="Q"/>', "S > C; C > E")
    checked = check(document(called, caller), name="m")
    assert (checked.process, checked.topics) == ("P", ("A",))
    assert check(document(called, caller), name="m", process="Q").process == "Q"


def test_called_files_are_found_beside_the_model_and_judged_too(tmp_path: Path) -> None:
    def write(name: str, source: bytes) -> Path:
        (tmp_path / name).write_bytes(source)
        return tmp_path / name

    main = write("main.bpmn", document(process('<callActivity id="C" calledElement="Q"/>', "S > C; C > E")))
    write("q.bpmn", document(process('<callActivity id="D" calledElement="R"/>', "S > D; D > E", "Q")))
    write("r.bpmn", document(process(task("A"), "S > A; A > E", "R")))
    write("broken.bpmn", b"Q R <")
    write("other.bpmn", document(process(task("B"), "S > B; B > E", "Z")))
    assert siblings_wanted(main.read_bytes(), "main") == ["Q"]
    siblings = load_siblings(main)
    assert {Path(name).name for name in siblings} >= {"q.bpmn", "r.bpmn"}
    assert "other.bpmn" not in {Path(name).name for name in siblings}
    checked = check(main.read_bytes(), name=str(main), siblings=siblings)
    assert [(call.element, Path(call.file).name) for call in checked.calls] == [("C", "q.bpmn"), ("D", "r.bpmn")]
    assert checked.topics == ("A",)
    write("r.bpmn", document(process('<task id="A"/>', "S > A; A > E", "R")))
    with pytest.raises(ModelRefused) as refused:
        check(main.read_bytes(), name=str(main), siblings=load_siblings(main))
    assert Path(refused.value.file).name == "r.bpmn"
    write("r2.bpmn", (tmp_path / "r.bpmn").read_bytes())
    with pytest.raises(ModelRefused, match="several files hold"):
        check(main.read_bytes(), name=str(main), siblings=load_siblings(main))
    (tmp_path / "r.bpmn").unlink()
    (tmp_path / "r2.bpmn").write_bytes(b"'R' <")
    with pytest.raises(ModelRefused) as refused:
        check(main.read_bytes(), name=str(main), siblings=load_siblings(main))
    assert "r2.bpmn" in refused.value.reason
    assert "cannot be read" in refused.value.reason


SEEDS = [path.read_bytes() for path in sorted(MODELS.glob("s*.bpmn"))] or [model(task("A"), "S > A; A > E")]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 40), st.binary(max_size=8)), min_size=1, max_size=4)
)
def test_a_damaged_model_is_taken_or_refused(source: bytes, damage: list[tuple[int, int, bytes]]) -> None:
    for position, cut, put in damage:
        at = position % (len(source) + 1)
        source = source[:at] + put + source[at + cut :]
    assert all(finding.reason for finding in findings(source))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_model_with_swapped_names_is_taken_or_refused(data: st.DataObject) -> None:
    """Damage that stays XML: attributes and tags of a model exchanged for one another."""
    text = data.draw(st.sampled_from(SEEDS)).decode()
    words = sorted(set(re.findall(r'"[^"<>]{1,40}"|(?<=bpmn:)\w+', text)))
    for _ in range(data.draw(st.integers(1, 4))):
        text = text.replace(data.draw(st.sampled_from(words)), data.draw(st.sampled_from(words)))
    assert all(finding.reason for finding in findings(text.encode()))
