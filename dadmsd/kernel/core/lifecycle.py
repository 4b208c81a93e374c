"""Life of one child (version zygote, main or worker), as a table; and the statuses of a process, which follow from its children's.

Rule 1: every cell of LIFECYCLE is filled: a phase that follows, or IGNORE for a report that lost a race. There are no other transitions.
Rule 2: what is done on entering a phase is in ENTERING and nowhere else.
Rule 3: a child that is to end before it exists keeps its intent: it goes from ``forking`` straight to ``killing`` when its fork is reported.
Rule 4: ``exited`` is final; the name is never used again.

docs/reference/states.md is made from these tables, and a test compares them.
"""

from typing import Final

PHASES: Final = ("forking", "gated", "opened", "ready", "stopping", "killing", "exited")

MEANING: Final = {
    "forking": "in the journal; its zygote was or will be asked for it",
    "gated": "exists and waits at its gate while limits are put in force",
    "opened": "knows who it is; has not said that it is ready",
    "ready": "does its work",
    "stopping": "was sent SIGTERM, and has until its deadline",
    "killing": "was sent SIGKILL",
    "exited": "ended; its exit is in the journal, its zygote may reap it",
}

STIMULI: Final = ("forked", "fork_failed", "gate_opened", "gate_shut", "ready", "stop", "kill", "deadline", "exited")

IGNORE: Final = "-"

_: Final = IGNORE  # in the table below

LIFECYCLE: Final[dict[str, dict[str, str]]] = {
    #            forked               fork_failed            gate_opened            gate_shut              ready             stop                 kill               deadline             exited
    "forking": {"forked": "gated", "fork_failed": "exited", "gate_opened": _, "gate_shut": _, "ready": _, "stop": _, "kill": _, "deadline": "exited", "exited": "exited"},
    "gated": {"forked": _, "fork_failed": _, "gate_opened": "opened", "gate_shut": "killing", "ready": _, "stop": "killing", "kill": "killing", "deadline": "killing", "exited": "exited"},
    "opened": {"forked": _, "fork_failed": _, "gate_opened": _, "gate_shut": _, "ready": "ready", "stop": "stopping", "kill": "killing", "deadline": "killing", "exited": "exited"},
    "ready": {"forked": _, "fork_failed": _, "gate_opened": _, "gate_shut": _, "ready": _, "stop": "stopping", "kill": "killing", "deadline": "killing", "exited": "exited"},
    "stopping": {"forked": _, "fork_failed": _, "gate_opened": _, "gate_shut": _, "ready": _, "stop": _, "kill": "killing", "deadline": "killing", "exited": "exited"},
    "killing": {"forked": _, "fork_failed": _, "gate_opened": _, "gate_shut": _, "ready": _, "stop": _, "kill": _, "deadline": _, "exited": "exited"},
    "exited": {"forked": _, "fork_failed": _, "gate_opened": _, "gate_shut": _, "ready": _, "stop": _, "kill": _, "deadline": _, "exited": _},
}  # fmt: skip

SIGTERM: Final = 15
SIGKILL: Final = 9

ENTERING: Final = {
    "gated": "OpenGate",
    "stopping": "Signal SIGTERM",
    "killing": "Signal SIGKILL",
    "exited": "Bury",
}

ALIVE: Final = frozenset({"gated", "opened", "ready", "stopping", "killing"})  # phases in which an OS process exists

PROCESS_STATUSES: Final = {
    "admitted": "in the table; its zygote is not ready",
    "starting": "its main is being forked and limited, or has not shaken hands",
    "running": "its main has shaken hands",
    "stopping": "its end was asked for, or its main has exited; its tree is being ended",
    "completed": "ended: its main said that it completed, and exited with 0",
    "failed": "ended in any other way",
    "killed": "ended because somebody asked for it",
}

ENDED: Final = frozenset({"completed", "failed", "killed"})
