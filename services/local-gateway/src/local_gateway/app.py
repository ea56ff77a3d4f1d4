"""The composition root: puts state, tokens, management and data path together and runs them in one event loop."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from ev_service.clock import Clock, SystemClock
from ev_service.connections import ConnectionLimits, ListenerSettings
from ev_service.errors import ConfigurationError
from ev_service.listening import Listener
from ev_service.settings import PLACEHOLDER, load, secret_from
from ev_service.tasks import cancel_and_wait
from local_gateway.gateway.assertion import Assertions
from local_gateway.gateway.backend import Backends
from local_gateway.gateway.handler import Gateway
from local_gateway.gateway.metrics import MetricsLog
from local_gateway.keys import KeyFiles, prepare
from local_gateway.management.app import management_app
from local_gateway.management.rest import Desk
from local_gateway.oauth import TOKEN_PATH
from local_gateway.serving import listen, within_bounds
from local_gateway.settings import LocalGatewaySettings
from local_gateway.shipped_policies import shipped_policies
from local_gateway.signing import SigningKey
from local_gateway.state import Store
from local_gateway.tokens import Tokens
from local_gateway.users import UserStore
from wso2_terms.deployment import DeploymentSettings, read_deployment
from wso2_terms.documents import ArtifactError

_logger = logging.getLogger(__name__)
_SHUTDOWN_S = 3.0
_PASSWORD = "WSO2_ADMIN_PASSWORD"
METRICS_FILE = "apim_metrics.log"


@dataclass(frozen=True, slots=True)
class LocalGateway:
    """Everything that makes up one local gateway, not yet listening."""

    settings: LocalGatewaySettings
    files: KeyFiles
    desk: Desk
    gateway: Gateway
    backends: Backends
    metrics: MetricsLog
    management: web.Application
    connections: ConnectionLimits


def build(
    settings: LocalGatewaySettings,
    clock: Clock,
    environment: Mapping[str, str],
    listeners: ListenerSettings | None = None,
) -> LocalGateway:
    """Put a local gateway together.

    Args:
        settings: ports, folders, bounds.
        clock: the run's clock.
        environment: what `$env{…}` in deployment.toml stands for.
        listeners: bounds of each listener; else read from the environment.

    Raises:
        ConfigurationError: a file or setting is missing or wrong.
    """
    deployment = _deployment(settings, environment)
    folder = settings.certificates()
    if folder is None:
        raise ConfigurationError("set LOCAL_GATEWAY_CERTIFICATE_DIR (filled by --init) or LOCAL_GATEWAY_STATE_DIR")
    files = prepare(folder, SystemClock().now())
    key = SigningKey.read(files)
    store = Store.open(settings.state_dir)
    if not store.state.policies:
        store.state.policies = {policy.policy_id: policy for policy in shipped_policies()}
    users = UserStore(store.state, deployment.admin_username, deployment.admin_password.get_secret_value())
    tokens = Tokens(store, key, clock)
    desk = Desk(store, users, tokens, clock, deployment)
    backends = Backends(settings.connect_timeout_s)
    metrics = MetricsLog(_metrics_file(settings, deployment))
    gateway = Gateway(
        store=store,
        tokens=tokens,
        clock=clock,
        assertions=Assertions(key, deployment.jwt),
        backends=backends,
        metrics=metrics,
        max_request_bytes=settings.max_request_bytes,
        hostname=deployment.hostname,
        version=settings.wso2_version,
    )
    management = management_app(desk, key, settings.max_import_bytes)
    connections = (listeners or load(ListenerSettings)).limits()
    return LocalGateway(settings, files, desk, gateway, backends, metrics, management, connections)


async def serve(local: LocalGateway, stop: asyncio.Event) -> None:
    """Listen until told to stop.

    Says on one line of standard output, as JSON, where it listens: with port 0 nobody else knows.
    """
    settings = local.settings
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(local.files.server, local.files.server_key)
    await local.backends.open()
    management = web.AppRunner(local.management, shutdown_timeout=_SHUTDOWN_S)
    data = web.ServerRunner(web.Server(local.gateway.on_call), shutdown_timeout=_SHUTDOWN_S)
    listeners: list[Listener] = []
    writing = asyncio.create_task(local.metrics.run())
    try:
        for runner, port, context in (
            (management, settings.management_port, tls),
            (data, settings.https_port, tls),
            (data, settings.http_port, None),
        ):
            listeners.append(await _listen(runner, local, port, context))
        names = ("management_port", "https_port", "http_port")
        ports = {name: listener.port for name, listener in zip(names, listeners, strict=True)}
        _fix_issuer(local.desk, ports["management_port"])
        _announce(settings, ports)
        await stop.wait()
    finally:
        await cancel_and_wait(writing)
        for listener in listeners:
            listener.close()
            await listener.wait_closed()
        await management.cleanup()
        await data.cleanup()
        await local.backends.close()
        local.metrics.flush()
        _logger.info("local gateway stopped")


async def run(settings: LocalGatewaySettings, clock: Clock) -> None:
    """Run a local gateway until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: it can not start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C arrives as KeyboardInterrupt
            loop.add_signal_handler(number, stop.set)
    await serve(build(settings, clock, _environment()), stop)


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    file = environment.get(f"{_PASSWORD}_FILE")
    if file and not environment.get(_PASSWORD):
        # deployment.toml names the variable; containers are given secrets as files.
        secret = secret_from(None, Path(file), _PASSWORD)
        environment[_PASSWORD] = secret.get_secret_value() if secret else ""
    return environment


def _deployment(settings: LocalGatewaySettings, environment: Mapping[str, str]) -> DeploymentSettings:
    if settings.deployment_file is None:
        raise ConfigurationError(
            "set LOCAL_GATEWAY_DEPLOYMENT_FILE to WSO2's deployment.toml, e.g. wso2/conf/deployment.toml"
        )
    try:
        deployment = read_deployment(settings.deployment_file, environment)
    except ArtifactError as error:
        raise ConfigurationError(str(error)) from error
    password = deployment.admin_password.get_secret_value()
    if not password or password.startswith(PLACEHOLDER):
        raise ConfigurationError("WSO2_ADMIN_PASSWORD is empty or still a placeholder; set a password of your own")
    return deployment


def _metrics_file(settings: LocalGatewaySettings, deployment: DeploymentSettings) -> Path | None:
    is_on = deployment.analytics.enable and deployment.analytics.type == "elk"
    return settings.state_dir / METRICS_FILE if is_on and settings.state_dir is not None else None


async def _listen(
    runner: web.AppRunner | web.ServerRunner, local: LocalGateway, port: int, tls: ssl.SSLContext | None
) -> Listener:
    if runner.server is None:
        await runner.setup()
        assert runner.server is not None
        runner.server.request_handler = within_bounds(runner.server.request_handler)
    address = local.settings.bind_address
    # What is passed on is passed on as it came.
    options = {} if isinstance(runner, web.AppRunner) else {"auto_decompress": False}
    try:
        return await listen(runner.server, (address, port), local.connections, tls, **options)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {address} port {port}: {error.strerror}") from error


def _fix_issuer(desk: Desk, management_port: int) -> None:
    # Like WSO2, which stores it at the first start: tokens outlive a restart on another port.
    if not desk.state.issuer:
        desk.state.issuer = f"https://{desk.deployment.hostname}:{management_port}{TOKEN_PATH}"
        desk.store.changed()


def _announce(settings: LocalGatewaySettings, ports: Mapping[str, int]) -> None:
    listening = {"event": "listening", "address": settings.bind_address, **ports}
    sys.stdout.write(json.dumps(listening) + "\n")
    sys.stdout.flush()
    _logger.info("local gateway listens", extra={"address": settings.bind_address, **ports})
