"""The Compose stack with the local gateway: it comes up, keeps its rooms apart, and lives through kills and restarts.

Readings are replayed: the sun shines and the battery is full in each test, whatever the hour, so that the rules give
their greatest power and every reading that is lost must lower it. test_compose_devices.py has the devices.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from tests.e2e.compose_project import (
    REACHED,
    ROOT,
    UP_S,
    JsonObject,
    Project,
    docker,
    environment_of,
    eventually,
    new_project,
)

from local_stack.environment import HOST

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

ENERGY = ("solar", "battery", "grid")
OURS = (*ENERGY, "chargers", "twin", "gateway", "agent")
LASTING = (*OURS, "broker")
ONE_SHOT = ("keys", "field", "bootstrap")
NON_ROOT_UID = 10001
KILLED = 128 + 9

# Shorter than the default of 60 s, so that a minute of CI shows what a lost reading does.
STALE_LIMIT_S = 12.0
READINGS = {
    "solar": {"generation_kw": 41.0, "capacity_kwp": 50.0},
    "battery": {"soc_percent": 83.0, "capacity_kwh": 100.0},
    "grid": {"load_percent": 61.0, "load_kw": 61.0, "limit_kw": 100.0},
}
SETTINGS = {
    "AGENT_STALE_LIMIT_S": f"{STALE_LIMIT_S:g}",
    **{f"{name.upper()}_SOURCE": "replay" for name in ENERGY},
    **{f"{name.upper()}_REPLAY_FILE": "/readings.csv" for name in ENERGY},
}
SEEN_S, RECOVERY_S = 60.0, 130.0


def write_recordings(folder: Path) -> None:
    begin = datetime.now(UTC) - timedelta(minutes=1)
    for name, reading in READINGS.items():
        header = ",".join(["timestamp", *reading])
        row = ",".join([f"{begin:%Y-%m-%dT%H:%M:%SZ}", *map(str, reading.values())])
        (folder / f"{name}.csv").write_text(f"{header}\n{row}\n", encoding="utf-8")
        (folder / f"{name}.csv").chmod(0o644)


FINGERPRINT = """
import hashlib, json, os, pathlib
read = [pathlib.Path(os.environ[f"WSO2_CLIENT_{part}_FILE"]).read_bytes() for part in ("ID", "SECRET")]
print(json.dumps({"sha256": hashlib.sha256(b"|".join(read)).hexdigest()}))
"""


@pytest.fixture(scope="module")
def project(
    images: dict[str, str],
    broker_image: str,
    docker_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Project]:
    assert broker_image
    assert set(images) >= {*OURS, *ONE_SHOT}
    folder = tmp_path_factory.mktemp("compose")
    write_recordings(folder)
    services: JsonObject = {name: {"image": image} for name, image in images.items()}
    for name in ENERGY:
        services[name]["volumes"] = [f"{folder / name}.csv:/readings.csv:ro"]
    (folder / "tests.yaml").write_text(yaml.safe_dump({"services": services}), encoding="utf-8")
    made = new_project(folder, docker_environment, SETTINGS, folder / "tests.yaml")
    try:
        made.up()
        yield made
    finally:
        made.compose("down", "--timeout", "2", "--volumes", "--remove-orphans")


def secret_fingerprint(project: Project) -> str:
    """Tells one consumer secret from another without telling it."""
    return project.python("agent", FINGERPRINT)["sha256"]


@dataclass
class Asking:
    """Asks for a decision every second from a thread of its own, and keeps what it was told."""

    project: Project
    told: list[JsonObject] = field(default_factory=list[JsonObject])
    unanswered: list[str] = field(default_factory=list[str])
    stopped: threading.Event = field(default_factory=threading.Event)

    def ask_every_second(self) -> None:
        while not self.stopped.wait(1.0):
            try:
                self.told.append(self.project.decide())
            except (httpx.HTTPError, AssertionError) as error:
                self.unanswered.append(type(error).__name__)

    def until(self, condition: Callable[[JsonObject], bool], timeout_s: float) -> JsonObject:
        """The first decision from now on of which the condition holds."""
        deadline, seen = time.monotonic() + timeout_s, len(self.told)
        while time.monotonic() < deadline:
            if len(self.told) > seen:
                if condition(self.told[seen]):
                    return self.told[seen]
                seen += 1
            else:
                time.sleep(0.1)
        raise AssertionError(f"not seen in {timeout_s:g} s; the last decision was {json.dumps(self.told[-1:])}")

    def unsafe(self) -> list[JsonObject]:
        """The decisions whose power their own readings do not justify."""
        return [told for told in self.told if not is_justified(told)]


@contextmanager
def asking(project: Project) -> Generator[Asking]:
    asked = Asking(project)
    thread = threading.Thread(target=asked.ask_every_second)
    thread.start()
    try:
        yield asked
    finally:
        asked.stopped.set()
        thread.join()


def is_justified(told: JsonObject) -> bool:
    """Whether rule and power follow from the readings that the decision itself shows."""
    solar, battery, grid = (usable(told["readings"][name]) for name in ENERGY)
    sun = 100 * solar["generation_kw"] / solar["capacity_kwp"] if solar else 0.0
    if grid is None:
        expected = ("fail_safe", "pause", 0.0)
    elif grid["load_percent"] > 85:
        expected = ("grid_overload", "pause", 0.0)
    elif sun >= 60 and battery and battery["soc_percent"] >= 70:
        expected = ("solar_and_battery_high", "fast", 22.0)
    else:
        expected = ("solar_medium", "normal", 11.0) if sun >= 25 else ("solar_low", "slow", 5.0)
    return (told["rule"], told["action"], told["charging_power_kw"]) == expected


def usable(reading: JsonObject) -> JsonObject | None:
    """The reading, where it is said to be young enough and is."""
    if reading["status"] == "missing":
        return None
    return reading if 0 <= reading["age_s"] <= STALE_LIMIT_S else None


def is_well(told: JsonObject) -> bool:
    return not told["degraded"] and told["charging_power_kw"] == 22.0


def lacks(reading: str) -> Callable[[JsonObject], bool]:
    return lambda told: told["readings"][reading]["status"] == "missing"


def test_the_stack_comes_up_bootstrapped_and_decides_from_readings_through_the_gateway(project: Project) -> None:
    with asking(project) as asked:
        told = asked.until(is_well, RECOVERY_S)

    assert told["rule"] == "solar_and_battery_high"
    assert {name: told["readings"][name]["status"] for name in ENERGY}.keys() == set(ENERGY)
    assert {name: project.inspect(name)["State"]["ExitCode"] for name in ONE_SHOT} == dict.fromkeys(ONE_SHOT, 0)
    assert [project.inspect(name)["State"]["Health"]["Status"] for name in LASTING] == ["healthy"] * len(LASTING)


def test_services_are_reached_from_the_agent_through_the_gateway_alone(project: Project) -> None:
    backends = environment_of(project.inspect("bootstrap"))
    ports = {name: int(urlsplit(backends[f"{name.upper()}_BACKEND_URL"]).port or 0) for name in ENERGY}
    names = [(name, ports[name]) for name in ENERGY]
    addresses = [(address, ports[name]) for name in ENERGY for address in addresses_of(project.inspect(name))]
    devices = [("broker", 8883), ("chargers", 9001), ("twin", 8006)]
    gateway = [("gateway", 8243)]

    from_gateway = project.python("gateway", REACHED, json.dumps(names))
    from_agent = project.python("agent", REACHED, json.dumps(names + addresses + devices + gateway))
    without_token = project.python("agent", UNGOVERNED)

    assert len(addresses) >= 2 * len(ENERGY)
    assert set(from_gateway.values()) == {"open"}
    assert from_agent.pop("gateway:8243") == "open"
    assert {from_agent.pop(f"{name}:{port}") for name, port in names + devices} == {"unknown name"}
    assert set(from_agent.values()) == {"no way"}
    assert without_token == {"status": 401, "code": "900902"}


# With the trust that the agent itself has: verification is never switched off, here neither.
UNGOVERNED = """
import json, os, ssl, urllib.error, urllib.request
trusted = ssl.create_default_context(cafile=os.environ["WSO2_CA_FILE"])
try:
    urllib.request.urlopen(os.environ["WSO2_GATEWAY_URL"] + "/grid/1.0.0/grid-load", context=trusted, timeout=5)
except urllib.error.HTTPError as error:
    print(json.dumps({"status": error.code, "code": str(json.load(error)["code"])}))
"""


def addresses_of(container: JsonObject) -> list[str]:
    return [network["IPAddress"] for network in container["NetworkSettings"]["Networks"].values()]


def test_services_and_gateway_share_networks_that_lead_nowhere_else(project: Project) -> None:
    networks = {name: set[str](project.inspect(name)["NetworkSettings"]["Networks"]) for name in LASTING}
    shown = json.loads(docker("network", "inspect", *sorted(set[str]().union(*networks.values()))))
    internal = {network["Name"] for network in shown if network["Internal"]}

    assert all(networks[name] == networks["solar"] and networks[name] <= internal for name in ENERGY)
    assert not networks["agent"] & networks["solar"]
    assert networks["agent"] & networks["gateway"] & internal
    # Devices meet the broker and the services, and never the gateway or the agent.
    assert networks["twin"] < networks["solar"]
    assert not (networks["twin"] | networks["broker"]) & (networks["gateway"] | networks["agent"])
    assert networks["chargers"] - internal == networks["broker"] - internal


def test_ports_are_published_on_loopback_for_agent_gateway_and_devices_alone(project: Project) -> None:
    published = {name: published_at(project.inspect(name)) for name in LASTING}

    met = ("agent", "gateway", "broker", "chargers")
    assert published == {name: {HOST} if name in met else set[str]() for name in LASTING}


def test_the_credentials_are_seen_by_the_agent_and_the_bootstrap_alone(project: Project) -> None:
    mounts = {name: project.inspect(name)["Mounts"] for name in (*LASTING, *ONE_SHOT)}
    file = environment_of(project.inspect("agent"))["WSO2_CLIENT_SECRET_FILE"]
    (volume,) = [it for it in mounts["agent"] if it["Type"] == "volume" and is_below(file, it["Destination"])]

    assert {name for name, mounted in mounts.items() if volume["Name"] in [it.get("Name") for it in mounted]} == {
        "agent",
        "bootstrap",
    }
    assert volume["RW"] is False
    for name in ("gateway", "chargers", "twin", *ENERGY):
        assert project.python(name, "import json, pathlib, sys; " + FIND_SECRETS) == []
    owners = {"EVAPP_PASSWORD", "ASSISTANT_PASSWORD", "OPERATOR_PASSWORD"}
    secret_variables = {"WSO2_ADMIN_PASSWORD", "WSO2_CLIENT_SECRET", *owners}
    for name in ("agent", "chargers", "twin", "broker", *ENERGY):
        assert not {key for key, value in environment_of(project.inspect(name)).items() if value} & secret_variables


FIND_SECRETS = """
found = [str(path) for folder in ("/var", "/run", "/app", "/tmp", "/srv", "/mnt") if pathlib.Path(folder).exists()
         for path in pathlib.Path(folder).rglob("client_secret")]
print(json.dumps(found))
"""


def is_below(file: str, folder: str) -> bool:
    return Path(file).is_relative_to(folder)


def published_at(container: JsonObject) -> set[str]:
    bound: list[list[dict[str, str]] | None] = list(container["NetworkSettings"]["Ports"].values())
    return {at["HostIp"] for many in bound for at in many or []}


CONFINED = """
import errno, json, os, pathlib
def refusal(folder):
    try:
        pathlib.Path(folder, "probe").write_text("x")
    except OSError as error:
        return errno.errorcode[error.errno]
    return "written"
lines = pathlib.Path("/proc/1/status").read_text().splitlines()
status = dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
print(json.dumps({
    "uid": int(status["Uid"].split()[0]),
    "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
    "no_new_privileges": status["NoNewPrivs"],
    "refused": sorted({refusal(folder) for folder in ("/", "/app", "/etc", "/usr/bin")}),
}))
"""


@pytest.mark.parametrize("service", OURS)
def test_a_container_has_no_rights_and_a_file_system_that_it_cannot_change(project: Project, service: str) -> None:
    limits = project.inspect(service)["HostConfig"]

    confined = project.python(service, CONFINED)

    assert confined["uid"] == NON_ROOT_UID
    assert confined["capabilities"] == 0
    assert confined["no_new_privileges"] == "1"
    assert set(confined["refused"]) == {"EROFS"}
    assert limits["Memory"] > 0
    assert limits["PidsLimit"] > 0
    assert limits["RestartPolicy"]["Name"] in ("unless-stopped", "always")


@pytest.mark.parametrize("service", [*ONE_SHOT, "broker"])
def test_a_container_that_runs_once_or_is_not_ours_is_confined_the_same_way(project: Project, service: str) -> None:
    shown = project.inspect(service)
    config, host = shown["Config"], shown["HostConfig"]

    assert config["User"].split(":")[0] == str(NON_ROOT_UID)
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0


def test_a_killed_service_is_told_lowers_the_power_and_recovers_by_itself(project: Project) -> None:
    """Each is killed while the one before is still recovering: that too must stay safe."""
    secret = secret_fingerprint(project)
    expected = {"solar": {"solar_low"}, "battery": {"solar_medium", "solar_low"}, "grid": {"fail_safe"}}
    rules: dict[str, str] = {}

    with asking(project) as asked:
        for service in ENERGY:
            docker("kill", project.container(service))
            rules[service] = asked.until(lacks(service), SEEN_S)["rule"]
            docker("start", project.container(service))
        asked.until(is_well, RECOVERY_S)

    assert {service for service, rule in rules.items() if rule not in expected[service]} == set()
    assert asked.unsafe() == []
    assert asked.unanswered == []
    assert secret_fingerprint(project) == secret


def test_a_killed_gateway_pauses_the_cars_and_costs_no_credential(project: Project) -> None:
    secret = secret_fingerprint(project)

    with asking(project) as asked:
        docker("kill", project.container("gateway"))
        paused = asked.until(lacks("grid"), SEEN_S)
        docker("start", project.container("gateway"))
        asked.until(is_well, RECOVERY_S)

    assert (paused["rule"], paused["charging_power_kw"]) == ("fail_safe", 0.0)
    # Attempts that fail count too, so the agent may have spent the minute's ten itself.
    assert paused["readings"]["grid"]["error"] in ("gateway_down", "timeout", "token_unavailable", "throttled")
    assert asked.unsafe() == []
    assert asked.unanswered == []
    assert secret_fingerprint(project) == secret


def test_a_killed_agent_comes_back_with_its_credentials(project: Project) -> None:
    secret = secret_fingerprint(project)

    with asking(project) as asked:
        docker("kill", project.container("agent"))
        eventually(lambda: asked.unanswered, SEEN_S)
        docker("start", project.container("agent"))
        asked.until(is_well, RECOVERY_S)

    assert asked.unsafe() == []
    assert secret_fingerprint(project) == secret


# `docker kill` counts as a stop by hand, after which nothing is restarted; so the process itself is killed, from a
# container that sees all processes.
CRASH = "import os, sys; [os.kill(int(pid), 9) for pid in sys.argv[1:]]"


def test_containers_that_crash_together_are_back_without_a_hand_on_them(
    project: Project, images: dict[str, str]
) -> None:
    secret = secret_fingerprint(project)
    before = {name: project.inspect(name) for name in LASTING}
    pids = [str(shown["State"]["Pid"]) for shown in before.values()]

    with asking(project) as asked:
        as_host = ["--rm", "--pid", "host", "--user", "0", "--entrypoint", "python"]
        docker("run", *as_host, images["agent"], "-c", CRASH, *pids)
        eventually(lambda: all(project.inspect(name)["RestartCount"] > 0 for name in LASTING), SEEN_S)
        asked.until(is_well, RECOVERY_S)

    assert {project.inspect(name)["Id"] for name in LASTING} == {shown["Id"] for shown in before.values()}
    assert asked.unsafe() == []
    assert secret_fingerprint(project) == secret


def test_up_again_changes_nothing_and_disturbs_nobody(project: Project) -> None:
    secret = secret_fingerprint(project)
    before = {name: project.inspect(name)["State"]["StartedAt"] for name in LASTING}

    with asking(project) as asked:
        project.up()
        asked.until(is_well, RECOVERY_S)

    assert {name: project.inspect(name)["State"]["StartedAt"] for name in LASTING} == before
    assert "nothing to change" in project.compose("logs", "--no-log-prefix", "bootstrap").stdout.splitlines()[-1]
    assert asked.unsafe() == []
    assert asked.unanswered == []
    assert secret_fingerprint(project) == secret


def test_down_stops_all_cleanly_and_up_finds_what_the_volumes_hold(project: Project) -> None:
    secret, volumes = secret_fingerprint(project), project.volumes()

    project.compose("stop")
    codes = {name: project.inspect(name)["State"]["ExitCode"] for name in LASTING}
    project.down()
    left = docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={project.name}")
    kept = project.volumes()
    project.up()
    with asking(project) as asked:
        asked.until(is_well, RECOVERY_S)

    assert codes == dict.fromkeys(LASTING, 0)
    assert left == ""
    assert kept == volumes
    assert secret_fingerprint(project) == secret
    assert asked.unsafe() == []


def test_after_bootstraps_killed_half_way_up_goes_on_from_there(project: Project) -> None:
    """It begins from nothing: `down` with volumes has removed all state."""
    secret = secret_fingerprint(project)
    project.down("--volumes")
    emptied = project.volumes()

    failed = [up_with_bootstrap_killed_at(project, line) for line in ("import BatteryAPI", "generate keys of EVApp")]
    project.up()
    with asking(project) as asked:
        asked.until(is_well, RECOVERY_S)

    assert emptied == set()
    assert failed == [(True, KILLED), (True, KILLED)]
    assert secret_fingerprint(project) != secret
    assert asked.unsafe() == []


def up_with_bootstrap_killed_at(project: Project, line: str) -> tuple[bool, int]:
    """Whether `up` said that it failed, and the exit code of a bootstrap killed as soon as it had told this line."""
    with start_command(project.command("up", "-d", "--wait"), project.environment) as up:
        bootstrap = eventually(lambda: running(project, "bootstrap"), UP_S)
        with start_command(["docker", "logs", "--follow", bootstrap], project.environment) as logs:
            assert logs.stdout
            assert any(line in told for told in logs.stdout)
            docker("kill", "--signal", "KILL", bootstrap)
        is_failed = up.wait(UP_S) != 0
    return is_failed, project.inspect("bootstrap")["State"]["ExitCode"]


@contextmanager
def start_command(command: list[str], environment: Mapping[str, str]) -> Generator[subprocess.Popen[str]]:
    """A command that runs beside the test; what it says is read from `stdout`, errors too."""
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def running(project: Project, service: str) -> str:
    """Number of the service's container while it runs, else empty."""
    labels = [f"project={project.name}", f"service={service}"]
    filters = [part for label in labels for part in ("--filter", f"label=com.docker.compose.{label}")]
    return docker("ps", "--quiet", *filters).strip()
