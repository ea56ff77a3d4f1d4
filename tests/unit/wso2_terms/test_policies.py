from pathlib import Path

import pytest

from wso2_terms.documents import ArtifactError
from wso2_terms.policies import PolicyKind, RequestCount, SubscriptionPolicy, read_policy

SUBSCRIPTION = """\
type: throttling policy
subtype: subscription policy
version: v4.6.0
data:
  policyName: Energy10PerMin
  defaultLimit:
    type: REQUESTCOUNTLIMIT
    requestCount: {timeUnit: min, unitTime: 2, requestCount: 10}
  stopOnQuotaReach: true
"""


def test_a_plan_is_read_with_its_limit_and_window() -> None:
    policy = read_policy(SUBSCRIPTION)

    assert (policy.kind, policy.name) == (PolicyKind.SUBSCRIPTION, "Energy10PerMin")
    assert policy.data.default_limit.request_count.window_s == 120
    assert isinstance(policy.data, SubscriptionPolicy)
    assert policy.data.stop_on_quota_reach
    assert policy.data.burst is None


def test_a_burst_limit_is_a_count_in_one_unit() -> None:
    policy = read_policy(SUBSCRIPTION + "  rateLimitCount: 3\n  rateLimitTimeUnit: sec\n")

    assert isinstance(policy.data, SubscriptionPolicy)
    assert policy.data.burst == RequestCount(time_unit="sec", unit_time=1, request_count=3)


def test_a_plan_that_does_not_say_so_lets_calls_over_the_quota_through() -> None:
    policy = read_policy(SUBSCRIPTION.replace("  stopOnQuotaReach: true\n", ""))

    assert isinstance(policy.data, SubscriptionPolicy)
    assert not policy.data.stop_on_quota_reach


@pytest.mark.parametrize(("kind", "segment"), [(kind, kind.value.split()[0]) for kind in PolicyKind])
def test_every_kind_is_read_from_its_subtype(kind: PolicyKind, segment: str) -> None:
    text = SUBSCRIPTION.replace("subscription policy", kind.value).replace("  stopOnQuotaReach: true\n", "")

    assert read_policy(text).kind is kind
    assert kind.path_segment == segment


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("stopOnQuotaReach", "stopOnQuotaReached", r"data: stopOnQuotaReached"),
        ("requestCount: 10", "requestCount: 0", r"requestCount"),
        ("requestCount: 10", 'requestCount: "10"', r"requestCount"),
        ("timeUnit: min", "timeUnit: minute", r"timeUnit"),
        ("REQUESTCOUNTLIMIT", "BANDWIDTHLIMIT", r"defaultLimit\.type"),
        ("subscription policy", "gentle policy", r"subtype"),
        ("policyName: Energy10PerMin", "policy_name: Energy10PerMin", r"policyName|policy_name"),
        ("Energy10PerMin", "E" * 61, r"policyName"),
        ("  stopOnQuotaReach: true", "  rateLimitCount: 3", r"belong together"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, told: str) -> None:
    with pytest.raises(ArtifactError, match=told):
        read_policy(SUBSCRIPTION.replace(old, new))


def test_a_file_is_named_when_it_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("type: api\n")

    with pytest.raises(ArtifactError, match=r"plan\.yaml"):
        read_policy(tmp_path / "plan.yaml")

    with pytest.raises(ArtifactError, match="cannot be read"):
        read_policy(tmp_path / "absent.yaml")
