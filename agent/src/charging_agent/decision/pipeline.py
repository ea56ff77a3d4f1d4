"""From inputs to a decision: the policy proposes, the guard caps. Used by the agent and by the replay of records."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from charging_agent.charging.sharing import CarKey
from charging_agent.decision.guard import PowerClamp, PowerLimit, guard, power_bounds
from charging_agent.decision.policy import Action, DecisionInputs, DecisionPolicy, PolicyUnavailableError, Proposal
from charging_agent.decision.rules import Rule, RulePolicy

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the charging points may give."""

    rule: Rule
    """The rule that applies to the readings, whatever policy proposed."""

    action: Action
    """Band of `charging_power_kw`."""

    charging_power_kw: float
    """The highest ceiling of any charging point [kW]."""

    reason: str = ""
    """Why, in plain language with the numbers."""

    policy: str = RulePolicy.name
    """The policy that proposed it."""

    limited_by: PowerLimit | None = None
    """The limit to which the guard lowered `charging_power_kw`; None: it is as proposed."""

    ceiling_kw: float | None = None
    """Ceiling of each charging point that `evse_ceilings_kw` does not name [kW]; None: `charging_power_kw`."""

    evse_ceilings_kw: Mapping[CarKey, float] = field(default_factory=dict[CarKey, float])
    """Ceilings of single charging points [kW]."""

    policy_failure: str | None = None
    """Why the rules proposed in place of the policy, in one clause; None: they did not."""

    def ceiling_of(self, evse: CarKey) -> float:
        """Ceiling of one charging point [kW]."""
        others_kw = self.charging_power_kw if self.ceiling_kw is None else self.ceiling_kw
        return self.evse_ceilings_kw.get(evse, others_kw)


@dataclass(frozen=True, slots=True)
class DecisionOutcome:
    """A decision with what led to it."""

    proposal: Proposal
    decision: Decision
    clamps: tuple[PowerClamp, ...] = ()
    """What the guard lowered."""


class DecisionPipeline:
    """Decides by a policy under the guard.

    Args:
        policy: proposes; None: the rules.
        rules: give `rule`, the ceiling of other policies, and the proposal when the policy fails.
        keeps_rule_ceilings: whether no policy may give more than the rules.
    """

    def __init__(
        self,
        policy: DecisionPolicy | None = None,
        rules: RulePolicy | None = None,
        *,
        keeps_rule_ceilings: bool = True,
    ) -> None:
        self.rules = rules or RulePolicy()
        self.policy: DecisionPolicy = policy or self.rules
        self.keeps_rule_ceilings = keeps_rule_ceilings

    def decide(self, inputs: DecisionInputs) -> DecisionOutcome:
        """Propose and cap; the rules propose where the policy raises an error, and the reason says so."""
        policy = self.policy
        try:
            return self.cap(policy.propose(inputs), inputs, policy.name)
        except PolicyUnavailableError as error:
            failure = str(error)
            _logger.warning("policy unavailable, the rules decide", extra={"policy": policy.name, "reason": failure})
        except Exception as error:
            failure = f"it failed ({type(error).__name__})"
            _logger.exception("policy failed, the rules decide", extra={"policy": policy.name})
        return self.fall_back(inputs, failure)

    def fall_back(self, inputs: DecisionInputs, failure: str) -> DecisionOutcome:
        """Let the rules propose in place of the policy.

        Args:
            inputs: what is decided from.
            failure: why the policy does not, in one clause.
        """
        proposal = self.rules.propose(inputs)
        reason = f"{proposal.reason} The rules decide in place of the policy {self.policy.name}: {failure}."
        outcome = self.cap(replace(proposal, reason=reason), inputs, self.rules.name)
        return replace(outcome, decision=replace(outcome.decision, policy_failure=failure))

    def cap(self, proposal: Proposal, inputs: DecisionInputs, policy: str) -> DecisionOutcome:
        """Lower a proposal to what readings and settings allow.

        Args:
            proposal: of any policy.
            inputs: what it was made from.
            policy: its name.
        """
        thresholds, applied = self.rules.thresholds, self.rules.apply(inputs)
        rule_ceiling_kw = self.rules.ceiling_kw(applied)
        bounds = power_bounds(inputs, thresholds, rule_ceiling_kw if self.keeps_rule_ceilings else None)
        guarded = guard(proposal, bounds)
        power_kw = guarded.highest_kw
        reason = proposal.reason
        if guarded.limited_by is not None:
            reason = f"{reason} The guard allows {power_kw:g} kW (limited by {guarded.limited_by.value})."
        decision = Decision(
            applied.rule,
            thresholds.action_for(power_kw),
            power_kw,
            reason,
            policy,
            guarded.limited_by,
            guarded.ceiling_kw,
            guarded.evse_ceilings_kw,
        )
        return DecisionOutcome(proposal, decision, guarded.clamps)

    def fail_safe(self, reason: str) -> Decision:
        """The decision that allows no charging.

        Args:
            reason: why, in one plain sentence.
        """
        return Decision(Rule.FAIL_SAFE, Action.PAUSE, 0.0, reason, self.policy.name)
