"""Environment settings of the local gateway.

They cover what the process needs and WSO2 does not configure in `deployment.toml`: ports, folders and limits.
"""

import ipaddress
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from ev_service.settings import Settings
from wso2_terms.mcp import Wso2Version

_PORT = "0 selects a free port, which is printed."


class LocalGatewaySettings(Settings):
    """Settings of the local gateway, prefix `LOCAL_GATEWAY_`."""

    model_config = SettingsConfigDict(env_prefix="LOCAL_GATEWAY_")

    https_port: int = Field(default=8243, ge=0, le=65535, description=f"Gateway, TLS. {_PORT}")
    http_port: int = Field(default=8280, ge=0, le=65535, description=f"Gateway, plain. {_PORT}")
    management_port: int = Field(default=9443, ge=0, le=65535, description=f"REST APIs and tokens, TLS. {_PORT}")
    bind_address: str = Field(default="127.0.0.1", description="IP address that all three listen on.")
    allow_remote: bool = Field(default=False, description="Allow a bind address that is not a loopback address.")
    deployment_file: Path | None = Field(default=None, description="WSO2's deployment.toml; required.")
    state_dir: Path | None = Field(default=None, description="Folder of state and metrics log; absent: in memory.")
    certificate_dir: Path | None = Field(
        default=None, description="Folder that `--init` filled; absent: `certificates` in the state folder."
    )
    max_request_bytes: int = Field(default=1 << 20, ge=0, description="Largest body forwarded to a backend [byte].")
    max_import_bytes: int = Field(default=8 << 20, ge=1, description="Largest project that may be imported [byte].")
    wso2_version: Wso2Version = Field(
        default=Wso2Version.V4_6, description="Version of API Manager that its MCP servers behave like: 4.6 or 4.7."
    )
    connect_timeout_s: float = Field(default=5.0, gt=0, le=60, description="Timeout to connect to a backend [s].")

    @model_validator(mode="after")
    def _check_bind_address(self) -> Self:
        address = ipaddress.ip_address(self.bind_address)
        if not address.is_loopback and not self.allow_remote:
            raise ValueError(
                f"LOCAL_GATEWAY_BIND_ADDRESS {address} is no loopback address, and LOCAL_GATEWAY_ALLOW_REMOTE "
                "is not set: this stand-in is meant for one machine"
            )
        return self

    def find_certificate_dir(self) -> Path | None:
        """Return the folder of certificates and keys, None if neither it nor a state folder is configured."""
        return self.certificate_dir or (self.state_dir and self.state_dir / "certificates")
