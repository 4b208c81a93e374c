"""Benchmarks: one module a subject, `python -m benchmarks.NAME` prints its table and `--json` its figures."""
