"""Making the pool of a process as its spec and the configuration say."""

from dadmsd.kernel.core.records import Process
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.state import State


def new_pool(state: State, process: Process) -> Pool:
    """Make the pool of a running incarnation."""
    spec = process.spec
    return Pool(
        process.pid,
        process.incarnation,
        most=spec.limits.workers,
        policy=state.policy,
        weight=spec.weight,
        now=state.now,
        kinds=process.kinds,
    )
