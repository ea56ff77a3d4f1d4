"""Puts the agent together: the only place that chooses implementations."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from uuid import uuid4

import httpx
from fastapi import FastAPI

from charging_agent.agent import Agent
from charging_agent.charging.composition import allocate_calls, build_controller, list_charger_scopes
from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.decision.policies import POLICIES
from charging_agent.decision.rules import RulePolicy
from charging_agent.gateway.budget import CallBudget, CallLimit, read_call_limits
from charging_agent.gateway.calls import CallListener, CallLog, ProtocolAdapter, RestAdapter
from charging_agent.gateway.client import GatewayClient, RetryPlan
from charging_agent.gateway.http_client import GatewayTransport
from charging_agent.gateway.mcp import McpAdapter
from charging_agent.gateway.tokens import EnvironmentOrFileCredentials, TokenCache, TokenEndpoint
from charging_agent.gateway.tool_allowlist import ToolAllowlist
from charging_agent.ledger.anchor import AnchorPublisher, create_anchor
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.record_signing import RunMetadata, build_policy_record
from charging_agent.ledger.recorder import Recorder
from charging_agent.readings.apis import SOURCES
from charging_agent.readings.fetch_priority import CallPlan
from charging_agent.readings.forecasts import GRID_FORECAST, LoadForecastOutlook
from charging_agent.readings.observer import Observer
from charging_agent.readings.outlook_cache import OutlookCache
from charging_agent.readings.prices import GRID_PRICES, PriceOutlook
from charging_agent.settings import AgentSettings, GatewaySettings
from charging_agent.web.api import create_agent_routes
from charging_agent.web.metrics import AgentMetrics
from charging_agent.web.page import create_page_route
from charging_agent.web.refresh_endpoint import create_refresh_route
from ev_service.assertion import GatewayAssertion
from ev_service.clock import Clock, make_clock
from ev_service.errors import ConfigurationError
from ev_service.forecasts import GridForecast
from ev_service.logs import configure_logging
from ev_service.prices import GridPrices
from ev_service.settings import RunSettings, SiteSettings, load
from ev_service.tasks import cancel_and_wait, run_in_background
from ev_service.trust import Authorities
from ev_service.web import HealthCheck, create_service

_DESCRIPTION = (
    "Decides how much power the cars at a charging site get, from readings of sun, battery and grid that it takes "
    "through the API gateway. Ask /optimize-charging for a decision; /health says whether the readings held allow one."
)

# Two attempts and their pauses end before it, and it ends before the 8 s within which every decision is answered.
_OBSERVATION_S = 6.0


def create_app(
    agent_settings: AgentSettings | None = None,
    gateway_settings: GatewaySettings | None = None,
    clock: Clock | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> FastAPI:
    """The agent as an ASGI application.

    Args:
        agent_settings: else read from the environment.
        gateway_settings: else read from the environment.
        clock: else the run's clock.
        transport: else the network.

    Raises:
        ConfigurationError: a setting is wrong or missing.
    """
    run, site = load(RunSettings), load(SiteSettings)
    configure_logging("agent", run.log_level)
    settings = agent_settings or load(AgentSettings)
    gateway = gateway_settings or load(GatewaySettings)
    clock = clock or make_clock(run.sim_clock_file)
    authorities = Authorities(gateway.ca_file, "WSO2_CA_FILE")
    http = _create_http_client(gateway, transport or GatewayTransport(authorities))
    metrics, call_log = AgentMetrics(), CallLog()
    adapter = _create_adapter(settings, clock, metrics)
    limits = read_call_limits(settings.limits_file, gateway.client_secret_file)
    calls = allocate_calls(settings, limits)
    shared = CallBudget(calls.readings)
    published = {api.name: api.publication(adapter.protocol).name for api in SOURCES}
    budgets = {api: CallBudget(limits.get(name, CallLimit()), shared) for api, name in published.items()}
    endpoint = _create_token_endpoint(http, adapter, settings, gateway, clock)
    connections = _connect(http, endpoint, adapter, {**budgets, **calls.budgets}, clock, (metrics, call_log))
    client = connections.client
    plan = CallPlan(budgets, settings.ages())
    outlooks = _create_outlook_caches(settings, client, budgets[GRID_PRICES.name], clock)
    observer = Observer(client, clock, settings.ages(), _OBSERVATION_S, plan, *outlooks)
    listener, interval = metrics.charging, calls.round_interval
    charging = build_controller(settings, client, clock, interval, listener, _OBSERVATION_S)
    pipeline = _create_pipeline(settings)
    kept = _create_record_keeping(settings, pipeline, site.id, clock, http, call_log, metrics)
    period_s = settings.period_s
    agent = Agent(observer, kept.recorder, pipeline, clock, period_s=period_s, listener=metrics, charging=charging)

    app = create_service(
        name="agent",
        description=_DESCRIPTION,
        clock=clock,
        health=_create_health_check(agent, adapter, kept.recorder),
        assertion=_create_assertion(settings, run, clock),
        lifespan=_create_lifespan(agent, kept, observer, connections),
        warnings=lambda: {"authorities": authorities.read_error()} | _list_warnings(agent, observer),
    )
    app.title = "AgentAPI"
    metrics.register(app.state.registry)
    _add_routes(app, agent, kept.ledger, observer, site, clock)
    return app


def _list_warnings(agent: Agent, observer: Observer) -> dict[str, str | None]:
    return observer.outlook_errors() | {"policy": agent.policy_warning()}


def _create_outlook_caches(
    settings: AgentSettings, client: GatewayClient, budget: CallBudget, clock: Clock
) -> tuple[OutlookCache[GridPrices, PriceOutlook] | None, OutlookCache[GridForecast, LoadForecastOutlook] | None]:
    # A reading is fetched when it is too old, and without viewers once in a period.
    timing = {
        "refresh_s": settings.prices_refresh_s,
        "period_s": max(1.0, min(settings.max_age_s, settings.period_s)),
    }
    sources, prices, forecast = len(SOURCES), None, None
    if settings.prices:
        condense = PriceOutlook.from_prices
        prices = OutlookCache(client, GRID_PRICES, condense, budget, clock, **timing, sources=sources)
    if settings.forecasts:
        shorten = LoadForecastOutlook.from_forecast
        forecast = OutlookCache(client, GRID_FORECAST, shorten, budget, clock, **timing, sources=sources)
    return prices, forecast


def _create_pipeline(settings: AgentSettings) -> DecisionPipeline:
    rules = RulePolicy(settings.rules())
    policy = POLICIES[settings.policy](rules, settings.policy_parameters())
    return DecisionPipeline(policy, rules, keeps_rule_ceilings=settings.keep_rule_ceilings)


def _add_routes(
    app: FastAPI, agent: Agent, ledger: Ledger, observer: Observer, site: SiteSettings, clock: Clock
) -> None:
    app.include_router(create_agent_routes(agent, ledger, site.id, clock))
    app.include_router(create_page_route(agent, ledger, site, clock))
    app.include_router(create_refresh_route(observer, clock, agent.trigger_round))


def _create_lifespan(
    agent: Agent, kept: "_RecordKeeping", observer: Observer, connections: "_Connections"
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        # The first readings are on their way while the ledger is opened; the first round begins with what it found.
        looking = asyncio.create_task(observer.observe())
        try:
            async with kept.open():
                life = asyncio.create_task(agent.run())
                try:
                    yield
                finally:
                    await cancel_and_wait(life)
                    await observer.stop()
                    await agent.stop()
                # Raises the error with which it ended, if there is one.
                if not life.cancelled():
                    life.result()
        finally:
            await observer.stop()
            await cancel_and_wait(looking)
            await connections.close()

    return lifespan


@dataclass(frozen=True, slots=True)
class _Connections:
    """What sends requests, and what they go by."""

    http: httpx.AsyncClient
    tokens: TokenCache
    endpoint: TokenEndpoint
    client: GatewayClient

    async def close(self) -> None:
        await self.tokens.stop()
        await self.endpoint.stop()
        await self.client.stop()
        await self.http.aclose()


@dataclass(frozen=True, slots=True)
class _RecordKeeping:
    """What keeps decisions."""

    ledger: Ledger
    recorder: Recorder
    anchoring: AnchorPublisher
    open_s: float

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Open the ledger; what takes longer than `open_s` [s] goes on in the background."""
        await self.ledger.open(within_s=self.open_s)
        try:
            async with run_in_background(self.anchoring.run()):
                yield
        finally:
            await self.anchoring.stop()
            await self.ledger.close()


def _create_record_keeping(
    settings: AgentSettings,
    pipeline: DecisionPipeline,
    site_id: str,
    clock: Clock,
    http: httpx.AsyncClient,
    call_log: CallLog,
    metrics: AgentMetrics,
) -> _RecordKeeping:
    maker = RunMetadata(uuid4(), version("charging-agent"), site_id, build_policy_record(pipeline, settings.ages()))
    anchor = None if settings.ledger_anchor is None else create_anchor(settings.ledger_anchor, settings.state_dir, http)
    anchoring = AnchorPublisher(anchor, clock, on_failed=metrics.anchor_failures.inc)
    ledger = Ledger(settings.state_dir, maker, anchoring)
    metrics.anchor_age.set_function(lambda: anchoring.age_s)
    recorder = Recorder(ledger, call_log, metrics.records.inc, metrics.ledger_failures.inc)
    return _RecordKeeping(ledger, recorder, anchoring, settings.ledger_open_s)


def _create_http_client(gateway: GatewaySettings, transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    # Proxies and .netrc of the environment must not redirect or sign governed calls.
    return httpx.AsyncClient(
        base_url=gateway.gateway_url,
        timeout=RetryPlan().attempt_timeout_s,
        transport=transport,
        trust_env=False,
    )


def _create_adapter(settings: AgentSettings, clock: Clock, metrics: AgentMetrics) -> ProtocolAdapter:
    if settings.tools_lock_file is None or settings.protocol == "rest":
        return RestAdapter()
    servers = [api.publication("mcp").artifact_name for api in SOURCES]
    return McpAdapter(ToolAllowlist.from_file(settings.tools_lock_file, servers, clock, metrics))


def _create_health_check(agent: Agent, adapter: ProtocolAdapter, recorder: Recorder) -> HealthCheck:
    async def health() -> dict[str, str | None]:
        # Rejected MCP tools are reported only when no decision is possible.
        reasons = (agent.health_error(), adapter.health_error())
        readings = None if reasons[0] is None else "; ".join(reason for reason in reasons if reason)
        return {"readings": readings, "ledger": recorder.health_error}

    return health


def _create_token_endpoint(
    http: httpx.AsyncClient, adapter: ProtocolAdapter, settings: AgentSettings, gateway: GatewaySettings, clock: Clock
) -> TokenEndpoint:
    source = EnvironmentOrFileCredentials(
        gateway.client_id, gateway.client_secret, gateway.client_id_file, gateway.client_secret_file
    )
    files = (gateway.client_id_file, gateway.client_secret_file)
    # Files may still be written by the bootstrap; what is wrong already now must not wait for the first token.
    if all(file is None or file.exists() for file in files):
        source.read()
    scopes = [api.publication(adapter.protocol).scope for api in SOURCES] + list_charger_scopes(settings)
    scopes += [f"device_{settings.device}"] if settings.device else []
    return TokenEndpoint(http, url=gateway.token_url, scopes=" ".join(scopes), source=source, clock=clock)


def _connect(
    http: httpx.AsyncClient,
    endpoint: TokenEndpoint,
    adapter: ProtocolAdapter,
    budgets: Mapping[str, CallBudget],
    clock: Clock,
    listeners: Sequence[CallListener],
) -> "_Connections":
    tokens = TokenCache(endpoint, clock)
    client = GatewayClient(
        http, tokens, budgets=budgets, clock=clock, plan=RetryPlan(), adapter=adapter, listeners=listeners
    )
    return _Connections(http, tokens, endpoint, client)


def _create_assertion(settings: AgentSettings, run: RunSettings, clock: Clock) -> GatewayAssertion | None:
    if not settings.require_assertion:
        return None
    if run.gateway_cert_file is None:
        raise ConfigurationError("AGENT_REQUIRE_ASSERTION needs GATEWAY_CERT_FILE")
    return GatewayAssertion.from_file(run.gateway_cert_file, clock)
