"""An orchestrator that tells many facts, as fast as the kernel takes them."""

from dadms_orchestrators.contract import Orchestrator
from dadms_orchestrators.sdk.process import NOTES_LIMIT, Process


def run(process: Process) -> None:
    process.ready([])
    for number in range(process.config["facts"]):
        process.note("fact", str(number))
        if number % (NOTES_LIMIT // 2) == 0:  # beyond so many they are dropped, where the kernel is slower
            process.next_event(0.1)
    process.outcome("completed", None)


TELLS = Orchestrator(name="tells", version="1.0.0", run=run, entries={})
