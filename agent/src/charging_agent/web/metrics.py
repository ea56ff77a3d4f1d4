"""The agent's metrics for Prometheus. Labels are bounded: names of rules, APIs and limits, never of cars."""

from collections import Counter as Counted

from prometheus_client import CollectorRegistry, Counter, Gauge

from charging_agent.agent import DecisionResult
from charging_agent.charging.charger_api import CommandResult
from charging_agent.charging.meter_checks import Alarms
from charging_agent.charging.planning import ChargingPlan
from charging_agent.gateway.calls import OK, Call


class AgentMetrics:
    """Everything that one agent counts."""

    def __init__(self) -> None:
        self._decisions = Counter("agent_decisions", "Decisions made", ["rule", "degraded"], registry=None)
        self._calls = Counter("agent_gateway_calls", "Calls through the gateway", ["api", "outcome"], registry=None)
        self._policy_failures = Counter(
            "agent_policy_failures", "Decisions of the rules in place of the policy", registry=None
        )
        self._power = Gauge("agent_charging_power_kw", "Ceiling of the last decision [kW]", registry=None)
        self._refused = Gauge(
            "agent_tools_refused", "1 while a server's tools are not those approved", ["server"], registry=None
        )
        self.records = Counter("agent_ledger_records", "Records written", registry=None)
        self.ledger_failures = Counter("agent_ledger_failures", "Records that could not be written", registry=None)
        self.anchor_failures = Counter("agent_ledger_anchor_failures", "Heads that no anchor took", registry=None)
        self.anchor_age = Gauge(
            "agent_ledger_anchor_age_s", "How long the oldest record without an anchor waits [s]", registry=None
        )
        self.charging = ChargingMetrics()

    def register(self, registry: CollectorRegistry) -> None:
        """Have them answered by `GET /metrics`."""
        kept = (self.records, self.ledger_failures, self.anchor_failures, self.anchor_age)
        for metric in (
            self._decisions,
            self._policy_failures,
            self._calls,
            self._power,
            self._refused,
            *kept,
            *self.charging.every,
        ):
            registry.register(metric)

    def report_decision(self, result: DecisionResult) -> None:
        """Count a decision."""
        self._decisions.labels(result.decision.rule, str(result.observation.is_degraded).lower()).inc()
        self._power.set(result.decision.charging_power_kw)
        if result.decision.policy_failure is not None:
            self._policy_failures.inc()

    def report_call(self, call: Call) -> None:
        """Count a call."""
        # A status says more than a word, but a 200 that brought nothing is no success.
        has_status = call.status is not None and (call.status != 200 or call.outcome == OK)
        self._calls.labels(call.api, str(call.status) if has_status else call.outcome).inc()

    def report_tool_check(self, server: str, is_refused: bool) -> None:
        """Tell whether a server's tools are refused."""
        self._refused.labels(server).set(is_refused)


class ChargingMetrics:
    """What is counted of the chargers."""

    def __init__(self) -> None:
        self._commands = Counter("agent_commands", "Tries to set limits", ["outcome"], registry=None)
        self._limits = Counter("agent_limits", "Limits set, by what came of each", ["outcome"], registry=None)
        self._clamps = Counter("agent_plan_clamps", "Limits the guard took back", ["limited_by"], registry=None)
        self._cars = Gauge("agent_cars", "Cars that a limit reaches", registry=None)
        self._room = Gauge("agent_room_kw", "What these cars may take together [kW]", registry=None)
        self._overdrawing = Gauge("agent_cars_overdrawing", "Cars above their limit for too long", registry=None)
        self._silent = Gauge("agent_cars_without_meter", "Charging cars whose meter says nothing", registry=None)
        self._contradicted = Gauge(
            "agent_cars_contradicted", "Cars that report more than the connection's meter can confirm", registry=None
        )
        counted = (self._commands, self._limits, self._clamps)
        self.every = (*counted, self._cars, self._room, self._overdrawing, self._silent, self._contradicted)

    def report_alarms(self, alarms: Alarms) -> None:
        """Tell what is alarmed."""
        self._overdrawing.set(len(alarms.overdrawing))
        self._silent.set(len(alarms.without_meter))
        self._contradicted.set(len(alarms.contradicted))

    def report_plan(self, plan: ChargingPlan) -> None:
        """Tell what a plan had to share, and what of it was taken back."""
        self._cars.set(len(plan.cars))
        self._room.set(plan.room.total_kw)
        for limited_by, count in Counted(clamp.limited_by.value for clamp in plan.clamps).items():
            self._clamps.labels(limited_by).inc(count)

    def report_command(self, result: CommandResult) -> None:
        """Count a try to set limits."""
        self._commands.labels(result.outcome).inc()
        for outcome, count in Counted(limit.outcome.value for limit in result.results).items():
            self._limits.labels(outcome).inc(count)
