"""The agent commands charge points through the whole charger service; only the gateway between is a stand-in."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from tests.integration.chargers.charging_site import ChargingSite, OpenSite

from charging_agent.app import create_app
from charging_agent.settings import AgentSettings, GatewaySettings
from ev_service.units import utc_text
from wso2_terms import codes

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

BASE = "https://gateway.test"
CONTEXTS = ("/chargers/1.0.0", "/charger-control/1.0.0")
VALUES: dict[str, dict[str, Any]] = {
    "/solar/1.0.0/solar-status": {"generation_kw": 41.0, "capacity_kwp": 50.0},
    "/battery/1.0.0/battery-status": {"soc_percent": 83.0, "capacity_kwh": 100.0},
}


class Between:
    """Gateway and energy services of a site: lets calls through until EVApp's token is revoked."""

    def __init__(self, site: ChargingSite) -> None:
        self.site = site
        self.building_kw = 20.0
        self.is_revoked = False

    @property
    def charging_kw(self) -> float:
        return sum(self.site.offered_a(name) * 0.69 for name in self.site.points)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/oauth2/token":
            refused = httpx.Response(401, json={"error": "invalid_client"})
            return refused if self.is_revoked else httpx.Response(200, json={"access_token": "t", "expires_in": 3600})
        if self.is_revoked:
            return httpx.Response(401, json=codes.INVALID_CREDENTIALS.body())
        for context in CONTEXTS:
            if path.startswith(context):
                return await self._passed_on(request, path.removeprefix(context))
        load_kw = self.building_kw + self.charging_kw
        grid = {"load_kw": load_kw, "load_percent": load_kw, "limit_kw": 100.0}
        said = {"site_id": "s", "timestamp": utc_text(self.site.clock.now()), "source": "simulated"}
        return httpx.Response(200, json=said | VALUES.get(path, grid))

    async def _passed_on(self, request: httpx.Request, path: str) -> httpx.Response:
        service = self.site._client  # pyright: ignore[reportPrivateUsage]
        assert service is not None
        answer = await service.request(
            request.method,
            path,
            params=request.url.params,
            content=request.content,
            headers={"Content-Type": "application/json"},
        )
        return httpx.Response(answer.status_code, content=answer.content)


@asynccontextmanager
async def agent_of(between: Between) -> AsyncGenerator[httpx.AsyncClient]:
    gateway = GatewaySettings(
        client_id=SecretStr("evapp"),
        client_secret=SecretStr("secret"),
        gateway_url=BASE,
        token_url=f"{BASE}/oauth2/token",
    )
    app = create_app(AgentSettings(), gateway, between.site.clock, httpx.MockTransport(between))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://agent.test") as client,
    ):
        yield client


async def within(site: ChargingSite, seconds: int, is_so: Callable[[], bool]) -> None:
    """Let the run's clock go on, second by second so that meters speak between the rounds, until it is so."""
    for _ in range(seconds):
        if is_so():
            return
        site.clock.advance(1)
        # Many short waits: each is one step for what came in meanwhile, however long a busy machine takes for it.
        for _ in range(15):
            await asyncio.sleep(0.002)
    raise AssertionError(f"not so within {seconds} s of the run's clock")


async def two_cars(open_site: OpenSite) -> tuple[ChargingSite, Between]:
    site = await open_site(["CP-1", "CP-2"])
    for name, version in (("CP-1", "1.6"), ("CP-2", "2.0.1")):
        site.cars.plug(await site.connect(name, version))
        await site.until(lambda evse: evse["state"] == "charging" and evse.get("session"), name)
    return site, Between(site)


async def test_decisions_reach_the_cars_within_the_headroom_and_an_overload_stops_them(open_site: OpenSite) -> None:
    site, between = await two_cars(open_site)
    between.building_kw = 50.0
    highest_kw = 0.0

    def have_risen() -> bool:
        nonlocal highest_kw
        highest_kw = max(highest_kw, between.charging_kw)
        return highest_kw > 30

    async with agent_of(between) as agent:
        await within(site, 300, have_risen)
        status = (await agent.get("/site-status")).json()["chargers"]
        between.building_kw = 90.0
        await within(site, 60, lambda: between.charging_kw == 0)

    assert (status["commanding"], status["status"]) == ("ok", "fresh")
    assert highest_kw <= 35


async def test_a_token_that_is_revoked_while_cars_charge_leaves_nobody_at_full_power(open_site: OpenSite) -> None:
    site, between = await two_cars(open_site)
    async with agent_of(between) as agent:
        await within(site, 300, lambda: min(site.offered_a(name) for name in site.points) > 20)
        between.is_revoked = True
        # Limits live 45 s, and the last ones may just have been set.
        await within(site, 60, lambda: {site.offered_a(name) for name in site.points} == {6.0})
        decision = (await agent.get("/optimize-charging")).json()

    assert decision["degraded"] is True
    assert decision["readings"]["grid"]["error"] == "token_refused"
