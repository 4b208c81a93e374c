"""What a custom orchestrator imports stays small: a zygote of it starts at once, and its mains are ready in a millisecond."""

import json
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


LOOK = """
import json, os, sys
import dadmsd.zygote.__main__
import dadms_orchestrators.{module}.orchestrator
from dadms_ipc import channel, port
made = channel.decoder.cache_info().misses
channel.decoder(port.ToProcess)
print(json.dumps([sorted(sys.modules), len(os.listdir("/proc/self/task")), channel.decoder.cache_info().misses - made]))
"""


@pytest.mark.parametrize(
    ("module", "heavy"),
    [("decision", {"asyncio", "ssl", "hashlib", "logging", "random", "threading", "zmq"}), ("bpmn", {"asyncio", "zmq"})],
)  # BPMN calls services over HTTP, which brings ssl
def test_zygotes_of_builtin_orchestrators_hold_what_each_process_needs_and_no_more(module: str, heavy: set[str]) -> None:
    """Every fork copies what is in a zygote: an event loop, with all that it imports, was a quarter of it. What is not in it, each process has to make."""
    modules, threads, made = json.loads(subprocess.check_output([sys.executable, "-c", LOOK.format(module=module)]))
    assert heavy.isdisjoint(modules)
    assert {"dadms_ipc.client", "dadms_orchestrators.sdk.line"} <= set(modules)
    assert (threads, made) == (1, 0)  # none that a fork would lose; and the decoder of a main's port is there
