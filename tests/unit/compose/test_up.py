"""`make up` and `make down` on bad days and on a good one, with a docker that only says what a test wants."""

import json
import socket
import stat
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.compose.conftest import Workplace

PASSWORDS = ("WSO2_ADMIN_PASSWORD", "EVAPP_PASSWORD", "WSO2_KEYSTORE_PASSWORD", "WSO2_TRUSTSTORE_PASSWORD")
REASON = "Solar 0.0 kW of 100 kWp, battery at 40.0 %, grid at 18.5 %: 5 kW."


def container(service: str, state: str, *, health: str = "", code: int = 0, port: str = "") -> str:
    published = [{"PublishedPort": int(port)}] if port else []
    entry = {"Service": service, "State": state, "Health": health, "ExitCode": code, "Publishers": published}
    return json.dumps(entry) + "\n"


@contextmanager
def an_agent(port: str) -> Generator[None]:
    class Agent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"charging_power_kw": 5.0, "reason": REASON}).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Agent)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_without_docker_it_says_what_to_install(workplace: "Workplace") -> None:
    workplace.has_no_docker()

    done = workplace.run("up")

    assert done.returncode == 1
    assert "Docker is not installed" in done.stderr
    assert "make run" in done.stderr


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "daemon does not answer"),
        ("permission denied while trying to connect to the Docker daemon socket", "usermod -aG docker"),
    ],
)
def test_a_daemon_that_does_not_answer_is_told_with_the_way_out(workplace: "Workplace", said: str, told: str) -> None:
    workplace.says("info", "0\n", err=said, code=1)

    done = workplace.run("up")

    assert done.returncode == 1
    assert told in done.stderr


def test_docker_without_compose_is_told_what_to_install(workplace: "Workplace") -> None:
    workplace.says("compose version", err="docker: 'compose' is not a docker command.", code=1)

    assert "docker-compose-plugin" in workplace.run("up").stderr


def test_an_old_compose_is_told_with_the_version_that_is_needed(workplace: "Workplace") -> None:
    workplace.says("compose version", "v2.17.3\n")

    done = workplace.run("up")

    assert done.returncode == 1
    assert "2.17.3 is too old: version 2.20.2 or newer" in done.stderr


def test_too_little_memory_for_wso2_is_said_before_anything_is_built_or_started(workplace: "Workplace") -> None:
    workplace.says("info", f"{3 << 30}\n")

    done = workplace.run("up")

    assert done.returncode == 1
    assert "3.0 GiB" in done.stderr
    assert "make up GATEWAY=local" in done.stderr
    assert not [call for call in workplace.calls if call.startswith(("compose build", "compose up"))]


def test_four_gib_as_a_virtual_machine_reports_them_are_enough(workplace: "Workplace") -> None:
    workplace.says("info", f"{int(3.83 * (1 << 30))}\n")

    assert "GiB" not in workplace.run("up").stderr


def test_the_local_gateway_comes_up_in_little_memory_and_the_first_decision_is_printed(workplace: "Workplace") -> None:
    workplace.says("info", f"{2 << 30}\n")
    workplace.says("up --detach")
    services = ("solar", "battery", "grid", "gateway", "agent")
    up = [container(name, "running", health="healthy") for name in services]
    ended = [container(name, "exited") for name in ("keys", "bootstrap")]
    workplace.says("ps", "".join(up + ended))

    with an_agent(workplace.environment["AGENT_PORT"]):
        # The agent's port is then ours, as that of a container that is up already.
        workplace.says(
            "ps",
            "".join(
                [
                    *up[:-1],
                    *ended,
                    container("agent", "running", health="healthy", port=workplace.environment["AGENT_PORT"]),
                ]
            ),
        )
        done = workplace.run("up", GATEWAY="local")

    assert done.returncode == 0, done.stderr
    assert f"5 kW  {REASON}" in done.stdout
    assert f"http://localhost:{workplace.environment['AGENT_PORT']}/" in done.stdout
    assert f"https://localhost:{workplace.environment['GATEWAY_HTTPS_PORT']}/" in done.stdout
    assert f"mqtts://localhost:{workplace.environment['MQTT_TLS_PORT']}" in done.stdout
    assert f"wss://localhost:{workplace.environment['OCPP_TLS_PORT']}/" in done.stdout
    assert "WSO2_ADMIN_PASSWORD in .env" in done.stdout
    assert not [password for password in (workplace.env[name] for name in PASSWORDS) if password in done.stdout]


def test_the_first_time_makes_passwords_that_nobody_else_reads(workplace: "Workplace") -> None:
    workplace.run("up", "GATEWAY=local")

    passwords = [workplace.env[name] for name in PASSWORDS]
    assert all(len(password) == 24 and password.isalnum() for password in passwords)
    assert len(set(passwords)) == len(PASSWORDS)
    assert workplace.env["COMPOSE_PROFILES"] == "local,simulation"
    assert stat.S_IMODE((workplace.root / ".env").stat().st_mode) == 0o600


def test_passwords_of_the_shell_need_no_file(workplace: "Workplace") -> None:
    workplace.run("up", "GATEWAY=local", **dict.fromkeys(PASSWORDS, "a-password-0f-mine"))

    assert not (workplace.root / ".env").exists()
    assert "compose build" in workplace.calls


def test_an_example_that_was_only_copied_is_refused(workplace: "Workplace") -> None:
    (workplace.root / ".env").write_text(
        (workplace.root / ".env.example").read_text(encoding="utf-8"), encoding="utf-8"
    )

    done = workplace.run("up", "GATEWAY=local")

    assert done.returncode == 1
    assert "WSO2_ADMIN_PASSWORD in .env is still the placeholder" in done.stderr


def test_a_lost_env_beside_a_kept_volume_is_said_as_such(workplace: "Workplace") -> None:
    workplace.says("volume ls", "ev-charging_certificates\nev-charging_wso2-database\nother_gateway-state\n")

    done = workplace.run("up")

    assert done.returncode == 1
    assert "there is no .env, but the state of an earlier run (ev-charging_wso2-database)" in done.stderr
    assert "make down VOLUMES=1" in done.stderr
    assert not (workplace.root / ".env").exists()


def test_a_port_that_is_taken_is_named_with_the_variable_that_moves_it(workplace: "Workplace") -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        done = workplace.run("up", "GATEWAY=local", GATEWAY_HTTPS_PORT=str(port))

    assert done.returncode == 1
    assert f"port {port} is taken: set GATEWAY_HTTPS_PORT in .env to a free one" in done.stderr
    assert not [call for call in workplace.calls if call.startswith("compose up")]


def test_a_port_that_is_no_number_is_named(workplace: "Workplace") -> None:
    assert "AGENT_PORT in .env must be a number" in workplace.run("up", "GATEWAY=local", AGENT_PORT="80x").stderr


def test_a_bootstrap_that_fails_says_why_in_one_sentence(workplace: "Workplace") -> None:
    workplace.says("ps", container("keys", "exited") + container("bootstrap", "exited", code=1))
    workplace.says("logs", "· waiting\nfailed WSO2 does not know this password of admin\n")
    workplace.says("up --detach", err='service "bootstrap" did not complete successfully: exit 1', code=1)

    done = workplace.run("up", "GATEWAY=local")

    assert done.returncode == 1
    assert done.stderr == "make up: bootstrap failed: WSO2 does not know this password of admin\n"


def test_an_image_of_wso2_that_cannot_be_pulled_leads_to_the_local_gateway(workplace: "Workplace") -> None:
    workplace.says("config --images", "wso2/wso2am:4.6.0\n")
    workplace.says("image inspect")
    workplace.says("image inspect wso2", code=1)
    workplace.says("pull wso2", code=18)

    done = workplace.run("up")

    assert done.returncode == 1
    assert "wso2/wso2am:4.6.0 cannot be pulled" in done.stderr
    assert "make up GATEWAY=local" in done.stderr


def test_a_base_image_that_cannot_be_pulled_is_explained_before_anything_is_built(workplace: "Workplace") -> None:
    workplace.says("image inspect", code=1)
    workplace.says("pull python", code=1)

    done = workplace.run("up", "GATEWAY=local", PYTHON_IMAGE="python:3.13-slim")

    assert done.returncode == 1
    assert "python:3.13-slim, on which our images are built, cannot be pulled" in done.stderr
    assert all(word in done.stderr for word in ("online", "proxy", "PYTHON_IMAGE"))
    assert not [call for call in workplace.calls if call.startswith("compose build")]


def test_what_is_here_is_not_pulled_again(workplace: "Workplace") -> None:
    workplace.says("config --images", "eclipse-mosquitto:2.0.22\nev-local-gateway\n")
    workplace.says("image inspect")

    workplace.run("up", "GATEWAY=local")

    assert not [call for call in workplace.calls if call.startswith(("pull", "compose pull"))]


@pytest.mark.parametrize(
    "line",
    ["#14 [solar member 3/5] RUN pip install", "Step 7/21 : RUN pip install"],
    ids=["BuildKit", "the older builder"],
)
def test_each_step_of_a_build_is_told_once(workplace: "Workplace", line: str) -> None:
    workplace.says("compose build", f"#1 [internal] load build definition\n{line}\n#14 0.8 Collecting x\n{line}\n")

    done = workplace.run("up", "GATEWAY=local")

    assert done.stdout.count("RUN pip install") == 1
    assert "Collecting" not in done.stdout


def test_a_build_that_fails_shows_what_the_build_said(workplace: "Workplace") -> None:
    workplace.says("compose build", err="python:3.13-slim: no such host", code=1)

    done = workplace.run("up", "GATEWAY=local")

    assert done.returncode == 1
    assert "no such host" in done.stderr


def test_the_other_gateway_is_stopped_before_its_ports_are_needed(workplace: "Workplace") -> None:
    workplace.says("ps", container("wso2am", "running", health="healthy"))

    workplace.run("up", "GATEWAY=local")

    assert "compose --profile * rm --stop --force wso2am" in workplace.calls


@pytest.mark.parametrize(
    ("profiles", "gateway", "started"),
    [
        ("wso2,simulation", "local", "local,simulation"),
        ("local", "", "local"),
        ("simulation,local", "", "simulation,local"),
        ("local", "wso2", "wso2"),
    ],
)
def test_devices_are_simulated_where_env_says_so_whatever_the_gateway(
    workplace: "Workplace", profiles: str, gateway: str, started: str
) -> None:
    workplace.run(
        "up", f"GATEWAY={gateway}", COMPOSE_PROFILES=profiles, **dict.fromkeys(PASSWORDS, "a-password-0f-mine")
    )

    assert workplace.profiles == started


def test_profiles_without_a_gateway_are_refused(workplace: "Workplace") -> None:
    done = workplace.run("up", COMPOSE_PROFILES="simulation", **dict.fromkeys(PASSWORDS, "a-password-0f-mine"))

    assert done.returncode == 1
    assert "names no gateway: take wso2 or local" in done.stderr


@pytest.mark.skipif(sys.platform == "darwin", reason="127.0.0.1 is the only loopback address of a Mac")
def test_a_taken_port_for_devices_is_looked_for_where_devices_come_in(workplace: "Workplace") -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:
        port = str(listener.getsockname()[1])

        elsewhere = workplace.run("up", "GATEWAY=local", MQTT_TLS_PORT=port)
        there = workplace.run("up", "GATEWAY=local", MQTT_TLS_PORT=port, FIELD_ADDRESS="127.0.0.2")

    assert "is taken" not in elsewhere.stderr
    assert f"port {port} is taken: set MQTT_TLS_PORT in .env to a free one" in there.stderr


@pytest.mark.parametrize("gateway", ["wso", "LOCAL", "none"])
def test_an_unknown_gateway_is_refused(workplace: "Workplace", gateway: str) -> None:
    done = workplace.run("up", f"GATEWAY={gateway}")

    assert done.returncode == 1
    assert "take GATEWAY=local, or GATEWAY=wso2" in done.stderr


@pytest.mark.parametrize(("given", "volumes"), [([], ""), (["VOLUMES=0"], ""), (["VOLUMES=1"], " --volumes")])
def test_down_keeps_state_unless_told_otherwise(workplace: "Workplace", given: list[str], volumes: str) -> None:
    done = workplace.run("down", *given)

    assert done.returncode == 0
    assert workplace.calls[-1] == f"compose --profile * down --remove-orphans{volumes}"


def test_an_older_env_is_completed_and_keeps_what_it_has(workplace: "Workplace") -> None:
    env = workplace.root / ".env"
    kept = "".join(f"{name}=kept-Passw0rd\n" for name in PASSWORDS)
    env.write_text(kept + "COMPOSE_PROFILES=local", encoding="utf-8")
    workplace.says("compose build", code=1)

    done = workplace.run("up")

    text = env.read_text(encoding="utf-8")
    assert text.startswith(kept)
    assert "\nASSISTANT_PASSWORD=" in text
    assert "\nOPERATOR_PASSWORD=" in text
    assert "ASSISTANT_PASSWORD and OPERATOR_PASSWORD added" in done.stdout


@pytest.mark.parametrize("act", ["kill", "revive"])
def test_the_switch_is_operated_from_where_the_bootstrap_runs(workplace: "Workplace", act: str) -> None:
    workplace.run(act, "--device", "a", STACK="compose", REASON='odd "quotes" and $dollars')

    (call,) = [call for call in workplace.calls if "wso2_provisioning.switch" in call]
    assert call.startswith("compose run --rm --no-deps --env REASON --env OPERATOR --env SCOPE --env APPLICATION")
    assert call.endswith(f"bootstrap -m wso2_provisioning.switch {act} --device a")
    assert "dollars" not in call


def test_an_operator_orders_from_where_the_bootstrap_runs(workplace: "Workplace") -> None:
    workplace.run("operate", "stop", "--minutes=30", STACK="compose", REASON="fire alarm test")

    (call,) = [call for call in workplace.calls if "wso2_provisioning.operating" in call]
    assert call.endswith("bootstrap -m wso2_provisioning.operating stop --minutes=30")
    assert "fire alarm" not in call
