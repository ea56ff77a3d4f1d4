"""Readings over REST: the resource is asked for, its body is the reading."""

from charging_agent.gateway.call_log import ProtocolName
from charging_agent.gateway.protocol import Api, Exchange, R, Send


class Rest:
    """Speaks to the APIs as they are published."""

    protocol: ProtocolName = "rest"

    async def read(self, api: Api[R], send: Send) -> R:
        """Ask for one reading."""
        seen = api.over(self.protocol)
        return await send(Exchange(seen.name, seen.resource, "GET", seen.path, api.model.model_validate_json))

    def health_error(self) -> str | None:
        """Nothing."""
        return None
