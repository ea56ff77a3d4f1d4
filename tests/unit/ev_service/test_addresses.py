"""Which addresses are spoken to, and which are refused."""

from pathlib import Path

import pytest

from ev_service.errors import ConfigurationError
from ev_service.settings import http_url, mqtt_host_port, mqtt_url, safe_url
from ev_service.trust import Authorities


@pytest.mark.parametrize(
    "url", ["mqtt://127.0.0.1", "mqtt://localhost:1884", "mqtt://[::1]:1883", "mqtts://broker.example:8883/"]
)
def test_a_broker_on_this_machine_or_behind_tls_is_taken(url: str) -> None:
    assert mqtt_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://broker.example",
        "mqtt://10.0.0.7:1883",
        "mqtts://user:secret@broker.example",
        "mqtts://broker.example/path",
        "mqtts://broker.example?x=1",
        "mqtts://broker.example:0",
        "mqtts://broker.example:99999",
        "https://broker.example",
        "broker.example:8883",
        "mqtts://",
        "",
    ],
)
def test_any_other_broker_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be a URL|is taken for a loopback address alone|Port out of range"):
        mqtt_url(url)


def test_ports_are_the_registered_ones_unless_they_are_named() -> None:
    assert mqtt_host_port("mqtt://localhost") == ("localhost", 1883)
    assert mqtt_host_port("mqtts://[::1]:9") == ("::1", 9)


def test_the_twin_may_be_asked_in_the_clear_and_the_gateway_may_not() -> None:
    assert http_url("http://twin:8006/") == "http://twin:8006"
    with pytest.raises(ValueError, match="use https:// for wso2am"):
        safe_url("http://wso2am:8280")
    with pytest.raises(ValueError, match="must be a URL"):
        http_url("http://user:secret@twin:8006")


def test_a_file_that_holds_no_certificate_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")

    with pytest.raises(ConfigurationError, match=r"X_CA_FILE .*ca\.pem cannot be used"):
        Authorities(file, "X_CA_FILE")
