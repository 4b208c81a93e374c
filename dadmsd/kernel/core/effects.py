"""What is to be done, as the core tells the shell. Imperative; frozen; performed in order, after the rows of the same turn are committed.

Every effect may be performed twice (a kernel dies between doing and knowing): names make forks idempotent, sequences make messages so, the rest is so by itself.
"""

import msgspec

from dadms_ipc import port
from dadmsd.worker.messages import Item, Span


class Effect(msgspec.Struct, frozen=True):
    """Base of the effects."""


class Fork(Effect, frozen=True):
    """Make port, page and log pipe of a child, leave them with the keeper, and ask the zygote for it."""

    name: str
    role: str
    parent: str
    pid: int


class OpenGate(Effect, frozen=True):
    """Put the child under its limits, read them back, and open its gate. Ends in GateOpened or GateShut."""

    name: str


class Signal(Effect, frozen=True):
    """Send a signal to one child."""

    name: str
    signal: int


class KillGroup(Effect, frozen=True):
    """SIGKILL everything in the cgroup of a process."""

    pid: int


class SignalGroup(Effect, frozen=True):
    """Send a signal to everything in the cgroup of a process but the child ``besides``."""

    pid: int
    signal: int
    besides: str


class SetLimits(Effect, frozen=True):
    """Put the limits that a process now has in force, or leave those that it had before. Ends in LimitsSet."""

    pid: int
    incarnation: int


class Freeze(Effect, frozen=True):
    """Stop everything of a process where it stands. Ends in Frozen."""

    pid: int
    incarnation: int


class Thaw(Effect, frozen=True):
    """Let a frozen process go on."""

    pid: int
    incarnation: int


class Bury(Effect, frozen=True):
    """The exit of a child is in the journal: let it be reaped, and let its descriptors go."""

    name: str


class ClearGroup(Effect, frozen=True):
    """Remove the cgroup of a process once nothing is left in it; what is left at ``patience`` (monotonic seconds) is killed. Ends in GroupGone."""

    pid: int
    incarnation: int = 0
    patience: float = 0.0


class Tell(Effect, frozen=True):
    """Send a message to the main of a process over its port."""

    name: str
    message: port.Accepted | port.Refused | port.Finished | port.Stop | port.Recorded | port.Listen | port.Kept


class MeasureDisk(Effect, frozen=True):
    """Look at what artifacts, logs and working directories take. Ends in DiskMeasured."""


class DropArtifacts(Effect, frozen=True):
    """Remove the artifacts of a process that has left the table."""

    pid: int


class AnswerCall(Effect, frozen=True):
    """Answer a main or a worker that asked something of shared context."""

    name: str
    message: port.ContextAnswer


class SendBatch(Effect, frozen=True):
    """Send threads to a worker."""

    name: str
    first_sequence: int
    spans: list[Span]

    @property
    def items(self) -> list[Item]:
        """Give its threads one by one."""
        return [Item(tid, span.entry, arguments) for span in self.spans for tid, arguments in enumerate(span.arguments, span.first_tid)]


class Consume(Effect, frozen=True):
    """Results up to this sequence are in the journal: their room in the page is free."""

    name: str
    sequence: int


class FreezeWorker(Effect, frozen=True):
    """Have a worker stand still. Ends in WorkerFrozen, after the results that its page holds, or in FreezeFailed."""

    name: str


class ThawWorker(Effect, frozen=True):
    """Let a frozen worker go on."""

    name: str


class AskYield(Effect, frozen=True):
    """Write into the page of a worker that others wait for its slot."""

    name: str


class GoOn(Effect, frozen=True):
    """Let a worker go on whose thread gave way, by the number of its word; and take the other word out of its page."""

    name: str
    number: int


class Revoke(Effect, frozen=True):
    """Keep a frozen worker from ever beginning these sequences."""

    name: str
    first: int
    last: int


class SteerWorker(Effect, frozen=True):
    """Tell an async worker what to do with threads that it has: "cancel" these, or "hold" these and no others."""

    name: str
    verb: str
    tids: list[int]


class LookAt(Effect, frozen=True):
    """Read the page of a worker, whether or not it rang."""

    name: str


class Retire(Effect, frozen=True):
    """Ask an idle worker to exit."""

    name: str


class MakeRoom(Effect, frozen=True):
    """Let the group of a shared zygote that has its code hold what its children copy of it, too."""

    name: str


class Reply(Effect, frozen=True):
    """Answer a request. ``answer`` is a Struct of dadms_ipc.requests, a list of them, or a plain map."""

    client: bytes
    sequence: int
    status: str
    answer: object = None
    encoded: bytes | None = None  # in place of answer: what an earlier reply was
    is_measured: bool = True  # with what processes use now, which is read for it


class Enroll(Effect, frozen=True):
    """Tell the bus of an incarnation that may speak."""

    pid: int
    incarnation: int
    name: str
    uid: int
    group: str
    parent: int = 0
    type: str = "orchestrator"


class Expect(Effect, frozen=True):
    """Tell the bus of a process that has no incarnation just now and will have one: messages to it wait."""

    pid: int
    name: str
    group: str
    parent: int
    type: str


class Discharge(Effect, frozen=True):
    """Tell the bus that an incarnation may not speak any more; ``returns``: another may follow, and messages wait until it is known."""

    pid: int
    incarnation: int
    returns: bool = False


class Pause(Effect, frozen=True):
    """Tell the bus that a process stands still, or goes on."""

    pid: int
    is_paused: bool


class FinishRoster(Effect, frozen=True):
    """Tell the bus that every living incarnation was enrolled."""

    count: int


class Publish(Effect, frozen=True):
    """Give an event to the bus for subscribers."""

    number: int
    at: float
    pid: int
    kind: str
    text: str
    data: object


class Greet(Effect, frozen=True):
    """Say hello to a zygote, so that it says something: one that is silent is replaced."""

    parent: str


class KillBase(Effect, frozen=True):
    """Kill the base zygote, which is the keeper's child; the keeper starts another."""

    os_pid: int


class AskReload(Effect, frozen=True):
    """Have the keeper read the configuration again."""


class AskShutdown(Effect, frozen=True):
    """Tell the keeper that a client asked for the end, or that a process takes the daemon with it."""

    reason: str = "shutdown"


class SayStopped(Effect, frozen=True):
    """Tell the keeper that nothing is left."""


AnyEffect = (
    Fork
    | OpenGate
    | Signal
    | KillGroup
    | SignalGroup
    | SetLimits
    | Freeze
    | Thaw
    | Bury
    | ClearGroup
    | Tell
    | AnswerCall
    | MeasureDisk
    | DropArtifacts
    | SendBatch
    | Consume
    | FreezeWorker
    | ThawWorker
    | Revoke
    | AskYield
    | GoOn
    | SteerWorker
    | LookAt
    | Retire
    | MakeRoom
    | Reply
    | Enroll
    | Expect
    | Discharge
    | Pause
    | FinishRoster
    | Publish
    | Greet
    | KillBase
    | AskReload
    | AskShutdown
    | SayStopped
)
