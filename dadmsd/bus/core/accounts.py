"""What each client and each user occupies of the bus, and when it is enough: one that takes more than its part is refused, and nobody else.

1. A session's tab is charged for what it has the bus keep: subscriptions, messages and requests without an answer, and the bytes of what waits for its sake. A
   message is its sender's until it is answered or on disk, a publication that waits is its subscriber's.
2. It is charged to a client (a process that proved itself, an OS process of this machine, or a key) and to the user behind it. A user who is an admin of the
   daemon has no bound as a user, only each of its programs has.
3. Bytes come from one pool. An account may hold as much as it leaves free: the first may take half, the next half of the rest, and there is always something left for
   whoever comes next. One message of its own everybody may have, as long as the pool has room for it.
4. Bounds are asked before anything is changed; what was charged is given back when it ends, by whatever way.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from dadmsd.bus.core.events import Who


class Share(NamedTuple):
    """How much of each countable thing one account may have."""

    sessions: int
    patterns: int
    open: int


UNBOUNDED = Share(2**62, 2**62, 2**62)


@dataclass(slots=True, eq=False)
class Pool:
    """Bytes that all accounts have together."""

    size: int
    used: int = 0


@dataclass(slots=True, eq=False)
class Account:
    """What one client, or one user, has."""

    key: object
    name: str
    share: Share
    sessions: int = 0
    patterns: int = 0
    open: int = 0  # messages and requests without an answer
    bytes: int = 0


def _nobody() -> Account:
    return Account(None, "nobody", UNBOUNDED)


@dataclass(slots=True, eq=False)
class Tab:
    """What one session has, and whom it is charged to."""

    client: Account = field(default_factory=_nobody)
    user: Account = field(default_factory=_nobody)
    pool: Pool = field(default_factory=lambda: Pool(2**62))
    bytes: int = 0

    def refusal(self, size: int) -> str | None:
        """Give the reason against one message or request more of this size."""
        client, user = self.client, self.user
        if client.open >= client.share.open or user.open >= user.share.open:
            account = client if client.open >= client.share.open else user
            return f"{account.open} messages and requests of {account.name} wait for their answers, at most {account.share.open} may"
        return self.refusal_of_bytes(size)

    def refusal_of_bytes(self, size: int) -> str | None:
        """Give the reason against so many bytes more."""
        client, user, pool = self.client, self.user, self.pool
        free = pool.size - pool.used - size
        if client.bytes + size <= free and (user.bytes + size <= free or user.share is UNBOUNDED):
            return None
        account = client if client.bytes + size > free else user
        if free >= 0 and not account.bytes:
            return None
        return (
            f"{size} bytes more of {account.name}, which has {account.bytes}, would leave {max(0, free)} of {pool.size} for everybody else"
        )

    def begin(self, size: int) -> None:
        """Charge a message or request."""
        self.client.open += 1
        self.user.open += 1
        if size:
            self.take(size)

    def end(self, size: int) -> None:
        """Give back a message or request that was answered, or will not be."""
        self.client.open -= 1
        self.user.open -= 1
        if size:
            self.take(-size)

    def take(self, size: int) -> None:
        """Charge bytes, or give them back when it is less than none."""
        self.bytes += size
        self.client.bytes += size
        self.user.bytes += size
        self.pool.used += size

    def refusal_of_pattern(self) -> str | None:
        """Give the reason against one subscription more."""
        for account in (self.client, self.user):
            if account.patterns >= account.share.patterns:
                return f"{account.name} has {account.patterns} subscriptions already, at most {account.share.patterns}"
        return None

    def subscribe(self, count: int) -> None:
        """Charge subscriptions, or give them back when it is less than none."""
        self.client.patterns += count
        self.user.patterns += count


class Accounts:
    """All accounts that have a session."""

    def __init__(self, pool: int, of_client: Share, of_user: Share, own_uids: frozenset[int]) -> None:
        self.pool = Pool(pool)
        self._of_client = of_client
        self._of_user = of_user
        self._own = own_uids
        self._accounts: dict[object, Account] = {}

    def enter(self, who: Who, uid: int, pid: int) -> Tab | str:
        """Open a tab for a session, or give the reason against it. ``pid``: of the process that it proved to be, 0 for a client."""
        if pid:
            client = self._account(("process", pid), f"process {pid}", self._of_client)
        elif who.key:
            client = self._account(("key", who.key), f'key "{who.key}"', self._of_client)
        else:
            client = self._account(("os", who.uid, who.pid), str(who), self._of_client)
        user = self._account(("user", uid), f"user {uid}", UNBOUNDED if uid in self._own else self._of_user)
        for account in (client, user):
            if account.sessions >= account.share.sessions:
                self._close(client, user)
                return f"{account.name} has {account.sessions} sessions, at most {account.share.sessions}"
        client.sessions += 1
        user.sessions += 1
        return Tab(client, user, self.pool)

    def leave(self, tab: Tab) -> None:
        """Close the tab of a session that ended; what else it had was given back before."""
        tab.client.sessions -= 1
        tab.user.sessions -= 1
        self._close(tab.client, tab.user)

    def _account(self, key: object, name: str, share: Share) -> Account:
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(key, name, share)
        return account

    def _close(self, *accounts: Account) -> None:
        for account in accounts:
            if not account.sessions:
                self._accounts.pop(account.key, None)

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())
