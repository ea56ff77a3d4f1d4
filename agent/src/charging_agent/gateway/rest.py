"""Readings over REST: the resource is asked for, its body is the reading."""

from charging_agent.gateway.call_log import ProtocolName
from charging_agent.gateway.protocol import ApiRequest, R, ReadingApi, Send


class RestAdapter:
    """Speaks to the APIs as they are published."""

    protocol: ProtocolName = "rest"

    async def fetch(self, api: ReadingApi[R], send: Send) -> R:
        """Ask for one reading."""
        seen = api.publication(self.protocol)
        return await send(ApiRequest(seen.name, seen.resource, "GET", seen.path, api.model.model_validate_json))

    def health_error(self) -> str | None:
        """Nothing."""
        return None
