"""What ``spawn`` can ask for is what a definition and a program can."""

from dadms_ipc.specs import Limits, Spec
from dadmsctl.commands.spawning import spawn

ELSEWHERE = {  # fields of a Spec without an option of their name -> what says it
    "orchestrator": "what",
    "limits": "memory",
    "enforcement": "best_effort",
    "environment": "variables",
    "kind": "is_service",
}


def test_every_field_of_a_process_has_an_option() -> None:
    """And every limit."""
    options = {parameter.name for parameter in spawn.params}
    wanted = {ELSEWHERE.get(name, name) for name in Spec.__struct_fields__} | set(Limits.__struct_fields__)
    assert wanted <= options, wanted - options
