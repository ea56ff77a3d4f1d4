"""Throttling policies in the format of their import files.

Source: WSO2 API Manager 4.6.0, Admin REST API v4 (ThrottlePolicy schemas) and apictl 4.6 (import files).
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from wso2_terms.documents import ArtifactError, StrictModel, parse_yaml, read_text, validate
from wso2_terms.windows import compute_window_s

TimeUnit = Literal["sec", "min", "hour", "day"]
PolicyName = Annotated[str, Field(min_length=1, max_length=60)]


class PolicyKind(StrEnum):
    """Kind of a policy; the value is the `subtype` of its import file."""

    SUBSCRIPTION = "subscription policy"
    ADVANCED = "advanced policy"
    APPLICATION = "application policy"

    @property
    def path_segment(self) -> str:
        """The kind in URLs of the Admin REST API: `/throttling/policies/{segment}`."""
        return self.value.removesuffix(" policy")


class RequestCount(StrictModel):
    """A number of requests per window."""

    time_unit: TimeUnit
    unit_time: Annotated[int, Field(gt=0)]
    """Length of the window in units of `time_unit`."""

    request_count: Annotated[int, Field(gt=0)]
    """Allowed requests per window."""

    @property
    def window_s(self) -> int:
        """Length of the window [s]."""
        return compute_window_s(self.unit_time, self.time_unit)


class ThrottleLimit(StrictModel):
    """The limit of a policy; only request counts are supported."""

    type: Literal["REQUESTCOUNTLIMIT"]
    request_count: RequestCount


class _Policy(StrictModel):
    policy_name: PolicyName
    display_name: Annotated[str, Field(max_length=512)] | None = None
    description: Annotated[str, Field(max_length=1024)] | None = None
    default_limit: ThrottleLimit
    is_deployed: bool = False


class AdvancedPolicy(_Policy):
    """Limits all applications together at an API or a resource."""

    type: Literal["AdvancedThrottlePolicy"] | None = None
    conditional_groups: Annotated[tuple[object, ...], Field(max_length=0)] = ()


class PolicyPermission(StrictModel):
    """Roles that may, or may not, choose a plan."""

    permission_type: Literal["ALLOW", "DENY"]
    roles: tuple[str, ...]


class SubscriptionPolicy(_Policy):
    """A business plan: limits one application at one API."""

    type: Literal["SubscriptionThrottlePolicy"] | None = None
    billing_plan: Literal["FREE", "COMMERCIAL"] = "FREE"
    stop_on_quota_reach: bool = False
    """Reject calls above the quota; WSO2's default is to admit them."""

    rate_limit_count: Annotated[int, Field(ge=0)] = 0
    """Burst limit per `rate_limit_time_unit`; 0 for none."""

    rate_limit_time_unit: Literal["sec", "min", "hour", "day", ""] = ""
    subscriber_count: Annotated[int, Field(ge=0)] = 0
    graph_ql_max_complexity: Annotated[int, Field(ge=0, alias="graphQLMaxComplexity")] = 0
    graph_ql_max_depth: Annotated[int, Field(ge=0, alias="graphQLMaxDepth")] = 0
    custom_attributes: tuple[dict[str, str], ...] = ()
    permissions: PolicyPermission | None = None

    @property
    def burst(self) -> RequestCount | None:
        """The burst limit as a request count, None if there is none."""
        unit = self.rate_limit_time_unit
        if self.rate_limit_count == 0 or unit == "":
            return None
        return RequestCount(time_unit=unit, unit_time=1, request_count=self.rate_limit_count)


class BurstLimit(StrictModel):
    """Burst limit of an application."""

    rate_limit_count: Annotated[int, Field(ge=0)] = 0
    """Calls per `rate_limit_time_unit`; 0 for no limit."""

    rate_limit_time_unit: Literal["sec", "min", "hour", "day", ""] = ""


class ApplicationPolicy(_Policy):
    """Limits an application across all APIs."""

    type: Literal["ApplicationThrottlePolicy"] | None = None
    burst_limit: BurstLimit | None = None


ThrottlePolicy = SubscriptionPolicy | AdvancedPolicy | ApplicationPolicy

_MODELS: dict[PolicyKind, type[SubscriptionPolicy] | type[AdvancedPolicy] | type[ApplicationPolicy]] = {
    PolicyKind.SUBSCRIPTION: SubscriptionPolicy,
    PolicyKind.ADVANCED: AdvancedPolicy,
    PolicyKind.APPLICATION: ApplicationPolicy,
}

SHIPPED_PLANS = frozenset({"Unlimited", "Gold", "Silver", "Bronze", "Unauthenticated", "DefaultSubscriptionless"})
"""Subscription policies that WSO2 creates at the first start."""
SHIPPED_ADVANCED = frozenset({"Unlimited", "10KPerMin", "20KPerMin", "50KPerMin"})
"""Advanced policies that WSO2 creates at the first start."""


class PolicyFile(StrictModel):
    """Structure of an import file."""

    type: Literal["throttling policy"]
    subtype: PolicyKind
    version: str
    data: dict[str, object]


class Policy(StrictModel):
    """A policy read from its import file."""

    kind: PolicyKind
    data: ThrottlePolicy

    @property
    def name(self) -> str:
        """Name by which APIs and subscriptions refer to the policy."""
        return self.data.policy_name


def read_policy(source: Path | str, name: str = "policy") -> Policy:
    """Read an import file.

    Args:
        source: The file, or its text.
        name: Name of the document in error messages if only its text is given.

    Raises:
        ArtifactError: The file cannot be read or is invalid; names file and field.
    """
    if isinstance(source, Path):
        return read_policy(read_text(source), str(source))
    envelope = validate(parse_yaml(source, name), PolicyFile, name)
    model = _MODELS[envelope.subtype]
    data = validate(envelope.data, model, f"{name}: data")
    if isinstance(data, SubscriptionPolicy) and bool(data.rate_limit_count) != bool(data.rate_limit_time_unit):
        raise ArtifactError(f"{name}: data: rateLimitCount and rateLimitTimeUnit belong together")
    return Policy(kind=envelope.subtype, data=data)
