"""The virtual machine of ``make test-vm``: a Debian with systemd, a pure cgroup v2 tree and all its controllers, emulated by QEMU where nothing faster is to be had.

1. The image is built once and kept in ``.vm/`` of the checkout: kernel, initial ramdisk, root file system with our dependencies in ``/opt/dadms``. It is built again when
   the list of dependencies changes, or when somebody removes it.
2. The checkout is not in the image: it comes with each boot, as the second disk, so that a change is tried in the time of a boot.
3. The scripts that build and boot are those of ``shared/system-tests`` beside the checkout.

Run it: ``python -m tests.system.machine [TEST …]``, the arguments being those of pytest inside.
"""

import hashlib
import io
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
SCRIPTS = CHECKOUT / ".." / "shared" / "system-tests"
CACHE = CHECKOUT / ".vm"
TOOLS = ("qemu-system-x86_64", "mmdebstrap", "cpio", "mke2fs", "dpkg-deb", "apt-get")
PACKAGES = "qemu-system-x86 mmdebstrap busybox-static cpio e2fsprogs"  # that hold them
KERNEL = "linux-image-cloud-amd64"
IMAGE_SIZE = "1500M"
BOOT_LIMIT = 1500  # seconds for boot, tests and end; emulation is ten times slower than the machine
BUILD_LIMIT = 900  # seconds a step of the build
TEST_TOOLS = ("pytest>=8", "pytest-timeout>=2.3", "hypothesis>=6.100")
INSIDE = ("tests/integration/host", "tests/system/guest", "tests/system/booted")
PATHS = "/payload/dadms:/payload/dadms/ipc:/payload/dadms/cli:/payload/dadms/orchestrators:/opt/dadms"


def lacks() -> str:
    """Say why no machine can be built and booted here, or nothing."""
    if not (SCRIPTS / "run-vm.sh").exists():
        return f"{SCRIPTS} is not there"
    if os.geteuid() != 0:
        return "only root builds a root file system"
    missing = [name for name in TOOLS if shutil.which(name) is None]
    if not Path("/bin/busybox").exists():
        missing.append("busybox")
    return f"{', '.join(missing)} not installed: apt-get install {PACKAGES}" if missing else ""


def requirements() -> list[str]:
    """Give what the image holds of other people's packages."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *TEST_TOOLS]


def image() -> Path:
    """Give the directory of a finished image, built when it is not there."""
    key = hashlib.sha256("\n".join([*requirements(), IMAGE_SIZE]).encode()).hexdigest()[:12]
    finished = CACHE / key
    if not finished.exists():
        CACHE.mkdir(exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix="building-", dir=CACHE))
        try:
            _build(building)
            building.rename(finished)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return finished


def _build(place: Path) -> None:
    root = place / "root"
    root.mkdir()
    kernel = place / "kernel"
    _run("apt-get", "download", _kernel_package(), cwd=place)
    [package] = place.glob("linux-image-*.deb")
    _run("dpkg-deb", "-x", package, kernel)
    package.unlink()
    _run(SCRIPTS / "make-initrd.sh", kernel, place / "initrd")
    _run(
        SCRIPTS / "make-root.sh", place / "root.tar", is_judged=False
    )  # it fails, all done, on a machine without one of the files that name sources
    _run("tar", "-C", root, "-xf", place / "root.tar")
    if not (root / "usr/lib/systemd/systemd").exists() or not (root / "usr/bin/python3").exists():
        raise FileNotFoundError("the root file system was not made: systemd or python3 is not in it")
    (place / "root.tar").unlink()
    _run(SCRIPTS / "customize-root.sh", root)
    target = root / "opt" / "dadms"
    wanted = ("--python-version", "3.11", "--implementation", "cp", "--only-binary=:all:")
    platforms = [
        option for tag in ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64") for option in ("--platform", tag)
    ]
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--target", target, *wanted, *platforms, *requirements())
    _run(sys.executable, "-m", "compileall", "-q", "-s", root, target)
    _run(SCRIPTS / "make-image.sh", root, place / "image.ext4", IMAGE_SIZE)
    shutil.rmtree(root)


def _kernel_package() -> str:
    """Give the package that the cloud kernel's name stands for."""
    told = subprocess.run(["apt-cache", "depends", KERNEL], capture_output=True, text=True, check=True, timeout=60).stdout
    return next(line.split()[-1] for line in told.splitlines() if "Depends: linux-image-" in line)


def _run(*argv: str | Path, cwd: Path | None = None, is_judged: bool = True) -> None:
    print("+", shlex.join(map(str, argv))[:200], flush=True)  # noqa: T201 - a program of the checkout, for people
    subprocess.run(argv, check=is_judged, cwd=cwd, timeout=BUILD_LIMIT)


def payload(out: Path, tests: list[str]) -> None:
    """Write the second disk: the checkout as git knows it, and what is run."""
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=CHECKOUT, capture_output=True, check=True, timeout=60
    ).stdout.split(b"\0")
    script = f"""#!/bin/bash
mkdir /payload/bin
for program in "python " "dadmsd -m dadmsd" "dadmsctl -m dadmsctl"; do
  set -- $program; name=$1; shift
  printf '#!/bin/sh\\nexport PYTHONPATH={PATHS} PYTHONDONTWRITEBYTECODE=1\\nexec /usr/bin/python3 %s "$@"\\n' "$*" > /payload/bin/$name
done
chmod +x /payload/bin/*
cd /payload/dadms
exec systemd-run --quiet --wait --pipe -p Delegate=yes -p WorkingDirectory=/payload/dadms -p RuntimeMaxSec={BOOT_LIMIT - 60} \\
  -E HOME=/root -E TERM=dumb -E PATH=/payload/bin:/usr/sbin:/usr/bin:/sbin:/bin -E DADMS_GUEST=1 -E DADMS_BOOTED=vm \\
  /payload/bin/python -m pytest -p no:cacheprovider -o timeout=600 -o faulthandler_timeout=590 {shlex.join(tests)}
"""
    with tarfile.open(out, "w") as archive:
        for name in filter(None, (os.fsdecode(file) for file in files)):
            if (CHECKOUT / name).is_file():
                archive.add(CHECKOUT / name, f"dadms/{name}", recursive=False)
        info = tarfile.TarInfo("run.sh")
        info.size, info.mode = len(script.encode()), 0o755
        archive.addfile(info, io.BytesIO(script.encode()))


def boot(tests: list[str]) -> int:
    """Run tests inside; gives pytest's exit code, and shows what it writes."""
    built = image()
    with tempfile.TemporaryDirectory(prefix="dadms-vm-") as directory:
        disk = Path(directory, "payload.tar")
        payload(disk, tests)
        environment = {**os.environ, "KDIR": str(built / "kernel"), "INITRD": str(built / "initrd")}
        done = subprocess.run(
            [SCRIPTS / "run-vm.sh", built / "image.ext4", disk, str(BOOT_LIMIT)], env=environment, check=False, timeout=BOOT_LIMIT + 60
        )
    return done.returncode


def main() -> int:
    """Build what is missing, boot, test."""
    if reason := lacks():
        print(f"skipped: no virtual machine: {reason}")  # noqa: T201 - as above
        return 0
    return boot(sys.argv[1:] or ["-v", *INSIDE])


if __name__ == "__main__":
    sys.exit(main())
