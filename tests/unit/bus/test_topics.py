"""Topics and patterns."""

import pytest

from dadmsd.bus.core.state import Session
from dadmsd.bus.core.topics import CACHED, Subscriptions, check_pattern, check_topic, segments


def _session(name: str) -> Session:
    return Session(name.encode(), name, "admin", 0, "")


@pytest.mark.parametrize(
    ("pattern", "topic", "matches"),
    [
        ("a/b", "a.b", True),
        ("a.b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("a/*", "a/b", True),
        ("a/*", "a", False),
        ("a/*", "a/b/c", False),
        ("*/b", "a/b", True),
        ("a/*/c", "a.b.c", True),
        ("#", "a", True),
        ("#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "b", False),
        ("a/*/#", "a/b", True),
        ("a/*/#", "a", False),
        ("a", "A", False),
    ],
)
def test_a_pattern_matches_as_the_protocol_says(pattern: str, topic: str, matches: bool) -> None:
    """One row a rule."""
    subscriptions, session = Subscriptions(), _session("s")
    subscriptions.add(check_pattern(pattern), session)
    assert subscriptions.match(check_topic(topic)) == ([session] if matches else [])


@pytest.mark.parametrize("topic", ["", "/a", "a/", "a//b", "a..b", "a/*", "#", "a/#", "/".join("a" * 33), "a" * 257])
def test_what_is_no_topic_is_refused(topic: str) -> None:
    """With a reason."""
    with pytest.raises(ValueError, match=r"topic|segment|pattern"):
        check_topic(topic)


def test_the_rest_comes_last() -> None:
    """Nothing may follow "#"."""
    with pytest.raises(ValueError, match='goes on after "#"'):
        check_pattern("a/#/b")
    assert check_pattern("a/#") == segments("a.#")


def test_each_subscriber_is_found_once_in_the_order_of_subscribing() -> None:
    """However many of its patterns match."""
    subscriptions, one, two = Subscriptions(), _session("1"), _session("2")
    for pattern, session in (("a/b", two), ("a/*", one), ("a/b", one), ("#", one)):
        subscriptions.add(check_pattern(pattern), session)
    found = subscriptions.match(("a", "b"))
    assert len(found) == 2
    assert set(map(id, found)) == {id(one), id(two)}


def test_removing_leaves_nothing_behind() -> None:
    """Neither a match nor a branch; what was never there is no error."""
    subscriptions, one, two = Subscriptions(), _session("1"), _session("2")
    subscriptions.add(("a", "b"), one)
    subscriptions.add(("a", "b"), two)
    subscriptions.add(("a",), one)
    assert len(subscriptions.match(("a", "b"))) == 2
    subscriptions.remove(("a", "b"), one)
    assert subscriptions.match(("a", "b")) == [two]
    subscriptions.remove(("a", "b"), two)
    subscriptions.remove(("a", "x"), two)
    assert subscriptions.match(("a",)) == [one]
    subscriptions.remove(("a",), one)
    assert subscriptions._root.children == {}


def test_the_cache_is_bounded() -> None:
    """A publisher of ever new topics does not make it grow."""
    subscriptions, session = Subscriptions(), _session("s")
    subscriptions.add(("#",), session)
    for number in range(CACHED + 10):
        assert subscriptions.match((str(number),)) == [session]
    assert len(subscriptions._cache) <= CACHED
