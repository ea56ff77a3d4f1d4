"""What compose.yaml and the Dockerfile promise, read from the files themselves."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

from battery_service.sources import BatteryModbusSettings, BatteryMqttSettings, BatterySourceSettings
from charger_service.meter_source import MeterModbusSettings, MeterMqttSettings
from charger_service.settings import ChargerSettings, MeterSettings, ProtectionSettings
from charging_agent.settings import AgentSettings
from ev_service.connections import ListenerSettings
from ev_service.history.settings import HistorySettings
from ev_service.settings import SiteSettings
from grid_service.prices.settings import PriceMqttSettings, PriceSettings
from grid_service.sources import GridModbusSettings, GridMqttSettings, GridSourceSettings
from site_model.parameters import Building, Panels, Storage, Weather
from site_twin.settings import TwinSettings
from solar_service.sources import SolarModbusSettings, SolarMqttSettings, SolarSourceSettings
from wso2_provisioning.settings import SwitchSettings

ROOT = Path(__file__).parents[3]
STACK: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
OURS = sorted(set(SERVICES) - {"wso2am", "broker"})
BOOTSTRAPS = ("bootstrap", "verify-wso2", "verify-local")
ONCE = ("keys", "wso2-keys", "field", *BOOTSTRAPS)
# Inside a container these are what its health check and the others go by.
LISTENED_ON = {"TWIN_HOST", "TWIN_PORT"}
PASSWORDS = (
    *("WSO2_ADMIN_PASSWORD", "EVAPP_PASSWORD", "ASSISTANT_PASSWORD", "OPERATOR_PASSWORD"),
    *("WSO2_KEYSTORE_PASSWORD", "WSO2_TRUSTSTORE_PASSWORD"),
)
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")

every_service = pytest.mark.parametrize("service", sorted(SERVICES))
each_of_ours = pytest.mark.parametrize("service", OURS)


def mounts(service: str) -> dict[str, str]:
    """Mode by volume: `ro` or `rw`; where a variable names it, by the volume that it names unless it is set."""
    written = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(mount)) for mount in SERVICES[service].get("volumes", [])]
    parts = [mount.split(":") for mount in written]
    return {part[0]: "ro" if part[-1] == "ro" else "rw" for part in parts}


def networks(service: str) -> set[str]:
    return set(SERVICES[service].get("networks", []))


def variables(settings: type[BaseSettings]) -> set[str]:
    prefix = str(settings.model_config.get("env_prefix", ""))
    return {f"{prefix}{name}".upper() for name in settings.model_fields}


@every_service
def test_every_container_has_bounds_and_no_rights_to_gain(service: str) -> None:
    asked = SERVICES[service]

    assert asked["cap_drop"] == ["ALL"]
    assert asked["security_opt"] == ["no-new-privileges:true"]
    assert asked["mem_limit"]
    assert asked["pids_limit"]
    assert asked["stop_grace_period"]
    assert asked["healthcheck"]
    assert asked["restart"] == ("no" if service in ONCE else "unless-stopped")
    assert not {"privileged", "cap_add", "network_mode"} & set(asked) or asked["network_mode"] == "none"


@each_of_ours
def test_ours_have_a_file_system_that_nobody_writes(service: str) -> None:
    assert SERVICES[service]["read_only"] is True


@each_of_ours
def test_what_stays_up_is_asked_whether_it_is_well(service: str) -> None:
    check = SERVICES[service]["healthcheck"]

    assert check == {"disable": True} if service in ONCE else check["test"][:4] == [
        "CMD", "python", "-m", "ev_service.probe",
    ]  # fmt: skip


def test_only_agent_gateways_and_what_devices_meet_are_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    of_devices = [*published.pop("broker"), *published.pop("chargers")]

    assert set(published) == {"agent", "gateway", "wso2am"}
    ports = [port for listed in published.values() for port in listed]
    assert [port for port in ports if not port.startswith("${EDGE_ADDRESS:-127.0.0.1}:")] == []
    assert [port for port in of_devices if not port.startswith("${FIELD_ADDRESS:-127.0.0.1}:")] == []
    # TLS alone: the plain ports of broker and charger service are heard inside their containers only.
    assert [port.rpartition(":")[2] for port in of_devices] == ["8883", "9001"]


def test_services_are_on_a_network_that_only_the_gateway_shares() -> None:
    assert STACK["networks"]["energy"]["internal"] is True
    assert STACK["networks"]["control"]["internal"] is True
    assert {name for name in SERVICES if "energy" in networks(name)} == {
        "solar",
        "battery",
        "grid",
        "chargers",
        "gateway",
        "wso2am",
    }
    assert all(networks(name) == {"energy", "field"} for name in ("solar", "battery", "grid"))
    assert networks("chargers") == {"energy", "field", "devices"}
    assert networks("broker") == {"field", "devices"}
    assert networks("twin") == {"field"}
    assert STACK["networks"]["field"]["internal"] is True
    assert networks("bootstrap") == {"control"}
    assert networks("agent") == {"control", "edge"}


def test_both_gateways_answer_to_the_same_names() -> None:
    for name in ("gateway", "wso2am"):
        aliases = [set(network["aliases"]) for network in SERVICES[name]["networks"].values()]
        assert aliases == [{"gateway", "wso2am"}] * 3


def test_credentials_and_private_keys_are_seen_by_whom_they_concern() -> None:
    seen = {
        volume: {name: mounts(name)[volume] for name in SERVICES if volume in mounts(name)}
        for volume in STACK["volumes"]
    }

    assert seen["credentials"] == {"bootstrap": "rw", "agent": "ro", "verify-wso2": "ro", "verify-local": "ro"}
    assert seen["operator-state"] == {"bootstrap": "rw"}
    assert seen["chargers-state"] == {"chargers": "rw"}
    assert all(seen[f"{name}-history"] == {name: "rw"} for name in ("solar", "battery", "grid"))
    assert seen["agent-state"] == {"agent": "rw"}
    assert seen["broker-state"] == {"broker": "rw", "keys": "rw"}
    assert seen["keys"] == {"keys": "rw", "wso2-keys": "rw", "gateway": "ro"}
    hearing = dict.fromkeys(("solar", "battery", "grid", "chargers", "twin"), "ro")
    assert seen["field"] == {"field": "rw", "broker": "rw", **hearing}
    assert seen["wso2-config"] == {"wso2-keys": "rw", "wso2am": "ro"}
    assert {name for name, mode in seen["certificates"].items() if mode == "rw"} == {"keys", "wso2-keys"}


@pytest.mark.parametrize(("profile", "others"), [("local", {"wso2-"}), ("wso2", {"gateway-"})])
def test_a_gateway_makes_no_volume_of_the_other_one(profile: str, others: set[str]) -> None:
    started = [name for name, service in SERVICES.items() if set(service.get("profiles", [profile])) & {profile}]
    made = {volume for name in started for volume in mounts(name)}

    assert {volume for volume in made if volume.startswith(tuple(others))} == set()


def test_passwords_reach_only_who_needs_them() -> None:
    holders = {
        password: {name for name, service in SERVICES.items() if password in service.get("environment", {})}
        for password in PASSWORDS
    }

    assert holders == {
        "WSO2_ADMIN_PASSWORD": {"keys", "wso2-keys", "gateway", "wso2am", *BOOTSTRAPS},
        "EVAPP_PASSWORD": {*BOOTSTRAPS},
        "ASSISTANT_PASSWORD": {*BOOTSTRAPS},
        "OPERATOR_PASSWORD": {*BOOTSTRAPS},
        "WSO2_KEYSTORE_PASSWORD": {"wso2-keys", "wso2am"},
        "WSO2_TRUSTSTORE_PASSWORD": {"wso2-keys", "wso2am"},
    }


@pytest.mark.parametrize(
    ("service", "settings"),
    [
        (
            "solar",
            (
                ListenerSettings,
                SiteSettings,
                Weather,
                SolarSourceSettings,
                SolarMqttSettings,
                SolarModbusSettings,
                HistorySettings,
                Panels,
            ),
        ),
        (
            "battery",
            (
                ListenerSettings,
                SiteSettings,
                Weather,
                BatterySourceSettings,
                BatteryMqttSettings,
                BatteryModbusSettings,
                HistorySettings,
                Storage,
            ),
        ),
        (
            "grid",
            (
                ListenerSettings,
                SiteSettings,
                Weather,
                GridSourceSettings,
                GridMqttSettings,
                GridModbusSettings,
                HistorySettings,
                PriceSettings,
                PriceMqttSettings,
                Building,
            ),
        ),
        (
            "chargers",
            (
                *(ListenerSettings, SiteSettings, ChargerSettings, ProtectionSettings),
                *(MeterSettings, MeterMqttSettings, MeterModbusSettings),
            ),
        ),
        ("twin", (ListenerSettings, TwinSettings, SiteSettings, Weather, Panels, Storage, Building)),
        ("agent", (ListenerSettings, SiteSettings, AgentSettings)),
        ("gateway", (ListenerSettings,)),
        ("bootstrap", (SwitchSettings,)),
    ],
)
def test_every_setting_reaches_its_container(service: str, settings: tuple[type[BaseSettings], ...]) -> None:
    wanted = set[str]().union(*map(variables, settings)) - LISTENED_ON

    assert wanted - set(SERVICES[service]["environment"]) == set()


@pytest.mark.parametrize("service", ["solar", "battery", "grid"])
def test_readings_come_over_mqtt_and_tls_unless_said_otherwise(service: str) -> None:
    given = SERVICES[service]["environment"]

    assert given[f"{service.upper()}_SOURCE"] == f"${{{service.upper()}_SOURCE:-mqtt}}"
    assert given["MQTT_URL"] == "${MQTT_URL:-mqtts://broker:8883}"
    assert {"MQTT_USERNAME", "MQTT_PASSWORD_FILE", "MQTT_CA_FILE"} <= set(given)


def test_the_charger_service_reads_the_meter_of_the_grid_service_unless_said_otherwise() -> None:
    given = SERVICES["chargers"]["environment"]

    assert given["CHARGERS_METER_SOURCE"] == "${CHARGERS_METER_SOURCE:-mqtt}"
    for name in ("DEVICE_ID", "SHAPE", "TOPIC", "FACTOR"):
        assert given[f"CHARGERS_METER_MQTT_{name}"] == f"${{CHARGERS_METER_MQTT_{name}:-${{GRID_MQTT_{name}:-}}}}"


def test_the_broker_keeps_what_is_retained_on_a_volume_that_is_its_own() -> None:
    conf = (ROOT / "deploy" / "mosquitto" / "mosquitto.conf").read_text(encoding="utf-8")

    assert "persistence true\npersistence_location /mosquitto/data/\n" in conf
    # A new volume takes its owner from the folder of our image that it is mounted on first, and an empty one would take
    # it again from the broker's.
    assert "broker-state:/mosquitto/data:nocopy" in SERVICES["broker"]["volumes"]
    assert SERVICES["broker"]["user"] == "10001:10001"
    assert SERVICES["broker"]["depends_on"]["keys"]["condition"] == "service_completed_successfully"
    assert "broker-state:/var/lib/ev/broker" in SERVICES["keys"]["volumes"]
    assert "/var/lib/ev/broker" in DOCKERFILE


def test_simulated_devices_are_there_with_their_profile_alone_and_nobody_waits_for_them_without_it() -> None:
    simulated = {name for name, service in SERVICES.items() if "simulation" in service.get("profiles", [])}
    waited_for = {
        (name, needed): condition
        for name, service in SERVICES.items()
        if name not in simulated
        for needed, condition in service.get("depends_on", {}).items()
        if needed in simulated
    }

    assert simulated == {"twin", "field"}
    assert set(waited_for) == {("broker", "field"), ("chargers", "field")}
    assert all(condition["required"] is False for condition in waited_for.values())


def test_every_user_that_the_broker_is_told_of_has_rights_and_every_service_is_one() -> None:
    users = set(SERVICES["broker"]["environment"]["MQTT_USERS"].partition("}")[2].split())
    told = (ROOT / "deploy" / "mosquitto" / "acl").read_text(encoding="utf-8")
    names = {
        SERVICES[name]["environment"]["MQTT_USERNAME"].partition(":-")[2].rstrip("}")
        for name in ("solar", "battery", "grid", "chargers")
    }

    further = {"grid": "GRID_PRICES_MQTT_USERNAME", "chargers": "CHARGERS_GRID_SIGNAL_MQTT_USERNAME"}
    names |= {SERVICES[name]["environment"][one].partition(":-")[2].rstrip("}") for name, one in further.items()}

    assert users == set(re.findall(r"(?m)^user (\S+)", told))
    assert names == users - {"grid-operator", "operator"}


def test_credentials_of_the_environment_reach_the_agent() -> None:
    assert {"WSO2_CLIENT_ID", "WSO2_CLIENT_SECRET"} <= set(SERVICES["agent"]["environment"])


def test_images_take_their_base_by_argument_and_no_syntax_image() -> None:
    bases = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)

    assert [base for base in bases if base != "${PYTHON_IMAGE}" and f" AS {base}\n" not in DOCKERFILE] == []
    assert "syntax=" not in DOCKERFILE
    assert "\nUSER 10001:10001\n" in DOCKERFILE
    assert DOCKERFILE.count("--require-hashes") == 2


def test_the_build_sees_no_secret_and_no_history() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    assert "*" in lines
    assert "**/.env*" in lines
    assert not {"!.env", "!.git", "!.state"} & set(lines)


@each_of_ours
def test_ours_are_built_here(service: str) -> None:
    image = SERVICES[service]["image"]

    assert [name for name, asked in SERVICES.items() if asked["image"] == image and "build" in asked] != []
