"""An orchestrator that writes down each message before it acknowledges it: what it wrote, it has handled, whatever happens to it afterwards.

Imported by a zygote of the daemon under test. A line is one ``write`` to a file that is opened for appending, which outlives the process.
"""

import os
from pathlib import Path

from dadms_ipc.client import Client
from dadms_ipc.envelope import Identity
from dadms_ipc.errors import DadmsError, DeadlinePassed
from dadms_orchestrators.contract import Orchestrator
from dadms_orchestrators.sdk.process import Process


def run(process: Process) -> None:
    """Handle messages until somebody ends this."""
    process.ready([])
    log = os.open(process.config["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    runtime_dir = Path(process.gate.control.removeprefix("ipc://")).parent
    identity = Identity(process.pid, process.incarnation, process.gate.secret)
    while True:
        try:
            with Client(runtime_dir, identity=identity, timeout=30, start_timeout=30) as client:
                _serve(client, log, process.incarnation)
        except DadmsError:  # no bus just now
            continue


def _serve(client: Client, log: int, incarnation: int) -> None:
    while True:
        try:
            message = client.receive(timeout=30, acknowledge=False)
        except DeadlinePassed:
            continue
        os.write(log, b"%d %s %d\n" % (incarnation, message.body, message.is_retry))
        client.acknowledge(message)


ORCHESTRATOR = Orchestrator(name="loss", version="1", run=run, entries={})
