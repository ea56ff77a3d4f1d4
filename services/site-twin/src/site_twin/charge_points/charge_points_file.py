"""The file of the charge points: who they are, how they are built, their passwords, their bad habits."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from ev_service.charging import LEAST_CURRENT_A, ChargerId, EvseId, Phase
from ev_service.errors import ConfigurationError
from site_twin.charge_points.evses import EvsePlan
from site_twin.charge_points.quirks import Quirk


class _Entry(BaseModel):
    # A misspelt field must not pass for one that was left out.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class EvseEntry(_Entry):
    """One EVSE. phases: the site's phases on its L1, L2, L3. max_current_a [A]: the most per phase."""

    evse_id: EvseId
    phases: Annotated[tuple[Phase, ...], Field(min_length=1, max_length=3)]
    max_current_a: Annotated[float, Field(ge=LEAST_CURRENT_A, le=500)]

    def plan(self) -> EvsePlan:
        """The EVSE as its charger knows it."""
        return EvsePlan(self.evse_id, self.phases, self.max_current_a)


class ChargePointEntry(_Entry):
    """One charge point."""

    charger_id: ChargerId
    ocpp_version: Literal["1.6", "2.0.1"]
    password: SecretStr
    quirks: tuple[Quirk, ...] = ()
    evses: Annotated[tuple[EvseEntry, ...], Field(min_length=1, max_length=64)]


class ChargePointsFile(_Entry):
    """All charge points of the site."""

    charge_points: tuple[ChargePointEntry, ...]

    @model_validator(mode="after")
    def _check_unique(self) -> "ChargePointsFile":
        names = [(entry.charger_id, evse.evse_id) for entry in self.charge_points for evse in entry.evses]
        twice = {entry.charger_id for entry in self.charge_points}
        if len(set(names)) < len(names) or len(twice) < len(self.charge_points):
            raise ValueError("a charger_id, or an evse_id of one charger, stands there twice")
        return self


def read_charge_points(path: Path) -> ChargePointsFile:
    """Read the file of the charge points.

    Raises:
        ConfigurationError: it cannot be read, or its content is invalid; the message holds no password.
    """
    try:
        return ChargePointsFile.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(f"TWIN_CHARGE_POINTS_FILE {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        items = error.errors(include_input=False, include_url=False, include_context=False)
        wrong = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'the whole'}: {item['msg']}" for item in items)
        # Without its cause: that one quotes the file.
        raise ConfigurationError(f"TWIN_CHARGE_POINTS_FILE {path} is wrong: {wrong}") from None
    except (ValueError, RecursionError):
        raise ConfigurationError(f"TWIN_CHARGE_POINTS_FILE {path} is not JSON") from None
