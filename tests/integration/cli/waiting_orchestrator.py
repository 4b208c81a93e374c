"""An orchestrator that waits for ever, as it should or in a way that nobody hears."""

import time

from dadms_orchestrators.contract import Orchestrator
from dadms_orchestrators.sdk.process import Process
from dadms_orchestrators.sdk.session import StopRequested


def run(process: Process) -> None:
    process.ready([])
    while process.config["hangs"]:
        time.sleep(1.0)  # as code does that calls something which never answers
    while not isinstance(process.next_event(), StopRequested):
        pass


WAITS = Orchestrator(name="waits", version="1.0.0", run=run, entries={})
