"""Included: the parser of the kernel's tables, and one look at the real ones."""

import socket
from pathlib import Path

from registrar.connections import Connections, parse_connections, read_connections

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0100007F:D431 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 3
   3: 0100007F:1F90 0100007F:D432 06 00000000:00000000 00:00000000 00000000     0        0 4
   4: 0100007F:F1F9 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 5
"""

TABLE_6 = """\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:1F90 00000000000000000000000001000000:D431 01 0 0
"""


def test_only_what_came_to_the_port_and_is_open_counts() -> None:
    assert parse_connections(TABLE, port=8080) == Connections(listens=True, established=1)


def test_the_table_of_ipv6_is_read_likewise() -> None:
    assert parse_connections(TABLE_6, port=8080) == Connections(listens=False, established=1)


def test_what_is_no_line_of_the_table_is_left_out() -> None:
    assert parse_connections("\nnonsense\n\n1 2\n", port=80) == Connections(False, 0)
    assert parse_connections("", port=80).established == 0


def test_where_nothing_can_be_read_nothing_is_said(tmp_path: Path) -> None:
    assert read_connections(80, tables=[tmp_path / "tcp"]) is None


def test_the_kernel_shows_a_connection_of_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert read_connections(port) == Connections(listens=True, established=0)
        with socket.create_connection(("127.0.0.1", port)):
            assert read_connections(port) == Connections(listens=True, established=1)
