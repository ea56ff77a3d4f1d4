"""A real Mosquitto with the configuration, access list and password command that are shipped, on free ports."""

import getpass
import shutil
import socket
import ssl
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt

from ev_service.certificates import Server, make_servers
from ev_service.files import replace_file
from ev_service.key_files import PUBLIC, pem, write_pair
from local_stack.environment import find_free_ports

SHIPPED = Path(__file__).resolve().parents[1] / "deploy" / "mosquitto"
DEVICES = ("pv-1", "bess-1", "meter-1")
SERVICES = ("solar-service", "battery-service", "grid-service", "prices-service", "chargers-service")
USERS = (*DEVICES, *SERVICES, "grid-operator", "chargers-signal", "operator")

_START_S = 10.0


def program() -> str | None:
    """Where Mosquitto is; Debian keeps it from the PATH of ordinary users."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


class Secrets:
    """What a broker and its users need to know: certificate, passwords."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        done = subprocess.run(
            ["sh", SHIPPED / "passwords.sh", folder, *USERS], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        authority, (server,) = make_servers("broker CA", [Server("localhost", ("localhost",))], datetime.now(UTC))
        write_pair(folder, "broker", server)
        self.ca_file = replace_file(folder / "ca.pem", pem(authority), PUBLIC)

    def password_file(self, user: str) -> Path:
        return self.folder / f"{user}.password"

    def password(self, user: str) -> str:
        return self.password_file(user).read_text(encoding="utf-8").strip()


class Mosquitto:
    """One broker, started and stopped as often as a test wants, on the same ports."""

    def __init__(self, folder: Path, secrets: Secrets) -> None:
        ports = find_free_ports()
        self.secrets, self.tls_port, self.port = secrets, next(ports), next(ports)
        self._process: subprocess.Popen[bytes] | None = None
        self._conf, self._log = folder / "mosquitto.conf", folder / "mosquitto.log"
        (folder / "data").mkdir()
        text = (SHIPPED / "mosquitto.conf").read_text(encoding="utf-8")
        for shipped, here in (
            ("listener 8883", f"listener {self.tls_port} 127.0.0.1"),
            ("listener 1883 ", f"listener {self.port} "),
            ("/mosquitto/config/acl", str(SHIPPED / "acl")),
            ("/mosquitto/secrets/", f"{secrets.folder}/"),
            ("/mosquitto/data/", f"{folder}/data/"),
        ):
            assert shipped in text
            text = text.replace(shipped, here)
        # Started as root it would become another user, who may not read a test's folder.
        self._conf.write_text(f"{text}\nuser {getpass.getuser()}\n", encoding="utf-8")

    def start(self) -> None:
        found = program()
        assert found is not None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([found, "-c", self._conf], stdout=log, stderr=log)
        for port in (self.tls_port, self.port):
            self._wait_for(port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def environment(self, user: str) -> dict[str, str]:
        """The settings with which a service reaches it over TLS."""
        return {
            "MQTT_URL": f"mqtts://localhost:{self.tls_port}",
            "MQTT_USERNAME": user,
            "MQTT_PASSWORD_FILE": str(self.secrets.password_file(user)),
            "MQTT_CA_FILE": str(self.secrets.ca_file),
        }

    def client(self, user: str, **more: Any) -> aiomqtt.Client:
        """A device, or whoever else is a user."""
        return aiomqtt.Client(
            "localhost",
            self.tls_port,
            username=user,
            password=self.secrets.password(user),
            protocol=aiomqtt.ProtocolVersion.V5,
            tls_context=ssl.create_default_context(cafile=str(self.secrets.ca_file)),
            timeout=5,
            **more,
        )

    def _wait_for(self, port: int) -> None:
        last = time.monotonic() + _START_S
        while time.monotonic() < last:
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text(encoding="utf-8", errors="replace")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise AssertionError(self._log.read_text(encoding="utf-8", errors="replace"))
