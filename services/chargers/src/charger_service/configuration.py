"""The site's chargers by CHARGERS_FILE: identities, wiring and ratings."""

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from charger_service.envelope import EvseWiring
from charger_service.ports import Quirks
from ev_service.charging import LEAST_CURRENT_A, ChargerId, EvseId, Feeder, Phase
from ev_service.errors import ConfigurationError


class _Entry(BaseModel):
    # A misspelt field must not pass for one that was left out.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class EvseEntry(_Entry):
    """One installed EVSE."""

    evse_id: EvseId
    phases: Annotated[tuple[Phase, ...], Field(min_length=1, max_length=3)]
    """The site's phases on the charger's L1, L2, L3, in this order."""
    max_current_a: Annotated[float, Field(ge=LEAST_CURRENT_A, le=500)]
    """Rating per phase [A]."""
    can_switch_phases: bool = False

    @model_validator(mode="after")
    def _phases_differ(self) -> "EvseEntry":
        if len(set(self.phases)) < len(self.phases):
            raise ValueError(f"evse_id {self.evse_id}: each phase may be named once")
        return self


class FeederEntry(_Entry):
    """One feeder."""

    feeder_id: Annotated[str, Field(min_length=1, max_length=64)]
    limit_a: Annotated[float, Field(gt=0, le=10_000)]
    """Limit of each of its phases [A]."""


class ChargerEntry(_Entry):
    """One charger."""

    charger_id: ChargerId
    feeder_id: str
    password_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", repr=False)]
    """SHA-256 of its password, in hex; the password itself is not stored."""
    evses: Annotated[tuple[EvseEntry, ...], Field(min_length=1, max_length=64)]
    quirks: Quirks = Quirks()
    """Its quirks, which take precedence over the table of makes."""


class Installation(_Entry):
    """All feeders and chargers of the site."""

    feeders: tuple[FeederEntry, ...] = ()
    chargers: tuple[ChargerEntry, ...] = ()

    @model_validator(mode="after")
    def _names_fit(self) -> "Installation":
        _check_unique("feeder_id", (feeder.feeder_id for feeder in self.feeders))
        _check_unique("charger_id", (charger.charger_id for charger in self.chargers))
        feeders = {feeder.feeder_id for feeder in self.feeders}
        for charger in self.chargers:
            _check_unique(f"evse_id of {charger.charger_id}", (str(evse.evse_id) for evse in charger.evses))
            if charger.feeder_id not in feeders:
                raise ValueError(f"{charger.charger_id} hangs on {charger.feeder_id}, which is no feeder of this file")
        return self

    @cached_property
    def wirings(self) -> tuple[EvseWiring, ...]:
        """Wiring of every EVSE, by identity."""
        return tuple(
            EvseWiring(
                (charger.charger_id, evse.evse_id),
                charger.feeder_id,
                evse.phases,
                evse.max_current_a,
                evse.can_switch_phases,
            )
            for charger in sorted(self.chargers, key=lambda one: one.charger_id)
            for evse in sorted(charger.evses, key=lambda one: one.evse_id)
        )

    @property
    def wire_feeders(self) -> tuple[Feeder, ...]:
        """The feeders for answers of ChargerAPI."""
        return tuple(Feeder(feeder_id=one.feeder_id, limit_a=one.limit_a) for one in self.feeders)


def read_installation(path: Path | None, site_phases: int) -> Installation:
    """Read CHARGERS_FILE.

    Args:
        path: the file; None: a site without chargers.
        site_phases: phases of the site's connection; no EVSE is wired to more.

    Raises:
        ConfigurationError: the file cannot be read, or is not valid.
    """
    if path is None:
        return Installation()
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        installation = Installation.model_validate(content)
    except OSError as error:
        raise ConfigurationError(f"CHARGERS_FILE {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        items = error.errors(include_input=False, include_url=False, include_context=False)
        reasons = (f"{'.'.join(map(str, item['loc'])) or 'the whole'}: {item['msg']}" for item in items)
        raise ConfigurationError(f"CHARGERS_FILE {path} is wrong: {'; '.join(reasons)}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"CHARGERS_FILE {path} is not JSON: {error}") from error
    for wiring in installation.wirings:
        if max(wiring.phases) > site_phases:
            raise ConfigurationError(
                f"CHARGERS_FILE {path}: {wiring.key[0]} is wired to phase {max(wiring.phases)}, but SITE_PHASES is"
                f" {site_phases}"
            )
    return installation


def _check_unique(what: str, names: Iterator[str]) -> None:
    unique: set[str] = set()
    for name in names:
        if name in unique:
            raise ValueError(f"{what} {name} stands there twice")
        unique.add(name)
