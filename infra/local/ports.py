"""Ports of this machine: whether one is free, and where to choose one that stays free.

Outgoing connections of every program get their own port from the ephemeral range of the system. Nobody can listen at
such a port while the connection is open, nor in the minute after it (TIME_WAIT). So a port that is to be listened at,
now or again after a restart, is chosen outside of that range.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

HOST = "127.0.0.1"
FOR_PODS = range(30000, 32768)  # what Kubernetes uses for node ports
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")  # "32768	60999"
_FIRST_EPHEMERAL = 32768  # where the system has no such file: macOS, where it is 49152


def listen(port: int) -> socket.socket:
    """A socket that listens there. Raises ``OSError``, which names the port, where that cannot be."""
    return socket.create_server((HOST, port))


def is_free(port: int) -> bool:
    """Whether a server could listen there now. Connections that a server had before do not keep it from that."""
    with suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        probe.bind((HOST, port))
        return True
    return False


def lasting(wanted: range) -> range:
    """Those of the ports that no outgoing connection gets; all of them where there is no such port among them."""
    return range(wanted.start, min(wanted.stop, first_ephemeral())) or wanted


def first_ephemeral(settings: Path = _EPHEMERAL) -> int:
    """The lowest port that the system gives to outgoing connections."""
    try:
        return int(settings.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _FIRST_EPHEMERAL
