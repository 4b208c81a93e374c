"""What a changed configuration file starts again."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dadms_ipc.errors import RequestRefused
from dadmsd import config
from dadmsd.keeper import reloading


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    source, copy = tmp_path / "dadms.toml", tmp_path / "config.toml"
    for path in (source, copy):
        path.write_text("[logger]\nkeep_files = 3\n")
    return source, copy


@pytest.mark.parametrize(
    ("text", "tables", "servers"),
    [
        ("# the same\n[logger]\nkeep_files = 3\n", (), ()),
        ("[logger]\nkeep_files = 4\n", ("logger",), ("logger",)),
        ('[logger]\nto = "journald"\n', ("logger",), ("logger", "kernel")),
        ("[logger]\nkeep_files = 3\n[daemon]\nstop_timeout_ms = 1\n", ("daemon",), ()),
        ("", ("logger",), ("logger",)),
        ("[process_kernel]\nmax_processes = 1\n[logger]\nkeep_files = 3\n[message_bus]\nmax_queue_size = 1\n",
         ("process_kernel", "message_bus"), ("kernel", "bus")),
    ],
)  # fmt: skip
def test_those_are_started_again_that_read_what_differs(
    files: tuple[Path, Path], text: str, tables: tuple[str, ...], servers: tuple[str, ...]
) -> None:
    source, copy = files
    source.write_text(text)
    change = reloading.read(source, copy)
    assert (change.tables, change.servers) == (tables, servers)
    assert tuple(dict.fromkeys(key.partition("]")[0][1:] for key in change.keys)) == tables
    assert copy.read_text() == text
    assert sorted(path.name for path in copy.parent.iterdir()) == ["config.toml", "dadms.toml"]


def test_each_key_is_told_with_both_values(files: tuple[Path, Path]) -> None:
    source, _ = files
    source.write_text('[logger]\nto = "journald"\n[access]\nadmin = ["root"]\n')
    assert reloading.read(*files).keys == (
        '[access] admin = [] → ["root"]',
        '[logger] to = "files" → "journald"',
        "[logger] keep_files = 3 → 8",
    )


def test_a_file_with_mistakes_changes_nothing(files: tuple[Path, Path]) -> None:
    source, copy = files
    before = copy.read_text()
    for text, why in (
        ("[logger]\nkeep_file = 3\n", 'did you mean "keep_files"'),
        ('[network]\nenabled = true\nlisten = "192.0.2.1"\n', "line 3: .* this host cannot listen there"),  # RFC 5737: nobody's
    ):
        source.write_text(text)
        with pytest.raises(RequestRefused, match=why):
            reloading.read(source, copy)
        assert copy.read_text() == before


@pytest.fixture
def taken() -> Iterator[int]:
    """Give a port of 127.0.0.1 that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made.getsockname()[1]


OFF = ("kernel_port", "process_manager_port", "thread_manager_port", "resource_manager_port", "orchestrator_registry_port", "data_port")


def network(**ports: int) -> str:
    """Write a network of which these ports alone are on."""
    return "[network]\nenabled = true\n" + "".join(f"{key} = {ports.get(key, 0)}\n" for key in OFF)


def test_a_port_that_another_program_has_changes_nothing(files: tuple[Path, Path], taken: int) -> None:
    """The bus would end again and again, and without it nobody could be asked for another reload."""
    source, copy = files
    before = copy.read_text()
    source.write_text(network(data_port=taken))
    why = rf"line 8: \[network\] data_port = {taken}: cannot listen on 127.0.0.1 there: Address already in use"
    with pytest.raises(RequestRefused, match=why):
        reloading.read(source, copy)
    assert copy.read_text() == before


def test_a_port_that_the_bus_has_is_its_own_whatever_it_is_for_and_wherever_it_listens(files: tuple[Path, Path], taken: int) -> None:
    source, copy = files
    copy.write_text(network(data_port=taken))
    for text in (network(data_port=taken), network(kernel_port=taken), network(data_port=taken) + 'listen = "0.0.0.0"\n'):
        source.write_text(text)
        reloading.read(source, copy)
        assert copy.read_text() == text
    copy.write_text(network(data_port=taken).replace("true", "false"))  # while the network is off it has none
    source.write_text(network(data_port=taken))
    with pytest.raises(RequestRefused, match="Address already in use"):
        reloading.read(source, copy)


def test_every_table_has_readers() -> None:
    assert {*reloading.READERS, "daemon"} == set(config.Config.__struct_fields__)
    assert all(key in getattr(config.Config(), table).__struct_fields__ for table, key in reloading.READERS_OF_KEYS)
