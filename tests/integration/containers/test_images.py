"""The images built from this tree, each alone: it does its job confined, and stops when it is told to."""

import json
import ssl
import subprocess
from collections.abc import Callable
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

READINGS = {"solar": (8001, "solar-status"), "battery": (8002, "battery-status"), "grid": (8003, "grid-load")}
LASTING = (*READINGS, "chargers", "twin", "agent", "gateway")
SET_PASSWORDS = {
    "WSO2_ADMIN_PASSWORD": "admin-Passw0rd",
    "EVAPP_PASSWORD": "evapp-Passw0rd",
    "WSO2_KEYSTORE_PASSWORD": "store-Passw0rd",
    "WSO2_TRUSTSTORE_PASSWORD": "trust-Passw0rd",
}
GRACE_S = 10
COMMAND_S = 50

Start = Callable[[str], Any]


@pytest.mark.parametrize("service", READINGS)
def test_a_service_answers_its_reading_and_its_health(start: Start, service: str) -> None:
    port, path = READINGS[service]
    url = start(service).url(port)

    reading, health = (httpx.get(f"{url}/{name}", trust_env=False) for name in (path, "health"))

    assert reading.status_code == 200
    assert reading.json()["source"] == "simulated"
    assert health.json()["status"] == "ok"


def test_a_twin_without_a_broker_and_chargers_shows_a_site_without_cars(start: Start) -> None:
    site = httpx.get(f"{start('twin').url(8006)}/site", trust_env=False).json()

    assert site["building_kw"] > 0
    assert (site["cars"], site["chargers"]) == ([], [])


def test_an_agent_without_a_gateway_pauses_the_cars_and_says_why(start: Start) -> None:
    url = start("agent").url(8004)

    told = httpx.get(f"{url}/optimize-charging", timeout=8, trust_env=False).json()
    health = httpx.get(f"{url}/health", trust_env=False)

    assert (told["rule"], told["charging_power_kw"]) == ("fail_safe", 0.0)
    assert told["readings"]["grid"]["error"] == "token_unavailable"
    assert health.status_code == 503


def test_a_local_gateway_answers_over_tls_with_a_certificate_that_can_be_verified(start: Start) -> None:
    gateway = start("gateway")
    code, authority = gateway.run("cat", "/var/lib/ev/state/certificates/ca.pem")
    port = gateway.url(9443).rsplit(":", 1)[1]

    trusted = ssl.create_default_context(cadata=authority)
    answer = httpx.get(f"https://localhost:{port}/oauth2/jwks", verify=trusted, trust_env=False)

    assert code == 0
    assert answer.status_code == 200


INSIDE = """
import errno, importlib.util, json, os, pathlib, shutil
def refusal(folder):
    try:
        pathlib.Path(folder, "probe").write_text("x")
    except OSError as error:
        return errno.errorcode[error.errno]
    return "written"
print(json.dumps({
    "uid": os.getuid(),
    "gid": os.getgid(),
    "refused": sorted({refusal(folder) for folder in ("/", "/app", "/etc", "/usr/bin", "/app/venv")}),
    "compilers": [name for name in ("cc", "gcc", "g++", "clang", "make", "git", "curl", "wget") if shutil.which(name)],
    "installers": [name for name in ("pip", "setuptools", "uv", "hatchling") if importlib.util.find_spec(name)],
    "secrets": [str(path) for path in pathlib.Path("/app").rglob(".env*")],
}))
"""


@pytest.mark.parametrize("service", LASTING)
def test_an_image_runs_without_root_on_a_file_system_that_it_cannot_change(start: Start, service: str) -> None:
    code, output = start(service).run("python", "-c", INSIDE)
    inside = json.loads(output)

    assert code == 0
    assert (inside["uid"], inside["gid"]) == (10001, 10001)
    assert inside["refused"] == ["EROFS"]


@pytest.mark.parametrize("service", [*LASTING, "bootstrap"])
def test_an_image_holds_nothing_to_build_or_install_with(images: dict[str, str], service: str) -> None:
    inside = json.loads(run_once(images[service], "python", "-c", INSIDE).stdout)

    assert inside["uid"] == 10001
    assert inside["compilers"] == []
    assert inside["installers"] == []
    assert inside["secrets"] == []


@pytest.mark.parametrize("service", LASTING)
def test_an_image_stops_by_itself_within_its_grace_time(start: Start, service: str) -> None:
    container = start(service).engine

    container.stop(timeout=GRACE_S)
    container.reload()

    # 137 would say that the engine had to kill it.
    assert container.attrs["State"]["ExitCode"] == 0
    assert container.attrs["State"]["OOMKilled"] is False


@pytest.mark.parametrize("service", [*LASTING, "bootstrap"])
def test_an_image_says_what_it_is_and_whose(images: dict[str, str], service: str) -> None:
    (shown,) = json.loads(docker("image", "inspect", images[service]).stdout)
    labels: dict[str, str] = shown["Config"]["Labels"]

    assert shown["Config"]["User"] == "10001:10001"
    assert labels["org.opencontainers.image.title"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.version"]


KEYSTORES = ("python", "-m", "wso2_provisioning.keystores", "/tmp/ev", "--conf", "/app/wso2/conf")
BOOTSTRAP = ("python", "/app/scripts/bootstrap.py", "--credentials-dir", "/tmp/credentials", "--wait", "1")
LOCAL_GATEWAY = ("python", "-m", "local_gateway")


def test_keys_are_made_with_the_bootstraps_image(images: dict[str, str]) -> None:
    listed = f"{' '.join(KEYSTORES)} >&2 && ls /tmp/ev/certificates"

    done = run_once(images["bootstrap"], "sh", "-c", listed, **SET_PASSWORDS)

    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) >= {"ca.pem", "gateway-signing.pem"}


@pytest.mark.parametrize(
    ("service", "command", "variable"),
    [
        ("bootstrap", KEYSTORES, "WSO2_KEYSTORE_PASSWORD"),
        ("bootstrap", BOOTSTRAP, "EVAPP_PASSWORD"),
        ("gateway", LOCAL_GATEWAY, "WSO2_ADMIN_PASSWORD"),
    ],
    ids=["keys", "bootstrap", "gateway"],
)
def test_a_placeholder_for_a_password_refuses_to_start(
    images: dict[str, str], service: str, command: tuple[str, ...], variable: str
) -> None:
    done = run_once(images[service], *command, **SET_PASSWORDS | {variable: "change-me"})

    assert done.returncode != 0
    assert variable in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bootstrap_that_waits_for_a_gateway_ends_when_it_is_told_to(images: dict[str, str]) -> None:
    started = docker(
        *("run", "--detach", "--read-only", "--tmpfs", "/tmp"),
        *(part for name, value in SET_PASSWORDS.items() for part in ("--env", f"{name}={value}")),
        images["bootstrap"],
    )
    container = started.stdout.strip()

    try:
        docker("stop", "-t", str(GRACE_S), container)
        (shown,) = json.loads(docker("inspect", container).stdout)
    finally:
        docker("rm", "--force", "--volumes", container)

    # Not done, so not 0; and not 137, which would say that the engine had to kill it.
    assert shown["State"]["ExitCode"] not in (0, 137)


def run_once(image: str, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
    confined = ["--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "none"]
    return docker("run", *confined, *variables, "--entrypoint", command[0], image, *command[1:], is_checked=False)


def docker(*arguments: str, is_checked: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=COMMAND_S, check=False)
    assert done.returncode == 0 or not is_checked, done.stderr
    return done


FULL = "/var/lib/ev/credentials"


def test_a_full_credentials_volume_is_said_before_anything_is_changed(start: Start, images: dict[str, str]) -> None:
    gateway = start("gateway")
    environment = SET_PASSWORDS | {
        "WSO2_MANAGEMENT_URL": "https://localhost:9443",
        "WSO2_CA_FILE": "/tmp/ca.pem",
        "CA": gateway.run("cat", "/var/lib/ev/state/certificates/ca.pem")[1],
    }
    variables = [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
    # One page, and it is taken.
    filled = f'printf %s "$CA" > /tmp/ca.pem; head -c 4096 /dev/zero > {FULL}/taken'
    bootstrap = f"exec python /app/scripts/bootstrap.py --credentials-dir {FULL} --wait 10"

    done = docker(
        *("run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", f"container:{gateway.engine.id}"),
        *("--tmpfs", "/tmp", "--tmpfs", f"{FULL}:size=4k,uid=10001,mode=0700", "--entrypoint", "sh"),
        *(*variables, images["bootstrap"], "-c", f"{filled}; {bootstrap}"),
        is_checked=False,
    )

    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "import" not in done.stderr
