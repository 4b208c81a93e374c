"""Make the virtual environment of this checkout, or find that it is made already; called by the Makefile with a Python of at least 3.11.

1. The stamp in the environment holds what it was made from (Python, place, dependencies). The same stamp again: nothing is done, no pip is started.
2. Two calls at once take turns: the checkout's directory is locked (flock), and whoever comes second finds the stamp.
3. An environment that does not start, or that came here from another place, is made anew; a directory that is no environment is never touched.
4. Nothing outside the environment is written. pip's own cache is pip's business: where it cannot be written, pip goes on without.
"""

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


class SetupFailed(Exception):
    """The environment cannot be made; the text is for a person."""


def main() -> int:
    """Make the environment with the groups that are asked for, and say in one line why not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("venv", type=Path, help="directory of the environment")
    parser.add_argument("groups", nargs="*", help="dependency groups of pyproject.toml to install besides the project")
    arguments = parser.parse_args()
    venv = Path(os.path.abspath(CHECKOUT / arguments.venv))  # noqa: PTH100 - resolve() would follow a link that somebody made of .venv
    try:
        with_lock(venv, arguments.groups)
    except SetupFailed as failed:
        sys.stderr.write(f"cannot set up {venv}: {failed}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the next call goes on from here\n")
        return 130
    return 0


def with_lock(venv: Path, groups: list[str]) -> None:
    """Make the environment while no other call does; the lock goes with this process, however it ends."""
    directory = os.open(CHECKOUT, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write(f"another call is setting up {venv}; waiting for it\n")
        fcntl.flock(directory, fcntl.LOCK_EX)
    try:
        make(venv, groups)
    finally:
        os.close(directory)


def make(venv: Path, groups: list[str]) -> None:
    """Make what is missing."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    wanted = stamp_of(venv, project, groups)
    stamp = venv / f".dadms-{'-'.join(['run', *groups])}"
    if (venv / "bin" / "python").exists() and read(stamp) == wanted:  # a link to a Python that is gone does not exist
        return
    if not os.access(venv if venv.exists() else venv.parent, os.W_OK):
        raise SetupFailed(f"uid {os.getuid()} may not write there; VENV=DIRECTORY puts it elsewhere")
    sys.stderr.write(f"setting up {venv} with Python {sys.version.split()[0]} (once; most of it is pip)\n")
    if not is_alive(venv):
        create(venv)
    requirements = [requirement for group in groups for requirement in requirements_of(project, group)]
    pip(venv, ["--editable", str(CHECKOUT), *requirements])
    stamp.write_text(wanted)


def stamp_of(venv: Path, project: dict[str, object], groups: list[str]) -> str:
    """Say what the environment would be made from; changes of the linters' settings are none of it."""
    parts = [
        sys.version,
        str(CHECKOUT),
        str(venv),
        project["project"],
        project["build-system"],
        *(requirements_of(project, group) for group in groups),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def requirements_of(project: dict[str, object], group: str) -> list[str]:
    """Read one dependency group (PEP 735) here: pip knows ``--group`` only since 25.1, and Debian 12 has 23.0."""
    groups = project["dependency-groups"]
    assert isinstance(groups, dict)
    if group not in groups:
        raise SetupFailed(f"pyproject.toml has no dependency group {group!r}")
    return list(groups[group])


def is_alive(venv: Path) -> bool:
    """Tell whether the environment's Python starts, knows the place as its own, and has pip."""
    python = venv / "bin" / "python"
    if not python.exists():
        return False
    asked = subprocess.run(  # noqa: S603 - the interpreter of our own environment
        [python, "-c", "import importlib.util, sys; print(sys.prefix, bool(importlib.util.find_spec('pip')))"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.returncode == 0 and asked.stdout.strip() == f"{venv} True"


def create(venv: Path) -> None:
    """Make an empty environment in place of a broken one or of none."""
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise SetupFailed(
            f"{sys.executable} comes without venv; on Debian and Ubuntu: apt-get install python3-venv. PYTHON=PATH takes another Python"
        )
    if venv.exists():
        if not (venv / "pyvenv.cfg").exists() and any(venv.iterdir()):
            raise SetupFailed("it exists and is no virtual environment; it is left as it is. VENV=DIRECTORY takes another place")
        shutil.rmtree(venv)
    made = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
    if made.returncode != 0:
        raise SetupFailed(f"python -m venv gave up: {(made.stdout + made.stderr).strip()}")


def pip(venv: Path, arguments: list[str]) -> None:
    """Install; pip's own words are shown when it fails."""
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    if subprocess.run(command, cwd=CHECKOUT, check=False).returncode != 0:  # noqa: S603 - the interpreter of our own environment
        raise SetupFailed("pip could not install the project; its reason stands above")


def read(path: Path) -> str:
    """Give the text of a file, nothing when there is none."""
    try:
        return path.read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
