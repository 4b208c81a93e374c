"""DADMS' execution microkernel: keeper, kernel, bus and logger, and the zygotes and workers that they run."""

__version__ = "0.1.0"
