"""The process's side of the kernel port, without I/O: messages in, events out, messages out; docs/reference/port.md is its specification.

1. A request is repeated after each ``Hello`` until it is answered: ``Ready`` always, ``Submit`` until ``Accepted`` or ``Refused``, ``Cancel`` until a later
   submission is answered (that its threads have ended does not say that it was read), ``Outcome`` until ``Recorded``. The kernel drops what it has in its journal
   and gives the same answer again.
2. One submission is under way at a time. The kernel then needs to remember the answer to one only, and the numbers of threads follow the order of submitting.
   Requests are sent in the order of their numbers: one that runs ahead would not be taken.
3. Results are numbered; what was had is dropped, and a gap is a violation, since the channel loses nothing and keeps the order.
4. A result may overtake the answer that tells its thread's number (the kernel died between the two): it waits for that answer.
5. ``Seen`` is said when the application has taken every result, not when they arrived; and not before many wait for it, since all it does is to let the kernel
   forget them, and it costs the kernel a turn.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from dadms_ipc import port
from dadms_ipc.calls import Calls
from dadms_ipc.errors import InternalError, PeerViolation
from dadms_orchestrators.sdk.handles import Submission, Team

Order = port.Cancel | port.Steer
_ORDERS = (port.Cancel, port.Steer)  # the same, to look for

UNSAID_MOST = 64  # results that were taken and are not acknowledged
UNSAID_BYTES = 256 * 1024  # of those that did not come in a run: what is in one is small

_HAD = msgspec.Raw(b"\xc0")  # in the column of a submission whose results went out as events


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


class CheckpointKept(Event, frozen=True):
    """What came of a checkpoint; applications never see it."""

    number: int
    reason: str  # "": it is in the journal


class OutcomeRecorded(Event, frozen=True):
    """The outcome is safe: nothing is left to do."""


class Session:
    """One incarnation's conversation with the kernels of its life. Every method gives the messages that are to be sent, in order."""

    def __init__(self) -> None:
        self.calls = Calls()  # about shared context; they have numbers of their own
        self._sequence = 0  # of the newest request
        self._ready: port.Ready | None = None
        self._waiting: deque[Submission | Order] = deque()  # not sent yet, rule 2; in the order of their numbers
        self.tail: Submission | None = None  # the last of these, if threads that are created may travel with it
        self._asked: Submission | None = None  # sent, and not answered
        self.is_asking = False  # the same: what is created now will wait
        self._asking: port.PackedSubmit | None = None  # what was sent
        self._doomed: set[tuple[int, int]] = set()  # threads to cancel as soon as their numbers are known
        self._accepted: dict[int, Submission] = {}  # those with open threads, by ticket
        self._blocks: list[Submission] = []  # the same, by their threads' numbers
        self._firsts: list[int] = []
        self._later: list[tuple[int, int, str, int]] = []  # ticket, index, verb, value: to steer as soon as their numbers are known
        self._cancels: dict[int, Order] = {}  # by sequence: those that were sent, until a later submission is answered
        self._early: list[port.Finished] = []  # rule 4
        self._outcome: port.Outcome | None = None
        self._checkpoint: port.Checkpoint | None = None  # the newest, until it is answered
        self._checkpoints = 0  # that were given
        self._is_recorded = False
        self._had = 0  # sequence of the last result that came
        self._said = 0  # the last one that Seen named
        self._unsaid_size = 0  # bytes of the results since then

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
        waiting = [each for each in self._waiting if isinstance(each, Submission)]
        return sum(each.left for each in self._blocks) + sum(each.count for each in (*asked, *waiting))

    def ready(self, entries: Sequence[str], warnings: Sequence[str] = (), declarations: Sequence[port.Declaration] = ()) -> list[port.Said]:
        """Say that the process is ready."""
        if self._ready is not None:
            raise InternalError("a process becomes ready once")
        self._ready = port.Ready(list(entries), list(warnings), list(declarations))
        return [self._ready]

    def submit(
        self,
        entry: str,
        arguments: list[msgspec.Raw],
        labels: Sequence[str] = (),
        timeout: float | None = None,
        *,
        retry: port.Retry | None = None,
        keys: Sequence[str] = (),
        group: Team | None = None,
    ) -> tuple[int, list[port.Said]]:
        """Ask for a thread for each argument; the number given names the submission in events."""
        if not arguments:
            raise InternalError(f'a submission of "{entry}" without arguments')
        if labels and len(labels) != len(arguments):
            raise InternalError(f'a submission of "{entry}" with {len(arguments)} arguments and {len(labels)} labels')
        if keys and len(keys) != len(arguments):
            raise InternalError(f'a submission of "{entry}" with {len(arguments)} arguments and {len(keys)} keys')
        submission = self._open(entry, timeout, is_held=False)
        submission.packed += b"".join(arguments)
        submission.count = len(arguments)
        submission.labels = list(labels)
        submission.retry = retry
        submission.keys = list(keys)
        submission.group = group
        return self._sequence, self.advance()

    def place(
        self,
        entry: str,
        timeout: float | None,
        priority: int = 0,
        deadline: float | None = None,
        retry: port.Retry | None = None,
        group: Team | None = None,
    ) -> Submission:
        """Give the submission that the next thread created travels with; ``advance`` sends it when its turn has come."""
        last = self.tail
        if last is None or not last.takes(entry, timeout, priority, deadline, retry, group):
            last = self.tail = self._open(entry, timeout, is_held=True)
            last.priority, last.deadline, last.retry, last.group = priority, deadline, retry, group
        return last

    def _open(self, entry: str, timeout: float | None, *, is_held: bool) -> Submission:
        self._sequence += 1
        self.tail = None
        submission = Submission(self._sequence, entry, timeout, is_held=is_held)
        self._waiting.append(submission)
        return submission

    def advance(self) -> list[port.Said]:
        """Send what waits, in the order of its numbers: cancellations at once, a submission when the last one was answered."""
        sent: list[port.Said] = []
        while self._waiting:
            request = self._waiting[0]
            if isinstance(request, _ORDERS):
                self._cancels[request.sequence] = request
                sent.append(request)
            elif self._asked is None:
                if request is self.tail:
                    self.tail = None
                self._asked = request
                self.is_asking = True
                self._asking = request.message()
                sent.append(self._asking)
            else:
                break
            self._waiting.popleft()
        return sent

    def cancel(self, ticket: int, index: int) -> list[port.Said]:
        """Terminate a thread; it ends with a result, as it would otherwise. One that ended already is left alone."""
        submission = self._accepted.get(ticket)
        if submission is not None:
            return self._cancel([submission.first_tid + index]) if submission.outcomes[index] is None else []
        waiting = [each for each in self._waiting if isinstance(each, Submission)]
        if any(each.ticket == ticket for each in (*waiting, *([self._asked] if self._asked else []))):
            self._doomed.add((ticket, index))
        return []

    def steer(self, verb: str, ticket: int, index: int, value: int = 0) -> list[port.Said]:
        """Suspend a thread, resume it, or give it another priority; what is asked before its number is known is sent when it is."""
        submission = self._accepted.get(ticket)
        if submission is not None:
            return self._steer(verb, [submission.first_tid + index], value) if submission.outcomes[index] is None else []
        waiting = [each for each in self._waiting if isinstance(each, Submission)]
        if any(each.ticket == ticket for each in (*waiting, *([self._asked] if self._asked else []))):
            self._later.append((ticket, index, verb, value))
        return []

    def steer_group(self, verb: str, name: str, value: int = 0) -> list[port.Said]:
        """Do something with all threads of a group that were submitted before."""
        return self._order(port.Steer(self._sequence + 1, verb, [], value, name))

    def _steer(self, verb: str, tids: list[int], value: int) -> list[port.Said]:
        return self._order(port.Steer(self._sequence + 1, verb, tids, value))

    def _cancel(self, tids: list[int]) -> list[port.Said]:
        return self._order(port.Cancel(self._sequence + 1, tids))

    def _order(self, order: Order) -> list[port.Said]:
        self._sequence += 1
        self.tail = None
        self._waiting.append(order)
        return self.advance()

    def outcome(self, status: str, value: msgspec.Raw, reason: str = "") -> list[port.Said]:
        """Say what the process came to; the first outcome stands."""
        if self._outcome is not None:
            return []
        self._outcome = port.Outcome(status, value, reason)
        return [self._outcome]

    def checkpoint(self, value: bytes) -> list[port.Said]:
        """Say from where the next incarnation is to go on; a newer one takes the place of one that was not answered."""
        self._checkpoints += 1
        self._checkpoint = port.Checkpoint(self._checkpoints, msgspec.Raw(value))
        return [self._checkpoint]

    @property
    def last_checkpoint(self) -> int:
        """Give the number of the newest checkpoint; 0: there is none."""
        return self._checkpoints

    def seen(self) -> list[port.Said]:
        """Acknowledge the results, once the application has taken all of them and it is worth it."""
        if (self._had - self._said < UNSAID_MOST and self._unsaid_size < UNSAID_BYTES) or self._early:
            return []
        self._said, self._unsaid_size = self._had, 0
        return [port.Seen(self._said)]

    def receive(self, message: port.ToProcess) -> tuple[list[Event], list[port.Said]]:
        """Take a message of the kernel. Raises PeerViolation when it breaks the rules; nothing has changed then."""
        match message:
            case port.Finished() if message.submission:
                accepted, said = self._accepted_now(port.Accepted(message.submission, message.first_tid))
                ended, more = self._finished(message)
                return [*accepted, *ended], [*said, *more]
            case port.Finished():
                return self._finished(message)
            case port.Hello():
                return [], self._repeat()
            case port.Accepted():
                return self._accepted_now(message)
            case port.Refused():
                return self._refused(message)
            case port.Stop():
                return [StopRequested(message.reason, message.grace)], []
            case port.Recorded():
                if self._outcome is None:
                    raise PeerViolation("an outcome was recorded that was never given")
                self._is_recorded = True
                return [OutcomeRecorded()], []
            case port.Listen():
                return [LineWanted()], []
            case port.Kept():
                if self._checkpoint is not None and message.number == self._checkpoint.number:
                    self._checkpoint = None
                return [CheckpointKept(message.number, message.reason)], []
            case port.ContextAnswer():
                return [], list(self.calls.receive(message))
            case port.Gate():
                raise PeerViolation("a second gate")

    def _repeat(self) -> list[port.Said]:
        if self._outcome is not None:
            return [] if self._is_recorded else [self._outcome]
        requests: list[port.PackedSubmit | Order] = list(self._cancels.values())
        if self._asking is not None:
            requests.append(self._asking)
        return [
            *([self._ready] if self._ready is not None else []),
            *([self._checkpoint] if self._checkpoint is not None else []),
            *sorted(requests, key=lambda request: request.sequence),
            *self.calls.repeat(),
        ]

    def _accepted_now(self, message: port.Accepted) -> tuple[list[Event], list[port.Said]]:
        asked = self._asked
        if asked is None or asked.ticket != message.sequence:
            return [], []  # an answer that was had already
        self._asked = self._asking = None
        self.is_asking = False
        self._forget_cancels(asked.ticket)
        asked.first_tid = message.first_tid
        self._accepted[asked.ticket] = asked
        place = bisect_right(self._firsts, message.first_tid)  # the last, with a kernel that counts
        self._firsts.insert(place, message.first_tid)
        self._blocks.insert(place, asked)
        events: list[Event] = []
        if not asked.is_held:
            events.append(Accepted(asked.ticket, list(range(message.first_tid, message.first_tid + asked.count))))
        if self._early:
            early, self._early = self._early, []
            for each in early:
                self._end_all(each, events)
        messages = self._steer_now(asked, message.first_tid) if self._doomed or self._later else []
        if self._waiting:
            messages.extend(self.advance())
        return events, messages

    def _steer_now(self, asked: Submission, first_tid: int) -> list[port.Said]:
        """Say what was asked about threads whose numbers were not known."""
        doomed = [first_tid + index for ticket, index in sorted(self._doomed) if ticket == asked.ticket and asked.outcomes[index] is None]
        self._forget_doomed(asked.ticket)
        messages = self._cancel(doomed) if doomed else []
        for ticket, index, verb, value in self._later:
            if ticket == asked.ticket and asked.outcomes[index] is None:
                messages.extend(self._steer(verb, [first_tid + index], value))
        self._later = [each for each in self._later if each[0] != asked.ticket]
        return messages

    def _refused(self, message: port.Refused) -> tuple[list[Event], list[port.Said]]:
        asked = self._asked
        if asked is None or asked.ticket != message.sequence:
            return [], []
        self._asked = self._asking = None
        self.is_asking = False
        self._forget_cancels(asked.ticket)
        self._early.clear()
        self._forget_doomed(asked.ticket)
        asked.refuse(message.reason)
        return [] if asked.is_held else [Refused(asked.ticket, message.reason)], self.advance()

    def _forget_cancels(self, answered: int) -> None:
        """Repeat no more what came before a submission that was answered: the kernel takes requests in the order of their numbers."""
        if self._cancels:
            self._cancels = {sequence: request for sequence, request in self._cancels.items() if sequence > answered}

    def _forget_doomed(self, ticket: int) -> None:
        self._doomed = {one for one in self._doomed if one[0] != ticket}

    def _finished(self, message: port.Finished) -> tuple[list[Event], list[port.Said]]:
        first = message.sequence - len(message.results) + 1
        for run in message.runs:
            first -= len(run.values)
        if first > self._had + 1:
            raise PeerViolation(f"results {first} to {message.sequence} came after result {self._had}")
        if message.sequence <= self._had:  # all of them repeated: what was said about them is lost
            return [], [port.Seen(self._said)] if self._said else []
        if first <= self._had:
            if message.runs:  # a delivery is repeated whole
                raise PeerViolation(f"results {first} to {message.sequence} came again, in part, after result {self._had}")
            message = port.Finished(message.sequence, message.results[self._had + 1 - first :])
        if message.results:
            self._unsaid_size += sum(len(result.value) for result in message.results)
        unknown = [tid for tid in self._named(message) if self._find(tid) is None]
        if unknown:
            if self._asked is None:
                raise PeerViolation(f"a result of thread {unknown[0]}, which was never accepted")
            known, later = self._split(message)
            self._early.append(later)
            self._had = message.sequence
            message = known
        else:
            self._had = message.sequence
        events: list[Event] = []
        self._end_all(message, events)
        return events, []

    def _named(self, message: port.Finished) -> list[int]:
        """Give the numbers that a delivery speaks of: of a run, first and last."""
        tids = [result.tid for result in message.results] if message.results else []
        for run in message.runs:
            tids.append(run.first_tid)
            if len(run.values) > 1:
                tids.append(run.first_tid + len(run.values) - 1)
        return tids

    def _split(self, message: port.Finished) -> tuple[port.Finished, port.Finished]:
        """Part what is known from what waits for the answer to a submission."""
        runs = [(run, self._find(run.first_tid) is not None) for run in message.runs]
        results = [(result, self._find(result.tid) is not None) for result in message.results]
        known, later = (
            port.Finished(
                0, [each for each, is_known in results if is_known is which], [each for each, is_known in runs if is_known is which]
            )
            for which in (True, False)
        )
        return known, later

    def _find(self, tid: int) -> Submission | None:
        """Give the submission with open threads that a thread belongs to."""
        place = bisect_right(self._firsts, tid) - 1
        if place < 0:
            return None
        submission = self._blocks[place]
        return submission if tid - submission.first_tid < submission.count else None

    def _end_all(self, message: port.Finished, events: list[Event]) -> None:
        for run in message.runs:
            self._end_run(run, events)
        for result in message.results:
            submission = self._find(result.tid)
            if submission is None or submission.outcomes[result.tid - submission.first_tid] is not None:
                raise PeerViolation(f"a second result of thread {result.tid}")
            index = result.tid - submission.first_tid
            submission.outcomes[index] = result if submission.is_held else _HAD
            if result.status != "completed":
                submission.failures.append(index)
            submission.left -= 1
            if not submission.is_held:
                events.append(ThreadEnded(submission.ticket, index, result))
            if not submission.left:
                self._close(submission)

    def _end_run(self, run: port.Run, events: list[Event]) -> None:
        """Threads with consecutive numbers completed; they are of one submission."""
        submission = self._find(run.first_tid)
        count = len(run.values)
        first = run.first_tid - submission.first_tid if submission is not None else 0
        if submission is None or submission.outcomes[first : first + count] != [None] * count:
            raise PeerViolation(f"results of threads {run.first_tid} to {run.first_tid + count - 1}, not all of which are open")
        if submission.is_held:
            submission.outcomes[first : first + count] = run.values
        else:
            submission.outcomes[first : first + count] = [_HAD] * count
            events.extend(ThreadEnded(submission.ticket, first + place, result) for place, result in enumerate(run.results()))
        submission.left -= count
        if not submission.left:
            self._close(submission)

    def _close(self, submission: Submission) -> None:
        """All of its threads have ended."""
        place = bisect_right(self._firsts, submission.first_tid) - 1
        del self._firsts[place], self._blocks[place]
        del self._accepted[submission.ticket]
