"""Chaos: a daemon under load whose servers, zygotes, workers and processes are killed, stopped and starved at random, and what must hold at the end."""
