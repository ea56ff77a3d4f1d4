"""The policies that AGENT_POLICY chooses from, by name. A further policy is a class and an entry here."""

from collections.abc import Mapping
from typing import Protocol

from pydantic import JsonValue

from charging_agent.decision.policy import DecisionPolicy
from charging_agent.decision.rules import RulePolicy


class PolicyFactory(Protocol):
    """Creates a policy, for new decisions and for those that are decided again from a record."""

    def __call__(self, rules: RulePolicy, parameters: Mapping[str, JsonValue]) -> DecisionPolicy:
        """Create the policy.

        Args:
            rules: the rules with the thresholds of the site, or of the record.
            parameters: what the record holds as `DecisionPolicy.parameters`; empty for new decisions.
        """
        ...


def _use_rules(rules: RulePolicy, parameters: Mapping[str, JsonValue]) -> DecisionPolicy:
    return rules


POLICIES: dict[str, PolicyFactory] = {RulePolicy.name: _use_rules}
"""All policies, by the name that settings, answers and records use."""
