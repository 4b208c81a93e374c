"""What the tests of the process's side share."""

import pytest

from dadms_orchestrators.sdk import session


@pytest.fixture
def says_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every result acknowledged as soon as it is taken."""
    monkeypatch.setattr(session, "UNSAID_MOST", 1)
