"""The process's side of the kernel port, without I/O: messages in, events out, messages out; docs/reference/port.md is its specification.

1. A request is repeated after each ``Hello`` until it is answered: ``Ready`` always, ``Submit`` until ``Accepted`` or ``Refused``, ``Cancel`` until a later
   submission is answered (that its threads have ended does not say that it was read), ``Outcome`` until ``Recorded``. The kernel drops what it has in its journal
   and gives the same answer again.
2. One submission is under way at a time. The kernel then needs to remember the answer to one only, and the numbers of threads follow the order of submitting.
   Requests are sent in the order of their numbers: one that runs ahead would not be taken.
3. Results are numbered; what was had is dropped, and a gap is a violation, since the channel loses nothing and keeps the order.
4. A result may overtake the answer that tells its thread's number (the kernel died between the two): it waits for that answer.
5. ``Seen`` is said when the application has taken every result, not when they arrived.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from dadms_ipc import port
from dadms_ipc.errors import InternalError, PeerViolation


class Event(msgspec.Struct, frozen=True):
    """Base of what an application hears."""


class Accepted(Event, frozen=True):
    """The kernel will run a submission; these are its threads."""

    ticket: int
    tids: list[int]


class Refused(Event, frozen=True):
    """The kernel will not run a submission, nothing of it."""

    ticket: int
    reason: str


class ThreadEnded(Event, frozen=True):
    """The thread for the argument at ``index`` of a submission ended."""

    ticket: int
    index: int
    result: port.Result

    @property
    def is_completed(self) -> bool:
        """Tell whether the entry returned."""
        return self.result.status == "completed"

    @property
    def value(self) -> Any:
        """Give what the entry returned, None unless it did."""
        return msgspec.msgpack.decode(self.result.value)


class LineWanted(Event, frozen=True):
    """Somebody on the bus waits for this process; applications never see it."""


class StopRequested(Event, frozen=True):
    """End within ``grace`` seconds."""

    reason: str
    grace: float


class OutcomeRecorded(Event, frozen=True):
    """The outcome is safe: nothing is left to do."""


class Session:
    """One incarnation's conversation with the kernels of its life. Every method gives the messages that are to be sent, in order."""

    def __init__(self) -> None:
        self._sequence = 0  # of the newest request
        self._ready: port.Ready | None = None
        self._waiting: deque[port.Submit | port.Cancel] = deque()  # not sent yet, rule 2; in the order of their numbers
        self._asked: port.Submit | None = None  # sent, and not answered
        self._doomed: set[tuple[int, int]] = set()  # threads to cancel as soon as their numbers are known
        self._running: dict[int, tuple[int, int]] = {}  # tid -> ticket, index
        self._tids: dict[tuple[int, int], int] = {}  # the same, turned around
        self._cancels: dict[int, port.Cancel] = {}  # by sequence: those that were sent, until a later submission is answered
        self._early: dict[int, port.Result] = {}  # rule 4
        self._outcome: port.Outcome | None = None
        self._is_recorded = False
        self._had = 0  # sequence of the last result that came
        self._said = 0  # the last one that Seen named

    @property
    def is_recorded(self) -> bool:
        """Tell whether the outcome is in the kernel's journal."""
        return self._is_recorded

    @property
    def owes_outcome(self) -> bool:
        """Tell whether an outcome was given that the kernel has not written down."""
        return self._outcome is not None and not self._is_recorded

    @property
    def open_threads(self) -> int:
        """Count the threads that were submitted and have not ended, refused ones aside."""
        asked = [self._asked] if self._asked is not None else []
        return len(self._running) + sum(len(each.arguments) for each in (*asked, *self._waiting) if isinstance(each, port.Submit))

    def ready(self, entries: Sequence[str], warnings: Sequence[str] = ()) -> list[port.FromProcess]:
        """Say that the process is ready."""
        if self._ready is not None:
            raise InternalError("a process becomes ready once")
        self._ready = port.Ready(list(entries), list(warnings))
        return [self._ready]

    def submit(
        self, entry: str, arguments: list[msgspec.Raw], labels: Sequence[str] = (), timeout: float | None = None
    ) -> tuple[int, list[port.FromProcess]]:
        """Ask for a thread for each argument; the number given names the submission in events."""
        if not arguments:
            raise InternalError(f'a submission of "{entry}" without arguments')
        if labels and len(labels) != len(arguments):
            raise InternalError(f'a submission of "{entry}" with {len(arguments)} arguments and {len(labels)} labels')
        self._sequence += 1
        self._waiting.append(port.Submit(self._sequence, entry, arguments, list(labels), timeout))
        return self._sequence, self._submit_next()

    def _submit_next(self) -> list[port.FromProcess]:
        """Send what waits, in the order of its numbers: cancellations at once, a submission when the last one was answered."""
        sent: list[port.FromProcess] = []
        while self._waiting:
            request = self._waiting[0]
            if isinstance(request, port.Cancel):
                self._cancels[request.sequence] = request
            elif self._asked is None:
                self._asked = request
            else:
                break
            sent.append(self._waiting.popleft())
        return sent

    def cancel(self, ticket: int, index: int) -> list[port.FromProcess]:
        """Terminate a thread; it ends with a result, as it would otherwise. One that ended already is left alone."""
        tid = self._tids.get((ticket, index))
        if tid is not None:
            return self._cancel([tid])
        if any(submit.sequence == ticket for submit in (*self._waiting, *([self._asked] if self._asked else []))):
            self._doomed.add((ticket, index))
        return []

    def _cancel(self, tids: list[int]) -> list[port.FromProcess]:
        self._sequence += 1
        self._waiting.append(port.Cancel(self._sequence, tids))
        return self._submit_next()

    def outcome(self, status: str, value: msgspec.Raw, reason: str = "") -> list[port.FromProcess]:
        """Say what the process came to; the first outcome stands."""
        if self._outcome is not None:
            return []
        self._outcome = port.Outcome(status, value, reason)
        return [self._outcome]

    def seen(self) -> list[port.FromProcess]:
        """Acknowledge the results, once the application has taken all of them."""
        if self._had == self._said or self._early:
            return []
        self._said = self._had
        return [port.Seen(self._said)]

    def receive(self, message: port.ToProcess) -> tuple[list[Event], list[port.FromProcess]]:
        """Take a message of the kernel. Raises PeerViolation when it breaks the rules; nothing has changed then."""
        match message:
            case port.Hello():
                return [], self._repeat()
            case port.Accepted():
                return self._accepted(message)
            case port.Refused():
                return self._refused(message)
            case port.Finished():
                return self._finished(message)
            case port.Stop():
                return [StopRequested(message.reason, message.grace)], []
            case port.Recorded():
                if self._outcome is None:
                    raise PeerViolation("an outcome was recorded that was never given")
                self._is_recorded = True
                return [OutcomeRecorded()], []
            case port.Listen():
                return [LineWanted()], []
            case port.Gate():
                raise PeerViolation("a second gate")

    def _repeat(self) -> list[port.FromProcess]:
        if self._outcome is not None:
            return [] if self._is_recorded else [self._outcome]
        requests: list[port.Submit | port.Cancel] = list(self._cancels.values())
        if self._asked is not None:
            requests.append(self._asked)
        return [*([self._ready] if self._ready is not None else []), *sorted(requests, key=lambda request: request.sequence)]

    def _accepted(self, message: port.Accepted) -> tuple[list[Event], list[port.FromProcess]]:
        asked = self._asked
        if asked is None or asked.sequence != message.sequence:
            return [], []  # an answer that was had already
        self._asked = None
        self._forget_cancels(asked.sequence)
        tids = list(range(message.first_tid, message.first_tid + len(asked.arguments)))
        for index, tid in enumerate(tids):
            self._running[tid] = asked.sequence, index
            self._tids[asked.sequence, index] = tid
        events: list[Event] = [Accepted(asked.sequence, tids)]
        early, self._early = self._early, {}
        events.extend(self._end(early[tid]) for tid in tids if tid in early)
        doomed = [tid for tid in tids if self._running.get(tid) in self._doomed]
        self._forget_doomed(asked.sequence)
        return events, [*(self._cancel(doomed) if doomed else []), *self._submit_next()]

    def _refused(self, message: port.Refused) -> tuple[list[Event], list[port.FromProcess]]:
        asked = self._asked
        if asked is None or asked.sequence != message.sequence:
            return [], []
        self._asked = None
        self._forget_cancels(asked.sequence)
        self._early.clear()
        self._forget_doomed(asked.sequence)
        return [Refused(asked.sequence, message.reason)], self._submit_next()

    def _forget_cancels(self, answered: int) -> None:
        """Repeat no more what came before a submission that was answered: the kernel takes requests in the order of their numbers."""
        self._cancels = {sequence: request for sequence, request in self._cancels.items() if sequence > answered}

    def _forget_doomed(self, ticket: int) -> None:
        self._doomed = {one for one in self._doomed if one[0] != ticket}

    def _finished(self, message: port.Finished) -> tuple[list[Event], list[port.FromProcess]]:
        first = message.sequence - len(message.results) + 1
        if first > self._had + 1:
            raise PeerViolation(f"results {first} to {message.sequence} came after result {self._had}")
        news = message.results[self._had + 1 - first :] if message.sequence > self._had else []
        if not news:  # all of them repeated: what was said about them is lost
            return [], [port.Seen(self._said)] if self._said else []
        self._had = message.sequence
        events: list[Event] = []
        for result in news:
            if result.tid in self._running:
                events.append(self._end(result))
            elif self._asked is not None:
                self._early[result.tid] = result
            else:
                raise PeerViolation(f"a result of thread {result.tid}, which was never accepted")
        return events, []

    def _end(self, result: port.Result) -> ThreadEnded:
        ticket, index = self._running.pop(result.tid)
        del self._tids[ticket, index]
        return ThreadEnded(ticket, index, result)
