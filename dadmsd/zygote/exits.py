"""Exit codes of children that never got to their work; docs/reference/zygote.md explains them. An orchestrator's main has codes of its own."""

from typing import Final

DONE: Final = 0
GATE_SHUT: Final = 110  # the gate was not opened in time
ABANDONED: Final = 111  # the port closed before the gate opened: there is no daemon any more
GATE_FAILED: Final = 112  # it could not become what the gate told it to; GateFailed says why
IMPORT_FAILED: Final = 113  # its code does not import; ImportFailed says why
BROKEN: Final = 114  # our bug; the traceback is in the log
