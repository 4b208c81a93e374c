"""What a custom orchestrator imports stays small: a zygote of it starts at once, and its mains are ready in a millisecond."""

import subprocess
import sys

import pytest

HEAVY = ("zmq", "asyncio", "SpiffWorkflow", "lxml", "rich", "click", "psutil", "urllib.request")


@pytest.mark.parametrize(
    "module", ["dadms_orchestrators", "dadms_orchestrators.contract", "dadms_orchestrators.sdk.process", "dadms_orchestrators.sdk.tasks"]
)
def test_contract_and_sdk_import_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


@pytest.mark.parametrize("module", ["bpmn", "decision"])
def test_builtin_orchestrators_have_the_bus_imported_before_they_fork(module: str) -> None:
    script = f"import sys, threading, dadms_orchestrators.{module}.orchestrator; print(*(name in sys.modules for name in ('dadms_ipc.aio', 'asyncio', 'zmq')), threading.active_count())"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).split() == ["True", "True", "False", "1"]
