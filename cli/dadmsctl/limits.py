"""What the options that cap a process come to: a Limits that names only what was asked for, so that the kernel's defaults stay the kernel's."""

from collections.abc import Mapping
from typing import Any

import msgspec

from dadms_ipc.requests import Limits


def limits_from(caps: Mapping[str, Any], **defaults: Any) -> Limits:
    """Build Limits from options; ``defaults`` hold where an option was not given."""
    given = {name: value for name, value in caps.items() if value is not None and name in Limits.__struct_fields__}
    return msgspec.convert(defaults | given, Limits)
