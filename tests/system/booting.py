"""Boots a real systemd as PID 1 in namespaces over the machine's own root, and runs tests under it: ``python -m tests.system.booting [TEST …]``.

1. What is written goes to a tmpfs. The checkout as git knows it and the packages of its environment come along as copies: the boot clears /tmp, where they may be.
2. The tests are those of ``tests/system/booted``; they find the service manager of a fresh machine, with units of their own.
3. ``unified``: a pure cgroup v2 tree without controllers. ``hybrid``: v1 controllers, of which limits are made.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
SCRIPT = CHECKOUT / ".." / "shared" / "system-tests" / "boot-overlay.sh"
SYSTEMD = Path("/lib/systemd/systemd")
BOOT_LIMIT = 280  # seconds for boot, tests and end
MARK = "DADMS_BOOTED"  # in the environment of the tests inside: the modes that they may rely on
INSIDE = "tests/system/booted"


def lacks() -> str:
    """Say why no systemd can be booted here, or nothing."""
    if not SCRIPT.exists():
        return f"{SCRIPT} is not there"
    if os.geteuid() != 0:
        return "only root makes the namespaces"
    if not SYSTEMD.exists():
        return f"{SYSTEMD} is not installed"
    if not os.access("/sys/fs/cgroup/unified", os.W_OK) or not os.access("/sys/fs/cgroup/memory", os.W_OK):
        return "the machine's cgroups are not writable, or not v1 and v2 side by side"
    missing = [name for name in ("unshare", "pivot_root") if shutil.which(name) is None]
    return f"{', '.join(missing)} not installed" if missing else ""


def pack(payload: Path) -> None:
    """Put the checkout, the packages that it needs and its programs where the machine that is booted finds them."""
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=CHECKOUT, capture_output=True, check=True, timeout=60
    ).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, files)):
        if (CHECKOUT / name).is_file():
            target = payload / "dadms" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, target)
    packages = Path(sysconfig.get_paths()["purelib"])
    subprocess.run(["cp", "-r", packages, payload / "site"], check=True, timeout=120)
    programs = payload / "bin"
    programs.mkdir()
    paths = ":".join(["/payload/dadms", *(f"/payload/dadms/{part}" for part in ("ipc", "cli", "orchestrators")), "/payload/site"])
    python = Path(sys.base_prefix) / "bin" / "python3"
    for name, arguments in (("python", ""), ("dadmsd", "-m dadmsd"), ("dadmsctl", "-m dadmsctl")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexport PYTHONPATH={paths} PYTHONDONTWRITEBYTECODE=1\nexec {python} {arguments} "$@"\n')
        program.chmod(0o755)


def boot(mode: str, tests: list[str]) -> tuple[int, str]:
    """Run tests under a freshly booted systemd; gives pytest's exit code and what it wrote."""
    with tempfile.TemporaryDirectory(prefix="dadms-boot-") as directory:
        payload = Path(directory)
        script = payload / "run.sh"
        pack(payload)
        script.write_text(f"""#!/bin/bash
export {MARK}={mode} HOME=/root PATH=/payload/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/run/t
mkdir -p /run/t
cd /payload/dadms
exec timeout {BOOT_LIMIT - 30} /payload/bin/python -m pytest -p no:cacheprovider {shlex.join(tests)}
""")
        script.chmod(0o755)
        environment = {**os.environ, "TO": str(BOOT_LIMIT), "LT": "journal"}
        done = subprocess.run(
            [SCRIPT, payload, mode], env=environment, capture_output=True, text=True, check=False, timeout=BOOT_LIMIT + 60
        )
        log = payload / "out.log"
        return done.returncode, log.read_text() if log.exists() else f"it did not boot: {done.stdout}{done.stderr}"


def main() -> int:
    """Boot in both modes."""
    if reason := lacks():
        print(f"skipped: no systemd is booted: {reason}")  # noqa: T201 - a program of the checkout, for people
        return 0
    worst = 0
    for mode in ("unified", "hybrid"):
        code, text = boot(mode, sys.argv[1:] or ["-v", INSIDE])
        print(f"{mode}: exit {code}\n{text}")  # noqa: T201 - as above
        worst = worst or code
    return worst


if __name__ == "__main__":
    sys.exit(main())
