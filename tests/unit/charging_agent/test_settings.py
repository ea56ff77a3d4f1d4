"""Bounds of the agent's settings, and which addresses it will talk to."""

import pytest

from charging_agent.decision.policy import Action
from charging_agent.settings import AgentSettings, GatewaySettings
from ev_service.errors import ConfigurationError
from ev_service.settings import load


@pytest.mark.parametrize(
    "url",
    [
        "https://gateway.example:8243",
        "https://10.0.0.1/oauth2/token",
        "http://localhost:8280",
        "http://127.0.0.1:8280",
        "http://127.8.9.1",
        "http://[::1]:8280",
    ],
)
def test_https_anywhere_and_http_on_loopback_are_accepted(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("WSO2_GATEWAY_URL", url)
    monkeypatch.setenv("WSO2_TOKEN_URL", url)

    settings = load(GatewaySettings)

    assert (settings.gateway_url, settings.token_url) == (url, url)


@pytest.mark.parametrize("name", ["WSO2_GATEWAY_URL", "WSO2_TOKEN_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "http://gateway.example:8280",
        "http://10.0.0.1",
        "http://0.0.0.0:8280",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://127.0.0.1@gateway.example",
        "http://[::2]",
        "http://[::1",
        "ftp://localhost",
        "localhost:8243",
        "//localhost",
        "https://",
        "https://evapp:secret@gateway.example",
    ],
)
def test_every_other_address_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    monkeypatch.setenv(name, url)

    with pytest.raises(ConfigurationError, match=name) as refused:
        load(GatewaySettings)

    assert "secret" not in refused.value.message


def test_a_slash_at_the_end_of_an_address_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSO2_GATEWAY_URL", "https://gateway.example:8243/")

    assert load(GatewaySettings).gateway_url == "https://gateway.example:8243"


def test_the_defaults_are_those_of_the_decision_table() -> None:
    policy, ages = load(AgentSettings).rules(), load(AgentSettings).ages()

    assert (policy.grid_overload_percent, policy.solar_high_percent, policy.solar_medium_percent) == (85, 60, 25)
    assert policy.battery_high_percent == 70
    assert policy.power_kw == {Action.PAUSE: 0, Action.SLOW: 5, Action.NORMAL: 11, Action.FAST: 22}
    assert (ages.maximum_s, ages.stale_s, ages.future_s) == (10, 60, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGENT_PERIOD_S", "0.5"),
        ("AGENT_PERIOD_S", "3601"),
        ("AGENT_PERIOD_S", "nan"),
        ("AGENT_MAX_AGE_S", "-1"),
        ("AGENT_MAX_AGE_S", "61"),
        ("AGENT_STALE_LIMIT_S", "0"),
        ("AGENT_STALE_LIMIT_S", "inf"),
        ("AGENT_GRID_OVERLOAD_PERCENT", "0"),
        ("AGENT_GRID_OVERLOAD_PERCENT", "101"),
        ("AGENT_SOLAR_HIGH_PERCENT", "20"),
        ("AGENT_SOLAR_MEDIUM_PERCENT", "60"),
        ("AGENT_SOLAR_MEDIUM_PERCENT", "nan"),
        ("AGENT_BATTERY_HIGH_PERCENT", "-5"),
        ("AGENT_FAST_KW", "10"),
        ("AGENT_NORMAL_KW", "4"),
        ("AGENT_SLOW_KW", "0"),
        ("AGENT_FAST_KW", "inf"),
        ("AGENT_POLICY", "wishes"),
        ("AGENT_DEVICE", "two words"),
        ("AGENT_REQUIRE_ASSERTION", "perhaps"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=name):
        load(AgentSettings)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGENT_PERIOD_S", "AGENT_DEVICE", "AGENT_LIMITS_FILE", "WSO2_CA_FILE", "WSO2_CLIENT_SECRET_FILE"):
        monkeypatch.setenv(name, "")

    agent, gateway = load(AgentSettings), load(GatewaySettings)

    assert (agent.period_s, agent.device, agent.limits_file) == (15, None, None)
    assert (gateway.ca_file, gateway.client_secret_file) == (None, None)


def test_settings_do_not_show_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSO2_CLIENT_ID", "hidden-id")
    monkeypatch.setenv("WSO2_CLIENT_SECRET", "hidden-secret")

    shown = repr(load(GatewaySettings)) + load(GatewaySettings).model_dump_json()

    assert "hidden" not in shown
