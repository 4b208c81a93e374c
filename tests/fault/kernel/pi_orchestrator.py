"""An orchestrator for tests: one thread computes digits of pi in a C extension, another one waits for the only worker."""

import decimal
import hashlib

from dadms_orchestrators.contract import Orchestrator, Thread
from dadms_orchestrators.sdk.process import Process


def pi(digits: int, _thread: Thread | None) -> str:
    """Compute so many digits by Gauss and Legendre, and give their digest; each step is a call of C that does not return for long."""
    with decimal.localcontext() as context:
        context.prec = digits + 10
        a, b, t, p = decimal.Decimal(1), 1 / decimal.Decimal(2).sqrt(), decimal.Decimal("0.25"), decimal.Decimal(1)
        for _ in range(digits.bit_length() + 1):
            mean = (a + b) / 2
            b = (a * b).sqrt()
            t -= p * (a - mean) ** 2
            a, p = mean, 2 * p
        found = (a + b) ** 2 / (4 * t)
    return hashlib.sha256(str(found)[: digits + 2].encode()).hexdigest()


def quick(arguments: int, _thread: Thread) -> int:
    """Give back what came in."""
    return arguments


def run(process: Process) -> None:
    """Run both, whichever ends first."""
    process.ready(ORCHESTRATOR.entries)
    slow = process.create("pi", process.config["digits"], label="pi")
    other = process.create("quick", 7, label="quick")
    if process.wait([slow, other]):
        process.outcome("completed", {"pi": slow.value(), "quick": other.value()})


ORCHESTRATOR = Orchestrator(name="pi", version="1", run=run, entries={"pi": pi, "quick": quick})
