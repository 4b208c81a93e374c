"""Tells what happens as it happens: one line an event, and on a terminal what runs at this moment below them.

On a pipe there are lines only, without control characters, each handed on at once. With ``--json`` the story goes to stderr, as stdout belongs to the answer.
"""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from rich.text import Text

from dadms_ipc.requests import EventInfo
from dadmsctl.quantities import seconds_text
from dadmsctl.story import Story
from dadmsctl.terminal import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

LABEL_WIDTH = 44  # columns for the name of a task; longer ones push the rest to the right
REDRAWS = 8  # a second, of what runs now; only on a terminal

# What the engine notes twice: the thread's own events say it with worker and time.
UNTOLD_NOTES = {"bpmn.started", "bpmn.done", "bpmn.entered", "bpmn.left"}


class Look(NamedTuple):
    """How a kind of event begins its line."""

    sign: str
    style: str


LOOKS = {
    "process.admitted": Look("·", "dim"),
    "process.importing": Look("·", "dim"),
    "process.starting": Look("·", "dim"),
    "process.running": Look("·", ""),
    "process.stopping": Look("■", "yellow"),
    "limits": Look("·", "dim"),
    "thread.started": Look("▶", "cyan"),
    "thread.progress": Look("…", "dim"),
    "thread.completed": Look("✔", "green"),
    "thread.error": Look("✘", "bold red"),
    "thread.terminated": Look("✘", "bold red"),
    "thread.timed_out": Look("✘", "bold red"),
    "threads.ended": Look("✔", "green"),
    "worker.lost": Look("!", "bold red"),
    "server.restarted": Look("!", "yellow"),
    "note": Look("◆", "magenta"),
}
UNTOLD = {
    "process.exited",
    "process.ended",
    "worker.started",
    "worker.ready",
}  # the ending is told by its outcome; workers are named by their tasks
VERBOSE = {"process.importing", "zygote.ready"}  # which zygotes were made; how long the code took is said when it is there
UNENFORCED = "not enforced: "  # how the kernel's warnings about limits begin
OTHER = Look("·", "dim")


class Narrator:
    """Writes the story of one run; a context manager that leaves the terminal as it was."""

    def __init__(
        self,
        console: "Console",
        *,
        is_quiet: bool,
        began: float,
        is_verbose: bool = False,
        defaults: Mapping[str, str] | None = None,  # limits that nobody asked for: that one is not enforced is no warning
    ) -> None:
        self._console = console
        self._is_quiet = is_quiet
        self._is_verbose = is_verbose
        self._began = began  # wall clock, as events have it
        self._live: Live | None = None
        self._story: Story | None = None
        self._defaults = defaults or {}
        self._are_defaults_told = False
        self._held: dict[str, None] = {}  # warnings about limits that a quiet run tells in one line

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._is_quiet:
            from rich.live import Live

            self._live = Live(
                get_renderable=self._now, console=self._console, refresh_per_second=REDRAWS, transient=True, redirect_stdout=False
            )
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Take away what is shown of this moment, before the outcome is shown; a quiet run tells its warnings about limits now."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        held, self._held = self._held, {}
        if held:
            self.warn(f"{UNENFORCED}{', '.join(held)}; without -q it is said why")

    def say(self, text: str, style: str = "", sign: str = "·") -> None:
        """Write a line of our own, with the time since the beginning."""
        self._line(time.time(), Look(sign, style), text)

    def warn(self, text: str) -> None:
        """Write a warning; it is told even when nothing else is."""
        self._console.print(Text(printable(f"          ⚠ {text}"), style="yellow"), soft_wrap=True)

    def tell(self, event: EventInfo, story: Story) -> None:
        """Write what an event means, if a person wants to know; the story holds it already."""
        self._story = story
        data = event.data if isinstance(event.data, dict) else {}
        if event.kind in UNTOLD or (event.kind == "note" and data.get("kind") in UNTOLD_NOTES):
            return
        if event.kind == "limits" and not self._is_verbose and not self._is_quiet:
            self._tell_limits(event, data)
            return
        if event.kind == "process.starting" and not self._is_verbose:
            if "process.importing" in story.marks:
                self._line(event.at, LOOKS[event.kind], f"code imported in {event.at - story.marks['process.importing']:.2f} s")
        elif self._is_verbose or event.kind not in VERBOSE:
            self._line(event.at, LOOKS.get(event.kind, OTHER), _words(event, data))
        if event.kind == "limits":
            for warning in map(str, data.get("warnings") or []):
                if self._is_quiet and warning.startswith(UNENFORCED):
                    self._held[warning.removeprefix(UNENFORCED).partition(": ")[0]] = None
                else:
                    self.warn(warning)

    def _tell_limits(self, event: EventInfo, data: dict[str, Any]) -> None:
        """Tell what is in force; of defaults that are not, one line in all."""
        warnings = list(map(str, data.get("warnings") or []))
        lacking = [warning for warning in warnings if self._is_default(warning)]
        if data.get("limits") or len(lacking) < len(warnings) or not warnings:
            self._line(event.at, LOOKS[event.kind], event.text)
        for warning in warnings:
            if warning not in lacking:
                self.warn(warning)
        if lacking and not self._are_defaults_told:
            self._are_defaults_told = True
            names = dict.fromkeys(warning.removeprefix(UNENFORCED).partition(" ")[0] for warning in lacking)
            if "memory" in names and "worker_memory" in self._defaults:  # a worker comes later, and is held by the same means
                names["worker_memory"] = None
            shown = ", ".join(f"{name} = {self._defaults[name]}" for name in names)
            self._line(event.at, LOOKS[event.kind], f"not enforced on a whole tree here, and nobody asked for it: {shown}; -v says why")

    def _is_default(self, warning: str) -> bool:
        """Tell whether a warning is about a limit that nobody asked for."""
        return warning.startswith(UNENFORCED) and warning.removeprefix(UNENFORCED).partition(" ")[0] in self._defaults

    def _line(self, at: float, look: Look, text: str) -> None:
        if self._is_quiet:
            return
        line = Text()
        line.append(f"{max(0.0, at - self._began):7.2f} s ", style="dim")
        line.append(f"{look.sign} ", style=look.style)
        line.append(printable(text).replace("\n", f"\n{'':12}"), style=look.style if look.style in ("dim", "bold red", "yellow") else "")
        self._console.print(line, soft_wrap=True)
        if self._live is not None:
            self._live.refresh()

    def _now(self) -> Text:
        """Show what runs at this moment; drawn by the terminal's own thread."""
        running = self._story.running() if self._story is not None else []
        shown = Text()
        for task in sorted(running, key=lambda task: task.started_at)[:16]:
            shown.append(
                f"{'':10}⏳ {printable(task.label):<{LABEL_WIDTH}} w{task.worker:<3} {seconds_text(time.time() - task.started_at)}\n",
                style="cyan",
            )
        return shown


def _words(event: EventInfo, data: dict[str, Any]) -> str:
    if event.kind not in ("thread.started", "thread.completed", "thread.error", "thread.terminated", "thread.timed_out"):
        return event.text
    label = str(data.get("label") or data.get("entry") or data.get("tid"))
    where = f"w{data.get('worker') or '?'}"
    if event.kind == "thread.started":
        return f"{label:<{LABEL_WIDTH}} {where:<4} OS pid {data.get('os_pid')}"
    took = f"{label:<{LABEL_WIDTH}} {where:<4} {seconds_text(float(data.get('run_seconds') or 0.0))}"
    if event.kind == "thread.completed":
        return took
    why = ": ".join(str(data[key]) for key in ("cause", "kind", "message") if data.get(key) and data[key] != "exception")
    return f"{took}  {why or event.kind.partition('.')[2]}"
