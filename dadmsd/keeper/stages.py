"""The end of a daemon, as a table of stages.

1. RUNNING until somebody asks: then ASKED, in which the kernel ends every process. It says Stopped: ENDING.
2. Does it not say so in time, or is a second signal sent: KILLING, the keeper kills everything but the logger. A fresh kernel then clears up what is not a process,
   cgroups and journal: TIDYING.
3. ENDING asks bus and zygote to end; LEAVING lets go of the kernel, which removes the bus's group and its own; CLEARING kills what is left but the logger; DRAINING lets the logger write what is in the pipes; LAST sees that no
   child is left; OVER.
4. Each stage has a deadline, and the stage that follows when it passes.
"""

from enum import IntEnum
from typing import NamedTuple

from dadmsd.keeper.servers import BUS, KERNEL, LOGGER, ZYGOTE


class Stage(IntEnum):
    """How near the end is."""

    RUNNING = 0
    ASKED = 1
    KILLING = 2
    TIDYING = 3
    ENDING = 4
    LEAVING = 5
    CLEARING = 6
    DRAINING = 7
    LAST = 8
    OVER = 9


class Rule(NamedTuple):
    """What holds in a stage."""

    lasts: float | None  # seconds; None: until something happens
    then: Stage  # when it is done
    late: Stage  # when it lasted too long
    restarted: frozenset[str]  # the servers that are started again
    kernel_attempts: int = 3  # starts of a kernel in this stage before it counts as late
    lacks: str = ""  # what did not happen, in words, when it is late and that is not orderly

    @property
    def is_lateness_disorder(self) -> bool:
        """Tell whether a daemon that is late in this stage did not end in order."""
        return bool(self.lacks)


_EVERY = frozenset((KERNEL, BUS, LOGGER, ZYGOTE))
_LOGGER = frozenset((LOGGER,))
_NONE: frozenset[str] = frozenset()
_S = Stage

RULES = {
    _S.RUNNING: Rule(None, _S.RUNNING, _S.RUNNING, _EVERY),
    _S.ASKED: Rule(30.0, _S.ENDING, _S.KILLING, _EVERY, lacks="the kernel did not end everything"),  # or what the configuration says
    _S.KILLING: Rule(
        5.0, _S.TIDYING, _S.TIDYING, _LOGGER, lacks="what was killed did not die"
    ),  # it dies at once, but for a sleep inside the host
    _S.TIDYING: Rule(5.0, _S.ENDING, _S.ENDING, _LOGGER | {KERNEL}),  # a kernel that has nothing to adopt is ready in 0.1 s
    _S.ENDING: Rule(2.0, _S.LEAVING, _S.LEAVING, _LOGGER),  # for a bus to write what it has acknowledged
    _S.LEAVING: Rule(6.0, _S.CLEARING, _S.CLEARING, _LOGGER),  # a kernel gives itself 5 s to find what is left
    _S.CLEARING: Rule(5.0, _S.DRAINING, _S.DRAINING, _LOGGER, lacks="what was killed did not die"),
    _S.DRAINING: Rule(2.0, _S.LAST, _S.LAST, _NONE),
    _S.LAST: Rule(2.0, _S.OVER, _S.OVER, _NONE, lacks="what was killed did not die"),
    _S.OVER: Rule(None, _S.OVER, _S.OVER, _NONE),
}
