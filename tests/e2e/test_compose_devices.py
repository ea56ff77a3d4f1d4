"""`make up` with simulated devices: measured and commanded over TLS, and safe when a part of the field is lost.

It is late in the morning of the site whatever the hour, so that cars are there; and the building draws little, so that
they may charge.
"""

import asyncio
import json
import re
import ssl
import subprocess
import sys
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import aiomqtt
import httpx
import pytest
from tests.e2e.compose_project import (
    REACHED,
    ROOT,
    JsonObject,
    Project,
    docker,
    environment_of,
    eventually,
    new_project,
    run,
)

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

ENERGY = {"solar": 8001, "battery": 8002, "grid": 8003}
FIELD = "/var/lib/ev/field"
CHARGERS = 6
SOON_S = 45.0
# A limit lives 45 s from its last renewal.
LAPSED_S = 60.0
# Cars draw a few percent more or less than they are offered.
METERED = 1.05


def settings() -> dict[str, str]:
    west_h = datetime.now(UTC).hour - 11
    return {
        # The names of these zones have their sign the other way round.
        "SITE_TIMEZONE": f"Etc/GMT{west_h:+d}",
        "TWIN_CARS_PER_DAY": "400",
        "GRID_BUILDING_MEAN_KW": "10",
        "GRID_SURGES_PER_DAY": "0",
        # A lost device is told within seconds.
        "TWIN_MQTT_PERIOD_S": "1",
        **{f"{name.upper()}_MQTT_SILENT_AFTER_S": "5" for name in ENERGY},
    }


@pytest.fixture(scope="module")
def project(
    images: dict[str, str],
    broker_image: str,
    docker_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Project:
    assert images
    assert broker_image
    return new_project(tmp_path_factory.mktemp("compose"), docker_environment, settings())


def make(project: Project, target: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What `make TARGET` runs, on this project."""
    given = {**project.environment, **project.settings, **variables, "COMPOSE_PROJECT_NAME": project.name}
    given["STACK"] = "compose"
    return run([sys.executable, str(ROOT / "scripts" / "docker_stack"), target, *arguments], given)


@pytest.fixture(scope="module")
def made_up(project: Project) -> Generator[str]:
    """What `make up` said; all that it started is removed in the end."""
    try:
        done = make(project, "up", "GATEWAY=local")
        assert done.returncode == 0, done.stdout + done.stderr
        yield done.stdout
    finally:
        make(project, "down", "VOLUMES=1")


@pytest.fixture
def site(project: Project, made_up: str) -> Project:
    """The project, of which all chargers are connected and cars charge."""
    assert made_up
    eventually(lambda: count_connected_chargers(project) == CHARGERS and drawn_kw(project) > 0, SOON_S)
    return project


INSIDE = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
"""


def twin(project: Project) -> JsonObject:
    """The simulated site as it is."""
    return project.python("twin", INSIDE, "http://127.0.0.1:8006/site")


def drawn_kw(project: Project) -> float:
    return sum(car["power_kw"] for car in twin(project)["cars"])


def count_connected_chargers(project: Project) -> int:
    """How many chargers the charger service has."""
    shown = docker("exec", project.container("chargers"), "python", "-c", INSIDE, "http://127.0.0.1:8005/metrics")
    counts = re.findall(r"(?m)^ocpp_connected_chargers\{.*\} (\d+)", shown)
    return sum(map(int, counts))


def health(project: Project, service: str) -> str:
    """`ok`, or what the service says is wrong."""
    url = f"http://127.0.0.1:{ENERGY[service]}/health"
    return run(["docker", "exec", project.container(service), "python", "-m", "ev_service.probe", url]).stdout.strip()


def charging(project: Project) -> JsonObject:
    """What the agent says of the chargers."""
    answer = httpx.get(f"{project.agent_url}/site-status", timeout=8, trust_env=False)
    return answer.raise_for_status().json()["chargers"]


def test_make_up_ends_with_a_decision_and_tells_no_password(project: Project, made_up: str) -> None:
    assert re.search(r"^\d\d:\d\d:\d\d  [\d.]+ kW  .+\.$", made_up, re.MULTILINE)
    assert f"http://localhost:{project.settings['AGENT_PORT']}/" in made_up
    assert f"mqtts://localhost:{project.settings['MQTT_TLS_PORT']}" in made_up
    assert f"wss://localhost:{project.settings['OCPP_TLS_PORT']}/" in made_up
    assert not [secret for key, secret in project.settings.items() if key.endswith("_PASSWORD") and secret in made_up]


def test_decisions_are_made_from_what_devices_say_over_mqtt(site: Project) -> None:
    decision = site.decide()["decision_id"]

    record = httpx.get(f"{site.agent_url}/decisions/{decision}", timeout=8, trust_env=False).json()["record"]

    assert {record["inputs"][name]["reading"]["source"] for name in ENERGY} == {"mqtt"}
    urls = {environment_of(site.inspect(name))["MQTT_URL"] for name in ENERGY}
    assert urls == {"mqtts://broker:8883"}


def test_cars_draw_what_they_may_at_chargers_that_are_connected_over_tls(site: Project) -> None:
    assert environment_of(site.inspect("twin"))["TWIN_OCPP_URL"] == "wss://chargers:9001"
    plain = [("chargers", 9000), ("broker", 1883)]
    assert set(site.python("twin", REACHED, json.dumps(plain)).values()) == {"no way"}

    limits = eventually(lambda: in_force(site), SOON_S)
    now = twin(site)

    for car in now["cars"]:
        # Those that were set a moment ago count as well.
        assert max(car["current_a"]) <= METERED * max(car["limit_a"], limits.get(car["charger_id"], 0.0))
        assert car["limit_a"] == 0 or car["limit_a"] >= 6
    assert now["load_kw"] <= 0.85 * now["limit_kw"]


def in_force(site: Project) -> dict[str, float]:
    """Limits by charger [A], once the agent has set some."""
    told = charging(site)
    limits = {car["charger_id"]: car["limit_a"] for car in told["cars"]}
    return limits if told["commanding"] == "ok" and any(limits.values()) else {}


def test_whoever_comes_from_outside_meets_tls_and_is_asked_for_a_password(site: Project, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(read(site, "ca.pem"), encoding="utf-8")
    trusted = ssl.create_default_context(cafile=str(ca_file))
    chargers = f"https://localhost:{site.settings['OCPP_TLS_PORT']}/CP-1"
    (first, *_) = json.loads(read(site, "charge-points.json"))["charge_points"]

    refused = httpx.get(chargers, auth=("CP-1", "not its password"), verify=trusted, trust_env=False)
    known = httpx.get(chargers, auth=("CP-1", first["password"]), verify=trusted, trust_env=False)

    assert refused.status_code == 401
    # Known, and told to speak WebSocket.
    assert known.status_code == 426
    with pytest.raises(aiomqtt.MqttError, match="Not authorized"):
        asyncio.run(connect(site, trusted, "not its password"))
    asyncio.run(connect(site, trusted, read(site, "operator.password").strip()))


def read(site: Project, name: str) -> str:
    """A file of the devices' side."""
    return docker("exec", site.container("broker"), "cat", f"/mosquitto/secrets/{name}")


async def connect(site: Project, trusted: ssl.SSLContext, password: str) -> None:
    """Meet the broker as somebody who is not connected yet: a second connection of a user ends its first."""
    broker = aiomqtt.Client(
        *("localhost", int(site.settings["MQTT_TLS_PORT"])),
        username="operator",
        password=password,
        tls_context=trusted,
        timeout=5,
    )
    async with broker:
        pass


# Asked by the agent's own application, with a token of another device, so that the agent keeps its own.
SESSIONS = """
import base64, json, os, pathlib, ssl, urllib.parse, urllib.request
trusted = ssl.create_default_context(cafile=os.environ["WSO2_CA_FILE"])
key, secret = (pathlib.Path(os.environ[f"WSO2_CLIENT_{part}_FILE"]).read_text().strip() for part in ("ID", "SECRET"))
def ask(url, data, authorization):
    request = urllib.request.Request(url, data, {"Authorization": authorization})
    return json.load(urllib.request.urlopen(request, context=trusted, timeout=8))
form = {"grant_type": "client_credentials", "scope": "chargers:read device_onlooker"}
basic = "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()
token = ask(os.environ["WSO2_TOKEN_URL"], urllib.parse.urlencode(form).encode(), basic)["access_token"]
told = ask(os.environ["WSO2_GATEWAY_URL"] + "/chargers/1.0.0/sessions", None, f"Bearer {token}")
print(json.dumps({session["session_id"]: session["energy_kwh"] for session in told["sessions"]}))
"""


def test_a_killed_charger_service_comes_back_with_its_sessions_and_its_chargers(site: Project) -> None:
    before = eventually(lambda: sessions_of_all(site), SOON_S)
    cars = places(site)

    docker("kill", site.container("chargers"))
    eventually(lambda: not any(charger["is_connected"] for charger in twin(site)["chargers"]), SOON_S)
    docker("start", site.container("chargers"))
    eventually(lambda: is_up(site, "chargers") and count_connected_chargers(site) == CHARGERS, SOON_S)
    after = site.python("agent", SESSIONS)

    # A car may have left or come meanwhile; a session ends with its car and not before.
    assert len(set(before) & set(after)) >= len(cars & places(site)) > 0
    assert all(after[session] >= before[session] for session in set(before) & set(after))
    eventually(lambda: charging(site)["commanding"] == "ok" and charging(site)["status"] == "fresh", SOON_S)


def sessions_of_all(site: Project) -> dict[str, float]:
    """Energy by session [kWh], where there is one for each car."""
    told = site.python("agent", SESSIONS)
    return told if len(told) == len(places(site)) else {}


def places(site: Project) -> set[tuple[str, str]]:
    """Which car stands where."""
    return {(car["charger_id"], car["car_id"]) for car in twin(site)["cars"]}


def is_up(site: Project, service: str) -> bool:
    return (
        site.inspect(service)["State"]["Running"]
        and "OK" in run(["docker", "exec", site.container(service), "python", "-c", UP]).stdout
    )


UP = """
import urllib.request
print("OK" if urllib.request.urlopen("http://127.0.0.1:8005/livez", timeout=2).status == 200 else "")
"""


def test_a_kill_of_control_lets_limits_lapse_until_no_car_draws_and_a_revive_sets_them_again(site: Project) -> None:
    lapses = count_lapsed_limits(site)

    killed = make(site, "kill", SCOPE="control", REASON="charger fault")
    shut = charging(site)["commanding"]
    eventually(lambda: drawn_kw(site) == 0, LAPSED_S)
    limits = {car["limit_a"] for car in twin(site)["cars"]}
    at_last = count_lapsed_limits(site)
    revived = make(site, "revive", SCOPE="control", REASON="charger mended")
    eventually(lambda: drawn_kw(site) > 0, SOON_S)

    assert killed.returncode == 0, killed.stdout + killed.stderr
    assert shut == "blocked"
    # Nothing is promised for the building, so the fallback is none.
    assert limits == {0.0}
    assert at_last > lapses
    assert revived.returncode == 0, revived.stdout + revived.stderr


def count_lapsed_limits(site: Project) -> float:
    """How many limits have lapsed since the charger service started."""
    shown = docker("exec", site.container("chargers"), "python", "-c", INSIDE, "http://127.0.0.1:8005/metrics")
    (count,) = re.findall(r"(?m)^charger_limit_lapses_total ([\d.]+)", shown)
    return float(count)


def test_a_killed_broker_is_told_by_each_service_and_all_come_back_to_it(site: Project) -> None:
    docker("kill", site.container("broker"))
    told = {name: eventually(lambda name=name: find_health_error(site, name), SOON_S) for name in ENERGY}
    docker("start", site.container("broker"))
    eventually(lambda: all(health(site, name) == "ok" for name in ENERGY), SOON_S)

    assert {name for name, reason in told.items() if "answered 503" not in reason or "broker" not in reason} == set()


def find_health_error(site: Project, service: str) -> str:
    said = health(site, service)
    return "" if said == "ok" else said


def test_killed_devices_are_missed_and_charge_again_once_they_are_back(site: Project) -> None:
    docker("kill", site.container("twin"))
    told = {name: eventually(lambda name=name: find_health_error(site, name), SOON_S) for name in ENERGY}
    eventually(lambda: count_connected_chargers(site) == 0, SOON_S)
    docker("start", site.container("twin"))
    eventually(lambda: site.inspect("twin")["State"]["Health"]["Status"] == "healthy", SOON_S)
    eventually(lambda: count_connected_chargers(site) == CHARGERS and drawn_kw(site) > 0, SOON_S)

    # By their last will, which the broker has kept for them.
    assert {name for name, reason in told.items() if "offline" not in reason} == set()
    eventually(lambda: all(health(site, name) == "ok" for name in ENERGY), SOON_S)


def test_make_down_leaves_nothing(project: Project, made_up: str) -> None:
    assert made_up

    down = make(project, "down", "VOLUMES=1")

    assert down.returncode == 0, down.stderr
    for kind in (["ps", "--all"], ["volume", "ls"], ["network", "ls"]):
        assert docker(*kind, "--quiet", "--filter", f"label=com.docker.compose.project={project.name}") == ""
