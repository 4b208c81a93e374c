"""A model on its way to its orchestrator: checked by the real engine, with everything that it needs, or refused with every reason."""

import os
from pathlib import Path

import msgspec
import pytest

from dadms_ipc.errors import RequestRefused
from dadmsctl.decisions import model_config
from dadmsctl.job import ModelUnfit, name_of
from dadmsctl.model import Checked, Field, Task, UserTask, decision_files, holds, misspelt, prepare, values_missing
from dadmsctl.reading import FILE_LIMIT

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<bpmn:definitions xmlns:bpmn="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:camunda="http://camunda.org/schema/1.0/bpmn" targetNamespace="test">
"""
LINEAR = (
    HEAD
    + """<bpmn:process id="order" name="An order" isExecutable="true">
  <bpmn:startEvent id="begin"><bpmn:outgoing>f1</bpmn:outgoing></bpmn:startEvent>
  {task}
  <bpmn:endEvent id="end"><bpmn:incoming>f2</bpmn:incoming></bpmn:endEvent>
  <bpmn:sequenceFlow id="f1" sourceRef="begin" targetRef="task"/>
  <bpmn:sequenceFlow id="f2" sourceRef="task" targetRef="end"/>
</bpmn:process>
</bpmn:definitions>
"""
)
WAYS = "<bpmn:incoming>f1</bpmn:incoming><bpmn:outgoing>f2</bpmn:outgoing>"
SERVICE = f'<bpmn:serviceTask id="task" name="Work" camunda:type="external" camunda:topic="work">{WAYS}</bpmn:serviceTask>'
RULE = f'<bpmn:businessRuleTask id="task" name="Decide" camunda:decisionRef="discount">{WAYS}</bpmn:businessRuleTask>'
FORM = f"""<bpmn:userTask id="task" name="Approve">
  <bpmn:extensionElements><camunda:formData>
    <camunda:formField id="approved" type="boolean"><camunda:validation><camunda:constraint name="required"/></camunda:validation></camunda:formField>
  </camunda:formData></bpmn:extensionElements>{WAYS}</bpmn:userTask>"""
DMN = '<definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/"><decision name="Discount" id="{name}"/></definitions>'


@pytest.mark.parametrize(("file", "name"), [("order.bpmn", "order"), ("2026.bpmn", "2026.bpmn"), ("2026.q1.bpmn", "2026.q1")])
def test_a_process_is_called_as_its_model_and_never_as_a_pid(file: str, name: str) -> None:
    assert name_of(Path("models", file)) == name


def written(folder: Path, task: str) -> Path:
    path = folder / "order.bpmn"
    path.write_text(LINEAR.replace("{task}", task))
    return path


def test_a_model_goes_to_the_bpmn_orchestrator_with_its_source_and_the_values(tmp_path: Path) -> None:
    path = written(tmp_path, SERVICE)
    job = prepare(path, {"a": 1}, [], None)
    config = msgspec.msgpack.decode(job.config)
    assert (job.name, job.orchestrator) == ("order", "bpmn")
    assert config == {
        "model": {"name": "order.bpmn", "source": path.read_bytes()},
        "siblings": {},
        "decisions": {},
        "variables": {"a": 1},
        "answers": {"a": 1},
    }
    assert "An order, 1 task of 1 topic" in job.headline


def test_a_called_model_beside_it_goes_with_it(tmp_path: Path) -> None:
    path = written(tmp_path, f'<bpmn:callActivity id="task" calledElement="inner">{WAYS}</bpmn:callActivity>')
    inner = tmp_path / "inner.bpmn"
    inner.write_text(LINEAR.replace("{task}", SERVICE).replace('id="order"', 'id="inner"'))
    (tmp_path / "other.bpmn").write_text(LINEAR.replace("{task}", SERVICE).replace('id="order"', 'id="other"'))
    config = msgspec.msgpack.decode(prepare(path, {}, [], None).config)
    assert config["siblings"] == {"inner.bpmn": inner.read_bytes()}


def test_a_broken_model_is_refused_with_file_line_and_reason(tmp_path: Path) -> None:
    path = written(tmp_path, f'<bpmn:serviceTask id="task" name="Work">{WAYS}</bpmn:serviceTask>')
    with pytest.raises(ModelUnfit) as unfit:
        prepare(path, {}, [], None)
    assert unfit.value.lines
    assert unfit.value.lines[0].startswith(f"{path}:5: ")
    assert '"Work"' in unfit.value.lines[0]


def test_an_unreadable_model_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(RequestRefused, match=r'cannot read the model ".*absent.bpmn": No such file'):
        prepare(tmp_path / "absent.bpmn", {}, [], None)


def test_a_user_task_is_asked_for_before_anything_is_spawned(tmp_path: Path) -> None:
    path = written(tmp_path, FORM)
    with pytest.raises(ModelUnfit) as unfit:
        prepare(path, {}, [], None)
    assert unfit.value.lines == ['user task "Approve" needs: --set approved=…']
    assert prepare(path, {"approved": True}, [], None).orchestrator == "bpmn"
    assert prepare(path, {"Approve": {"approved": True}}, [], None).orchestrator == "bpmn"


def test_only_what_a_form_demands_and_does_not_fill_in_itself_is_asked_for() -> None:
    fields = [
        Field("must", required=True),
        Field("may"),
        Field("filled", required=True, default="1"),
        Field("shown", required=True, readonly=True),
        Field("also", required=True),
    ]
    checked = Checked("m.bpmn", start_fields=[Field("who", required=True)], user_tasks=[UserTask("t1", "", fields)])
    assert values_missing(checked, {}) == ["the start form needs: --set who=…", 'user task "t1" needs: --set must=… --set also=…']
    assert values_missing(checked, {"who": None, "must": 0, "t1": {"also": 1}}) == []


def test_a_decision_beside_the_model_goes_with_it_and_others_do_not(tmp_path: Path) -> None:
    path = written(tmp_path, RULE)
    (tmp_path / "a.dmn").write_text(DMN.replace("{name}", "other"))
    (tmp_path / "b.dmn").write_text(DMN.replace("{name}", "discount"))
    config = msgspec.msgpack.decode(prepare(path, {}, [], None).config)
    assert list(config["decisions"]) == ["b.dmn"]


def test_a_decision_that_is_nowhere_is_refused_with_the_task_and_the_files_that_were_searched(tmp_path: Path) -> None:
    path = written(tmp_path, RULE)
    (tmp_path / "a.dmn").write_text(DMN.replace("{name}", "other"))
    with pytest.raises(ModelUnfit) as unfit:
        prepare(path, {}, [], None)
    assert unfit.value.lines == [f'{path}:5: task "Decide" needs the decision "discount", which is in none of: a.dmn']


def test_two_decision_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.dmn").write_text(DMN.replace("{name}", folder))
    checked = Checked("m.bpmn", tasks=[Task("t", "T", "decision", "m.bpmn", 1, decision="a")])
    with pytest.raises(RequestRefused, match="the same name"):
        decision_files(tmp_path / "m.bpmn", checked, [tmp_path / "a" / "x.dmn", tmp_path / "b" / "x.dmn"])


@pytest.mark.parametrize(
    ("source", "is_held"),
    [
        (b'<decision id="d">', True),
        (b"<dmn:decision name='x'\n id = 'd'>", True),
        (b'<decisionTable id="d">', False),
        (b'<decision id="dd">', False),
        (b'<decision idea="d">', False),
        (b"", False),
    ],
)
def test_a_decision_is_found_by_its_element_and_its_whole_id(source: bytes, is_held: bool) -> None:
    assert holds(source, "d") is is_held


def test_a_dmn_file_goes_to_the_decision_orchestrator(tmp_path: Path) -> None:
    path = tmp_path / "rules.dmn"
    path.write_text(DMN)
    job = prepare(path, {"age": 3}, [], "Discount")
    assert job.orchestrator == "decision"
    assert msgspec.msgpack.decode(job.config) == {
        "model": {"name": "rules.dmn", "source": path.read_bytes()},
        "decision": "Discount",
        "inputs": {"age": 3},
        "siblings": {},
    }


def test_models_that_a_dmn_file_imports_go_with_it_and_a_circle_of_them_ends(tmp_path: Path) -> None:
    def importing(*names: str) -> str:
        imports = "".join(f'<import name="i" locationURI="{name}"/>' for name in names)
        return f'<definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/">{imports}</definitions>'

    for name, others in {"a": ("b.dmn", "absent.dmn"), "b": ("sub/c.dmn", "a.dmn"), "c": ("b.dmn",), "d": ()}.items():
        (tmp_path / f"{name}.dmn").write_text(importing(*others))
    assert set(model_config(tmp_path / "a.dmn")["siblings"]) == {"b.dmn", "c.dmn"}


def test_a_decision_of_a_bpmn_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestRefused, match=r"order.bpmn is no .dmn file"):
        prepare(written(tmp_path, SERVICE), {}, [], "Discount")


def test_a_slip_in_a_name_is_a_warning_with_the_name_that_was_meant(tmp_path: Path) -> None:
    path = written(tmp_path, FORM)
    assert prepare(path, {"approved": True, "aproved": False}, [], None).warnings == [
        'nothing in the model reads "aproved"; did you mean "approved"?'
    ]
    assert prepare(path, {"approved": True, "aproved": False}, [], None, b'task.variables["aproved"]').warnings == []


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("yaers", b"", "years"),
        ("year", b"", "years"),
        ("Years", b"", "years"),
        ("eligable", b"", "eligible"),
        ("years", b"", ""),
        ("month", b"", ""),
        ("yaers", b"<inputParameter>${yaers + 1}</inputParameter>", ""),
        ("yaers", b"all_yaers = yaers2", "years"),
    ],
)
def test_a_name_is_misspelt_when_nothing_has_it_and_something_read_is_like_it(name: str, text: bytes, meant: str) -> None:
    checked = Checked("m.bpmn", user_tasks=[UserTask("t", "T", [Field("years")])], condition_variables=["eligible"])
    lines = misspelt(checked, [name], [b"${eligible} years", text])
    assert lines == ([f'nothing in the model reads "{name}"; did you mean "{meant}"?'] if meant else [])


def clutter(folder: Path, suffix: str) -> None:
    """Put beside a model what is no file of its kind, or cannot be read as one."""
    (folder / f"a{suffix}").mkdir()
    (folder / f"b{suffix}").symlink_to(folder / "nowhere")
    (folder / f"c{suffix}").symlink_to(folder / f"c{suffix}")
    (folder / f".#d{suffix}").symlink_to("somebody@somewhere.1234")
    os.mkfifo(folder / f"e{suffix}")
    (folder / f".f{suffix}").write_text(DMN.format(name="discount"))
    (folder / f"g{suffix}").write_bytes(b" " * (FILE_LIMIT + 1))


def test_what_is_no_readable_file_beside_a_model_does_not_stop_it(tmp_path: Path) -> None:
    clutter(tmp_path, ".dmn")
    path = written(tmp_path, RULE)
    with pytest.raises(ModelUnfit) as caught:
        prepare(path, {}, [], None)
    assert caught.value.lines[0].endswith('needs the decision "discount", which is in none of: g.dmn')
    assert caught.value.lines[1:] == [f'cannot read the decisions "{tmp_path / "g.dmn"}": it is larger than 8 MiB']
    (tmp_path / "z.dmn").write_text(DMN.format(name="discount"))
    assert list(msgspec.msgpack.decode(prepare(path, {}, [], None).config)["decisions"]) == ["z.dmn"]


def test_what_is_no_readable_file_beside_a_model_that_calls_another_does_not_stop_it(tmp_path: Path) -> None:
    clutter(tmp_path, ".bpmn")
    path = written(tmp_path, f'<bpmn:callActivity id="task" calledElement="inner">{WAYS}</bpmn:callActivity>')
    (tmp_path / "inner.bpmn").write_text(LINEAR.replace("{task}", SERVICE).replace('id="order"', 'id="inner"'))
    assert list(msgspec.msgpack.decode(prepare(path, {}, [], None).config)["siblings"]) == ["inner.bpmn"]
