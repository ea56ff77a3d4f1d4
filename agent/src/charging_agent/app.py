"""Puts the agent together: the only place that chooses implementations."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Gauge

from charging_agent.agent import Agent, Decided
from charging_agent.api import agent_routes
from charging_agent.apis import APIS
from charging_agent.budget import CallBudget, Limit
from charging_agent.credentials import EnvironmentOrFiles, read_limits
from charging_agent.gateway import GatewayClient, RetryPlan
from charging_agent.observer import Observer
from charging_agent.page import page_route
from charging_agent.settings import AgentSettings, GatewaySettings
from charging_agent.token_endpoint import TokenEndpoint
from charging_agent.tokens import TokenCache
from ev_service.assertion import GatewayAssertion
from ev_service.clock import Clock, make_clock
from ev_service.errors import ConfigurationError
from ev_service.logs import configure_logging
from ev_service.settings import RunSettings, SiteSettings, load
from ev_service.web import create_service

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
    http = _http(gateway, transport)
    metrics = _Metrics()
    client, tokens = _gateway_client(http, settings, gateway, clock, metrics)
    observer = Observer(client, clock, settings.ages(), _OBSERVATION_S)
    agent = Agent(observer, settings.rules(), clock, period_s=settings.period_s, on_decided=metrics.decided)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        life = asyncio.create_task(agent.live())
        try:
            yield
        finally:
            life.cancel()
            with suppress(asyncio.CancelledError):
                await life
            await observer.stop()
            await tokens.stop()
            await http.aclose()

    app = create_service(
        name="agent",
        description="Decides how much power the cars at a charging site get, from readings of sun, battery and grid "
        "that it takes through the API gateway. Ask /optimize-charging for a decision; /health says whether the "
        "readings held allow one.",
        clock=clock,
        health=lambda: {"readings": agent.trouble()},
        assertion=_assertion(settings, run, clock),
        lifespan=lifespan,
    )
    metrics.register(app.state.registry)
    app.include_router(agent_routes(agent, site.id))
    app.include_router(page_route(agent, site.id, clock))
    return app


def _http(gateway: GatewaySettings, transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    trusted = ssl.create_default_context()
    if gateway.ca_file is not None:
        try:
            trusted.load_verify_locations(gateway.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"WSO2_CA_FILE {gateway.ca_file} can not be used: {error}") from error
    # Proxies and .netrc of the environment must not redirect or sign governed calls.
    return httpx.AsyncClient(
        base_url=gateway.gateway_url,
        verify=trusted,
        timeout=RetryPlan().attempt_timeout_s,
        transport=transport,
        trust_env=False,
    )


def _gateway_client(
    http: httpx.AsyncClient,
    settings: AgentSettings,
    gateway: GatewaySettings,
    clock: Clock,
    metrics: "_Metrics",
) -> tuple[GatewayClient, TokenCache]:
    source = EnvironmentOrFiles(
        gateway.client_id, gateway.client_secret, gateway.client_id_file, gateway.client_secret_file
    )
    files = (gateway.client_id_file, gateway.client_secret_file)
    # Files may still be written by the bootstrap; what is wrong already now must not wait for the first token.
    if all(file is None or file.exists() for file in files):
        source.read()
    scopes = [api.scope for api in APIS] + ([f"device_{settings.device}"] if settings.device else [])
    endpoint = TokenEndpoint(http, url=gateway.token_url, scopes=" ".join(scopes), source=source, clock=clock)
    tokens = TokenCache(endpoint.request, clock)
    limits = read_limits(settings.limits_file, gateway.client_secret_file)
    budgets = {api.name: CallBudget(limits.get(api.name, Limit())) for api in APIS}
    client = GatewayClient(
        http, tokens, budget_of=budgets.__getitem__, clock=clock, plan=RetryPlan(), on_call=metrics.called
    )
    return client, tokens


def _assertion(settings: AgentSettings, run: RunSettings, clock: Clock) -> GatewayAssertion | None:
    if not settings.require_assertion:
        return None
    if run.gateway_cert_file is None:
        raise ConfigurationError("AGENT_REQUIRE_ASSERTION needs GATEWAY_CERT_FILE")
    return GatewayAssertion.from_file(run.gateway_cert_file, clock)


class _Metrics:
    def __init__(self) -> None:
        self._decisions = Counter("agent_decisions", "Decisions made", ["rule", "degraded"], registry=None)
        self._calls = Counter("agent_gateway_calls", "Calls through the gateway", ["api", "outcome"], registry=None)
        self._power = Gauge("agent_charging_power_kw", "Ceiling of the last decision [kW]", registry=None)

    def register(self, registry: CollectorRegistry) -> None:
        for metric in (self._decisions, self._calls, self._power):
            registry.register(metric)

    def decided(self, decided: Decided) -> None:
        self._decisions.labels(decided.decision.rule, str(decided.observation.is_degraded).lower()).inc()
        self._power.set(decided.decision.charging_power_kw)

    def called(self, api: str, outcome: str) -> None:
        self._calls.labels(api, outcome).inc()
