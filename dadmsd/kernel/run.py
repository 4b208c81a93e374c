"""The kernel's loop: wait, read what came, let the core decide, commit, perform.

1. One turn is one batch of events, one transaction, and then its effects: commit before effects, in ``_turn`` and nowhere else.
2. Nothing is waited for but in ``Watch.wait``; the one timer is the core's next deadline.
3. The kernel may be killed at any instant. What it had not committed did not happen: clients, processes and zygotes say it again. What it had committed and not
   performed is performed again by the next kernel (``adoption``).
4. A kernel that loses its keeper ends every process and exits: nobody is left who could restart it.
5. What can wait is done before the next wait, and not between what came and what is said about it: others wait for that, and this has the time that they take.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc import requests
from dadms_ipc.channel import Channel, Frame, adopt
from dadms_ipc.errors import ChannelClosed, PeerViolation, RequestRefused
from dadmsd import config, definitions
from dadmsd.keeper import messages as keeper
from dadmsd.kernel import link, proofs
from dadmsd.kernel.adoption import adopt_children
from dadmsd.kernel.belongings import BUS, Belongings
from dadmsd.kernel.confine import Confinement
from dadmsd.kernel.core import events
from dadmsd.kernel.core.kernel import Kernel
from dadmsd.kernel.core.records import Record
from dadmsd.kernel.core.state import Settings
from dadmsd.kernel.crash import CrashPoint
from dadmsd.kernel.hands import Hands
from dadmsd.kernel.journal import Journal
from dadmsd.kernel.notify import Notify, remove_strays
from dadmsd.kernel.ports import Port
from dadmsd.kernel.reports import Reports
from dadmsd.kernel.watch import WRITE, Watch
from dadmsd.stderr import say
from dadmsd.zygote import messages as zygote

FRAMES_A_TURN = 256  # of keeper and bus, so that neither keeps the children waiting
END_SECONDS = 5.0  # for everything to die after SIGKILL, when the keeper is gone
LOST_LOOK_SECONDS = 1.0  # after an adoption, or the end of a stranger: by then every zygote and the keeper have said which children ended
LONGEST_SLEEP = 3600.0  # seconds: epoll_wait(2) counts milliseconds in an int, and the time-out of a thread may be a year


class KeeperGone(Exception):
    """The keeper's end of its channel is closed: it has ended, or it wants us to."""


class Loop:
    """A running kernel."""

    def __init__(self, to_keeper: Channel[Any], settings: Settings, journal: Journal, confinement: Confinement) -> None:
        self._keeper = to_keeper
        self._settings = settings
        self._journal = journal
        self._crash = CrashPoint.from_environment(epoch=settings.epoch)
        self._watched = Watch()
        self._watched.see(to_keeper, self._read_keeper)
        self._kernel = Kernel(settings)
        self.hands = Hands(self._kernel.state, confinement, to_keeper, self._watch, self._unwatch)
        self.hands.watch_notify = self._watch_notify
        self.hands.unwatch_notify = self._unwatch_notify
        self.hands.last_look = journal.last_look
        self._watched.see(self.hands.surveyor, self._read_disk)
        self._belongings = Belongings(settings.state_dir)
        self.reports = Reports(self._kernel.state, self.hands)
        self._request_decoder = msgspec.msgpack.Decoder(requests.Request)
        self._written_later: set[str] = set()  # servers whose sockets are watched for writing, too
        self._look_for_lost_at: float | None = None
        self.early: list[Frame[Any]] = []  # of the keeper, that came before its store was sent

    # what is watched

    def _watch(self, port: Port) -> None:
        self._watched.see(port, partial(self._read_port, port), is_written=port.channel.waits_to_write)

    def _attend(self, channel: Channel[Any], who: str, read: Callable[[int], list[events.Event]]) -> None:
        """Wake up for what the socket of a server did not take, too: one that only reads would never have the rest."""
        if channel.waits_to_write != (who in self._written_later):
            self._written_later ^= {who}
            self._watched.see(channel, read, is_written=channel.waits_to_write)

    def _unwatch(self, port: Port) -> None:
        self._watched.forget(port)

    def _watch_notify(self, spoken: Notify) -> None:
        self._watched.see(spoken, lambda _mask: spoken.receive(self.hands.is_own))

    def _unwatch_notify(self, spoken: Notify) -> None:
        self._watched.forget(spoken)

    # the start

    def start(self, rows: Sequence[Record], stored: list[tuple[str, list[int]]], *, interruption: str) -> None:
        """Take over from an earlier kernel, or begin with nothing."""
        now, wall = time.monotonic(), time.time()
        effects = self._kernel.adopt(rows, now=now, wall=wall, interruption=interruption)
        adopt_children(self._kernel.state, self.hands, stored, self._watch)
        self._finish(effects)
        self._crash.reach("adopted")
        for words in self._journal.damage_words():
            say(f"kernel: {words}")
            self.hands.found.append(events.JournalDamaged(words))
        note = ""
        if self._settings.definitions:
            reading = definitions.read(self._settings.definitions)
            note = definitions.mistaken(reading, self._settings.definitions)
            self.hands.found.append(events.DefinitionsRead(reading, is_applied=True))
        for frame in self.early:
            self.hands.found.extend(self._take_from_keeper(frame))
        self.early = []
        self.hands.drop_strange_artifacts()
        self.hands.tidying.find()
        self._look_for_lost_at = now + LOST_LOOK_SECONDS
        self.hands.tell_keeper(keeper.Ready(note))

    # the loop

    def run(self) -> int:
        """Serve until the keeper is gone or says that it is over; gives the exit code."""
        while True:
            try:
                found = self._collect()
            except KeeperGone:
                return self._end_without_keeper()
            if found:
                self._turn(found)

    def _collect(self) -> list[events.Event]:
        """Wait for something to happen and give it as events; nothing, where what happened concerns the shell alone: the end of a port, of which an exit tells."""
        hands = self.hands
        self._do_what_waited()
        found = [*self._room(), *hands.found]  # first: a child may answer its open gate before we read that it opened
        hands.found = []
        for read, mask in self._watched.wait(0.0 if found else self._seconds_left()):
            found.extend(read(mask))
        if self._look_for_lost_at is not None or hands.groups.next_look() is not None:
            found.extend(self._look_again())
        return found or self._rest()

    def _do_what_waited(self) -> None:
        """Do what is to be done between two turns."""
        if self._journal.is_long:
            self._fold(time.monotonic())
        self.hands.fork_on()
        self._attend(self._keeper, "keeper", self._read_keeper)
        if self.hands.link is not None:
            self._attend(self.hands.link, "bus", self._read_bus)

    def _look_again(self) -> list[events.Event]:
        """Look whether somebody is lost, and at the groups, if it is time: after all that was said has been read."""
        found: list[events.Event] = []
        now = time.monotonic()
        if self._look_for_lost_at is not None and now >= self._look_for_lost_at:
            self._look_for_lost_at = None
            found = self.reports.lost()
        self.hands.groups.look(now)
        return found

    def _fold(self, now: float) -> bool:
        """Fold a slice of the journal's tail, if it is time."""
        fold_at = self._journal.next_fold()
        if fold_at is None or fold_at > now:
            return False
        self._journal.fold()
        self.hands.found.extend(self._belongings.news())
        return True

    def _seconds_left(self) -> float | None:
        """Give the time until something is due; None when nothing is."""
        hands, journal = self.hands, self._journal
        upcoming = (
            self._kernel.next_deadline(),
            hands.groups.next_look(),
            self._look_for_lost_at,
            journal.next_fold(),
            journal.look_at,
            hands.tidying.due,
        )
        deadlines = [when for when in upcoming if when is not None]
        return max(0.0, min(min(deadlines) - time.monotonic(), LONGEST_SLEEP)) if deadlines else None

    def _rest(self) -> list[events.Event]:
        """Nothing came: do what waits for that."""
        now = time.monotonic()
        if not self._fold(now):
            self.hands.tidying.tidy(now)
        due = self._kernel.next_deadline()
        return [events.TimePassed()] if due is not None and due <= now else []

    def _read_disk(self, _mask: int) -> list[events.Event]:
        found = [events.DiskCleared() if size is None else events.DiskMeasured(size) for size in self.hands.surveyor.found()]
        return [*found, *self._belongings.news()]

    def _room(self) -> list[events.Event]:
        """Say first whether anything new can be kept: what is decided after it goes by it."""
        reason = self._journal.trouble()
        known = (self._kernel.state.unkept, self._kernel.state.is_strained)
        if reason and known != (reason, self._journal.is_strained):
            return [events.DiskFilled(reason, self._journal.is_strained)]
        return [events.DiskFreed()] if known[0] and not reason else []

    def _turn(self, batch: list[events.Event]) -> None:
        done: Sequence[Any] = ()
        try:
            done = self._kernel.handle(batch, now=time.monotonic(), wall=time.time())
            self._finish(done)
        finally:  # when nobody waits for it any more; of a turn that failed, too
            self._kernel.state.record_flight(batch)
            self._kernel.state.record_flight(done)
            self._journal.settle()

    def _finish(self, effects: Sequence[Any]) -> None:
        """Commit, then perform: the one place where a decision becomes true."""
        crash = self._crash if self._crash.is_set else None
        if crash is not None:
            crash.reach("before-commit")
        self._journal.commit(self._kernel.take_rows())
        if crash is not None:
            crash.reach("after-commit")
        perform = self.hands.perform
        for effect in effects:
            perform(effect)
            if crash is not None:
                crash.reach(f"effect:{type(effect).__name__}")

    # who speaks

    def _read_keeper(self, _mask: int) -> list[events.Event]:
        found: list[events.Event] = []
        for _ in range(FRAMES_A_TURN):
            try:
                self._keeper.flush()
                frame = self._keeper.receive()
            except ChannelClosed as error:
                raise KeeperGone from error
            if frame is None:
                break
            found.extend(self._take_from_keeper(frame))
        return found

    def _take_from_keeper(self, frame: Frame[Any]) -> list[events.Event]:
        body = frame.body
        match body:
            case keeper.Linked():
                return self._link(frame.fds)
            case keeper.Stored():
                return self._take_stored(body.name, frame.fds)
            case keeper.ServerChanged():
                if body.server == "bus" and body.is_running:
                    self._enclose_bus(body.os_pid)
                found = self._belongings.renew(BUS) if body.server == "bus" else []
                return [*found, events.ServerChanged(body.server, body.os_pid, body.restarts, body.is_running, body.reason, body.last_pid)]
            case keeper.OrphanExited():
                found = self.reports.orphan(body)
                if not found and self._look_for_lost_at is None:  # its zygote's word of it may be on its way, too late to tell who it is
                    self._look_for_lost_at = time.monotonic() + LOST_LOOK_SECONDS
                return found
            case keeper.StopAsked():
                return [events.StopAsked(body.reason)]
            case keeper.StoreRefused():
                say(f"kernel: the keeper did not keep {body.name}: {body.reason}")
        return []

    def _enclose_bus(self, os_pid: int) -> None:
        try:
            self.hands.confinement.enclose_bus(os_pid)
        except Exception as error:  # the bus runs on without its cap; people are told
            say(f"kernel: the bus runs without a memory cap: {error}")

    def _take_stored(self, name: str, fds: list[int]) -> list[events.Event]:
        """Take what comes into the store while we run: a new base zygote's control channel."""
        if name != "v1/zygote/base":
            for fd in fds:
                os.close(fd)
            return []
        old = self.hands.base
        if old is not None:
            self._unwatch(old)
            old.close()
        self.hands.base = Port("base", "zygote", "", adopt(fds[0]), epoch=self._settings.epoch)
        self._watch(self.hands.base)
        self.hands.base.send(zygote.Hello())
        return [events.ParentReported("base", frozenset(), is_new=True)]

    def _link(self, fds: list[int]) -> list[events.Event]:
        if self.hands.link is not None:
            self._watched.forget(self.hands.link)
            self.hands.link.close()
        self.hands.events_wanted = False
        self.hands.link = Channel(adopt(fds[0]), link.FromBus, epoch=self._settings.epoch)
        self._watched.see(self.hands.link, self._read_bus)
        self._written_later.discard("bus")
        self.hands.tell_bus(link.KernelHello(self._settings.boot_id, self._settings.version))
        return [events.BusLinked()]

    def _read_bus(self, _mask: int) -> list[events.Event]:
        found: list[events.Event] = []
        channel = self.hands.link
        for _ in range(FRAMES_A_TURN):
            if channel is None:
                break
            try:
                channel.flush()
                frame = channel.receive()
            except ChannelClosed:  # the keeper links the next bus
                self._watched.forget(channel)
                channel.close()
                self.hands.link = None
                break
            except PeerViolation as violation:
                say(f"kernel: the bus broke the protocol: {violation}")
                break
            if frame is None:
                break
            body = frame.body
            match body:
                case link.Request():
                    found.extend(self._request(body))
                case link.ClientGone():
                    found.append(events.ClientLeft(body.client))
                case link.EventsWanted():
                    self.hands.events_wanted = body.is_wanted
                case link.Wanted():
                    found.append(events.LineWanted(body.pid))
        return found

    def _request(self, message: link.Request) -> list[events.Event]:
        try:
            request = self._request_decoder.decode(message.body)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            refusal = msgspec.Raw(msgspec.msgpack.encode({"message": f"cannot read the request: {error}"}))
            self.hands.tell_bus(link.Reply(message.client, message.sequence, "refused", refusal))
            return []
        found: list[events.Event] = []
        if isinstance(request, requests.Reload | requests.Compare):
            found.append(events.DefinitionsRead(definitions.read(self._settings.definitions or None)))
        if isinstance(request, requests.Configuration):
            found += self._configuration()
        if isinstance(request, requests.Status):
            found.extend(self._belongings.news())
        who = (message.client, message.sequence, message.uid, message.role, message.origin)
        return [*found, events.RequestArrived(*who, request, message.deadline)]

    def _configuration(self) -> list[events.Event]:
        """Read what holds for every server: a reload that this kernel did not have to be started again for has changed it."""
        copy = self._settings.config_copy
        try:
            return [events.ConfigurationRead(msgspec.to_builtins(config.load(copy)))] if copy else []
        except RequestRefused as error:  # somebody removed it: the newest that was read is what is known
            say(f"kernel: {error}")
            return []

    def _read_port(self, port: Port, mask: int) -> list[events.Event]:
        if mask & WRITE:
            with contextlib.suppress(ChannelClosed):
                port.channel.flush()
            self._watch(port)
        frames, found = port.receive()
        for frame in frames:
            found.extend(self.reports.zygote(port, frame))
        if port.is_closed or port.is_unreadable:
            self._unwatch(port)
        if port.is_closed and port.role in ("main", "worker"):
            found.append(events.PortEnded(port.name))
        return [self.hands.verified(event) for event in found]

    def save_flight(self) -> None:
        """Write the flight recorder beside the journal, for whoever looks for the reason of an end that should not have been."""
        with contextlib.suppress(OSError):
            lines = (f"{entry.at:.6f} {entry.kind} {entry.subject}\n" for entry in self._kernel.state.flight)
            Path(self._settings.state_dir, "flight.log").write_text("".join(lines), encoding="utf-8")

    # the end

    def _end_without_keeper(self) -> int:
        """End everything and exit: after a stop there is nothing left, after the keeper's death there must not be."""
        for port in self.hands.ports.values():
            port.signal(9)
        deadline = time.monotonic() + END_SECONDS
        while not self.hands.confinement.end_all() and time.monotonic() < deadline:
            time.sleep(0.01)  # nobody is left who would tell us
        lost = self._journal.last_look()
        if lost:
            say(f"kernel: {lost}")
        self._journal.close()
        remove_strays(self._settings.runtime_dir, set())
        proofs.remove_strays(self._settings.runtime_dir, set())
        if self._settings.is_private:  # whoever would have removed it is gone, or removes it as well
            shutil.rmtree(self._settings.runtime_dir, ignore_errors=True)
        return 1 if lost else 0
