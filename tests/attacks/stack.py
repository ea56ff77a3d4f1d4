"""What is attacked: where it is, whose keys and files can be read, and how time passes there."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.attacks.minutes import Minutes
from tests.attacks.traffic import Text

from wso2_provisioning.settings import ProvisioningSettings
from wso2_terms.artifacts import Artifacts


def _nothing() -> Iterable[Text]:
    return ()


@dataclass(frozen=True, slots=True)
class Stack:
    """One running stack.

    label: what it is, for people. is_local: the local gateway, which counts exactly, and not WSO2.
    services: bases of the services past the gateway, by name; empty where nobody knows them.
    is_walled: a network stands before the services, so that not to reach them is a refusal.
    agent_url: of the stack's agent, None where it cannot be reached.
    ca_file: what the gateway is trusted by. signing_key: the gateway's, None where it cannot be read.
    own_state: folder of a stack that this run started itself, None elsewhere.
    logs: everything that the stack wrote and that can be read.
    passwords: of people, by what they are called in a leak.
    """

    label: str
    is_local: bool
    settings: ProvisioningSettings
    artifacts: Artifacts
    minutes: Minutes
    ca_file: Path | None
    services: Mapping[str, str] = field(default_factory=dict[str, str])
    is_walled: bool = False
    agent_url: str | None = None
    signing_key: Path | None = None
    own_state: Path | None = None
    logs: Callable[[], Iterable[Text]] = _nothing
    passwords: Mapping[str, str] = field(default_factory=dict[str, str])
