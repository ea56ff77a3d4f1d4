"""Whatever a charger sends, the central system answers it, drops it or closes the connection, and nothing else."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from charger_service.ocpp.charge_point import ChargePoint
from charger_service.ocpp.connection import ConnectionContext, Timing
from charger_service.ocpp.metrics import OcppMetrics
from charger_service.ocpp.v16 import ChargePoint16
from charger_service.ocpp.v201 import ChargePoint201
from ev_service.clock import SteppedClock

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
ACTIONS = ("BootNotification", "StatusNotification", "StartTransaction", "MeterValues", "TransactionEvent", "Reset")
KEYS = ("connectorId", "evseId", "meterValue", "timestamp", "sampledValue", "value", "transactionInfo", "evse", "id")
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(KEYS)
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner),
    max_leaves=8,
)
calls = st.tuples(st.just(2) | plain, st.text(max_size=4) | values, st.sampled_from(ACTIONS) | values, values)
frames = (
    st.text(max_size=30)
    | st.binary(max_size=30)
    | values.map(json.dumps)
    | calls.map(json.dumps)
    | st.lists(values, max_size=6).map(json.dumps)
)


@pytest.mark.parametrize("speaks", [ChargePoint16, ChargePoint201])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frame=frames)
def test_any_frame_is_answered_dropped_or_counted(speaks: type[ChargePoint], frame: str | bytes) -> None:
    asyncio.run(hear(speaks, frame))


async def hear(speaks: type[ChargePoint], frame: str | bytes) -> None:
    websocket, events = AsyncMock(), cast(Any, Mock())
    events.on_transaction_started, events.on_transaction_ended = AsyncMock(), AsyncMock()
    metrics = OcppMetrics(CollectorRegistry())
    around = ConnectionContext(events, AsyncMock(), SteppedClock(NOON), metrics, Timing())
    point = speaks("CP-1", (1,), websocket, around)

    await point.route_message(frame)

    assert not point.is_closed
    for (sent,), _ in websocket.send.call_args_list:
        assert json.loads(sent)[0] in (3, 4)
