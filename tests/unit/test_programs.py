"""Whether the program of a definition is there, as it will be looked for."""

from pathlib import Path

import pytest

from dadms_ipc.requests import Spec
from dadmsd.programs import PATH, lacks


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"command": ["sh"]}, ""),
        ({"command": ["{here}/tool"]}, ""),
        ({"command": ["./tool"], "directory": "{here}"}, ""),
        ({"command": ["tool"], "environment": {"PATH": "/none:{here}"}}, ""),
        ({"command": ["./tool"]}, ""),
        ({"command": ["tool"], "environment": {"PATH": "bin:/none"}}, ""),
        ({"command": []}, ""),
        ({"command": ["a\0b"]}, ""),
        ({"command": ["{here}/{long}"]}, ""),
        ({"command": ["{here}/none", "x"]}, 'cannot run "{here}/none": No such file or directory'),
        ({"command": ["{here}/text/none"]}, 'cannot run "{here}/text/none": Not a directory'),
        ({"command": ["./none"], "directory": "{here}"}, 'cannot run "./none": No such file or directory'),
        ({"command": ["{here}/text"]}, 'cannot run "{here}/text": Permission denied'),
        ({"command": ["{here}"]}, 'cannot run "{here}": Permission denied'),
        ({"command": ["no-such-tool"]}, f'cannot run "no-such-tool": it is not in {PATH}'),
        ({"command": ["text"], "environment": {"PATH": "/none:{here}"}}, 'cannot run "text": Permission denied'),
    ],
)
def test_a_program_that_is_not_there_is_told_and_what_cannot_be_known_is_not(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    (tmp_path / "text").write_text("")

    def placed(value: object) -> object:
        if isinstance(value, str):
            return value.format(here=tmp_path, long="x" * 300)
        if isinstance(value, list):
            return [placed(each) for each in value]
        return {key: placed(each) for key, each in value.items()} if isinstance(value, dict) else value

    spec = Spec(name="x", kind="service", **{key: placed(value) for key, value in changes.items()})  # type: ignore[arg-type]  # fields by name
    assert lacks(spec) == ({"command": placed(reason)} if reason else {})


def test_the_programs_of_its_probes_are_looked_for_as_well() -> None:
    spec = Spec("x", kind="service", command=["sh"], ready="exec", ready_command=["/nosuch/probe"], live_command=["curll", "-f"])
    assert lacks(spec) == {
        "ready_command": 'cannot run "/nosuch/probe": No such file or directory',
        "live_command": f'cannot run "curll": it is not in {PATH}',
    }
