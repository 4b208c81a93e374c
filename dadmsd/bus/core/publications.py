"""PUBLISH, SUBSCRIBE, UNSUBSCRIBE, and the kernel's events.

Publications are handed out at most once; every drop is counted and told to the subscriber. The names of servers begin topics that only they publish to.
"""

from dadms_ipc.envelope import VERSION, Header, Kind, message_id
from dadmsd.bus.core.deliveries import Deliveries
from dadmsd.bus.core.events import Body, ToKernel
from dadmsd.bus.core.outbox import Outbox
from dadmsd.bus.core.state import Bounds, Delivery, Session
from dadmsd.bus.core.topics import Subscriptions, check_pattern, check_topic
from dadmsd.kernel import link

RESERVED = frozenset({"events", "kernel", "bus"})
EVENTS = "events"  # the first segment of what the kernel tells
KERNEL_CLIENT = bytes(16)  # the client id in the ids of events; their sequence is the event's number


class Publications:
    """Who hears what."""

    def __init__(self, outbox: Outbox, bounds: Bounds, deliveries: Deliveries) -> None:
        self._outbox = outbox
        self._bounds = bounds
        self._deliveries = deliveries
        self._subscriptions = Subscriptions()
        self._wanted = False  # as the kernel was told on this link

    def subscribe(self, session: Session, pattern: str) -> str | None:
        """Take a subscription; gives the reason when it is refused."""
        try:
            parts = check_pattern(pattern)
        except ValueError as error:
            return f"cannot subscribe: {error}"
        name = "/".join(parts)
        if name not in session.patterns and len(session.patterns) >= self._bounds.patterns:
            return f'cannot subscribe to "{pattern}": {len(session.patterns)} subscriptions already, at most {self._bounds.patterns}'
        if name not in session.patterns:
            if (reason := session.tab.refusal_of_pattern()) is not None:
                return f'cannot subscribe to "{pattern}": {reason}'
            session.tab.subscribe(1)
        session.patterns.add(name)
        self._subscriptions.add(parts, session)
        self._tell_kernel()
        return None

    def unsubscribe(self, session: Session, pattern: str) -> str | None:
        """Take a subscription back; one that was never made is no error."""
        try:
            parts = check_pattern(pattern)
        except ValueError as error:
            return f"cannot unsubscribe: {error}"
        if (name := "/".join(parts)) in session.patterns:
            session.patterns.discard(name)
            session.tab.subscribe(-1)
        self._subscriptions.remove(parts, session)
        self._tell_kernel()
        return None

    def remove(self, session: Session) -> None:
        """Drop all subscriptions of a session that ended."""
        for name in session.patterns:
            self._subscriptions.remove(tuple(name.split("/")), session)
        session.tab.subscribe(-len(session.patterns))
        session.patterns.clear()
        self._tell_kernel()

    def relink(self) -> None:
        """Tell a kernel that knows nothing yet."""
        self._wanted = False
        self._tell_kernel()

    def _tell_kernel(self) -> None:
        """Ask the kernel for its events when the first wants them, and no more when the last has gone."""
        is_wanted = self._subscriptions.may_match(EVENTS)
        if is_wanted != self._wanted:
            self._wanted = is_wanted
            self._outbox.effects.append(ToKernel(link.EventsWanted(is_wanted)))

    def publish(self, header: Header, sender: str, body: Body, now: float) -> str | None:
        """Hand a client's publication to its subscribers; gives the reason when it is refused."""
        try:
            parts = check_topic(header.topic)
        except ValueError as error:
            return f"cannot publish: {error}"
        if parts[0] in RESERVED:
            return f'cannot publish to "{header.topic}": "{parts[0]}" is the daemon\'s own'
        self._outbox.counters.published += 1
        deadline = now + header.deadline / 1000.0 if header.deadline else None
        self._fan_out(parts, Header(VERSION, Kind.PUBLISH, header.id, sender, "", header.topic, b"", 0, header.flags), body, deadline, now)
        return None

    def tell(self, event: link.Event, now: float) -> None:
        """Hand the kernel's event to its subscribers."""
        self._outbox.counters.events += 1
        topic = event.topic if event.topic.startswith(f"{EVENTS}/") else f"{EVENTS}/{event.topic}"
        try:
            parts = check_topic(topic)
        except ValueError as error:
            self._outbox.counters.violations += 1
            self._outbox.audit(f"the kernel's event {event.number} was dropped: {error}", now)
            return
        identifier = message_id(KERNEL_CLIENT, event.number % 2**64)
        self._fan_out(parts, Header(VERSION, Kind.PUBLISH, identifier, "kernel", "", topic), bytes(event.body), None, now)

    def _fan_out(self, parts: tuple[str, ...], header: Header, body: Body, deadline: float | None, now: float) -> None:
        size = len(body)
        for session in self._subscriptions.match(parts):
            self._deliveries.publish(session, Delivery(header, body, size, deadline, None), now)
