"""Ports of the stack."""

import socket
from dataclasses import astuple

import pytest

from ev_service.errors import ConfigurationError
from local_stack.environment import HOST, PortSettings, free_ports


def test_free_ports_are_all_different() -> None:
    ports = astuple(free_ports())

    assert len(set(ports)) == len(ports)


def test_a_taken_port_is_named_with_the_variable_that_moves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_ports()
    names = (
        "SOLAR",
        "BATTERY",
        "GRID",
        "CHARGERS",
        "CHARGERS_OCPP",
        "TWIN",
        "AGENT",
        "LOCAL_GATEWAY_HTTPS",
        "LOCAL_GATEWAY_HTTP",
        "LOCAL_GATEWAY_MANAGEMENT",
    )
    for name, port in zip(names, astuple(free), strict=True):
        monkeypatch.setenv(f"{name}_PORT", str(port))

    with socket.create_server((HOST, free.battery)), pytest.raises(ConfigurationError) as caught:
        PortSettings().ports()

    assert caught.value.message == f"port {free.battery} is taken: set BATTERY_PORT to a free one"
    assert PortSettings().ports() == free
