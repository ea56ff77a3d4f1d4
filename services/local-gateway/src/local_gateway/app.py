"""Composition root: creates state, tokens, management and data path and runs them in one event loop."""

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
from local_gateway.gateway.assertion import AssertionIssuer
from local_gateway.gateway.backend import BackendClient
from local_gateway.gateway.handler import Gateway
from local_gateway.gateway.metrics import MetricsLog
from local_gateway.keys import KeyFiles, SigningKey, prepare_key_files
from local_gateway.management.app import create_management_app
from local_gateway.management.rest import ManagementContext
from local_gateway.oauth import TOKEN_PATH
from local_gateway.serving import listen, track_requests
from local_gateway.settings import LocalGatewaySettings
from local_gateway.state import Store, create_default_policies
from local_gateway.tokens import TokenService
from local_gateway.users import UserStore
from wso2_terms.deployment import DeploymentSettings, read_deployment
from wso2_terms.documents import ArtifactError

_logger = logging.getLogger(__name__)
_SHUTDOWN_S = 3.0
_PASSWORD = "WSO2_ADMIN_PASSWORD"
METRICS_FILE = "apim_metrics.log"


@dataclass(frozen=True, slots=True)
class LocalGateway:
    """All parts of one local gateway that is not listening yet."""

    settings: LocalGatewaySettings
    key_files: KeyFiles
    context: ManagementContext
    gateway: Gateway
    backend_client: BackendClient
    metrics: MetricsLog
    management_app: web.Application
    connections: ConnectionLimits


def build_gateway(
    settings: LocalGatewaySettings,
    clock: Clock,
    environment: Mapping[str, str],
    listeners: ListenerSettings | None = None,
) -> LocalGateway:
    """Create a local gateway.

    Args:
        settings: Ports, folders and limits.
        clock: Clock of the run.
        environment: Values of `$env{…}` in deployment.toml.
        listeners: Connection limits per listener, None to read them from the environment.

    Raises:
        ConfigurationError: A file or setting is missing or wrong.
    """
    deployment = _read_deployment(settings, environment)
    folder = settings.find_certificate_dir()
    if folder is None:
        raise ConfigurationError("set LOCAL_GATEWAY_CERTIFICATE_DIR (filled by --init) or LOCAL_GATEWAY_STATE_DIR")
    files = prepare_key_files(folder, SystemClock().now())
    key = SigningKey.read(files)
    store = Store.open(settings.state_dir)
    if not store.state.policies:
        store.state.policies = {policy.policy_id: policy for policy in create_default_policies()}
    users = UserStore(store.state, deployment.admin_username, deployment.admin_password.get_secret_value())
    tokens = TokenService(store, key, clock)
    context = ManagementContext(store, users, tokens, clock, deployment)
    backend_client = BackendClient(settings.connect_timeout_s)
    has_metrics = deployment.analytics.enable and deployment.analytics.type == "elk"
    metrics = MetricsLog(settings.state_dir / METRICS_FILE if has_metrics and settings.state_dir is not None else None)
    gateway = Gateway(
        store=store,
        tokens=tokens,
        clock=clock,
        assertions=AssertionIssuer(key, deployment.jwt),
        backend_client=backend_client,
        metrics=metrics,
        max_request_bytes=settings.max_request_bytes,
        hostname=deployment.hostname,
        version=settings.wso2_version,
    )
    management = create_management_app(context, key, settings.max_import_bytes)
    connections = (listeners or load(ListenerSettings)).limits()
    return LocalGateway(settings, files, context, gateway, backend_client, metrics, management, connections)


async def serve(local: LocalGateway, stop: asyncio.Event) -> None:
    """Listen until `stop` is set.

    Prints one JSON line to standard output with the ports, because port 0 selects a free one.
    """
    settings = local.settings
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(local.key_files.server, local.key_files.server_key)
    await local.backend_client.open()
    management = web.AppRunner(local.management_app, shutdown_timeout=_SHUTDOWN_S)
    data = web.ServerRunner(web.Server(local.gateway.handle), shutdown_timeout=_SHUTDOWN_S)
    listeners: list[Listener] = []
    writer = asyncio.create_task(local.metrics.run())
    try:
        for runner, port, context in (
            (management, settings.management_port, tls),
            (data, settings.https_port, tls),
            (data, settings.http_port, None),
        ):
            listeners.append(await _listen(runner, local, port, context))
        names = ("management_port", "https_port", "http_port")
        ports = {name: listener.port for name, listener in zip(names, listeners, strict=True)}
        _set_issuer(local.context, ports["management_port"])
        _announce(settings, ports)
        await stop.wait()
    finally:
        await cancel_and_wait(writer)
        for listener in listeners:
            listener.close()
            await listener.wait_closed()
        await management.cleanup()
        await data.cleanup()
        await local.backend_client.close()
        local.metrics.flush()
        _logger.info("local gateway stopped")


async def run(settings: LocalGatewaySettings, clock: Clock) -> None:
    """Run a local gateway until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: It cannot start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C arrives as KeyboardInterrupt
            loop.add_signal_handler(number, stop.set)
    await serve(build_gateway(settings, clock, _read_environment()), stop)


def _read_environment() -> dict[str, str]:
    environment = dict(os.environ)
    file = environment.get(f"{_PASSWORD}_FILE")
    if file and not environment.get(_PASSWORD):
        # deployment.toml refers to the variable; containers get secrets as files.
        secret = secret_from(None, Path(file), _PASSWORD)
        environment[_PASSWORD] = secret.get_secret_value() if secret else ""
    return environment


def _read_deployment(settings: LocalGatewaySettings, environment: Mapping[str, str]) -> DeploymentSettings:
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


async def _listen(
    runner: web.AppRunner | web.ServerRunner, local: LocalGateway, port: int, tls: ssl.SSLContext | None
) -> Listener:
    if runner.server is None:
        await runner.setup()
        assert runner.server is not None
        runner.server.request_handler = track_requests(runner.server.request_handler)
    address = local.settings.bind_address
    # Bodies are forwarded as received, so the data listeners must not decompress them.
    options = {} if isinstance(runner, web.AppRunner) else {"auto_decompress": False}
    try:
        return await listen(runner.server, (address, port), local.connections, tls, **options)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {address} port {port}: {error.strerror}") from error


def _set_issuer(context: ManagementContext, management_port: int) -> None:
    # WSO2 stores the issuer at the first start as well: tokens stay valid after a restart on another port.
    if not context.state.issuer:
        context.state.issuer = f"https://{context.deployment.hostname}:{management_port}{TOKEN_PATH}"
        context.store.save()


def _announce(settings: LocalGatewaySettings, ports: Mapping[str, int]) -> None:
    event = {"event": "listening", "address": settings.bind_address, **ports}
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()
    _logger.info("local gateway listens", extra={"address": settings.bind_address, **ports})
