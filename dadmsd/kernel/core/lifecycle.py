"""Life of one child (version zygote, main or worker), as a table; and that of a process, through its incarnations, as another.

Rule 1: every cell of LIFECYCLE is filled: a phase that follows, or IGNORE for a report that lost a race. There are no other transitions.
Rule 2: what is done on entering a phase is in ENTERING and nowhere else.
Rule 3: a child that is to end before it exists keeps its intent: it goes from ``forking`` straight to ``killing`` when its fork is reported.
Rule 4: ``exited`` is final; the name is never used again.
Rule 5: a process has a desired state (DESIRED), which only requests and definitions change, and an observed one (its status), which only PROCESS_LIFECYCLE changes.

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
    "admitted": "in the table, and about to be forked: its zygote is not ready",
    "waiting": "is to run, and what it depends on is not ready",
    "starting": "its main is being forked and limited, or is not ready",
    "running": "its main is ready",
    "stopping": "its end was asked for, or its main has exited; its tree is being ended",
    "backoff": "its incarnation ended, nothing of it is left, and the next one is started when its pause is over",
    "completed": "ended: what it was to do is done (an orchestrator said so; a command exited with a code that is no failure)",
    "failed": "ended in any other way",
    "killed": "ended because somebody had it killed",
    "stopped": "ended because somebody had it stopped, to be started again some day",
}

ENDED: Final = frozenset({"completed", "failed", "killed", "stopped"})

DESIRED: Final = {
    "up": "it is to run; what ended is started again where its policy says so",
    "down": "it is not to run",
    "restart": "it is to end and to run again",
}

PROCESS_STIMULI: Final = {
    "blocked": "something that it depends on is not ready",
    "unblocked": "everything that it depends on is ready",
    "forked": "its zygote was asked for its main",
    "unforked": "that zygote ended before it forked",
    "ready": "its main is ready",
    "end": "its end begins",
    "again": "nothing of the incarnation is left, and there is to be a next one",
    "over": "nothing of the incarnation is left, and there is no next one",
    "start": "the next incarnation begins",
    "kill": "somebody has what was stopped killed after all: it is not meant to be started again",
}

THE_END: Final = "end"  # in the table below: whichever of ENDED was settled when the end began

PROCESS_LIFECYCLE: Final[dict[str, dict[str, str]]] = {
    "admitted": {
        "blocked": "waiting",
        "unblocked": _,
        "forked": "starting",
        "unforked": _,
        "ready": _,
        "end": "stopping",
        "again": _,
        "over": _,
        "start": _,
        "kill": _,
    },
    "waiting": {
        "blocked": _,
        "unblocked": "admitted",
        "forked": _,
        "unforked": _,
        "ready": _,
        "end": "stopping",
        "again": _,
        "over": _,
        "start": _,
        "kill": _,
    },
    "starting": {
        "blocked": _,
        "unblocked": _,
        "forked": _,
        "unforked": "admitted",
        "ready": "running",
        "end": "stopping",
        "again": _,
        "over": _,
        "start": _,
        "kill": _,
    },
    "running": {
        "blocked": _,
        "unblocked": _,
        "forked": _,
        "unforked": _,
        "ready": _,
        "end": "stopping",
        "again": _,
        "over": _,
        "start": _,
        "kill": _,
    },
    "stopping": {
        "blocked": _,
        "unblocked": _,
        "forked": _,
        "unforked": _,
        "ready": _,
        "end": _,
        "again": "backoff",
        "over": THE_END,
        "start": _,
        "kill": _,
    },
    "backoff": {
        "blocked": _,
        "unblocked": _,
        "forked": _,
        "unforked": _,
        "ready": _,
        "end": "stopping",
        "again": _,
        "over": _,
        "start": "admitted",
        "kill": _,
    },
    **{
        end: {
            "blocked": _,
            "unblocked": _,
            "forked": _,
            "unforked": _,
            "ready": _,
            "end": _,
            "again": _,
            "over": _,
            "start": "admitted",
            "kill": "killed" if end == "stopped" else _,
        }
        for end in sorted(ENDED)
    },
}

THREAD_STATES: Final = {
    "created": "its process made it; its submission is on its way to the kernel, and in no journal",
    "ready": "in the queue; also of one that gave way in the middle of its work, and waits for its turn",
    "running": "in a worker, begun or about to be; it holds a slot. `sent` is shown of one that was sent behind another, and holds none",
    "waiting": "failed, and waits for its next attempt; or for the thread with its key; or async, and in its worker. It holds no slot",
    "suspended": "stands still, in the queue or in a frozen worker, or, if it is async, from its next wait on; it holds no slot, and its time stands still",
    "completed": "ended: its entry returned",
    "error": "ended: its entry raised, its worker was lost or out of memory, or its result cannot travel",
    "terminated": "ended because somebody gave it up, or its process ended",
    "timed_out": "ended because it ran for longer than it may",
}

THREAD_STIMULI: Final = {
    "accepted": "its submission is in the journal",
    "begin": "a worker gets it",
    "back": "it was not begun, and was taken back",
    "yield": "it gives way while others wait for a slot; its worker waits in the middle of it",
    "wait": "it waits for something that is no work",
    "wake": "what it waited for has come",
    "suspend": "it is to stand still",
    "resume": "it is to go on, where it stood",
    "result": "its entry returned",
    "failure": "its entry raised, or its worker was lost",
    "retry": "it failed in a way that its policy names, and may be tried again",
    "due": "its next attempt is due",
    "terminate": "somebody gives it up",
    "time": "it has used up its time",
}

RESUMES: Final = "as before"  # in the table below: ready, running or waiting, as it was when it was suspended

THREAD_LIFECYCLE: Final[dict[str, dict[str, str]]] = {
    "created": {"accepted": "ready", "begin": _, "back": _, "yield": _, "wait": _, "wake": _, "suspend": _, "resume": _, "result": _, "failure": _, "retry": _, "due": _, "terminate": "terminated", "time": _},
    "ready": {"accepted": _, "begin": "running", "back": _, "yield": _, "wait": _, "wake": _, "suspend": "suspended", "resume": _, "result": _, "failure": "error", "retry": "waiting", "due": _, "terminate": "terminated", "time": _},
    "running": {"accepted": _, "begin": _, "back": "ready", "yield": "ready", "wait": "waiting", "wake": _, "suspend": "suspended", "resume": _, "result": "completed", "failure": "error", "retry": "waiting", "due": _, "terminate": "terminated", "time": "timed_out"},
    "waiting": {"accepted": _, "begin": _, "back": "ready", "yield": _, "wait": _, "wake": "running", "suspend": "suspended", "resume": _, "result": "completed", "failure": "error", "retry": "waiting", "due": "ready", "terminate": "terminated", "time": "timed_out"},
    "suspended": {"accepted": _, "begin": _, "back": _, "yield": _, "wait": _, "wake": _, "suspend": _, "resume": RESUMES, "result": "completed", "failure": "error", "retry": "suspended", "due": _, "terminate": "terminated", "time": _},
    **{end: dict.fromkeys(THREAD_STIMULI, _) for end in ("completed", "error", "terminated", "timed_out")},
}  # fmt: skip
