"""Whether the programs that a definition names (its command, its ready and its live command) are there, told before anything is started.

1. Looked for as it will be when it is started: a path as it is, from the directory of the process where that is named; any other word in the PATH of its environment.
2. What nobody can know beforehand is no mistake: a path from a directory that is made at the start, and whatever the reader may not look at.
"""

import os
import stat
from pathlib import Path

from dadms_ipc.requests import Spec

PATH = "/usr/local/bin:/usr/bin:/bin"  # of a command, where its environment has none
_LACKING = {FileNotFoundError: "No such file or directory", NotADirectoryError: "Not a directory"}


def lacks(spec: Spec) -> dict[str, str]:
    """Say of each command of a service or tool whose program cannot be run why, by its field; nothing of one that can, or of which that is not to be known."""
    commands = {"command": spec.command, "ready_command": spec.ready_command, "live_command": spec.live_command}
    found = {field: _lack(spec, command[0]) for field, command in commands.items() if command}
    return {field: why for field, why in found.items() if why}


def _lack(spec: Spec, program: str) -> str:
    if not program or "\0" in program:
        return ""
    if "/" in program:
        if not program.startswith("/") and spec.directory is None:
            return ""
        why = _reason(Path(spec.directory or "/", program))
    else:
        places = spec.environment.get("PATH", PATH).split(os.pathsep)
        if not all(place.startswith("/") for place in places):
            return ""
        reasons = [_reason(Path(place, program)) for place in places]
        why = "" if "" in reasons else next((each for each in reasons if each not in _LACKING.values()), f"it is not in {':'.join(places)}")
    return f'cannot run "{program}": {why}' if why else ""


def _reason(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        return _LACKING[type(error)]
    except (OSError, ValueError):
        return ""
    return "" if stat.S_ISREG(mode) and mode & 0o111 else "Permission denied"
