"""The policies that AGENT_POLICY chooses from, by name. A further policy is a class and an entry here."""

from collections.abc import Mapping
from typing import Protocol

from pydantic import JsonValue

from charging_agent.decision.plan_policy import PlanPolicy, parse_parameters
from charging_agent.decision.policy import DecisionPolicy
from charging_agent.decision.rules import RulePolicy


class PolicyFactory(Protocol):
    """Creates a policy, for new decisions and for those that are decided again from a record."""

    def __call__(self, rules: RulePolicy, parameters: Mapping[str, JsonValue]) -> DecisionPolicy:
        """Create the policy.

        Args:
            rules: the rules with the thresholds of the site, or of the record.
            parameters: as `DecisionPolicy.parameters` gives them, from settings or from the record; may be empty.
        """
        ...


def _use_rules(rules: RulePolicy, parameters: Mapping[str, JsonValue]) -> DecisionPolicy:
    return rules


def _use_plan(rules: RulePolicy, parameters: Mapping[str, JsonValue]) -> DecisionPolicy:
    return PlanPolicy(rules, parse_parameters(parameters))


POLICIES: dict[str, PolicyFactory] = {RulePolicy.name: _use_rules, PlanPolicy.name: _use_plan}
"""All policies, by the name that settings, answers and records use."""
