"""Where the daemon's own cgroup is, from the two files of /proc that say it."""

import pytest

from dadmsd.kernel.host.mounts import Hierarchy, hierarchies, memberships

V1_HOST_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V1_HOST_PATHS = "9:name=systemd:/init.scope\n4:memory:/jobs/7\n1:cpu,cpuacct:/\n0::/\n"


def test_every_controller_of_a_v1_host_has_the_daemons_own_directory() -> None:
    found = hierarchies(V1_HOST_MOUNTS, V1_HOST_PATHS, "dadms-1")
    assert found.v2 == Hierarchy("/sys/fs/cgroup/unified", "/", frozenset())
    assert found.v1["memory"] == Hierarchy("/sys/fs/cgroup/memory/jobs/7", "/jobs/7", frozenset({"memory"}))
    assert found.v1["cpu"] == found.v1["cpuacct"] == Hierarchy("/sys/fs/cgroup/cpu,cpuacct", "/", frozenset({"cpu", "cpuacct"}))
    assert "pids" not in found.v1


def test_a_pure_v2_host_has_one_directory() -> None:
    mounts = "30 23 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
    found = hierarchies(mounts, "0::/system.slice/dadmsd.service\n", "dadms-1")
    assert found.v2 == Hierarchy("/sys/fs/cgroup/system.slice/dadmsd.service", "/system.slice/dadmsd.service", frozenset())
    assert found.v1 == {}


@pytest.mark.parametrize(
    ("root", "path", "directory"),
    [
        ("/docker/abc", "/docker/abc", "/sys/fs/cgroup"),
        ("/docker/abc", "/docker/abc/inner", "/sys/fs/cgroup/inner"),
        ("/docker/abc", "/docker/abcdef", None),  # a sibling whose name begins alike
        ("/docker/abc", "/", None),
    ],
)
def test_a_mount_that_shows_a_part_shows_what_is_below_it(root: str, path: str, directory: str | None) -> None:
    found = hierarchies(f"30 23 0:27 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", f"0::{path}\n", "dadms-1")
    assert (found.v2.directory if found.v2 else None) == directory


@pytest.mark.parametrize("inside", ["/dadms-1/servers", "/dadms-1", "/dadms-1/1001/main"])
def test_a_kernel_inside_its_own_instance_finds_the_place_above(inside: str) -> None:
    found = hierarchies("30 23 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", f"0::/user.slice{inside}\n", "dadms-1")
    assert found.v2 == Hierarchy("/sys/fs/cgroup/user.slice", "/user.slice", frozenset())


def test_the_instance_of_another_daemon_stays_where_it_is() -> None:
    found = hierarchies("30 23 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/dadms-12/1001/main\n", "dadms-1")
    assert found.v2 is not None
    assert found.v2.path == "/dadms-12/1001/main"


def test_blanks_in_a_mount_point_are_read_back() -> None:
    found = hierarchies("30 23 0:27 / /mnt/a\\040b rw - cgroup2 cgroup2 rw\n", "0::/\n", "dadms-1")
    assert found.v2 is not None
    assert found.v2.directory == "/mnt/a b"


def test_a_path_with_a_colon_is_kept_whole() -> None:
    assert memberships("0::/a:b\n3:cpu,cpuacct:/c\n") == {"": "/a:b", "cpu": "/c", "cpuacct": "/c"}
