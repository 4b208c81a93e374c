"""Imports go one way: the tables below say who may import whom, and every import statement of the tree is held against them.

Statements inside functions and under TYPE_CHECKING count as well: what a type checker has to see, a reader has to know.
"""

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGES = {
    "dadms_ipc": CHECKOUT / "ipc" / "dadms_ipc",
    "dadms_orchestrators": CHECKOUT / "orchestrators" / "dadms_orchestrators",
    "dadmsctl": CHECKOUT / "cli" / "dadmsctl",
    "dadmsd": CHECKOUT / "dadmsd",
}
OURS = frozenset(PACKAGES)

# What each package may import besides the standard library and itself.
MAY_IMPORT = {
    "dadms_ipc": {"msgspec", "zmq"},
    "dadms_orchestrators": {"dadms_ipc", "msgspec", "SpiffWorkflow", "zen"},
    "dadmsctl": {"dadms_ipc", "msgspec", "click", "rich"},
    "dadmsd": {"dadms_ipc", "msgspec", "psutil", "zmq"},
}

# Which servers may import these: a keeper without ZeroMQ and SQLite is what makes its death rare.
ONLY_IN = {
    "zmq": {"dadmsd.bus", "dadms_ipc.sockets"},
    "sqlite3": {"dadmsd.kernel", "dadmsd.bus"},
}

# A core decides and does nothing: no clock, socket, process, file or random number. A list of what is allowed, so that nothing slips in by being new.
CORES = ("dadmsd.kernel.core", "dadmsd.bus.core")
CORE_MAY_IMPORT = {
    "__future__", "abc", "array", "bisect", "collections", "contextlib", "copy", "dataclasses", "difflib", "enum", "functools", "graphlib", "hashlib", "heapq", "hmac",
    "itertools", "math",
    "msgspec", "operator", "re", "types", "typing",
    "dadms_ipc.codec", "dadms_ipc.dead_letters", "dadms_ipc.context", "dadms_ipc.envelope", "dadms_ipc.errors", "dadms_ipc.infos", "dadms_ipc.port", "dadms_ipc.requests", "dadms_ipc.specs",
    "dadmsd.keeper.messages", "dadmsd.worker.messages", "dadmsd.zygote.messages", "dadmsd.kernel.link",
}  # fmt: skip
VOCABULARY = tuple(sorted(module for module in CORE_MAY_IMPORT if module.startswith(("dadms_ipc.", "dadmsd."))))


def modules() -> Iterator[tuple[str, Path]]:
    """Give every module of the tree by its dotted name."""
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), path


def imports_of(name: str, path: Path) -> Iterator[tuple[str, int]]:
    """Give what a module imports, as dotted names, and the lines where."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            yield from ((f"{source}.{alias.name}", node.lineno) for alias in node.names)


def is_below(name: str, ancestors: Collection[str]) -> bool:
    """Tell whether a dotted name is one of these or inside one of them."""
    return any(name == ancestor or name.startswith(f"{ancestor}.") for ancestor in ancestors)


EVERY_IMPORT = [(name, path, imported, line) for name, path in modules() for imported, line in imports_of(name, path)]


def test_the_walk_sees_all_four_packages() -> None:
    assert {name.split(".")[0] for name, *_ in EVERY_IMPORT} == OURS


@pytest.mark.parametrize("package", sorted(OURS))
def test_a_package_imports_only_what_its_row_allows(package: str) -> None:
    offences = [
        f"{path.relative_to(CHECKOUT)}:{line} imports {imported}"
        for name, path, imported, line in EVERY_IMPORT
        if name.split(".")[0] == package
        and (top := imported.split(".")[0]) != package
        and top not in sys.stdlib_module_names
        and top not in MAY_IMPORT[package]
    ]
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize("module", sorted(ONLY_IN))
def test_heavy_libraries_stay_where_they_belong(module: str) -> None:
    offences = [
        f"{path.relative_to(CHECKOUT)}:{line} imports {imported}"
        for name, path, imported, line in EVERY_IMPORT
        if imported.split(".")[0] == module and not is_below(name, ONLY_IN[module] | {"dadms_orchestrators"})
    ]
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize("core", CORES)
def test_a_core_imports_no_io(core: str) -> None:
    offences = [
        f"{path.relative_to(CHECKOUT)}:{line} imports {imported}"
        for name, path, imported, line in EVERY_IMPORT
        if is_below(name, (core,)) and not is_below(imported, {core, *CORE_MAY_IMPORT})
    ]
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize("module", VOCABULARY)
def test_the_vocabulary_that_cores_speak_is_as_pure_as_they_are(module: str) -> None:
    offences = [
        f"{path.relative_to(CHECKOUT)}:{line} imports {imported}"
        for name, path, imported, line in EVERY_IMPORT
        if name == module and not is_below(imported, CORE_MAY_IMPORT)
    ]
    assert not offences, "\n".join(offences)


def loaded_by(statement: str) -> set[str]:
    """Give the modules that a fresh interpreter holds after a statement."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"], capture_output=True, text=True, check=True, timeout=30
    )
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("module", ["channel", "port", "requests", "errors"])
def test_what_servers_and_workers_import_of_the_library_loads_no_zeromq(module: str) -> None:
    assert "zmq" not in loaded_by(f"import dadms_ipc.{module}")


def test_the_client_library_loads_nothing_of_the_daemon_or_the_command_line() -> None:
    loaded = loaded_by("import dadms_ipc, dadms_ipc.channel, dadms_ipc.port, dadms_ipc.requests")
    assert not loaded & {"psutil", "click", "rich", "SpiffWorkflow", "dadmsd", "dadmsctl", "dadms_orchestrators"}


def test_the_command_line_starts_without_what_only_a_table_or_a_daemon_needs() -> None:
    assert not loaded_by("import dadmsctl.__main__") & {"rich", "zmq", "psutil", "SpiffWorkflow", "dadmsd", "dadms_orchestrators"}


def test_no_code_runs_in_the_fork_of_a_process_with_threads() -> None:
    """A lock that another thread held at the fork stays locked in the child: no preexec_fn, and ``os.fork`` in a zygote alone, which has one thread."""
    sources = {name: path.read_text(encoding="utf-8") for name, path in modules()}
    assert not [name for name, text in sources.items() if "preexec_fn" in text]
    assert {name.rpartition(".")[0] for name, text in sources.items() if "os.fork(" in text} == {"dadmsd.zygote"}
