"""What the settings make: which broker is spoken to, under which name, and on which topics a device is heard."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from aiomqtt import MqttError
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from ev_sensors.broker import Broker, SubscriptionRefusedError, demand_granted, describe_error
from ev_sensors.settings import MqttDeviceSettings, MqttSettings
from ev_sensors.shapes import Role
from ev_sensors.source_factory import shape_of
from ev_service.certificates import Server, make_servers
from ev_service.clock import SystemClock
from ev_service.errors import ConfigurationError
from ev_service.key_files import pem
from ev_service.settings import RunSettings, SiteSettings, load
from ev_service.sources import ServiceSettings
from solar_service.sources import SolarSourceSettings, create_source


@pytest.mark.parametrize(
    ("role", "settings", "telemetry", "status"),
    [
        ("solar", {"device_id": "pv-1"}, "site/greensboro/solar/pv-1/telemetry", "site/greensboro/solar/pv-1/status"),
        ("grid", {"device_id": "m", "shape": "tasmota"}, "tele/m/SENSOR", "tele/m/LWT"),
        ("grid", {"device_id": "m", "shape": "shelly"}, "m/events/rpc", "m/online"),
        (
            "grid",
            {"device_id": "m", "shape": "shelly_gen1", "channels": "1"},
            "shellies/m/emeter/1/power",
            "shellies/m/online",
        ),
        ("battery", {"device_id": "b", "shape": "sunspec"}, "sunspec/b/models", "sunspec/b/status"),
        ("solar", {"topic": "plant/roof"}, "plant/roof/telemetry", "plant/roof/status"),
        ("solar", {"topic": "/plant/roof"}, "/plant/roof/telemetry", "/plant/roof/status"),
    ],
)
def test_a_device_is_heard_on_the_topics_that_are_usual_for_its_shape(
    role: Role, settings: dict[str, str], telemetry: str, status: str
) -> None:
    shape = shape_of(role, MqttDeviceSettings.model_validate(settings), SiteSettings())

    assert (shape.telemetry, shape.status) == (telemetry, status)


def test_plain_mqtt_is_spoken_to_this_machine_alone_and_tls_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, tls = Broker.of(MqttSettings()), Broker.of(MqttSettings(url="mqtts://broker.example"))
    monkeypatch.setenv("MQTT_URL", "mqtt://broker.example:1883")

    assert (plain.host, plain.port, plain.authorities) == ("127.0.0.1", 1883, None)
    assert (tls.host, tls.port, tls.authorities is None) == ("broker.example", 8883, False)
    with pytest.raises(ConfigurationError, match=r"MQTT_URL: .*use mqtts:// for broker\.example"):
        load(MqttSettings)


def test_a_replaced_ca_file_is_trusted_by_the_next_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def client(*_: object, tls_context: ssl.SSLContext, **__: object) -> ssl.SSLContext:
        return tls_context

    monkeypatch.setattr(aiomqtt, "Client", client)
    pems = [pem(make_servers(name, [Server("b", ("b",))], datetime.now(UTC))[0]) for name in ("old CA", "new CA")]
    file = tmp_path / "ca.pem"
    file.write_bytes(pems[0])
    broker = Broker.of(MqttSettings(url="mqtts://broker.example", ca_file=file))

    def trusted() -> set[str]:
        context: Any = broker.client("id", aiomqtt.Will("x"), asyncio.Queue)
        names = [dict(part[0] for part in ca["subject"]).get("commonName") for ca in context.get_ca_certs()]
        return {"old CA", "new CA"}.intersection(names)

    before = trusted()
    file.write_bytes(pems[1])

    assert (before, trusted()) == ({"old CA"}, {"new CA"})


def test_the_password_stands_in_a_file_and_in_no_text(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2-hunter2\n")
    settings = MqttSettings(username="solar-service", password_file=file)
    broker = Broker.of(settings)

    assert broker.password is not None
    assert broker.password.get_secret_value() == "hunter2-hunter2"
    assert "hunter2" not in f"{settings!r} {broker!r} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"MQTT_PASSWORD": "change-me"}, "MQTT_PASSWORD is still the placeholder"),
        ({"MQTT_URL": "mqtts://b", "MQTT_CA_FILE": "/nowhere/ca.pem"}, "MQTT_CA_FILE /nowhere/ca.pem cannot be used"),
        ({"MQTT_PASSWORD_FILE": "/nowhere/password"}, "MQTT_PASSWORD_FILE /nowhere/password cannot be read"),
        ({"SOLAR_MQTT_DEVICE_ID": "a/b"}, "SOLAR_MQTT_DEVICE_ID"),
        ({"SOLAR_MQTT_TOPIC": "tele/+"}, "SOLAR_MQTT_TOPIC"),
        ({"SOLAR_MQTT_SILENT_AFTER_S": "61"}, "SOLAR_MQTT_SILENT_AFTER_S"),
        ({"SITE_ID": "roof/1"}, "SITE_ID roof/1 cannot stand in a topic"),
    ],
)
def test_a_setting_that_cannot_be_used_does_not_start(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], reason: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    given = ServiceSettings(SolarSourceSettings(source="mqtt"), load(SiteSettings), RunSettings())

    with pytest.raises(ConfigurationError) as refused:
        create_source(given, SystemClock())

    assert reason in refused.value.message


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MqttConnectError(ReasonCode(PacketTypes.CONNACK, identifier=134)), "the broker refuses user and password"),
        (MqttConnectError(ReasonCode(PacketTypes.CONNACK, identifier=151)), "refuses the connection with code 151"),
        (MqttError("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get issuer"), "certificate cannot be verified"),
        (SubscriptionRefusedError("code 135"), "does not let this service listen"),
        (MqttError("[Errno 111] Connection refused by 10.0.0.7"), "the broker does not answer"),
    ],
)
def test_what_stands_between_us_and_the_broker_is_one_sentence(error: Exception, told: str) -> None:
    assert told in describe_error(error)
    assert "10.0.0.7" not in describe_error(error)


def test_a_subscription_that_is_not_granted_is_no_connection() -> None:
    refused = ReasonCode(PacketTypes.SUBACK, identifier=135)

    demand_granted([1, ReasonCode(PacketTypes.SUBACK, identifier=1)])
    with pytest.raises(SubscriptionRefusedError, match="135"):
        demand_granted([1, refused])
