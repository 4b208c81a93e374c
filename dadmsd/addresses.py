"""Addresses and ports of this host that the network's doors are bound to.

One that the host has not is found by binding a port of the host's choice (0) there, before anything is started or started again: a bus cannot start on it, and
would be started again for ever. A reload tries the ports, too, that the bus does not have already: without a bus, nobody could be asked for the next reload. At the start a port that is
taken is waited for: whoever has it may be a daemon that ends.
"""

import errno
import ipaddress
import socket

from dadms_ipc.errors import RequestRefused
from dadmsd import config


def bound(address: str, port: int) -> socket.socket:
    """Give a socket that is bound there and does not listen yet; raises OSError."""
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


def check(settings: config.Config, text: str, name: str) -> None:
    """Raise RequestRefused for an address that this host cannot listen on; ``text`` is the file's, and ``name`` is what the error calls it."""
    network = settings.network
    if not network.enabled:
        return
    try:
        bound(network.listen, 0).close()
    except OSError as error:
        line = config.line_of(text, "network", "listen")
        raise RequestRefused(
            f'cannot use the configuration "{name}": line {line}: [network] listen = "{network.listen}": this host cannot listen there: {error.strerror}'
        ) from error


def check_ports(fresh: config.Network, old: config.Network, text: str, name: str, *, is_bystander: bool = False) -> None:
    """Raise RequestRefused for a port that a running bus is to open and that another program has; those that it has are its own.

    A bystander asks for somebody else, who may have the right to ports that it has not.
    """
    own = {port for _, port in _ports(old)}
    for key, port in _ports(fresh):
        if port in own:
            continue
        try:
            bound(fresh.listen, port).close()
        except OSError as error:
            if is_bystander and error.errno != errno.EADDRINUSE:
                continue
            line = config.line_of(text, "network", key)
            raise RequestRefused(
                f'cannot use the configuration "{name}": line {line}: [network] {key} = {port}: cannot listen on {fresh.listen} there: {error.strerror}'
            ) from error


def _ports(network: config.Network) -> list[tuple[str, int]]:
    """Give the keys of the ports that are open, and the ports."""
    keys = [key for key in network.__struct_fields__ if key.endswith("_port")] if network.enabled else []
    return [(key, port) for key in keys if (port := getattr(network, key))]
