"""The end of a daemon, as a table of stages.

1. RUNNING until somebody asks: then ASKED, in which the kernel ends every process. It says Stopped: ENDING.
2. Does it not say so in time, or is a second signal sent: KILLING, the keeper kills everything but the logger. A fresh kernel then clears up what is not a process,
   cgroups and journal: TIDYING.
3. ENDING asks bus, zygote and kernel to end; CLEARING kills what is left but the logger; DRAINING lets the logger write what is in the pipes; LAST sees that no
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
    CLEARING = 5
    DRAINING = 6
    LAST = 7
    OVER = 8


class Rule(NamedTuple):
    """What holds in a stage."""

    lasts: float | None  # seconds; None: until something happens
    late: Stage  # what follows when it lasted too long
    restarted: frozenset[str]  # the servers that are started again
    kernel_attempts: int = 3  # starts of a kernel in this stage before it counts as late


_EVERY = frozenset((KERNEL, BUS, LOGGER, ZYGOTE))
_NONE: frozenset[str] = frozenset()

RULES = {
    Stage.RUNNING: Rule(None, Stage.RUNNING, _EVERY),
    Stage.ASKED: Rule(30.0, Stage.KILLING, _EVERY),  # or what the configuration says
    Stage.KILLING: Rule(5.0, Stage.TIDYING, frozenset((LOGGER,))),  # SIGKILL is at once, but for sleep in the kernel of the host
    Stage.TIDYING: Rule(5.0, Stage.ENDING, frozenset((LOGGER, KERNEL))),  # a kernel that has nothing to adopt is ready in 0.1 s
    Stage.ENDING: Rule(2.0, Stage.CLEARING, frozenset((LOGGER,))),  # for a bus to write what it has acknowledged
    Stage.CLEARING: Rule(5.0, Stage.DRAINING, frozenset((LOGGER,))),
    Stage.DRAINING: Rule(2.0, Stage.LAST, _NONE),
    Stage.LAST: Rule(2.0, Stage.OVER, _NONE),
    Stage.OVER: Rule(None, Stage.OVER, _NONE),
}
