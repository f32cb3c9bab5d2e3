"""Which ports are chosen, so that no outgoing connection of anybody has them."""

from __future__ import annotations

import socket
from itertools import pairwise
from pathlib import Path

import pytest

from infra.local import ports
from infra.local.ports import FOR_PODS, first_ephemeral, is_free, lasting, listen
from tests.ports import block, free_ports


@pytest.mark.parametrize(
    ("text", "first"), [("32768\t60999\n", 32768), ("1024 65535", 1024), ("", 32768), ("a b", 32768)]
)
def test_where_the_ephemeral_range_begins(tmp_path: Path, text: str, first: int) -> None:
    """As the system says; where it does not, as Linux has it by default."""
    settings = tmp_path / "ip_local_port_range"
    settings.write_text(text)
    assert first_ephemeral(settings) == first


def test_where_nothing_says_so(tmp_path: Path) -> None:
    """macOS has no such file, and its range begins later."""
    assert first_ephemeral(tmp_path / "none") == 32768


@pytest.mark.parametrize(
    ("first", "chosen"), [(32768, (30000, 32768)), (31000, (30000, 31000)), (1024, (30000, 32768))]
)
def test_the_choice_is_below_it(monkeypatch: pytest.MonkeyPatch, first: int, chosen: tuple[int, int]) -> None:
    """What the system gives to outgoing connections is left out, unless it is all there is."""
    monkeypatch.setattr(ports, "first_ephemeral", lambda: first)
    assert lasting(FOR_PODS) == range(*chosen)


def test_no_outgoing_connection_gets_a_port_of_ours() -> None:
    """A port that connections get is not among those that tests and pods choose from."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connection:
        port = connection.getsockname()[1]
        assert not is_free(port)
        assert port not in block(0, 1)
        assert port not in lasting(FOR_PODS)


def test_processes_of_a_run_do_not_meet() -> None:
    """Each has a block of its own; one that replaces another has that of one that was there."""
    blocks = [block(worker, 4) for worker in range(4)]
    assert all(before.stop <= after.start for before, after in pairwise(blocks))
    assert blocks[-1].stop <= FOR_PODS.start
    assert block(5, 4) == blocks[1]


def test_ports_in_a_row() -> None:
    """None is told twice, though nobody listens there yet; one that is taken is left out."""
    first, second = free_ports(3), free_ports(3)
    assert abs(first - second) >= 3
    with listen(free_ports()) as taken:
        assert not is_free(taken.getsockname()[1])
        assert taken.getsockname()[1] not in {free_ports() for _ in range(5)}


def test_a_port_that_cannot_be_had_is_named() -> None:
    """The message of the system alone does not tell which."""
    with listen(free_ports()) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=str(port)):
            listen(port)
