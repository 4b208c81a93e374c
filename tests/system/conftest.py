"""Tests of a whole machine. Those in ``booted`` and ``guest`` run on one that was booted for them, and nowhere else."""

import os

import pytest

collect_ignore = [] if os.environ.get("DADMS_BOOTED") else ["booted"]
if not os.environ.get("DADMS_GUEST"):
    collect_ignore.append("guest")


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_left_by_the_module(no_leaks_of_module: None) -> None:
    """Apply the check to fixtures that live for a module."""


@pytest.fixture(autouse=True)
def _nothing_is_left(no_leaks: None) -> None:
    """Apply the check to each test."""
