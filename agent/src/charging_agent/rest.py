"""Readings over REST: the resource is asked for, its body is the reading."""

from charging_agent.apis import Api
from charging_agent.calls import ProtocolName
from charging_agent.exchange import Exchange, Send
from charging_agent.readings import R


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
