"""Zygotes that stand still: a fork, or the end of a child that was killed or has closed its port, is answered by a zygote within milliseconds; one that is silent is replaced.

1. Whoever waits for a zygote's word has it looked at: after PATIENCE without a word of it, it is greeted; one that does not answer that within PATIENCE either is killed.
   Two steps, because the kernel itself may have stood still: what was said meanwhile is read before anybody is judged.
2. What waited for a fork is asked of its successor (``children.ask_again``); the exits of its children are then the keeper's to report.
3. Where an end was asked for, or the main of a process with a zygote of its own has ended, the patience is END_PATIENCE: nobody's work is lost with a zygote then.
4. The base zygote is nobody's child here: it is killed by its pid, and the keeper starts the next one.
"""

from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.moves import end
from dadmsd.kernel.core.records import Child
from dadmsd.kernel.core.state import State

PATIENCE = 2.0  # seconds: a fork takes milliseconds, on a machine that is overloaded a hundred times as long
START_PATIENCE = 5.0  # seconds that a base zygote which was just started is not judged: it starts a Python first
END_START_PATIENCE = 3.0  # seconds, the same at the end of everything, which has thirty
END_PATIENCE = 0.5  # seconds, where somebody waits for an end
CALM = 10.0  # seconds until one that answered is looked at again: what it is asked for takes long for another reason
BASE = "base"


def said(state: State, zygote: str) -> None:
    """Note that a zygote said something."""
    if zygote == BASE or zygote in state.children:
        state.heard[zygote] = max(state.now, state.heard.get(zygote, 0.0))


def look_soon(state: State) -> None:
    """Look at everybody who is waited for, with the patience of an end."""
    for parent in {child.parent for child in state.children.values() if child.phase in ("forking", "killing")}:
        state.arm(state.now + END_PATIENCE, "silence", parent)


def on_port_ended(state: State, event: events.PortEnded) -> None:
    """A child ends by itself: its zygote has to say so."""
    child = state.children.get(event.name)
    if child is not None:
        state.ending.add(child.name)
        state.expect_word(child.parent)


def forget(state: State, zygote: str) -> None:
    """A zygote is gone."""
    state.heard.pop(zygote, None)
    state.greeted.pop(zygote, None)


def on_deadline(state: State, name: str) -> None:
    """A zygote that somebody waits for may have been silent for too long."""
    waiting = [
        child
        for child in state.children.values()
        if child.parent == name and (child.phase in ("forking", "killing") or child.name in state.ending)
    ]
    zygote = state.children.get(name)
    if not waiting or (zygote is None and name != BASE) or (zygote is not None and zygote.phase == "killing"):
        state.greeted.pop(name, None)
        return
    is_over = state.is_stopping or any(child.intent for child in waiting if child.phase == "forking")
    if zygote is not None and zygote.pid:
        is_over = is_over or any(child.role == "main" and child.name in state.ending for child in waiting)
    patience = END_PATIENCE if is_over else PATIENCE
    heard = state.heard.get(name, 0.0)
    greeted = state.greeted.get(name)
    if greeted is None:
        if heard + patience > state.now:
            state.arm(heard + patience, "silence", name)
            return
        state.greeted[name] = state.now
        state.do(effects.Greet(name))
        state.arm(state.now + patience, "silence", name)
    elif heard > greeted:
        del state.greeted[name]
        state.arm(state.now + CALM, "silence", name)
    elif greeted + patience > state.now:  # the timer was moved by somebody who waits anew
        state.arm(greeted + patience, "silence", name)
    else:
        del state.greeted[name]
        _replace(state, name, zygote, state.now - max(heard, greeted - patience))


def _replace(state: State, name: str, zygote: Child | None, silent: float) -> None:
    known = state.servers.get("zygote")
    if zygote is None and (known is None or not known["running"]):
        return  # the keeper is about to start another, of which everything is asked anew
    text = f"{name} has answered nothing for {silent:.1f} s and is replaced"
    state.tell_event("zygote.silent", text, pid=zygote.pid if zygote is not None else 0, data={"zygote": name, "seconds": silent})
    if zygote is not None:
        end(state, zygote, "silent")
    else:
        assert known is not None
        state.do(effects.KillBase(int(str(known["os_pid"]))))


def on_base_changed(state: State, *, is_running: bool) -> None:
    """A base zygote began or ended: it has time to start; at the end of everything none follows, and what waited for it comes to nothing."""
    state.greeted.pop(BASE, None)
    if is_running:
        state.heard[BASE] = state.now + (END_START_PATIENCE if state.is_stopping else START_PATIENCE)
    if any(child.parent == BASE and child.phase in ("forking", "killing") for child in state.children.values()):
        state.arm(state.now + PATIENCE, "silence", BASE)
