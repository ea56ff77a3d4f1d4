from datetime import UTC, datetime, timedelta

import pytest

from site_twin.faults import FaultBoard, UnknownDeviceError, UnknownFaultError

NOW = datetime(2026, 6, 25, 12, tzinfo=UTC)


@pytest.fixture
def board() -> FaultBoard:
    return FaultBoard({"pv-1": {"silent": "sends nothing", "stuck": "repeats itself"}, "CP-1": {"reboots": "restarts"}})


def test_a_fault_is_in_force_from_its_order_until_its_minutes_are_over(board: FaultBoard) -> None:
    board.order("pv-1", "silent", now=NOW, minutes=5)

    at = [board.of("pv-1", NOW + timedelta(seconds=second)) for second in (-1, 0, 299, 300)]

    assert at == [frozenset(), {"silent"}, {"silent"}, frozenset()]
    assert board.next_end(NOW) == NOW + timedelta(minutes=5)
    assert board.next_end(NOW + timedelta(minutes=5)) is None


def test_faults_of_one_device_add_up_and_leave_others_alone(board: FaultBoard) -> None:
    board.order("pv-1", "silent", now=NOW, minutes=5)
    board.order("pv-1", "stuck", now=NOW, minutes=1)

    assert board.of("pv-1", NOW) == {"silent", "stuck"}
    assert board.of("CP-1", NOW) == frozenset()


def test_the_same_order_again_replaces_the_one_before(board: FaultBoard) -> None:
    board.order("pv-1", "silent", now=NOW, minutes=60)
    board.order("pv-1", "silent", now=NOW, minutes=1)

    assert board.of("pv-1", NOW + timedelta(minutes=2)) == frozenset()


def test_lifting_ends_all_faults_of_one_device(board: FaultBoard) -> None:
    board.order("pv-1", "silent", now=NOW, minutes=5)
    board.order("CP-1", "reboots", now=NOW, minutes=5)

    board.lift("pv-1")

    assert [fault.device for fault in board.in_force(NOW)] == ["CP-1"]


def test_devices_and_kinds_that_do_not_exist_are_refused(board: FaultBoard) -> None:
    with pytest.raises(UnknownDeviceError, match="no device pv-2, only CP-1, pv-1"):
        board.order("pv-2", "silent", now=NOW, minutes=5)
    with pytest.raises(UnknownFaultError, match="pv-1 cannot fail as reboots, only as silent, stuck"):
        board.order("pv-1", "reboots", now=NOW, minutes=5)
    with pytest.raises(UnknownDeviceError):
        board.lift("pv-2")
