"""The systems that `python -m benchmarks.bus` sets beside each other: one module a system, with the programs that talk over it."""
