"""Nobody starves: under every policy, a thread is handed out within a stated time, whatever others ask for meanwhile."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from dadmsd.kernel.core.policies import AGEING, HORIZON, POLICIES, Policy
from dadmsd.kernel.core.records import Chunk
from dadmsd.kernel.core.scheduler import Pool

NIL = msgspec.Raw(b"\xc0")
STEP = 1.0  # seconds: in each, one thread is handed out and runs

rivals = st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 2), st.one_of(st.none(), st.floats(0.1, 30.0))), min_size=1, max_size=30)


def add(pool: Pool, tid: int, now: float, *, priority: int, deadline: float | None) -> None:
    wanted = now + deadline if deadline is not None else None
    pool.add(
        Chunk(first_tid=tid, pid=pool.pid, incarnation=1, entry="work", arguments=[NIL], created_at=now, priority=priority, deadline=wanted)
    )


def serve(pools: list[Pool], policy: Policy, now: float) -> int:
    """Hand one slot out as the dispatcher does; gives the thread, 0 when none waits."""
    wanting = [pool for pool in pools if pool.ready]
    if not wanting:
        return 0
    pool = min(wanting, key=lambda each: policy.standing(each, now))
    (tid,) = pool.take(1)
    pool.served_at = now
    pool.note_used(STEP)
    pool.end(tid, 3)
    pool.take_emptied()
    return tid


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(POLICIES)), rivals, st.integers(-5, 5))
def test_a_thread_is_handed_out_however_many_others_come(name: str, others: list[tuple[int, int, float | None]], priority: int) -> None:
    """Each second a rival comes, of any priority and process, and one thread is served: the one that we watch waits no longer than its policy says."""
    policy = POLICIES[name]()
    pools = [Pool(number, 1, most=1, policy=policy) for number in range(3)]
    tid = 1
    for number in range(10):  # a backlog
        add(pools[number % 3], tid, 0.0, priority=5, deadline=0.1)
        tid += 1
    watched, now = tid, 0.0
    add(pools[0], watched, now, priority=priority, deadline=None)
    bound = (
        2 * (AGEING * 10 + HORIZON + 10 + 30) * 3
    )  # the widest gap of priorities or deadlines, the backlog, and three processes that take turns
    while now < bound:
        now += STEP
        rival_priority, owner, deadline = others[int(now) % len(others)]
        tid += 1
        add(pools[owner], tid, now, priority=rival_priority, deadline=deadline)
        if serve(pools, policy, now) == watched:
            return
    raise AssertionError(f"thread {watched} waited for {now:g} s under {name}")


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(sorted(POLICIES)),
    st.lists(st.tuples(st.sampled_from(["add", "take", "requeue", "priority", "aside", "end"]), st.integers(1, 40), st.integers(-5, 5))),
)
def test_a_pool_hands_out_each_thread_once_whatever_is_done_to_it(name: str, steps: list[tuple[str, int, int]]) -> None:
    pool = Pool(1, 1, most=1, policy=POLICIES[name]())
    tid, out = 1, set[int]()
    for what, number, priority in steps:
        if what == "add":
            chunk = Chunk(
                first_tid=tid, pid=1, incarnation=1, entry="work", arguments=[NIL] * number, created_at=float(tid), priority=priority
            )
            pool.add(chunk)
            tid += number
        elif what == "take":
            taken = pool.take(number)
            assert not out & set(taken)
            assert len(taken) == len(set(taken))
            out |= set(taken)
        elif what == "requeue" and out:
            back = sorted(out)[:number]
            pool.requeue(back)
            out -= set(back)
        elif what == "priority" and number < tid:
            pool.set_priority(number, priority)
        elif what == "aside" and number < tid and pool.state(number) == 0:
            pool.set_aside(number)
        elif what == "end" and number < tid and number not in out:
            pool.end(number, 4)
        queued = {
            one
            for _, order, first, last in pool.plain.queue
            for one in range(first, last)
            if pool.state(one) == 0 and pool._moved.get(one, order) == order
        }
        assert len(queued) == pool.ready
    while pool.ready:
        assert pool.next_entry() == "work"
        taken = pool.take(7)
        assert taken
        assert not out & set(taken)
        out |= set(taken)
