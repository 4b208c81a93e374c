"""The configuration: its keys, and what is said about a file that is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dadms_ipc.errors import RequestRefused
from dadmsd import config


def refusal(text: str) -> str:
    with pytest.raises(RequestRefused) as caught:
        config.parse(text, "x.toml")
    return str(caught.value)


def test_no_file_means_the_defaults_of_dadms() -> None:
    found = config.load(None)
    assert (found.process_kernel.max_processes, found.process_kernel.process_timeout_ms, found.process_kernel.cleanup_interval_ms) == (
        1000,
        300_000,
        60_000,
    )
    assert (found.thread_scheduler.max_concurrent_threads, found.thread_scheduler.scheduling_interval_ms) == (50, 100)
    assert (found.thread_scheduler.thread_timeout_ms, found.thread_scheduler.policy) == (30_000, "priority")
    assert (found.message_bus.max_queue_size, found.message_bus.message_timeout_ms, found.message_bus.retry_attempts) == (10_000, 5_000, 3)
    assert (found.resource_manager.memory_limit_mb, found.resource_manager.cpu_limit_percent) == (4096, 80)
    assert found.resource_manager.disk_limit_mb == 10_240


def test_what_a_file_leaves_out_has_its_default() -> None:
    found = config.parse('[message_bus]\nretry_attempts = 0\n[thread_scheduler]\npolicy = "fair"', "x.toml")
    assert found.message_bus == config.MessageBus(retry_attempts=0)
    assert found.thread_scheduler.policy == "fair"
    assert found.process_kernel == config.ProcessKernel()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[message_bus]\n\nmax_queue_sise = 3", 'line 3: [message_bus] unknown key "max_queue_sise"; did you mean "max_queue_size"?'),
        ("\n[thead_scheduler]\nx = 1", 'line 2: unknown table "thead_scheduler"; did you mean "thread_scheduler"?'),
        ('[process_kernel]\nmax_processes = "many"', "line 2: [process_kernel] max_processes = 'many': expected int, got str"),
        ("[process_kernel]\nmax_processes = true", "line 2: [process_kernel] max_processes = True: expected int, got bool"),
        ("[thread_scheduler]\nthread_timeout_ms = 0", "line 2: [thread_scheduler] thread_timeout_ms = 0: expected int >= 1"),
        ("[resource_manager]\ncpu_limit_percent = 101", "line 2: [resource_manager] cpu_limit_percent = 101: expected int <= 100"),
        ('[thread_scheduler]\npolicy = "fifo"', "line 2: [thread_scheduler] policy = 'fifo': must be one of priority, fair, deadline"),
        ("max_processes = 3", 'line 1: unknown key "max_processes"; did you mean "process_kernel"?'),
        ("process_kernel = 3", "line 1: [process_kernel] must be a table"),
        ("# a comment\nprocess_kernel.max_processes = 0", "line 2: [process_kernel] max_processes = 0: expected int >= 1"),
        ("message_bus = { retry_attempts = 1, max_queue_size = 0 }", "line 1: [message_bus] max_queue_size = 0: expected int >= 1"),
        (
            '["message_bus"]\n"zzz" = 1',
            'line 2: [message_bus] unknown key "zzz"; there are max_queue_size, message_timeout_ms, retry_attempts',
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_the_nearest_name(text: str, said: str) -> None:
    assert refusal(text) == f'cannot use the configuration "x.toml": {said}'


def test_every_mistake_is_told_in_one_reading() -> None:
    said = refusal("[message_bus]\nretry_attempts = -1\nnope = 2\n[resource_manager]\nmemory_limit_mb = 1")
    assert [line.split(":")[0].strip() for line in said.splitlines()] == [
        'cannot use the configuration "x.toml"',
        "line 2",
        "line 3",
        "line 5",
    ]


def test_a_file_that_is_not_toml_is_refused_with_its_place() -> None:
    assert "not TOML" in refusal("[message_bus\n")
    assert "line 1" in refusal("[message_bus\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a=" + "[" * 100_000, "its values are nested too deeply"),
        ("a=" + "9" * 5000, "a value cannot be read"),
        ("# " + "x" * config.FILE_LIMIT, "it is larger than 8 MiB"),
    ],
    ids=["deep", "long", "large"],
)
def test_a_file_beyond_all_measure_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "dadms.toml"
    path.write_text(text)
    done = subprocess.run([sys.executable, "-m", "dadmsd", "--config", str(path)], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_is_no_regular_file_is_refused_unread(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/zero")
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    with pytest.raises(RequestRefused, match=f'"{path}": it is no regular file'):
        config.load(path)


def test_a_directory_without_a_name_is_not_the_current_one() -> None:
    for option in ("--runtime-dir", "--state-dir"):
        done = subprocess.run([sys.executable, "-m", "dadmsd", option, ""], capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"argument {option}: it is empty" in done.stderr


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), (b"\xff", "byte 0 is not UTF-8")])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "dadms.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RequestRefused, match=said):
        config.load(path)


def test_the_reference_page_has_every_key_and_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "configuration.md").read_text()
    for table, values in ((name, getattr(config.Config(), name)) for name in config.Config.__struct_fields__):
        section = page.partition(f"## `[{table}]`")[2].partition("\n## ")[0]
        for key in values.__struct_fields__:
            default = getattr(values, key)
            shown = f'`"{default}"`' if isinstance(default, str) else f"`{str(default).lower()}`"
            assert any(f"`{key}`" in line and shown in line for line in section.splitlines()), f"[{table}] {key} = {shown}"


def test_the_example_of_the_reference_page_is_accepted() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "configuration.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    assert example
    assert config.parse(example, "configuration.md") != config.Config()


def keys() -> list[str]:
    tables = config.Config()
    return [f"{table}.{key}" for table in tables.__struct_fields__ for key in getattr(tables, table).__struct_fields__]


@pytest.mark.parametrize("name", keys())
def test_a_key_is_read_by_the_daemon_or_known_to_be_not_in_force(name: str) -> None:
    sources = [path for path in (Path(__file__).parents[2] / "dadmsd").rglob("*.py") if path.name != "config.py"]
    table, _, key = name.partition(".")
    own = f"settings.{key}"  # as the server of that name calls its table
    is_read = any(f".{name}" in text or (path.parent.name == table and own in text) for path in sources for text in [path.read_text()])
    assert is_read != (name in config.NOT_IN_FORCE)


def test_what_is_not_in_force_is_a_known_key() -> None:
    assert set(config.NOT_IN_FORCE) <= set(keys())


def test_a_key_that_nothing_obeys_is_a_warning_with_its_line_when_it_is_not_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        config, "NOT_IN_FORCE", {"thread_scheduler.policy": "it is so", "thread_scheduler.scheduling_interval_ms": "it is not"}
    )
    text = '[thread_scheduler]\npolicy = "fair"\nthread_timeout_ms = 5\nscheduling_interval_ms = 7\n[resource_manager]\nmemory_limit_mb = 4096\n'
    assert sorted(config.warnings(config.parse(text, "x.toml"), text)) == [
        'line 2: [thread_scheduler] policy = "fair" is not in force yet: it is so',
        "line 4: [thread_scheduler] scheduling_interval_ms = 7 is not in force yet: it is not",
    ]
    assert config.warnings(config.Config(), "") == []


def test_the_reference_page_says_of_each_key_whether_it_is_in_force() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "configuration.md").read_text()
    for name in keys():
        table, _, key = name.partition(".")
        section = page.partition(f"## `[{table}]`")[2].partition("\n## ")[0]
        [row] = [line for line in section.splitlines() if line.startswith(f"| `{key}`")]
        assert row.endswith("| **not yet:** " + config.NOT_IN_FORCE[name] + " |" if name in config.NOT_IN_FORCE else "| yes |"), row
