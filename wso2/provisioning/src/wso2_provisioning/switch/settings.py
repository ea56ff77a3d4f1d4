"""What the switch reads besides the addresses and passwords of the bootstrap."""

from pathlib import Path

from pydantic import Field

from ev_service.settings import Settings


class SwitchSettings(Settings):
    """Where the agent is, and where an act is kept until it is recorded."""

    # Not a SafeUrl: nothing secret is ever sent there, and in Compose it is a name on a network of its own.
    agent_url: str = Field(
        default="http://localhost:8004", pattern=r"^https?://[^\s/@]+$", description="Where the agent itself answers."
    )
    operator_state_dir: Path = Field(
        default=Path(".state/operator"), description="Where an operator's act is kept until it is recorded."
    )
