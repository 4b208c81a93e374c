"""Topics, patterns, and who subscribes to what.

A topic is segments between ``/`` or ``.``, which are alike. In a pattern ``*`` is one segment, and ``#``, which comes last, is the rest: none or more.
"""

from dadms_ipc.envelope import SEGMENTS_LIMIT, TOPIC_LIMIT
from dadmsd.bus.core.state import Session

CACHED = 1024  # topics whose subscribers are kept at hand; any change of subscriptions drops them


def segments(topic: str) -> tuple[str, ...]:
    """Give the segments of a topic or pattern; raises ValueError with the reason when it is none."""
    parts = tuple(topic.replace(".", "/").split("/"))
    if not all(parts):
        raise ValueError(f'"{topic}" has an empty segment')
    if len(parts) > SEGMENTS_LIMIT or len(topic) > TOPIC_LIMIT:
        raise ValueError(f"a topic of {len(parts)} segments and {len(topic)} characters, at most {SEGMENTS_LIMIT} and {TOPIC_LIMIT}")
    return parts


def check_topic(topic: str) -> tuple[str, ...]:
    """Give the segments of a topic to publish to."""
    parts = segments(topic)
    if "*" in parts or "#" in parts:
        raise ValueError(f'"{topic}" is a pattern, not a topic')
    return parts


def check_pattern(pattern: str) -> tuple[str, ...]:
    """Give the segments of a pattern to subscribe to."""
    parts = segments(pattern)
    if "#" in parts[:-1]:
        raise ValueError(f'"{pattern}" goes on after "#"')
    return parts


class _Node:
    __slots__ = ("children", "subscribers")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.subscribers: dict[Session, None] = {}  # a dict keeps the order of subscribing


class Subscriptions:
    """A tree of patterns, a segment a level."""

    def __init__(self) -> None:
        self._root = _Node()
        self._cache: dict[tuple[str, ...], list[Session]] = {}

    def add(self, pattern: tuple[str, ...], session: Session) -> None:
        """Subscribe."""
        node = self._root
        for segment in pattern:
            node = node.children.setdefault(segment, _Node())
        node.subscribers[session] = None
        self._cache.clear()

    def remove(self, pattern: tuple[str, ...], session: Session) -> None:
        """Subscribe no more; branches that nobody needs are pruned."""
        path = [self._root]
        for segment in pattern:
            child = path[-1].children.get(segment)
            if child is None:
                return
            path.append(child)
        path[-1].subscribers.pop(session, None)
        for depth in range(len(pattern), 0, -1):
            if path[depth].subscribers or path[depth].children:
                break
            del path[depth - 1].children[pattern[depth - 1]]
        self._cache.clear()

    def may_match(self, first: str) -> bool:
        """Tell whether any pattern could match a topic whose first segment is this."""
        return not self._root.children.keys().isdisjoint((first, "*", "#"))

    def match(self, topic: tuple[str, ...]) -> list[Session]:
        """Give each subscriber of a topic once."""
        found = self._cache.get(topic)
        if found is None:
            if len(self._cache) >= CACHED:
                self._cache.clear()
            found = self._cache[topic] = self._search(topic)
        return found

    def _search(self, topic: tuple[str, ...]) -> list[Session]:
        found: dict[Session, None] = {}
        level = [self._root]
        for segment in topic:
            below: list[_Node] = []
            for node in level:
                if (rest := node.children.get("#")) is not None:
                    found |= rest.subscribers
                below.extend(child for name in (segment, "*") if (child := node.children.get(name)) is not None)
            level = below
        for node in level:
            found |= node.subscribers
            if (rest := node.children.get("#")) is not None:
                found |= rest.subscribers
        return list(found)
