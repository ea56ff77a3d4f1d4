"""The file of chargers: what it may say, and how clearly it is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from charger_service.configuration import read_installation
from charger_service.ports import LimitPurpose, Quirks, RateUnit
from charger_service.settings import ChargerSettings
from ev_service.errors import ConfigurationError
from ev_service.settings import load

SHA = "a" * 64


def site(**changes: Any) -> dict[str, Any]:
    charger = {"charger_id": "CP-1", "feeder_id": "main", "password_sha256": SHA}
    evse = {"evse_id": 1, "phases": [1, 2, 3], "max_current_a": 32}
    return {
        "feeders": [{"feeder_id": "main", "limit_a": 125}],
        "chargers": [charger | {"evses": [evse | changes.pop("evse", {})]} | changes.pop("charger", {})],
    } | changes


def write_chargers(folder: Path, content: Any) -> Path:
    path = folder / "chargers.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_site_is_read_with_its_evses_by_identity(tmp_path: Path) -> None:
    content = site()
    content["chargers"].append(content["chargers"][0] | {"charger_id": "CP-0"})

    installation = read_installation(write_chargers(tmp_path, content), 3)

    assert [wiring.key for wiring in installation.wirings] == [("CP-0", 1), ("CP-1", 1)]
    assert installation.wirings[0].phases == (1, 2, 3)


def test_without_a_file_the_site_has_no_chargers() -> None:
    assert read_installation(None, 3).wirings == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{not json", "is not JSON"),
        pytest.param("[" * 100_000, "is not JSON", id="nested too deeply"),
        ("[]", "the whole: Input should be a valid dictionary"),
        (site(charger={"password": "secret"}), "chargers.0.password: Extra inputs are not permitted"),
        (site(charger={"password_sha256": "short"}), "chargers.0.password_sha256: String should match"),
        (site(charger={"charger_id": "a b"}), "chargers.0.charger_id: String should match"),
        (site(charger={"feeder_id": "side"}), "CP-1 hangs on side, which is no feeder of this file"),
        (site(charger={"evses": []}), "chargers.0.evses: Tuple should have at least 1 item"),
        (site(evse={"max_current_a": 5}), "chargers.0.evses.0.max_current_a: Input should be greater than or equal"),
        (site(evse={"phases": [1, 1]}), "each phase may be named once"),
        (site(evse={"phases": [4]}), "chargers.0.evses.0.phases.0: Input should be less than or equal to 3"),
        (site(chargers=[*site()["chargers"] * 2]), "charger_id CP-1 stands there twice"),
        (site(feeders=[*site()["feeders"] * 2]), "feeder_id main stands there twice"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match="CHARGERS_FILE") as refused:
        read_installation(write_chargers(tmp_path, content), 3)

    assert said in refused.value.message
    assert "secret" not in refused.value.message
    assert SHA not in refused.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.json cannot be read: No such file"):
        read_installation(tmp_path / "nowhere.json", 3)


def test_no_evse_is_wired_to_a_phase_that_the_site_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="CP-1 is wired to phase 3, but SITE_PHASES is 1"):
        read_installation(write_chargers(tmp_path, site()), 1)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CHARGERS_FALLBACK_A", "5", "must be 0 or at least 6 A"),
        ("CHARGERS_SHORTEST_VALIDITY_S", "3600", "must not pass CHARGERS_LONGEST_VALIDITY_S"),
        ("CHARGERS_BUILDING_KW", "-1", "greater than or equal to 0"),
    ],
)
def test_settings_that_can_not_be_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv("CHARGERS_LONGEST_VALIDITY_S", "1800")
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=said):
        load(ChargerSettings)


def test_an_entry_may_say_what_its_charger_needs(tmp_path: Path) -> None:
    entry = {"quirks": {"autostart": False, "rate_unit": "W", "limit_purpose": "TxDefaultProfile", "stack_level": 0}}

    (charger,) = read_installation(write_chargers(tmp_path, site(charger=entry)), 3).chargers

    assert charger.quirks == Quirks(False, LimitPurpose.TX_DEFAULT, RateUnit.WATTS, 0)


@pytest.mark.parametrize(
    ("quirks", "said"),
    [
        ({"autostrat": True}, "quirks.autostrat"),
        ({"rate_unit": "kW"}, "quirks.rate_unit"),
        ({"stack_level": -1}, "quirks.stack_level"),
        ({"remote_start_configuration": {"": "true"}}, "quirks.remote_start_configuration"),
    ],
)
def test_a_quirk_that_is_none_is_refused_with_its_name(tmp_path: Path, quirks: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_installation(write_chargers(tmp_path, site(charger={"quirks": quirks})), 3)
