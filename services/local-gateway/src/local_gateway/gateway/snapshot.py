"""What the data path needs to know of the state, prepared so that a call costs a few look-ups.

Made anew after each change of the state and never altered: a call that began with one snapshot ends with it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeVar

from pydantic import BaseModel

from local_gateway.gateway.throttle import Level
from local_gateway.lifecycle import BLOCKED
from local_gateway.shipped_policies import NO_LIMIT
from local_gateway.state import (
    Api,
    Application,
    DenyPolicy,
    Document,
    GatewayState,
    KeyType,
    OAuthClient,
    SubscriptionStatus,
)
from wso2_terms.api_project import Api as ApiData
from wso2_terms.api_project import Endpoint
from wso2_terms.codes import (
    API_THROTTLED,
    APPLICATION_THROTTLED,
    BURST_THROTTLED,
    RESOURCE_THROTTLED,
    SUBSCRIPTION_THROTTLED,
    Fault,
)
from wso2_terms.policies import ApplicationPolicy, PolicyKind, RequestCount, SubscriptionPolicy

DEFAULT_TIMEOUT_S = 120.0
"""Synapse's global endpoint timeout, where the endpoint sets none."""
DEFAULT_SUSPENSION_S = 30.0
"""How long WSO2 leaves a failed endpoint alone, where the endpoint does not say."""

M = TypeVar("M", bound=BaseModel)
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Backend:
    """Where calls go. timeout_s [s]: for the whole answer. suspension_s [s]: rest after a failure, 0 for none."""

    name: str
    url: str
    timeout_s: float
    suspension_s: float


@dataclass(frozen=True, slots=True)
class Resource:
    """One path and verb of an API. levels: what limits all of its callers together."""

    target: str
    verb: str
    is_secured: bool
    scopes: frozenset[str]
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class ServedApi:
    """A deployed API. context: with the version."""

    api_id: str
    name: str
    version: str
    context: str
    provider: str
    is_blocked: bool
    is_default_version: bool
    transports: frozenset[str]
    authorization_header: str
    resources: tuple[Resource, ...]
    production: Backend
    sandbox: Backend | None


@dataclass(frozen=True, slots=True)
class Subscriber:
    """An application's consumer key at one API. levels: what limits it there, in WSO2's order."""

    client_id: str
    key_type: KeyType
    application: Application
    plan: str
    status: SubscriptionStatus
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Addresses that a deny policy means; `invert` means all others."""

    first: Address
    last: Address
    invert: bool

    def means(self, address: Address) -> bool:
        if address.version != self.first.version:
            return False
        return (int(self.first) <= int(address) <= int(self.last)) != self.invert


@dataclass(frozen=True, slots=True)
class Denied:
    """What deny policies refuse."""

    contexts: frozenset[str]
    applications: frozenset[str]
    users: frozenset[str]
    addresses: tuple[AddressRange, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.contexts or self.applications or self.users or self.addresses)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment. subscribers: by consumer key and API."""

    apis: tuple[ServedApi, ...]
    subscribers: Mapping[tuple[str, str], Subscriber]
    denied: Denied


def take_snapshot(state: GatewayState) -> Snapshot:
    """Prepare the state for the data path."""
    limits = _Limits(state)
    served = tuple(_served(api, limits) for api in state.apis.values() if api.deployed is not None)
    return Snapshot(served, _subscribers(state, limits), _denied(state))


class _Limits:
    """Looks up policies by name and says what they count."""

    def __init__(self, state: GatewayState) -> None:
        self._data = {(policy.kind, policy.name): policy.data for policy in state.policies.values()}

    def advanced(self, name: str, fault: Fault, *key: str) -> tuple[Level, ...]:
        data = self._data.get((PolicyKind.ADVANCED.value, name))
        count = _read(RequestCount, data["defaultLimit"]["requestCount"]) if data else None
        return _level(fault, count, name, *key)

    def plan(self, name: str, *key: str) -> tuple[Level, ...]:
        data = self._data.get((PolicyKind.SUBSCRIPTION.value, name))
        if data is None:
            return ()
        policy = _read(SubscriptionPolicy, data)
        # Without stopOnQuotaReach WSO2 counts and lets pass.
        quota = policy.default_limit.request_count if policy.stop_on_quota_reach else None
        burst = _level(BURST_THROTTLED, policy.burst, name, *key, is_aligned=False)
        return (*_level(SUBSCRIPTION_THROTTLED, quota, name, *key), *burst)

    def application(self, application: Application) -> tuple[Level, ...]:
        data = self._data.get((PolicyKind.APPLICATION.value, application.throttling_policy))
        count = _read(ApplicationPolicy, data).default_limit.request_count if data else None
        return _level(APPLICATION_THROTTLED, count, application.throttling_policy, application.application_id)


def _read(model: type[M], data: Document) -> M:
    # By way of JSON, which is what the state holds: a strict model takes a list for a tuple from JSON alone.
    return model.model_validate_json(json.dumps(data))


def _level(fault: Fault, count: RequestCount | None, *key: str, is_aligned: bool = True) -> tuple[Level, ...]:
    if count is None or count.request_count >= NO_LIMIT:
        return ()
    # The limit is part of the key: a changed policy starts counting anew.
    whole_key = (fault.code, *key, str(count.request_count), str(count.per_s))
    return (Level(whole_key, count.request_count, count.per_s, fault, is_aligned),)


def _served(api: Api, limits: _Limits) -> ServedApi:
    assert api.deployed is not None
    data = _read(ApiData, api.deployed.data)
    context = data.versioned_context
    api_policy = data.api_throttling_policy
    for_all = limits.advanced(api_policy, API_THROTTLED, context) if api_policy else ()
    resources = tuple(
        Resource(
            target=operation.target,
            verb=operation.verb,
            is_secured=operation.auth_type != "None",
            scopes=frozenset(operation.scopes),
            # A limit of the whole API takes the place of limits of its resources.
            levels=for_all
            or limits.advanced(
                operation.throttling_policy, RESOURCE_THROTTLED, context, operation.target, operation.verb
            ),
        )
        for operation in data.operations
    )
    endpoints = data.endpoint_config
    return ServedApi(
        api_id=api.api_id,
        name=data.name,
        version=data.version,
        context=context,
        provider=api.provider,
        is_blocked=api.lifecycle == BLOCKED,
        is_default_version=data.is_default_version,
        transports=frozenset(data.transport),
        authorization_header=data.authorization_header,
        resources=resources,
        production=_backend(f"{data.name}--v{data.version}_APIproductionEndpoint", endpoints.production_endpoints),
        sandbox=_backend(f"{data.name}--v{data.version}_APIsandboxEndpoint", endpoints.sandbox_endpoints)
        if endpoints.sandbox_endpoints
        else None,
    )


def _backend(name: str, endpoint: Endpoint) -> Backend:
    config = endpoint.config
    duration_ms = config.action_duration if config else None
    suspension_ms = config.suspend_duration if config else None
    return Backend(
        name=name,
        url=endpoint.url.rstrip("/"),
        timeout_s=duration_ms / 1000 if duration_ms else DEFAULT_TIMEOUT_S,
        suspension_s=DEFAULT_SUSPENSION_S if suspension_ms is None else suspension_ms / 1000,
    )


def _subscribers(state: GatewayState, limits: _Limits) -> dict[tuple[str, str], Subscriber]:
    clients: dict[str, list[OAuthClient]] = {}
    for client in state.clients.values():
        if client.application_id is not None:
            clients.setdefault(client.application_id, []).append(client)
    found: dict[tuple[str, str], Subscriber] = {}
    for subscription in state.subscriptions.values():
        application = state.applications[subscription.application_id]
        plan = limits.plan(subscription.throttling_policy, application.application_id, subscription.api_id)
        for client in clients.get(application.application_id, ()):
            found[client.client_id, subscription.api_id] = Subscriber(
                client_id=client.client_id,
                key_type=client.key_type,
                application=application.model_copy(),
                plan=subscription.throttling_policy,
                status=subscription.status,
                levels=(*plan, *limits.application(application)),
            )
    return found


def _denied(state: GatewayState) -> Denied:
    enabled = [policy for policy in state.deny_policies.values() if policy.is_enabled]

    def texts(kind: str) -> frozenset[str]:
        return frozenset(str(policy.condition_value) for policy in enabled if policy.condition_type == kind)

    addresses = tuple(_addresses(policy) for policy in enabled if policy.condition_type in ("IP", "IPRANGE"))
    return Denied(texts("API"), texts("APPLICATION"), texts("USER"), addresses)


def _addresses(policy: DenyPolicy) -> AddressRange:
    assert isinstance(policy.condition_value, dict)
    value = policy.condition_value
    first = value.get("fixedIp") or value["startingIp"]
    last = value.get("fixedIp") or value["endingIp"]
    return AddressRange(ip_address(first), ip_address(last), bool(value.get("invert", False)))
