"""Tests here start processes: each one, and each module, is checked for what it leaves behind."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_left_by_the_module(no_leaks_of_module: None) -> None:
    """Apply the check to fixtures that live for a module."""


@pytest.fixture(autouse=True)
def _nothing_is_left(no_leaks: None) -> None:
    """Apply the check to each test."""
