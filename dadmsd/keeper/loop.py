"""The keeper's loop: one selector, timers, and what each thing that is heard leads to.

1. Nothing blocks and nothing polls: sockets, the lease and a pipe that signals write to wake it, or the nearest deadline.
2. There is one reaper, for servers and orphans alike. A dead server's channel is read to its end before the next incarnation is started, so that a kernel finds
   in the store what its predecessor put there last.
3. Whatever a server sends, the worst that follows is its own death and restart.
"""

import os
import selectors
import signal
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc import channel as channels
from dadms_ipc.errors import ChannelClosed, DadmsError, PeerViolation, RequestRefused
from dadmsd.keeper import lock, messages, predecessors, reloading, servers
from dadmsd.keeper.ending import Ending
from dadmsd.keeper.notify import Notify
from dadmsd.keeper.orphans import Orphans
from dadmsd.keeper.place import Place
from dadmsd.keeper.server import LINGER, Server
from dadmsd.keeper.servers import BUS, KERNEL, LOGGER, ZYGOTE
from dadmsd.keeper.settings import Settings
from dadmsd.keeper.stages import Stage
from dadmsd.keeper.store import BASE_ZYGOTE, LOG, Store
from dadmsd.keeper.voice import Voice

FRAMES_A_TURN = 64  # of one server, before the others are heard
REAPS_A_TURN = 500
REASON_MOST = 500  # characters of the end of a server, in a message
DRAIN_FRAMES = 65_536  # of a dead server: more than its socket ever held, so that nobody who still holds its end keeps the keeper reading

RELOAD_SIGNAL = signal.SIGUSR1  # SIGHUP is what a terminal says when it goes away
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NEEDED_SIGNALS = (signal.SIGTERM, signal.SIGCHLD)  # the others stay ignored when they came so: nohup, a shell's background


class Keeper:
    """Parent of the daemon's servers, and of everything that loses its parent."""

    def __init__(self, settings: Settings, store: Store, voice: Voice, notify: Notify, place: Place) -> None:
        self._settings, self._store, self._voice, self._notify, self._place = settings, store, voice, notify, place
        self._daemon = uuid.uuid4().hex
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        self._servers = {command.name: Server(command, self._lookup(command.name)) for command in settings.commands}
        self._kernel, self._bus, self._logger = (self._servers[name] for name in (KERNEL, BUS, LOGGER))
        self._orphans = Orphans()
        self._selector = selectors.DefaultSelector()
        self._epoch = 0
        self._ending = Ending(settings, self._servers, voice, notify, self._tell, self._leave)
        self._was_ready = False  # a kernel was
        self._is_announced = False  # people and the service manager have heard so: a bus was, too
        self._signals: list[str] = []  # stop signals, as they came
        self._is_reload_asked = False
        self._is_reloading = False  # the manager waits for us to be ready again
        self._reap_again = False
        self._said_of_place = ""
        self._next_sign = 0.0 if notify.interval else None  # when the watchdog wants to hear from us

    def _lookup(self, name: str) -> Callable[[str], Any]:
        return (lambda entry: self._store.get(entry)[:1]) if name == LOGGER else self._store.get

    def run(self) -> int:
        """Run until the end; gives the exit code."""
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            if number in NEEDED_SIGNALS or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._signalled)
        signal.signal(RELOAD_SIGNAL, self._signalled)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._selector.register(woken, selectors.EVENT_READ, lambda _: os.read(woken, 65_536))
        if self._settings.lease_fd is not None:
            self._selector.register(self._settings.lease_fd, selectors.EVENT_READ, self._hear_lease)
        now = time.monotonic()
        for server in self._servers.values():
            server.due = now
        try:
            while self._ending.stage is not Stage.OVER:
                self._turn()
        finally:
            signal.set_wakeup_fd(-1)  # the handlers stay: what is removed after the loop is removed whole
            self._selector.close()
            os.close(woken)
            os.close(wake)
        return self._ending.exit_code

    def _turn(self) -> None:
        now = time.monotonic()
        for server in self._servers.values():
            if server.due is not None and server.due <= now:
                self._start(server)
        deadline = self._deadline()
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        for key, mask in self._selector.select(0.0 if self._reap_again or self._signals or self._is_reload_asked else timeout):
            # A descriptor may have been closed, and its number used again, since this batch of events was made.
            if self._selector.get_map().get(key.fd) is key:
                key.data(mask)
        self._reap()
        if self._is_reload_asked:
            self._is_reload_asked = False
            self._reload()
        while self._signals:
            self._ending.ask(self._signals.pop(0), is_signal=True)
        self._pass_time(time.monotonic())
        self._ending.advance()

    def _deadline(self) -> float | None:
        times = [self._ending.deadline, self._next_sign]
        for server in self._servers.values():
            times += (server.due, server.kill_at)
        return min((at for at in times if at is not None), default=None)

    def _pass_time(self, now: float) -> None:
        if self._next_sign is not None and self._next_sign <= now:
            self._notify.tell("WATCHDOG=1")
            self._next_sign = now + (self._notify.interval or 0.0)
        for server in self._servers.values():
            if server.kill_at is not None and server.kill_at <= now:
                self._voice.say(f"{server.name} (pid {server.pid}) ended its channel and not itself: killed")
                server.kill_at = None
                server.kill("it ended its channel and not itself")

    # signals and children

    def _signalled(self, number: int, _frame: object) -> None:
        if number == RELOAD_SIGNAL:
            self._is_reload_asked = True
        elif number != signal.SIGCHLD:
            self._signals.append(signal.Signals(number).name)

    def _hear_lease(self, _mask: int) -> None:
        lease = self._settings.lease_fd
        if lease is not None and not os.read(lease, 4096):
            self._selector.unregister(lease)
            self._ending.ask("lease")

    def _reap(self) -> None:
        self._reap_again = False
        for _ in range(REAPS_A_TURN):
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                return
            if ended is None:
                return
            server = next((one for one in self._servers.values() if one.pid == ended.si_pid), None)
            if server is not None:
                self._ended(server, servers.describe_end(ended.si_code, ended.si_status))
            else:
                self._orphans.add(messages.OrphanExited(ended.si_pid, ended.si_code, ended.si_status, time.time()))
                self._tell_orphans()
        self._reap_again = True

    def _tell_orphans(self) -> None:
        if self._kernel.channel is not None:
            for exited in self._orphans.to_tell():
                self._tell(self._kernel, str(exited.os_pid), exited)

    def _reload(self) -> None:
        """Read the configuration again, and start those again that read what differs."""
        settings = self._settings
        if self._ending.stage is not Stage.RUNNING or not self._is_announced:
            return
        self._notify.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reading the configuration again")
        self._is_reloading = True
        if settings.config_source is None or settings.config is None:
            self._reloaded("nothing to read again: there is no configuration file")
            return
        try:
            self._restore_place()
            change = reloading.read(settings.config_source, Path(settings.config))
            self._place.note()
        except (DadmsError, OSError) as error:
            self._reloaded(f"the configuration stays what it was: {error}")
            return
        for warning in change.warnings:
            self._voice.say(f"warning: {settings.config_source} {warning}")
        self._ending.stop_timeout = change.config.daemon.stop_timeout_ms / 1000
        servers = [self._servers[name] for name in change.servers if name in self._servers]
        if not change.tables:
            self._reloaded("the configuration is the same")
            return
        self._voice.say(f"the configuration changed: {', '.join(change.keys)}; {' and '.join(change.servers) or 'nobody'} started again")
        for server in servers:
            server.kill("it reads the configuration again")
        for server in servers:
            server.is_ready = False  # what the manager waits for comes after this
        if self._kernel not in servers and self._bus not in servers:
            self._reloaded("")

    def _reloaded(self, text: str) -> None:
        """Tell people, and the service manager that the reading is over."""
        if text:
            self._voice.say(text)
        self._is_reloading = False
        self._notify.tell("READY=1", f"STATUS=ready on {self._settings.runtime_dir}")

    # servers

    def _start(self, server: Server) -> None:
        server.due = None
        if server.name not in self._ending.restarted:
            return
        self._restore_place()
        now = time.monotonic()
        try:
            if server is self._kernel:
                self._ending.kernel_starts += 1
                self._epoch = self._count_epoch()
                for other in self._servers.values():
                    if other.channel is not None:
                        other.channel.epoch = self._epoch
            ours, theirs = channels.pair()
            try:
                pid = servers.start(server.command, theirs, self._voice.output(), self._settings.environment)
            except DadmsError:
                ours.close()
                raise
            finally:
                theirs.close()
        except (OSError, DadmsError) as error:
            server.started_at = now
            server.ended(now, str(error))
            self._voice_of(server, str(error))(str(error))
            self._check_start(server, str(error))
            return
        if server.name == ZYGOTE:
            server.began(pid, None, now)
            self._store.put(BASE_ZYGOTE, [ours.detach()])
            self._tell(self._kernel, BASE_ZYGOTE, messages.Stored(BASE_ZYGOTE))
        else:
            server.began(pid, channels.Channel(ours, servers.FROM[server.name], epoch=self._epoch), now)
            self._welcome(server)
        self._record_servers()
        self._tell_changed(server)
        if server in (self._kernel, self._bus) and self._kernel.pid and self._bus.pid:
            self._link()

    def _restore_place(self) -> None:
        line = self._place.restore()
        if line and line != self._said_of_place:
            self._voice.say(line)
        self._said_of_place = line

    def _record_servers(self) -> None:
        try:
            predecessors.record(self._settings.runtime_dir, [(server.name, server.pid) for server in self._servers.values() if server.pid])
        except OSError as error:
            self._voice.note(f"cannot write down the servers: {error.strerror}")

    def _count_epoch(self) -> int:
        try:
            return lock.next_epoch(self._settings.runtime_dir, above=self._epoch)
        except OSError as error:
            self._voice.say(f"cannot write the epoch {self._epoch + 1} to disk: {error.strerror}")
            return self._epoch + 1

    def _welcome(self, server: Server) -> None:
        settings = self._settings
        paths = (str(settings.runtime_dir), str(settings.state_dir), settings.config)
        put = server.outgoing.put
        put(
            "",
            messages.Welcome(
                self._epoch,
                self._boot_id,
                *paths,
                settings.is_private,
                settings.config_dir,
                server.incarnation,
                self._daemon,
                str(settings.config_source or ""),
            ),
        )
        if server is not self._bus:
            for name in self._store.names():
                if server is self._kernel or name.startswith(LOG):
                    put(name, messages.Stored(name))
        if server is self._logger:
            for name in self._store.leaving():
                put(name, messages.Stored(name))
                put(name, messages.Drop(name))
        if server is not self._bus:
            put("", messages.StoreSent(0))
        if server is self._kernel:
            for other in self._servers.values():
                if other.pid and other is not server:
                    self._tell_changed(other)
            self._orphans.begin()
            self._tell_orphans()
            if self._ending.stage is not Stage.RUNNING:
                put("", messages.StopAsked(self._ending.reason))
        self._feed(server)

    def _tell_changed(self, server: Server) -> None:
        """Tell the kernel; also of its predecessor, in which case nobody but itself has the news."""
        if server is not self._kernel or (server.pid and server.restarts):
            changed = messages.ServerChanged(
                server.name, server.pid, server.restarts, bool(server.pid), server.last_end[:REASON_MOST], server.last_pid
            )
            self._tell(self._kernel, server.name, changed)

    def _link(self) -> None:
        kernels, buses = channels.pair()
        self._tell(self._kernel, BUS, messages.Linked(BUS, self._bus.incarnation), kernels.detach())
        self._tell(self._bus, KERNEL, messages.Linked(KERNEL, self._kernel.incarnation), buses.detach())

    def _tell(self, server: Server, about: str, message: msgspec.Struct, fd: int | None = None) -> None:
        """Queue a message and send what can be sent; a server that does not run is told at its welcome."""
        if server.channel is None:
            if fd is not None:
                os.close(fd)
            return
        server.outgoing.put(about, message, fd)
        self._feed(server)

    def _feed(self, server: Server) -> None:
        if server.channel is None:
            return
        try:
            server.outgoing.feed(server.channel)
        except ChannelClosed:
            server.outgoing.close()  # its end will be heard, or its death
        except (PeerViolation, OSError) as error:
            server.outgoing.close()
            self._violated(server, f"it cannot be told anything: {error}")
        wants = selectors.EVENT_READ | (selectors.EVENT_WRITE if server.outgoing or server.channel.waits_to_write else 0)
        if not server.is_heard and server.kill_at is None:
            self._selector.register(server.channel, wants, lambda mask: self._hear(server, mask))
            server.is_heard = True
        elif server.is_heard and self._selector.get_key(server.channel).events != wants:
            self._selector.modify(server.channel, wants, self._selector.get_key(server.channel).data)

    def _hear(self, server: Server, mask: int) -> None:
        assert server.channel is not None
        try:
            if mask & selectors.EVENT_WRITE:
                self._feed(server)
            for _ in range(FRAMES_A_TURN if mask & selectors.EVENT_READ else 0):
                frame = server.channel.receive()
                if frame is None:
                    return
                self._obey(server, frame.body, frame.fds)
        except ChannelClosed:
            self._deafen(server)
            server.kill_at = time.monotonic() + LINGER
        except PeerViolation as error:
            self._violated(server, str(error))
        except Exception:  # our bug: the server that found it is the one that is restarted
            self._voice.note(traceback.format_exc())
            self._violated(server, "an internal error, which is in servers.log")

    def _violated(self, server: Server, reason: str) -> None:
        self._voice.say(f"{server.name} (pid {server.pid}) is killed: {reason}")
        self._deafen(server)
        server.kill_at = time.monotonic() + LINGER
        server.kill(reason)

    def _leave(self, server: Server) -> None:
        """Close a server's channel, which tells it that its keeper is gone."""
        self._deafen(server)
        if server.channel is not None:
            server.channel.close()
            server.channel = None

    def _deafen(self, server: Server) -> None:
        if server.is_heard and server.channel is not None:
            self._selector.unregister(server.channel)
            server.is_heard = False

    def _ended(self, server: Server, how: str) -> None:
        """A server was reaped: read what it had sent, and have it started again."""
        self._drain(server)
        self._deafen(server)
        if server.killed_for:
            how = f"{how} by dadmsd: {server.killed_for}"
        pid, lived = server.pid, time.monotonic() - server.started_at
        server.ended(time.monotonic(), how)
        if server.name == ZYGOTE and lived >= servers.AT_ONCE:
            server.failures = 0  # it never says that it is ready: one that has lived was
        if server.name == ZYGOTE:
            self._store.drop(BASE_ZYGOTE)
        self._tell_changed(server)
        if server.name not in self._ending.restarted:
            server.due = None
            self._voice.note(f"{server.name} (pid {pid}) ended: {how}")
            return
        last = self._voice.last_words() if how.startswith("exit ") else ""  # it had time to say why
        self._voice_of(server, last)(
            f"{server.name} (pid {pid}) ended after {lived:.1f} s: {how}{last and f': {last}'}; it is started again"
        )
        self._check_start(server, how)

    def _voice_of(self, server: Server, why: str) -> Callable[[str], None]:
        """Give what tells of an end: people want the verdict only before the daemon has stood, and the same reason once; the command that owns a private daemon counts them."""
        if not self._was_ready:
            return self._voice.note
        is_known = bool(why) and server.told == why and not self._settings.is_private
        server.told = why
        return self._voice.note if is_known else self._voice.say

    def _check_start(self, server: Server, how: str) -> None:
        """Give up on a daemon that has never stood and does not get up, and on a private one of which a part does not; of any other, say why."""
        if self._ending.stage is not Stage.RUNNING or not server.failures:
            return
        if server.failures % (servers.REPAIR_ATTEMPTS if self._was_ready else servers.START_ATTEMPTS):
            return
        last = self._voice.last_words()
        if self._was_ready and not self._settings.is_private:
            self._voice.say(
                f"{server.name} ended {server.failures} times in a row before it was ready, last with {how}{last and f': {last}'}; it is started again"
            )
        else:
            self._voice.say(
                f"cannot {'go on' if self._was_ready else 'start dadmsd'}: {server.name} ended {server.failures} times before it was ready, last with {how}{last and f': {last}'}"
            )
            if not self._settings.is_private:  # it takes its logs with it
                self._voice.say(f"more is in {self._voice.path}")
            self._ending.give_up()

    def _drain(self, server: Server) -> None:
        for _ in range(DRAIN_FRAMES if server.channel is not None else 0):
            assert server.channel is not None
            try:
                frame = server.channel.receive()
                if frame is None:
                    return
                self._obey(server, frame.body, frame.fds)
            except ChannelClosed:
                return
            except PeerViolation as error:
                self._voice.note(f"{server.name} had sent before its end: {error}")
            except Exception:  # our bug, but the sender is dead already
                self._voice.note(traceback.format_exc())

    # what servers say

    def _obey(self, server: Server, body: object, fds: list[int]) -> None:
        if isinstance(body, messages.Store):
            self._keep(body.name, fds)
            return
        for fd in fds:  # that nobody expects
            os.close(fd)
        match body:
            case messages.Drop(name):
                if name == BASE_ZYGOTE:
                    raise PeerViolation("it dropped the base zygote, which is the keeper's")
                if self._store.drop(name):
                    self._tell(self._logger, name, messages.Drop(name))
            case messages.Drained(name):
                self._store.drained(name)
            case messages.OrphanAcknowledged(os_pid):
                self._orphans.acknowledge(os_pid)
                self._tell_orphans()
            case messages.Ready(note=note):
                self._readied(server)
                if note:
                    self._voice.say(note)
            case messages.ShutdownAsked(reason):
                self._ending.ask(reason)
            case messages.Stopped(lost):
                if self._ending.stage is Stage.RUNNING:
                    raise PeerViolation("it said Stopped, and nobody had asked it to stop")
                self._ending.stopped(lost)

    def _keep(self, name: str, fds: list[int]) -> None:
        try:
            if name == BASE_ZYGOTE:
                for fd in fds:
                    os.close(fd)
                raise RequestRefused(f'cannot store "{name}": it is the keeper\'s')
            self._store.put(name, fds)
        except RequestRefused as error:
            self._voice.note(str(error))
            self._tell(self._kernel, name[:200], messages.StoreRefused(name[:200], str(error)))
            return
        if name.startswith(LOG):
            self._tell(self._logger, name, messages.Stored(name))

    def _readied(self, server: Server) -> None:
        server.is_ready = True
        server.failures = 0
        server.told = ""
        self._voice.note(
            f"{server.name} (pid {server.pid}) is ready, {(time.monotonic() - server.started_at) * 1000:.0f} ms after its start"
        )
        if server is self._kernel:
            self._was_ready = True
        is_open = self._was_ready and self._bus.is_ready and self._ending.stage is Stage.RUNNING
        if is_open and not self._is_announced:  # a client that is told can come in
            self._is_announced = True
            self._notify.tell("READY=1", f"STATUS=ready on {self._settings.runtime_dir}")
            if not self._settings.is_private:
                self._voice.say(f"ready on {self._settings.runtime_dir} (pid {os.getpid()})")
        if self._is_reloading and self._kernel.is_ready and self._bus.is_ready:
            self._reloaded("")
