"""How many connections are held, which one goes first, and when one has had its time."""

import time
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ev_service import connections
from ev_service.connections import Connection, ConnectionBounds, ConnectionLimits

pytestmark = pytest.mark.anyio

LIMITS = ConnectionLimits(total=16, per_address=8, header_s=5, body_s=10, idle_s=60, stall_s=20)


@dataclass
class FakePeer:
    is_busy: bool = False
    timed_out: bool = False
    aborted: bool = False

    def time_out(self) -> None:
        self.timed_out = True

    def abort(self) -> None:
        self.aborted = True


def open_connection(bounds: ConnectionBounds, address: str = "192.0.2.1", **state: Any) -> tuple[Connection, FakePeer]:
    peer = FakePeer(**state)
    connection = bounds.open(peer, address)
    assert connection is not None
    return connection, peer


async def test_the_oldest_unproven_connection_of_the_address_makes_room_for_a_new_one() -> None:
    bounds = ConnectionBounds(LIMITS, "test")
    held = [open_connection(bounds) for _ in range(LIMITS.per_address)]
    held[0][0].is_proven = True

    open_connection(bounds)

    assert [peer.aborted for _, peer in held] == [False, True] + [False] * 6
    assert len(bounds) == LIMITS.per_address


async def test_another_address_is_not_closed_for_one_that_has_too_many() -> None:
    bounds = ConnectionBounds(LIMITS, "test")
    _, quiet = open_connection(bounds, "192.0.2.2")

    for _ in range(50):
        open_connection(bounds)

    assert not quiet.aborted
    assert len(bounds) == LIMITS.per_address + 1


async def test_the_total_holds_however_many_addresses_there_are() -> None:
    bounds = ConnectionBounds(LIMITS, "test")

    for number in range(100):
        open_connection(bounds, f"192.0.2.{number}")

    assert len(bounds) == LIMITS.total


async def test_what_is_being_answered_is_not_closed_and_a_new_one_is_refused_where_all_are() -> None:
    bounds = ConnectionBounds(LIMITS, "test")
    held = [open_connection(bounds, is_busy=True)[1] for _ in range(LIMITS.per_address)]

    refused = bounds.open(FakePeer(), "192.0.2.1")

    assert refused is None
    assert not any(peer.aborted for peer in held)


async def test_an_answer_that_is_not_read_does_not_keep_its_connection_from_being_closed() -> None:
    bounds = ConnectionBounds(LIMITS, "test")
    connection, stalled = open_connection(bounds, is_busy=True)
    connection.pause_writing()
    for _ in range(LIMITS.per_address - 1):
        open_connection(bounds, is_busy=True)

    open_connection(bounds)

    assert stalled.aborted


@pytest.mark.parametrize(
    ("report", "limit_s"),
    [("expect_handshake", 5), ("expect_request", 5), ("begin_request", 10), ("end_request", 60)],
)
async def test_each_part_of_a_request_has_its_time(report: str, limit_s: float) -> None:
    connection, peer = open_connection(ConnectionBounds(LIMITS, "test"))
    now_s = time.monotonic()
    getattr(connection, report)()

    connection.enforce(now_s + limit_s - 0.5)
    assert not peer.timed_out
    connection.enforce(now_s + limit_s + 0.5)
    assert (peer.timed_out, peer.aborted) == (True, False)
    connection.enforce(now_s + limit_s + 1)
    assert peer.aborted


async def test_the_first_bytes_after_an_answer_begin_the_time_of_the_next_head() -> None:
    connection, peer = open_connection(ConnectionBounds(LIMITS, "test"))
    connection.end_request()
    connection.receive()
    now_s = time.monotonic()

    connection.enforce(now_s + LIMITS.header_s + 0.5)

    assert peer.timed_out


async def test_further_bytes_of_a_head_do_not_prolong_its_time() -> None:
    connection, peer = open_connection(ConnectionBounds(LIMITS, "test"))
    with patch("time.monotonic", return_value=100.0):
        connection.expect_request()
    with patch("time.monotonic", return_value=104.0):
        connection.receive()

    connection.enforce(105.5)

    assert peer.timed_out


async def test_a_request_that_is_being_answered_has_no_end_but_an_unread_answer_has() -> None:
    connection, peer = open_connection(ConnectionBounds(LIMITS, "test"), is_busy=True)
    connection.begin_request()
    now_s = time.monotonic()
    connection.enforce(now_s + 3600)
    assert not peer.timed_out

    connection.pause_writing()
    connection.enforce(now_s + LIMITS.stall_s - 1)
    assert not peer.aborted
    connection.enforce(now_s + LIMITS.stall_s + 1)
    assert peer.aborted


async def test_connections_leave_most_file_descriptors_to_others() -> None:
    with patch.object(connections, "descriptor_limit", return_value=256):
        bounds = ConnectionBounds(ConnectionLimits(total=1000, per_address=500), "test")

    assert (bounds.total, bounds.per_address) == (64, 64)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), max_size=80))
async def test_the_bounds_hold_whatever_is_opened(opens: list[tuple[int, bool, bool]]) -> None:
    bounds = ConnectionBounds(LIMITS, "test")
    held: list[tuple[str, FakePeer, Connection]] = []
    for number, is_busy, is_proven in opens:
        peer = FakePeer(is_busy)
        connection = bounds.open(peer, f"192.0.2.{number}")
        if connection is not None:
            connection.is_proven = is_proven
            held.append((connection.address, peer, connection))

    open_now = [address for address, peer, _ in held if not peer.aborted]
    assert len(open_now) == len(bounds) <= LIMITS.total
    assert all(open_now.count(address) <= LIMITS.per_address for address in open_now)
    assert not any(peer.aborted for _, peer, _ in held if peer.is_busy)
