"""The error tree, which names the side: you, the peer, the machine, or us."""


class DadmsError(Exception):
    """Base of every error that a caller may catch; its text is fit for a person."""


class RequestRefused(DadmsError):
    """You asked for something illegal or impossible; nothing was changed."""


class PeerViolation(DadmsError):
    """The other side broke the protocol; its message was dropped."""


class HostFailure(DadmsError):
    """The machine said no: a limit, a missing file, a full disk."""


class InternalError(DadmsError):
    """Our bug: a state that the tables exclude."""


class ChannelClosed(DadmsError):
    """The peer's end of a channel is gone, and everything that it had sent has been read."""


class Unreachable(DadmsError):
    """No daemon answered in time; whether the request took effect is known after a retry with the same sequence."""


class DeadlinePassed(DadmsError):
    """The daemon lives, but what was asked for did not happen in the time that was given."""


class PartlyRefused(RequestRefused):
    """Some of many messages were not handled; ``refused`` tells which and why: number, from 0, to reason."""

    def __init__(self, text: str, refused: dict[int, str]) -> None:
        super().__init__(text)
        self.refused = refused
