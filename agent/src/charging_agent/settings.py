"""The agent's settings: credentials and addresses of the gateway, thresholds, ages and periods."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Self

from pydantic import Field, JsonValue, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from charging_agent.charging.planning import ChargingParameters
from charging_agent.charging.sharing import SharingPolicy
from charging_agent.decision.plan_policy import PlanParameters, PlanPolicy
from charging_agent.decision.policies import POLICIES
from charging_agent.decision.policy import Action
from charging_agent.decision.rules import RulePolicy, RuleThresholds
from charging_agent.gateway.calls import ProtocolName
from charging_agent.readings.assessment import AgeLimits
from ev_service.settings import SafeUrl, Settings, safe_url


class GatewaySettings(Settings):
    """Where the gateway stands and who the agent is there."""

    model_config = SettingsConfigDict(env_prefix="WSO2_")

    client_id: SecretStr | None = Field(default=None, description="Consumer key of EVApp.")
    client_secret: SecretStr | None = Field(default=None, description="Consumer secret of EVApp.")
    client_id_file: Path | None = Field(default=None, description="File that holds the consumer key.")
    client_secret_file: Path | None = Field(default=None, description="File that holds the consumer secret.")
    token_url: SafeUrl = Field(default="https://localhost:9443/oauth2/token", description="Token endpoint, whole.")
    gateway_url: SafeUrl = Field(default="https://localhost:8243", description="Base of the gateway.")
    ca_file: Path | None = Field(
        default=None, description="PEM to trust beside the system's, read again when it changes."
    )


class AgentSettings(Settings):
    """How the agent decides and how it lives."""

    model_config = SettingsConfigDict(env_prefix="AGENT_")

    policy: str = Field(
        default=RulePolicy.name,
        description="Who decides: rules (the five rules), or plan (each car by departure and price).",
    )
    keep_rule_ceilings: bool = Field(
        default=True, description="Whether no policy may give a charging point more power than the rules give."
    )
    protocol: ProtocolName = Field(
        default="rest", description="How readings are asked for: rest (the APIs) or mcp (the MCP servers made of them)."
    )
    tools_lock_file: Path | None = Field(
        default=None, description="wso2/mcp-servers/tools.lock, the tools that were approved; needed with mcp."
    )
    period_s: float = Field(default=15.0, ge=1, le=3600, description="The agent observes by itself this often [s].")
    prices: bool = Field(
        default=False, description="Whether prices of the grid service are fetched, given to the policy and recorded."
    )
    forecasts: bool = Field(
        default=False,
        description="Whether the load forecast is fetched, given to the policy and recorded.",
    )
    prices_refresh_s: float = Field(
        default=900.0, ge=300, le=86_400, description="From one fetch of prices or forecasts to the next [s]."
    )
    plan_energy_kwh: float = Field(
        default=20.0, gt=0, le=1000, description="Energy that the plan assumes where nobody told it [kWh]."
    )
    plan_unserved_per_kwh: float | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="Value of energy that a car lacks at departure [currency/kWh]; else energy goes before cost.",
    )
    plan_wait_cost_per_kwh_h: float = Field(
        default=0.004,
        ge=0,
        le=1000,
        description="Cost in the plan of letting energy wait [currency/kWh per hour]: the less drivers' departures are "
        "to be trusted, the higher.",
    )
    plan_co2_price_per_kg: float = Field(
        default=0.0, ge=0, le=1000, description="Price of emissions in the plan [currency/kg]."
    )
    plan_peak_target_kw: float = Field(
        default=0.0,
        ge=0,
        le=1_000_000,
        description="Import that the month reaches anyway, up to which the plan counts no demand charge [kW].",
    )
    limits_file: Path | None = Field(default=None, description="limits.json; else the one beside the client secret.")
    state_dir: Path | None = Field(
        default=None, description="What the agent keeps on disk: the ledger of decisions and its key. Else in memory."
    )
    ledger_open_s: float = Field(
        default=30.0,
        ge=0,
        le=600,
        description="The agent's first round waits so long for the ledger to be open [s, real time].",
    )
    ledger_anchor: str | None = Field(
        default=None,
        description="Where the ledger's signed head is told: a file outside AGENT_STATE_DIR, or an https:// address.",
    )
    device: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9]{1,32}$",
        description="Name of this replica; its token is then its own and revokes no other's.",
    )
    max_age_s: float = Field(default=10.0, ge=0, le=600, description="A younger reading is served without a call [s].")
    stale_limit_s: float = Field(default=60.0, gt=0, le=3600, description="An older reading does not count [s].")
    grid_overload_percent: float = Field(default=85.0, gt=0, le=100, description="A load above it pauses [%].")
    solar_high_percent: float = Field(default=60.0, gt=0, le=100, description="Solar is high from here on [%].")
    solar_medium_percent: float = Field(default=25.0, gt=0, le=100, description="Solar is medium from here on [%].")
    battery_high_percent: float = Field(default=70.0, gt=0, le=100, description="The battery is high from here on [%].")
    fast_kw: float = Field(default=22.0, gt=0, le=1000, description="Power of `fast` [kW].")
    normal_kw: float = Field(default=11.0, gt=0, le=1000, description="Power of `normal` [kW].")
    slow_kw: float = Field(default=5.0, gt=0, le=1000, description="Power of `slow` [kW].")
    chargers: bool = Field(default=True, description="Whether decisions are carried out: false only decides.")
    headroom_percent: float = Field(
        default=85.0, gt=0, le=100, description="What building and cars may take together [% of the site's limit]."
    )
    overdraw_s: float = Field(default=60.0, ge=0, le=3600, description="A car above its limit longer is alarmed [s].")
    meter_lost_s: float = Field(default=90.0, ge=10, le=3600, description="An older meter value says nothing [s].")
    surplus_start_s: float = Field(
        default=60.0, ge=0, le=3600, description="A car on surplus starts when there is enough of it for so long [s]."
    )
    surplus_stop_s: float = Field(
        default=180.0, ge=0, le=3600, description="It stops when there is too little surplus for so long [s]."
    )
    surplus_before_battery: bool = Field(
        default=False, description="What the stationary battery is charged with is surplus for cars as well."
    )
    require_assertion: bool = Field(
        default=False, description="Answer the routes of AgentAPI only to calls that came through the gateway."
    )

    @field_validator("policy")
    @classmethod
    def _is_known_policy(cls, value: str) -> str:
        if value not in POLICIES:
            raise ValueError(f"there is no such policy; known are: {', '.join(POLICIES)}")
        return value

    @field_validator("ledger_anchor")
    @classmethod
    def _is_a_safe_place(cls, value: str | None) -> str | None:
        return safe_url(value) if value is not None and "://" in value else value

    @model_validator(mode="after")
    def _are_ordered(self) -> Self:
        if not self.solar_medium_percent < self.solar_high_percent:
            raise ValueError("AGENT_SOLAR_MEDIUM_PERCENT must be below AGENT_SOLAR_HIGH_PERCENT")
        if not self.slow_kw < self.normal_kw < self.fast_kw:
            raise ValueError("AGENT_SLOW_KW, AGENT_NORMAL_KW and AGENT_FAST_KW must rise in this order")
        if not self.max_age_s <= self.stale_limit_s:
            raise ValueError("AGENT_MAX_AGE_S must not pass AGENT_STALE_LIMIT_S")
        if self.protocol == "mcp" and self.tools_lock_file is None:
            raise ValueError("AGENT_PROTOCOL=mcp needs AGENT_TOOLS_LOCK_FILE")
        return self

    def rules(self) -> RuleThresholds:
        """Thresholds and powers of the rules."""
        powers = {
            Action.PAUSE: 0.0,
            Action.SLOW: self.slow_kw,
            Action.NORMAL: self.normal_kw,
            Action.FAST: self.fast_kw,
        }
        return RuleThresholds(
            self.grid_overload_percent,
            self.solar_high_percent,
            self.solar_medium_percent,
            self.battery_high_percent,
            powers,
        )

    def policy_parameters(self) -> Mapping[str, JsonValue]:
        """Parameters of the policy, as records hold them; none for the rules."""
        if self.policy != PlanPolicy.name:
            return {}
        parameters = PlanParameters(
            self.plan_energy_kwh,
            self.plan_unserved_per_kwh,
            self.plan_co2_price_per_kg,
            self.plan_wait_cost_per_kwh_h,
            self.plan_peak_target_kw,
            self.keep_rule_ceilings,
        )
        return asdict(parameters)

    def charging(self) -> ChargingParameters:
        """How power is shared among the cars."""
        sharing = SharingPolicy(surplus_start_s=self.surplus_start_s, surplus_stop_s=self.surplus_stop_s)
        return ChargingParameters(
            self.headroom_percent, self.overdraw_s, self.meter_lost_s, self.surplus_before_battery, sharing
        )

    def ages(self) -> AgeLimits:
        """How old a reading may be."""
        return AgeLimits(self.max_age_s, self.stale_limit_s)
