"""Which threads that failed are tried again, and when.

1. A thread is tried again when its submission has a policy that names how it failed, and fewer attempts were made than that allows. What somebody gave up, and
   what ends with its process, is over.
2. A failed attempt is a row of its own, with the time of the next one, in the transaction that takes its result in: a chunk is never written anew for it.
3. Until then the thread waits: it is in no worker, holds no slot, and can be terminated, suspended and given another priority. Suspended, its pause runs on.
4. The part of a pause that is chance is derived from the instance key, the thread and the attempt, so that a test repeats.
"""

import hmac
import math

from dadms_ipc.port import Retry
from dadms_ipc.requests import AttemptInfo
from dadmsd.kernel.core.records import Tries
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.stages import READY
from dadmsd.kernel.core.state import State

BACKOFFS = ("fixed", "linear", "exponential")
ATTEMPTS_MOST = 100  # each failed one is kept while its thread is open
PAUSE_MOST = 7 * 86_400.0  # seconds
NAMES_MOST = 100  # conditions in one policy
NAME_MOST = 200  # characters
TOLD_ONE_BY_ONE = 16  # as of ends: more of a process within a tenth of a second are counted
TOLD_SECONDS = 0.1


def flaw_of(policy: Retry) -> str:
    """Say what is wrong with a policy; "" when nothing is."""
    for name, value, least, most in (
        ("attempts", policy.attempts, 1, ATTEMPTS_MOST),
        ("delay", policy.delay, 0.0, PAUSE_MOST),
        ("ceiling", policy.ceiling, 0.0, PAUSE_MOST),
        ("jitter", policy.jitter, 0.0, 1.0),
    ):
        if not least <= value <= most:  # a NaN is not
            return f"{name} is {value:g}, it can be from {least:g} to {most:g}"
    if policy.backoff not in BACKOFFS:
        return f'no backoff "{policy.backoff[:NAME_MOST]}"; there are {", ".join(BACKOFFS)}'
    if not 1 <= len(policy.on) <= NAMES_MOST:
        return f"it names {len(policy.on)} conditions, it can name 1 to {NAMES_MOST}"
    if "terminated" in policy.on:
        return "what was terminated is never tried again: somebody gave it up"
    long = max(policy.on, key=len)
    return f"a condition has {len(long)} characters, it can have {NAME_MOST}" if len(long) > NAME_MOST else ""


def names(policy: Retry, cause: str, kind: str, code: str) -> bool:
    """Tell whether a policy is for what failed in this way. A BPMN error is raised on purpose: it is for one that names its class."""
    return kind in policy.on if code else cause in policy.on or (bool(kind) and kind in policy.on)


def pause_before(key: bytes, policy: Retry, tid: int, retry: int) -> float:
    """Give the seconds until the n-th retry of a thread."""
    grown = {"fixed": 1.0, "linear": float(retry), "exponential": math.ldexp(1.0, retry - 1)}[policy.backoff]
    drawn = hmac.digest(key, f"retry {tid}.{retry}".encode(), "sha256")
    return min(policy.ceiling, policy.delay * grown) * (1.0 - policy.jitter * int.from_bytes(drawn[:4], "big") / 2**32)


def is_tried_again(state: State, pool: Pool, tid: int, attempt: AttemptInfo, kind: str = "", code: str = "") -> bool:
    """Have a thread wait for its next attempt if its policy calls for one; False when it has failed for good.

    The one place that decides this; whoever calls has taken the thread out of its worker.
    """
    chunk = pool.chunk_of(tid)
    policy = chunk.retry
    if policy is None or not names(policy, attempt.cause, kind, code):
        return False
    process = state.processes[pool.pid]
    if process.ending_as or process.desired != "up" or _is_given_up(state, pool, tid):
        return False
    known = pool.tries.get(tid)
    failed = [*known.failed, attempt] if known is not None else [attempt]
    if len(failed) >= policy.attempts:
        return False
    pool.condemned.pop(tid, None)
    pause = pause_before(state.settings.instance_key, policy, tid, len(failed))
    tries = Tries(tid=tid, pid=pool.pid, failed=failed, due=state.now + pause, due_at=state.wall + pause)
    state.changed(tries)
    pool.wait(tries)
    if tid in process.suspended:
        pool.set_aside(tid)
    state.arm(tries.due, "retry", str(pool.pid))
    _tell(state, pool, tries, chunk.label_of(tid))
    return True


def _is_given_up(state: State, pool: Pool, tid: int) -> bool:
    """Tell whether somebody had the thread terminated, and it was quicker."""
    sentence = pool.condemned.get(tid)
    if sentence is not None:
        return sentence[0] == "terminated"
    killed = (state.children[name] for name in pool.workers)
    return any(child.intent_tid == tid and child.intent == "terminated" for child in killed)


def _tell(state: State, pool: Pool, tries: Tries, label: str) -> None:
    """Tell of a thread that will be tried again: of each while they are few, else of their number."""
    if state.now >= pool.told_until:
        pool.told_until = state.now + TOLD_SECONDS
        pool.told = 0
    if pool.told >= TOLD_ONE_BY_ONE:
        pool.untold_retrying += 1
        state.arm(pool.told_until, "told", str(pool.pid))
        return
    pool.told += 1
    last = tries.failed[-1]
    data = {
        "tid": tries.tid,
        "label": label,
        "attempt": len(tries.failed),
        "cause": last.cause,
        "message": last.message,
        "due_at": tries.due_at,
    }
    words = f"{label} is tried again in {tries.due - state.now:.3g} s, attempt {len(tries.failed)} ended with {last.cause}: {last.message}"
    state.tell_event("thread.retrying", words, pid=pool.pid, data=data)


def tell_untold(state: State, pool: Pool) -> None:
    """Tell how many are tried again that were not told of."""
    if pool.untold_retrying:
        count, pool.untold_retrying = pool.untold_retrying, 0
        state.tell_event("threads.retrying", f"{count} threads are tried again", pid=pool.pid, data={"count": count})


def on_due(state: State, pid: str) -> None:
    """Threads of a process may be due for their next attempt."""
    pool = state.pools.get(int(pid))
    if pool is None:
        return
    due = pool.take_due(state.now)
    if due is not None:
        state.arm(due, "retry", pid)
    if pool.ready:
        state.ready_pools.setdefault(pool.pid)


def waits_on(state: State, pool: Pool, tid: int) -> bool:
    """Let a thread that was suspended wait for its next attempt again; False when it waits for none, or that is due."""
    tries = pool.tries.get(tid)
    if tries is None or tries.due <= state.now:
        return False
    pool.wait(tries)
    state.arm(tries.due, "retry", str(pool.pid))
    return True


def adopt(state: State, pool: Pool, tries: Tries) -> None:
    """Take up what an earlier kernel left waiting."""
    pool.tries[tries.tid] = tries
    if pool.state(tries.tid) == READY and tries.due > state.now:
        pool.wait(tries)
        state.arm(tries.due, "retry", str(pool.pid))
