"""What follows from a record and the instance key: secrets, and the names of pipes."""

import hashlib

from dadmsd.kernel.core.state import State
from tests.property.kernel.world import settings
from tests.unit.kernel.driver import Driver


def test_a_secret_is_the_same_for_every_kernel_and_for_no_other_incarnation() -> None:
    """It is derived, not kept: who knows the instance key can make it, and nobody else."""
    here, there = State(settings(epoch=1)), State(settings(epoch=2))
    assert here.secret(1001, 1) == there.secret(1001, 1)
    secrets = {here.secret(1001, 1), here.secret(1001, 2), here.secret(1002, 1), State(settings(instance_key=b"x" * 32)).secret(1001, 1)}
    assert len(secrets) == 4
    assert {len(secret) for secret in secrets} == {32}


def test_the_bus_knows_a_digest() -> None:
    """From which nobody makes the secret."""
    state = State(settings())
    assert state.secret_digest(1001, 1) == hashlib.sha256(state.secret(1001, 1)).digest()


def test_what_a_process_writes_goes_into_one_pipe() -> None:
    """Its main, its workers and a zygote of its own; a shared zygote has a pipe of its own."""
    driver = Driver()
    pid = driver.run(handlers="/h.py")
    driver.submit(pid)
    names = {child.name: driver.state.log_name(child) for child in driver.state.children.values()}
    assert names == {"zygote/1": "zygote-1", "zygote/2": f"{pid}.1", f"{pid}.1": f"{pid}.1", f"{pid}.1/w1": f"{pid}.1"}
