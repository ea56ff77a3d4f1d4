"""The readings that the agent takes: one entry for each source, its API on the gateway included.

Records, answers, calls and explanations follow from the list. A contract test compares names, contexts and scopes with
the artifacts under wso2/.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel, create_model

from charging_agent.decision.policy import DecisionInputs
from charging_agent.gateway.calls import R, ReadingApi
from charging_agent.readings.assessment import AgeLimits
from ev_service.telemetry import BatteryStatus, GridLoad, Reading, SolarStatus

M = TypeVar("M", bound=BaseModel)


class SourceKind(StrEnum):
    """The part of `DecisionInputs` that a source belongs to."""

    READING = "reading"
    FORECAST = "forecast"
    PRICE = "price"


@dataclass(frozen=True, slots=True)
class ReadingSource(ReadingApi[R]):
    """One source of readings. `subject` is its name in records and answers."""

    about: str
    """What the source measures, as in "the panels"."""

    shown: tuple[str, ...]
    """Fields of the model that answers and explanations show."""

    percent_of: Callable[[R], float]
    """Value that a decision depends on, as a share of its range [%], so that speeds of sources can be compared."""

    kind: SourceKind = SourceKind.READING
    """The part of a policy's inputs that the reading belongs to."""

    ages: AgeLimits | None = None
    """How old a reading may be; None: as the settings say. Recorded readings are assessed again by the same limits."""

    is_in_every_record: bool = False
    """Whether each record holds it. A source that was added later is absent from the records before."""


SOLAR = ReadingSource(
    "solar",
    "/solar-status",
    "getSolarStatus",
    SolarStatus,
    about="the panels",
    shown=("generation_kw", "capacity_kwp"),
    percent_of=lambda reading: reading.generation_kw / reading.capacity_kwp * 100,
    is_in_every_record=True,
)
BATTERY = ReadingSource(
    "battery",
    "/battery-status",
    "getBatteryStatus",
    BatteryStatus,
    about="the battery",
    shown=("soc_percent",),
    percent_of=lambda reading: reading.soc_percent,
    is_in_every_record=True,
)
GRID = ReadingSource(
    "grid",
    "/grid-load",
    "getGridLoad",
    GridLoad,
    about="the grid connection",
    shown=("load_percent",),
    percent_of=lambda reading: reading.load_percent,
    is_in_every_record=True,
)
SOURCES: tuple[ReadingSource[Any], ...] = (SOLAR, BATTERY, GRID)
"""All sources. A forecast or a price is one more entry."""


def build_decision_inputs(at: datetime, readings: Mapping[str, Reading | None]) -> DecisionInputs:
    """Build the inputs of a decision.

    Args:
        at: moment of the decision, UTC.
        readings: by the name of their source; None is a reading that is missing.
    """

    def select(kind: SourceKind) -> dict[str, Reading]:
        named = ((source.subject, readings.get(source.subject)) for source in SOURCES if source.kind is kind)
        return {name: reading for name, reading in named if reading is not None}

    return DecisionInputs(at, select(SourceKind.READING), select(SourceKind.FORECAST), select(SourceKind.PRICE))


def create_model_by_source(
    name: str, base: type[M], field_of: Callable[[ReadingSource[Any]], tuple[Any, Any]]
) -> type[M]:
    """Create a model that has one field for each source, by its name.

    Args:
        name: of the model, as in an OpenAPI definition.
        base: what it inherits.
        field_of: type and default of a source's field.
    """
    fields: dict[str, Any] = {source.subject: field_of(source) for source in SOURCES}
    return create_model(name, __base__=base, __doc__=base.__doc__, **fields)
