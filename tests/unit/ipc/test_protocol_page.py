"""The pages show what the encoder makes, frame by frame, and name what there is."""

import re
from pathlib import Path

import pytest

from dadms_ipc import envelope, requests
from dadms_ipc.codec import decode_batch, decode_body, decode_header, decode_run, encode_batch, encode_body, encode_header
from dadms_ipc.envelope import Door, Hello, Invite, Kind, Span, Trouble, Welcome
from dadmsd.bus.core.access import LEVELS
from dadmsd.bus.core.deliveries import CREDIT_LIMIT
from dadmsd.bus.core.intake import ROLES
from dadmsd.bus.core.offenders import FORKED, PROBATION
from dadmsd.bus.core.state import Bounds
from tests.unit.bus import examples as link_examples
from tests.unit.ipc import examples as protocol_examples

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
FORMS: dict[int, type] = {
    Kind.INVITE: Invite,
    Kind.HELLO: Hello,
    Kind.WELCOME: Welcome,
    Kind.CREDIT: int,
    Kind.LOST: int,
    Kind.REFUSE: Trouble,
}
PAGES = {"protocol.md": protocol_examples.EXAMPLES, "kernel-bus.md": link_examples.EXAMPLES}


def _shown(page: str) -> dict[str, list[bytes]]:
    """Read the hexadecimal blocks of a page: a frame begins with ">"."""
    found: dict[str, list[bytes]] = {}
    for name, block in re.findall(r"^```hex (\S+)\n(.*?)^```$", (REFERENCE / page).read_text(), re.DOTALL | re.MULTILINE):
        assert name not in found
        found[name] = [bytes.fromhex(re.sub(r"\s", "", frame)) for frame in block.split(">")[1:]]
    return found


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_the_encoder_makes(page: str) -> None:
    """Literally, and every example of it."""
    assert _shown(page) == PAGES[page]


@pytest.mark.parametrize("name", [name for name in protocol_examples.EXAMPLES if name != "probe"])
def test_a_literal_frame_is_decoded_and_encoded_to_itself(name: str) -> None:
    """As it stands on the page: header and, where the protocol says what it is, the body."""
    head, body = _shown("protocol.md")[name]
    header = decode_header(head)
    assert header.version == envelope.VERSION
    assert encode_header(header) == head
    if header.kind == Kind.BATCH:
        assert encode_batch(decode_batch(body)) == body
    elif header.kind == Kind.RUN:
        assert encode_body(decode_run(body)) == body
    elif header.kind == Kind.ACKS:
        span = decode_body(body, Span)
        assert encode_body([span.place, span.count, span.reason] if span.reason else [span.place, span.count]) == body
    elif (form := FORMS.get(header.kind)) is not None:
        assert encode_body(decode_body(body, form)) == body


def test_the_page_lists_every_kind_with_its_number_and_door() -> None:
    """The table and the code agree."""
    rows = re.findall(r"^\| ([A-Z]+) \| (\d+) \| [a-z, ]+ \| (\w+) \|", (REFERENCE / "protocol.md").read_text(), re.MULTILINE)
    assert {name: int(number) for name, number, _ in rows} == {kind.name: int(kind) for kind in Kind}
    for name, _, where in rows:
        doors = envelope.DOORS.get(Kind[name])
        if doors is not None:
            assert where == ("both" if len(doors) == 2 else doors[0].name.lower())


def test_the_page_lists_every_status() -> None:
    """No status is said that is not described."""
    text = (REFERENCE / "protocol.md").read_text()
    for status in (
        envelope.OK,
        envelope.STORED,
        envelope.REFUSED,
        envelope.VIOLATION,
        envelope.HOST,
        envelope.INTERNAL,
        envelope.EXPIRED,
        envelope.NO_SESSION,
        envelope.WRONG_VERSION,
    ):
        assert f"| `{status}` |" in text


def test_the_page_states_the_bounds_that_are_kept() -> None:
    """Numbers that a client's author plans with."""
    text, bounds = (REFERENCE / "protocol.md").read_text(), Bounds()
    assert f"at most {envelope.HEADER_LIMIT} bytes" in text
    assert envelope.BODY_LIMIT == 64 * 2**20
    assert envelope.CONTROL_BODY_LIMIT == 16 * 2**20
    assert f"at most {envelope.BATCH_LIMIT} messages" in text
    assert f"at most {envelope.RUN_LIMIT} messages" in text
    assert (bounds.queue, bounds.open, bounds.calls, bounds.patterns, bounds.violations) == (10_000, 10_000, 1024, 1000, 100)
    assert (bounds.violations_again, bounds.rest, PROBATION, FORKED) == (10, 1.0, 60.0, 8)
    assert CREDIT_LIMIT == 100_000
    assert (bounds.queue_bytes, bounds.flight_bytes, bounds.hello_timeout, bounds.linger, bounds.longest) == (
        128 * 2**20,
        16 * 2**20,
        10.0,
        10.0,
        3600.0,
    )


def test_every_kind_of_a_client_has_a_door_and_a_role() -> None:
    """Whatever a client may say in a session is in both tables; roles are known ones."""
    assert set(ROLES) == set(envelope.DOORS) - {Kind.HELLO, Kind.BYE}
    assert set(ROLES.values()) <= set(LEVELS)
    assert all(doors in ((Door.CONTROL,), (Door.DATA,), (Door.CONTROL, Door.DATA)) for doors in envelope.DOORS.values())


@pytest.mark.parametrize("role", ["observe", "operate", "admin"])
def test_the_page_says_which_request_needs_which_role(role: str) -> None:
    """All of them, as the table beside the requests has it."""
    section = (
        (REFERENCE / "protocol.md").read_text().partition("Of the requests to the kernel:")[2].partition("\n\n|")[2].partition("\n\n")[0]
    )
    (row,) = [line for line in section.splitlines() if line.lstrip("| ").startswith(f"`{role}`")]
    said = set(re.findall(r"`([a-z-]+)`", row)) - {role}
    assert said == {str(kind.__struct_config__.tag) for kind, needed in requests.ROLE_NEEDED.items() if needed == role}
