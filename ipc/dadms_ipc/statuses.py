"""What an answer's status stands for: nothing, or an error."""

from dadms_ipc import envelope
from dadms_ipc.codec import trouble_of
from dadms_ipc.errors import DadmsError, DeadlinePassed, HostFailure, InternalError, PeerViolation, RequestRefused

ERRORS: dict[str, type[DadmsError]] = {
    envelope.REFUSED: RequestRefused,
    envelope.VIOLATION: PeerViolation,
    envelope.HOST: HostFailure,
    envelope.INTERNAL: InternalError,
    envelope.EXPIRED: DeadlinePassed,
    envelope.WRONG_VERSION: PeerViolation,
}


def raise_for(status: str, body: bytes) -> None:
    """Raise what a status stands for, unless it is OK, or STORED, which is no failure either."""
    if status not in (envelope.OK, envelope.STORED):
        raise ERRORS.get(status, InternalError)(trouble_of(body))
