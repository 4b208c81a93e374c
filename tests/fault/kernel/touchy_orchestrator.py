"""An orchestrator for tests that breaks when it is sent a text, and adds up the numbers that it is sent."""

import msgspec

from dadms_orchestrators.contract import Orchestrator
from dadms_orchestrators.sdk.process import MessageArrived, Process
from dadms_orchestrators.sdk.session import StopRequested


def run(process: Process) -> None:
    """Take messages until asked to stop."""
    process.ready([])
    process.listen()
    while True:
        match process.next_event():
            case MessageArrived(message):
                number = msgspec.msgpack.decode(message.body, type=int)
                process.acknowledge(message)
                process.note("added", str(number))
            case StopRequested():
                return


ORCHESTRATOR = Orchestrator(name="touchy", version="1.0.0", run=run, entries={})
