"""The two files that name the chargers: written for both sides, kept where they are, and read back."""

import json
import logging
import stat
from collections.abc import Generator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.unit.site_twin.charge_points.central_system import NOON

from charger_service.configuration import read_installation
from ev_service.errors import ConfigurationError
from site_twin.__main__ import main
from site_twin.charge_points import Quirk, load_charge_points
from site_twin.charge_points.charge_points_file import read_charge_points
from site_twin.fleet import init
from site_twin.ports import NOTHING, EvseKey
from site_twin.settings import TwinSettings


@pytest.fixture
def logs_as_before() -> Generator[None]:
    """The command sets up the process's logs; the tests after it have their own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_both_sides_are_told_the_same_chargers_and_only_one_the_passwords(tmp_path: Path) -> None:
    chargers, charge_points = init(tmp_path)
    roster, installation = read_charge_points(charge_points), read_installation(chargers, site_phases=3)
    passwords = [entry.password.get_secret_value() for entry in roster.charge_points]

    assert [entry.charger_id for entry in roster.charge_points] == [f"CP-{number}" for number in range(1, 7)]
    assert [entry.charger_id for entry in installation.chargers] == [f"CP-{number}" for number in range(1, 7)]
    assert [charger.password_sha256 for charger in installation.chargers] == [
        sha256(password.encode()).hexdigest() for password in passwords
    ]
    assert len(set(passwords)) == 6
    assert all(16 <= len(password) <= 40 for password in passwords)
    assert not any(password in chargers.read_text() for password in passwords)
    assert stat.S_IMODE(charge_points.stat().st_mode) == 0o600


def test_the_fleet_has_three_kinds_of_chargers_on_one_feeder_that_can_not_carry_them_all(tmp_path: Path) -> None:
    chargers, charge_points = init(tmp_path)
    kinds = {
        entry.charger_id: (entry.ocpp_version, entry.evses[0].phases, entry.evses[0].max_current_a)
        for entry in read_charge_points(charge_points).charge_points
    }
    installation = read_installation(chargers, site_phases=3)

    assert {kinds[f"CP-{number}"] for number in range(1, 5)} == {("2.0.1", (1, 2, 3), 32.0)}
    assert kinds["CP-5"] == ("1.6", (1, 2, 3), 16.0)
    assert kinds["CP-6"] == ("1.6", (2,), 32.0)
    (feeder,) = installation.feeders
    assert feeder.limit_a < sum(place.max_current_a for place in installation.wirings if 2 in place.phases)


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    paths = init(tmp_path)
    before = [path.read_bytes() for path in paths]

    assert init(tmp_path) == paths
    assert [path.read_bytes() for path in paths] == before


def test_the_charger_services_file_is_made_again_from_the_passwords_that_are_there(tmp_path: Path) -> None:
    chargers, _ = init(tmp_path)
    before = chargers.read_bytes()
    chargers.unlink()

    init(tmp_path)

    assert chargers.read_bytes() == before


def test_new_passwords_are_not_made_for_chargers_that_are_registered(tmp_path: Path) -> None:
    _, charge_points = init(tmp_path)
    charge_points.unlink()

    with pytest.raises(ConfigurationError, match="remove the former"):
        init(tmp_path)
    assert not charge_points.exists()


def test_a_folder_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match="cannot be written"):
        init(tmp_path / "file" / "folder")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"password": 5}, "password"),
        ({"quirks": ["sings"]}, "quirks"),
        ({"ocpp_version": "3"}, "ocpp_version"),
        ({"evses": []}, "evses"),
        ({"charger_id": "CP-2"}, "twice"),
        ({"secret": "x"}, "secret"),
    ],
)
def test_a_wrong_file_is_named_without_a_password(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    _, path = init(tmp_path)
    written = content(path)
    secret = written["charge_points"][1]["password"]
    written["charge_points"][0] |= change
    path.write_text(json.dumps(written))

    with pytest.raises(ConfigurationError, match=message) as raised:
        read_charge_points(path)
    assert secret not in str(raised.value)


@pytest.mark.parametrize("text", [None, "{", "[]", "[" * 100_000], ids=["none", "cut", "list", "deep"])
def test_a_file_that_is_none_is_said(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "charge-points.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(ConfigurationError, match="TWIN_CHARGE_POINTS_FILE"):
        read_charge_points(path)


def test_the_site_is_told_the_places_before_anything_runs(tmp_path: Path) -> None:
    _, path = init(tmp_path)
    written = content(path)
    written["charge_points"][0]["quirks"] = ["answers_late"]
    path.write_text(json.dumps(written))
    points = load_charge_points(TwinSettings(ocpp_url="ws://127.0.0.1:9", charge_points_file=path))

    assert [place.key for place in points.places] == [EvseKey(f"CP-{number}", 1) for number in range(1, 7)]
    assert set(points.fault_kinds) == set(Quirk)
    assert points.compute_offer("CP-1", 1, NOON) == NOTHING
    assert points.next_change("CP-1", 1, NOON) is None
    assert points.state("CP-1") == {"is_connected": False}


def test_charge_points_need_a_place_to_connect_to() -> None:
    with pytest.raises(ConfigurationError, match="TWIN_OCPP_URL"):
        load_charge_points(TwinSettings())


@pytest.mark.usefixtures("logs_as_before")
def test_the_command_writes_the_files_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["site_twin", "--init", str(tmp_path)])

    assert main() == 0
    told = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {tmp_path / "chargers.json", tmp_path / "charge-points.json"} <= set(told)
    assert all(path.exists() for path in told)


@pytest.mark.usefixtures("logs_as_before")
def test_the_command_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["site_twin"])
    monkeypatch.setenv("TWIN_OCPP_URL", "ws://127.0.0.1:9")

    assert main() == 2
    assert "TWIN_CHARGE_POINTS_FILE" in capsys.readouterr().err


@pytest.mark.usefixtures("logs_as_before")
def test_the_commands_help_says_what_to_do_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["site_twin", "--help"])

    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().out
    assert "--init DIR" in told
    assert "TWIN_CHARGE_POINTS_FILE=" in told
    assert "CHARGERS_FILE=" in told
