"""What the ledger keeps of a decision, and how it is chained and signed.

docs/ledger.md shows a record.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, GetPydanticSchema, JsonValue, create_model, model_validator

from charging_agent.decision.policy import Action
from charging_agent.decision.rules import Rule
from charging_agent.gateway.calls import FailureReason, ProtocolName
from charging_agent.ledger.charging_records import ChargersInput, CommandRecord, Key, LateRecord, PlanRecord, RecordPart
from charging_agent.readings.apis import ReadingSource, create_model_by_source
from charging_agent.readings.assessment import Status
from charging_agent.readings.forecasts import LoadForecastOutlook
from charging_agent.readings.prices import PriceOutlook
from ev_service.telemetry import Reading
from ev_service.units import UtcTimestamp

FORMAT = 4
"""Form of the records that are written. Older ones are read too: 1 lacks the chargers, 2 `late`, 3 `proposal`."""
OF_FORMAT_2 = ("chargers", "plan", "commanded")
"""Members that records have from form 2 on."""
OF_FORMAT_3 = ("late",)
"""Members that records have from form 3 on."""
OF_FORMAT_4 = ("proposal", "limited_by")
"""Members that records have from form 4 on."""
_ADDITIONS = ((2, OF_FORMAT_2), (3, OF_FORMAT_3), (4, OF_FORMAT_4))


def members_since_format_1(form: object) -> tuple[str, ...]:
    """The members that a record of a form has beside those of form 1; of an unknown form those of the newest.

    >>> members_since_format_1(2)
    ('chargers', 'plan', 'commanded')
    """
    known = form if isinstance(form, int) and 1 <= form <= FORMAT else FORMAT
    return tuple(name for since, names in _ADDITIONS if since <= known for name in names)


NO_RECORD_SHA256 = "0" * 64
"""What the first record names as its predecessor."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Input(RecordPart):
    """How good a reading was."""

    status: Status = Field(description="How good the reading was when it was decided from.")
    age_s: float | None = Field(description="The moment of the decision minus the reading's own timestamp [s].")
    error: FailureReason | None = Field(description="For stale and missing: what stood in the way.")
    reading: Reading | None = Field(description="The whole reading; null when missing.")


class SourceInputs(RecordPart):
    """The readings and prices that were decided from."""

    prices: PriceOutlook | None = Field(
        default=None, description="Prices from the decision on; null or absent: it was made without them."
    )

    load_forecast: LoadForecastOutlook | None = Field(
        default=None, description="Forecast of the load from the decision on; null or absent: made without it."
    )

    def as_json(self) -> dict[str, Any]:
        """The JSON value that is hashed; what a decision was made without is left out, as in all records before it."""
        absent = {name for name in ("prices", "load_forecast") if getattr(self, name) is None}
        return {name: one for name, one in super().as_json().items() if name not in absent}

    def by_source(self) -> dict[str, Input]:
        """Return what was known of each source of readings; one that was added after the record is absent."""
        held = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: known for name, known in held if isinstance(known, Input)}


def _input_field(source: ReadingSource[Any]) -> tuple[Any, Any]:
    reading: tuple[Any, Any] = (source.model | None, Field(description="The whole reading; null when missing."))
    name, doc = f"{source.subject.capitalize()}Input", f"What was known of {source.about}."
    fields: dict[str, Any] = {"reading": reading}
    model = create_model(name, __base__=Input, __doc__=doc, **fields)
    return (model, ...) if source.is_in_every_record else (model | None, None)


INPUTS_MODEL = create_model_by_source("Inputs", SourceInputs, _input_field)
"""`SourceInputs` with one field for each source."""
Inputs = Annotated[SourceInputs, GetPydanticSchema(lambda _, handler: handler(INPUTS_MODEL))]


class CallRecord(RecordPart):
    """One call through the gateway, a refused one too."""

    api: str = Field(description="The API or MCP server, as published.", examples=["SolarAPI"])
    protocol: ProtocolName = Field(description="How it was called.")
    resource: str = Field(description="Verb and path, or the tool's name.", examples=["GET /solar/1.0.0/solar-status"])
    at: UtcTimestamp = Field(description="When it was sent, UTC.")
    status: int | None = Field(description="HTTP status; null when no answer came.", examples=[200])
    outcome: str = Field(description="`ok`, or one word of trouble.", examples=["ok"])
    code: str | None = Field(description="WSO2's code, where the answer had one.", examples=["900803"])
    correlation_id: str | None = Field(description="The id under which the gateway's log has the call.")


class PolicyParameters(RecordPart):
    """Thresholds, powers and ages that the policy was given."""

    grid_overload_percent: float = Field(description="A load above it pauses [%].")
    solar_high_percent: float = Field(description="Solar is high from here on [% of capacity].")
    solar_medium_percent: float = Field(description="Solar is medium from here on [% of capacity].")
    battery_high_percent: float = Field(description="The battery is high from here on [%].")
    power_kw: dict[str, float] = Field(description="Ceiling for each charging point by action [kW].")
    max_age_s: float = Field(description="Up to here a reading is fresh or cached [s].")
    stale_limit_s: float = Field(description="Up to here a reading counts [s].")
    keep_rule_ceilings: bool = Field(default=True, description="Whether the power is at most what the rules give.")
    own: dict[str, JsonValue] = Field(default={}, description="What the policy goes by besides; empty for the rules.")


class PolicyRecord(RecordPart):
    """The policy that decides, and its parameters."""

    name: str = Field(description="Name of the policy.", examples=["rules"])
    version: str = Field(description="Version of its rules.", examples=["1"])
    parameters: PolicyParameters
    sha256: Sha256 = Field(description="SHA-256 over name, version and parameters as canonical JSON.")


class Clamp(RecordPart):
    """A power that the guard lowered."""

    limited_by: str = Field(description="The limit that caused it.", examples=["grid_overload"])
    proposed_kw: float | None = Field(description="What was proposed [kW]; null where it was not finite.")
    allowed_kw: float = Field(description="What is allowed [kW].")
    evse: Key | None = Field(default=None, description="Charger and EVSE; null: all that have no ceiling of their own.")


class EvseCeiling(RecordPart):
    """A ceiling that was proposed for one charging point."""

    evse: Key = Field(description="Charger and EVSE.")
    ceiling_kw: float | None = Field(description="What was proposed [kW]; null where it was not finite.")


class ScheduledPowerRecord(RecordPart):
    """Power that was planned for one car from a moment on."""

    evse: Key = Field(description="Charger and EVSE.")
    interval_start: UtcTimestamp = Field(description="From here until the next one of this car, UTC.")
    power_kw: float | None = Field(description="Planned power [kW]; null where it was not finite.")


class CarExplanationRecord(RecordPart):
    """What a plan means for one car."""

    car: Key = Field(description="Charger and EVSE.")
    text: str = Field(description="In one sentence.")
    departure: UtcTimestamp | None = Field(description="Departure that was planned with, UTC; null: not known.")
    energy_kwh: float = Field(description="Energy by the plan [kWh].")
    shortfall_kwh: float = Field(description="Energy that it does not get by departure [kWh].")
    limited_by: str | None = Field(description="Limit that costs this car most; null: none.")
    limit_price_per_kwh: float = Field(description="What one more kWh below it would save [currency/kWh].")
    cost: float | None = Field(description="Expected cost [currency]; null without prices.")
    cost_at_once: float | None = Field(description="The same if charged at full power at once [currency].")


class PlanExplanationRecord(RecordPart):
    """What a plan reckons with and what it comes to."""

    ends_at: UtcTimestamp = Field(description="End of the plan, UTC; it begins with the decision.")
    currency: str | None = Field(description="Currency of costs; null: no prices are known.")
    peak_kw: float = Field(description="Highest expected import [kW].")
    cars: tuple[CarExplanationRecord, ...] = Field(description="The cars that are planned.")
    basis: tuple[str, ...] = Field(description="What was known, and what stands in for what was not.")
    rule_ceiling_kw: float = Field(description="What the rules would have given each charging point [kW].")


class ProposalRecord(RecordPart):
    """What a policy proposed, before the guard."""

    policy: str = Field(description="The policy that proposed: `rules` where the named one failed.", examples=["rules"])
    ceiling_kw: float | None = Field(description="Ceiling for each charging point [kW]; null where it was not finite.")
    evse_ceilings: tuple[EvseCeiling, ...] = Field(description="Ceilings of single charging points.")
    schedule: tuple[ScheduledPowerRecord, ...] = Field(description="Plan by car, where there is one.")
    reason: str = Field(description="Why, in the policy's words.")
    plan: PlanExplanationRecord | None = Field(
        default=None, description="What the schedule reckons with; null or absent: there is none."
    )

    def as_json(self) -> dict[str, Any]:
        """The JSON value that is hashed; a proposal without a plan leaves `plan` out, as all records before it."""
        content = super().as_json()
        return content if self.plan is not None else {name: one for name, one in content.items() if name != "plan"}


class Record(RecordPart):
    """One decision with everything that it was made from."""

    format: Literal[1, 2, 3, 4] = Field(
        description="Form of this record; 1 is without `chargers`, `plan` and `commanded`, up to 2 without `late`, up "
        "to 3 without `proposal` and `limited_by`."
    )
    sequence: int = Field(ge=1, description="Number of this record, without gaps from 1.", examples=[412])
    previous_sha256: Sha256 = Field(description="The `sha256` of the record before; zeros in the first.")
    decision_id: UUID = Field(description="Name of the decision.")
    decided_at: UtcTimestamp = Field(description="When it was made, UTC.")
    run_id: UUID = Field(description="The run of the agent's process that made it.")
    agent_version: str = Field(description="Version of the agent's code.", examples=["0.1.0"])
    site_id: str = Field(description="The site that it is for.")
    inputs: Inputs
    inputs_sha256: Sha256 = Field(description="SHA-256 over `inputs` as canonical JSON.")
    calls: tuple[CallRecord, ...] = Field(description="Calls through the gateway since the record before.")
    policy: PolicyRecord
    rule: Rule = Field(description="The rule that applies to the readings, whatever policy proposed.")
    action: Action = Field(description="What the cars are told.")
    charging_power_kw: float = Field(ge=0, description="Ceiling for each charging point [kW].", examples=[22.0])
    clamps: tuple[Clamp, ...] = Field(description="What the guard lowered; empty when all was within the limits.")
    proposal: ProposalRecord | None = Field(default=None, description="What was proposed; absent before format 4.")
    limited_by: str | None = Field(
        default=None, description="The limit to which the guard lowered `charging_power_kw`; null: it is as proposed."
    )
    reason: str = Field(description="Why, in one plain sentence with the numbers.")
    chargers: ChargersInput | None = Field(default=None, description="The chargers; null where the agent has none.")
    plan: PlanRecord | None = Field(default=None, description="The limits that follow; null where none do.")
    commanded: CommandRecord | None = Field(
        default=None, description="The last try to set limits since the record before; null when there was none."
    )
    late: LateRecord | None = Field(
        default=None, description="What was sent before this record was written; null: nothing was, as a rule."
    )
    key_id: str = Field(description="Which key signed it.", examples=["3f0c9a51d2b7e846"])

    @model_validator(mode="after")
    def _is_of_its_format(self) -> Self:
        expected = members_since_format_1(self.format)
        later = members_since_format_1(FORMAT)
        if any((name in self.model_fields_set) != (name in expected) for name in later):
            raise ValueError(f"a record of format {self.format} has other members")
        return self


class Entry(RecordPart):
    """A record as the ledger keeps it: with its hash and the signature over that."""

    record: Record
    sha256: Sha256 = Field(description="SHA-256 over `record` as canonical JSON (RFC 8785).")
    signature: str = Field(pattern=r"^[0-9a-f]{128}$", description="Ed25519 over the 32 bytes of `sha256`.")


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """An entry as it is written down.

    record: canonical JSON. sha256: over its bytes. signature: hexadecimal.
    """

    record: str
    sha256: str
    signature: str

    @property
    def line(self) -> bytes:
        """The entry as canonical JSON, one line without its end: what is exported and what is answered."""
        return f'{{"record":{self.record},"sha256":"{self.sha256}","signature":"{self.signature}"}}'.encode()

    @property
    def entry(self) -> Entry:
        """The entry, read.

        Raises:
            ValueError: the record is not one of this form.
        """
        return Entry.model_validate_json(self.line)
