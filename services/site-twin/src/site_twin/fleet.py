"""The chargers of the simulated site, written once for both sides: who connects, and who is let in.

`charge-points.json` holds the passwords and is for the twin alone; `chargers.json` holds their SHA-256 and is for the
charger service.
"""

import json
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ev_service.errors import ConfigurationError
from ev_service.files import replace_file
from ev_service.key_files import PRIVATE, PUBLIC
from site_twin.charge_points.charge_points_file import ChargePointEntry, ChargePointsFile, EvseEntry, read_charge_points

CHARGERS, CHARGE_POINTS = "chargers.json", "charge-points.json"

FEEDER_ID, FEEDER_LIMIT_A = "main", 125.0
"""The cable that all of them share; it carries less than they could draw together [A per phase]."""


def init(folder: Path) -> tuple[Path, Path]:
    """Write both files; a file that is there is kept.

    Returns:
        Where the charger service's file is, and where the twin's.

    Raises:
        ConfigurationError: a file cannot be written, or the passwords to a file that is there are gone.
    """
    chargers, charge_points = folder / CHARGERS, folder / CHARGE_POINTS
    if chargers.exists() and not charge_points.exists():
        raise ConfigurationError(
            f"{chargers} is there, but {charge_points} with its passwords is not; remove the former to begin anew"
        )
    try:
        if not charge_points.exists():
            replace_file(charge_points, _json(_with_passwords(default_fleet())), PRIVATE)
        if not chargers.exists():
            replace_file(chargers, _json(registration(read_charge_points(charge_points))), PUBLIC)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror}") from error
    return chargers, charge_points


def default_fleet() -> ChargePointsFile:
    """Six charging points of three kinds, each with a new password."""
    three, second = (1, 2, 3), (2,)
    return ChargePointsFile(
        charge_points=(
            *(_entry(f"CP-{number}", "2.0.1", three, 32.0) for number in range(1, 5)),
            _entry("CP-5", "1.6", three, 16.0),
            _entry("CP-6", "1.6", second, 32.0),
        )
    )


def registration(listed: ChargePointsFile) -> dict[str, Any]:
    """Return the content of CHARGERS_FILE, the charger service's list of the charge points."""
    return {
        "feeders": [{"feeder_id": FEEDER_ID, "limit_a": FEEDER_LIMIT_A}],
        "chargers": [
            {
                "charger_id": entry.charger_id,
                "feeder_id": FEEDER_ID,
                "password_sha256": sha256(entry.password.get_secret_value().encode()).hexdigest(),
                "evses": [{**evse.model_dump(mode="json"), "can_switch_phases": False} for evse in entry.evses],
            }
            for entry in listed.charge_points
        ],
    }


def _entry(charger_id: str, version: Any, phases: tuple[int, ...], max_current_a: float) -> ChargePointEntry:
    return ChargePointEntry(
        charger_id=charger_id,
        ocpp_version=version,
        # 28 characters that OCPP allows in a password; it takes 16 to 40.
        password=SecretStr(secrets.token_urlsafe(21)),
        evses=(EvseEntry(evse_id=1, phases=phases, max_current_a=max_current_a),),
    )


def _with_passwords(listed: ChargePointsFile) -> dict[str, Any]:
    content = listed.model_dump(mode="json")
    for written, entry in zip(content["charge_points"], listed.charge_points, strict=True):
        written["password"] = entry.password.get_secret_value()
    return content


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
