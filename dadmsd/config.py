"""The configuration file: which keys there are, their defaults and ranges, and what is wrong with one that is refused.

One TOML file, a table for each server's concern. Rule 1: a key that is not here is an error, with the nearest name that is. Rule 2: every error is found in
one reading, each with its line. Rule 3: a key that is understood and that nothing obeys yet is in NOT_IN_FORCE, and whoever sets it is told. Rule 4: the keeper checks the file once, at its start, and every server reads the keeper's copy of it (docs/reference/keeper.md),
so that a half-edited file never stops a server from being restarted.
"""

import ipaddress
import os
import re
import stat
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from dadms_ipc.errors import RequestRefused
from dadms_ipc.specs import CPU_TOGETHER_PERCENT, MEMORY_TOGETHER_MB

FILE_LIMIT = 8 * 1024 * 1024  # bytes; every key with a comment of a page has a hundredth of it
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=30 * 24 * 3600 * 1000)]  # thirty days: longer is a unit mistaken
Megabytes = Annotated[int, msgspec.Meta(ge=16, le=1024 * 1024 * 1024)]  # from what one Python process needs, to 1 PiB
Percent = Annotated[int, msgspec.Meta(ge=1, le=100)]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the tables."""


class ProcessKernel(Table, frozen=True):
    """Processes."""

    max_processes: Count = 1000
    process_timeout_ms: Milliseconds = 300_000  # to become ready
    cleanup_interval_ms: Milliseconds = 60_000  # how often ended processes past their retention leave the table for history
    definitions: str = "processes.d"  # directory of definitions, from where this file stands; "": none
    retention_ms: Milliseconds = 3_600_000  # that a process stays in the table after its end


class ThreadScheduler(Table, frozen=True):
    """Threads."""

    max_concurrent_threads: Count = 50
    scheduling_interval_ms: Milliseconds = 100  # the longest a ready thread may wait for a look
    thread_timeout_ms: Milliseconds = 30_000  # of running
    policy: Literal["priority", "fair", "deadline"] = "priority"


class MessageBus(Table, frozen=True):
    """Messages."""

    max_queue_size: Count = 10_000  # messages a process
    message_timeout_ms: Milliseconds = 5_000  # a delivery attempt
    retry_attempts: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 3


class ResourceManager(Table, frozen=True):
    """What all processes together may use."""

    memory_limit_mb: Megabytes = MEMORY_TOGETHER_MB
    cpu_limit_percent: Percent = CPU_TOGETHER_PERCENT  # of the machine
    disk_limit_mb: Megabytes = 10_240  # artifacts, logs and working directories


class Daemon(Table, frozen=True):
    """The daemon itself."""

    stop_timeout_ms: Milliseconds = 30_000  # for the kernel to end every process, after which the keeper kills what is left


class Access(Table, frozen=True):
    """Who may do what over the unix sockets: users by name or uid, groups as "@name"."""

    observe: list[str] = []  # may look
    operate: list[str] = []  # may also start, end and send
    admin: list[str] = []  # may also end the daemon; root and the daemon's own user always may
    services: dict[str, list[str]] = {}  # name -> who may offer it on the bus: users, "@groups" and "key:NAME"s; admins may offer any
    socket_mode: Annotated[str, msgspec.Meta(pattern="^(0[0-7]{3})?$")] = (
        ""  # octal; empty: 0666 for a daemon of the system, 0600 otherwise
    )


class Logger(Table, frozen=True):
    """What processes write to stdout and stderr."""

    to: Literal["files", "journald"] = "files"
    rotate_size_mb: Annotated[int, msgspec.Meta(ge=1, le=1024 * 1024)] = 16  # a log that grows beyond it is set aside, and a new one begun
    rotate_age_hours: Annotated[int, msgspec.Meta(ge=1, le=24 * 366)] = 24  # the same for one that was begun so long ago
    keep_files: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 8  # that were set aside, of each process
    compress: bool = True  # what was set aside
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=3660)] = 14  # the logs of a process that writes no more
    total_size_mb: Annotated[int, msgspec.Meta(ge=1, le=1024 * 1024 * 1024)] = 2048  # of all logs together: beyond it the oldest goes
    rate_limit_kb: Annotated[int, msgspec.Meta(ge=0, le=1024 * 1024 * 1024)] = (
        4096  # a second and process, ten seconds' worth at once; 0: none
    )


Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]  # 0: not on the network


class Network(Table, frozen=True):
    """The doors to the network: off, unless they are turned on; then only who has a key is let in."""

    enabled: bool = False
    listen: str = "127.0.0.1"  # address of one of the host's interfaces; "0.0.0.0" or "::" for all
    curve: bool = True  # there is no other way: false is refused
    kernel_port: Port = 3017  # those that DADMS allocates; each reaches all services
    process_manager_port: Port = 3007
    thread_manager_port: Port = 3008
    resource_manager_port: Port = 3022
    orchestrator_registry_port: Port = 3023
    data_port: Port = 3117


class Config(Table, frozen=True):
    """The whole file; a table or a key that is left out has its default."""

    process_kernel: ProcessKernel = ProcessKernel()
    thread_scheduler: ThreadScheduler = ThreadScheduler()
    message_bus: MessageBus = MessageBus()
    resource_manager: ResourceManager = ResourceManager()
    daemon: Daemon = Daemon()
    access: Access = Access()
    logger: Logger = Logger()
    network: Network = Network()


# "table.key" of what is read and obeyed by nothing yet -> what happens instead
NOT_IN_FORCE: dict[str, str] = {}


def warnings(config: Config, text: str) -> list[str]:
    """Say which keys of a file are set to what will not happen; one that repeats its default promises nothing."""
    lines = []
    for name, instead in NOT_IN_FORCE.items():
        table, _, key = name.partition(".")
        value = getattr(getattr(config, table), key)
        if value != getattr(getattr(Config(), table), key):
            written = f'"{value}"' if isinstance(value, str) else value
            lines.append(f"line {line_of(text, table, key)}: [{table}] {key} = {written} is not in force yet: {instead}")
    return lines


def load(path: Path | str | None) -> Config:
    """Read a file, or give the defaults when there is none; raises RequestRefused with one line for each mistake."""
    return Config() if path is None else parse(read(path), str(path))


def read(path: Path | str) -> str:
    """Give the text of a configuration file; raises RequestRefused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe is refused, not waited for
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RequestRefused(f'cannot read the configuration "{path}": it is no regular file')
            content = file.read(FILE_LIMIT + 1)
        if len(content) > FILE_LIMIT:
            raise RequestRefused(f'cannot read the configuration "{path}": it is larger than {FILE_LIMIT // 1024**2} MiB')
        return content.decode()
    except OSError as error:
        raise RequestRefused(f'cannot read the configuration "{path}": {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise RequestRefused(f'cannot read the configuration "{path}": byte {error.start} is not UTF-8') from error


def parse(text: str, name: str) -> Config:
    """Decode a file's text; ``name`` is what its errors call it."""
    import tomllib  # here: most daemons have no file, and do without its 3 ms

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestRefused(f'cannot use the configuration "{name}": not TOML: {error}') from error
    except RecursionError as error:
        raise RequestRefused(f'cannot use the configuration "{name}": its values are nested too deeply') from error
    except ValueError as error:  # an integer of thousands of digits
        raise RequestRefused(f'cannot use the configuration "{name}": a value cannot be read: {error}') from error
    mistakes: list[tuple[int, str]] = []  # line, sentence
    tables: dict[str, Table] = {}
    for table, content in document.items():
        kind = _TABLES.get(table)
        if kind is None:
            mistakes.append((line_of(text, table), _unknown("table" if isinstance(content, dict) else "key", table, list(_TABLES))))
        elif not isinstance(content, dict):
            mistakes.append((line_of(text, table), f"[{table}] must be a table"))
        else:
            values = _values(text, table, kind, content, mistakes)
            tables[table] = kind(**values)
    if not mistakes:
        mistakes = [(line_of(text, table, key), f"[{table}] {key} = {what}") for table, key, what in _contradictions(Config(**tables))]  # type: ignore[arg-type] # _TABLES holds the class of each field
    if mistakes:
        lines = [f'cannot use the configuration "{name}":', *(f"  line {line}: {what}" for line, what in sorted(mistakes))]
        raise RequestRefused("\n".join(lines) if len(mistakes) > 1 else f"{lines[0]} {lines[1].strip()}")
    return Config(**tables)  # type: ignore[arg-type] # _TABLES holds the class of each field


def _contradictions(config: Config) -> list[tuple[str, str, str]]:
    """Say what no single value shows: table, key, and what is wrong with it."""
    network, found = config.network, []
    if not network.curve:
        found.append(("network", "curve", "false: nothing is said to a network without CURVE; turn the network off, or leave this out"))
    try:
        ipaddress.ip_address(network.listen)
    except ValueError:
        found.append(("network", "listen", f'"{network.listen}": it is no address of IPv4 or IPv6'))
    used: dict[int, str] = {}
    for name in [name for name in network.__struct_fields__ if name.endswith("_port")]:
        port = getattr(network, name)
        if port and port in used:
            found.append(("network", name, f"{port}: it is {used[port]}'s already"))
        used[port] = name
    return found


def _values(text: str, table: str, kind: type[Table], content: dict[str, Any], mistakes: list[tuple[int, str]]) -> dict[str, Any]:
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key not in fields:
            mistakes.append((line_of(text, table, key), f"[{table}] {_unknown('key', key, list(fields))}"))
            continue
        try:
            values[key] = msgspec.convert(value, fields[key])
        except msgspec.ValidationError as error:
            mistakes.append((line_of(text, table, key), f"[{table}] {key} = {value!r}: {_reason(fields[key], error)}"))
    return values


def _reason(expected: Any, error: msgspec.ValidationError) -> str:
    choices = getattr(expected, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return f"must be one of {', '.join(choices)}"
    text = str(error).replace("`", "")
    return text[:1].lower() + text[1:]


def _unknown(what: str, name: str, known: list[str]) -> str:
    import difflib  # here: only a mistake needs it

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(known)}"
    return f'unknown {what} "{name}"; {hint}'


def line_of(text: str, table: str, key: str | None = None) -> int:
    """Find the line (from 1) that sets a table or its key: under its header, dotted, or in an inline table."""
    name, header, current = _quotable(table), 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if found := re.match(r"\s*\[\[?\s*([^\]#]+?)\s*\]", line):
            current = found.group(1).strip("\"'")
            if current.split(".")[0].strip() == table:
                header = header or number
                if key is not None and current != table and current.split(".")[1].strip(" \"'") == key:
                    return number
        elif key is not None and current == table and re.match(rf"\s*{_quotable(key)}\s*[=.]", line):
            return number
        elif not current and re.match(rf"\s*{name}\s*[=.]", line):
            header = header or number
            if key is not None and re.search(rf"[.{{,]\s*{_quotable(key)}\s*[=.]", line):
                return number
    return header or 1


def _quotable(name: str) -> str:
    return rf"[\"']?{re.escape(name)}[\"']?"


_TABLES: dict[str, type[Table]] = {field.name: field.type for field in msgspec.structs.fields(Config)}
