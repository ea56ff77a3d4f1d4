"""Command line of the local gateway: `python -m local_gateway` runs it, `--init DIR` creates its certificates."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from ev_service.clock import SystemClock, make_clock
from ev_service.errors import ConfigurationError
from ev_service.logs import configure_logging
from ev_service.settings import RunSettings, load
from local_gateway.app import run
from local_gateway.keys import prepare_key_files
from local_gateway.settings import LocalGatewaySettings

_logger = logging.getLogger("local_gateway")


def main() -> int:
    """Run the command line; return the exit code: 0 for success, 2 for a configuration error."""
    arguments = _parser().parse_args()
    configure_logging("local-gateway")
    # Authlib logs tokens at DEBUG.
    logging.getLogger("authlib").setLevel(logging.WARNING)
    try:
        if arguments.init is not None:
            files = prepare_key_files(arguments.init, SystemClock().now())
            sys.stdout.write(f"{files.ca}\n{files.server}\n{files.signing}\n")
            return 0
        run_settings = load(RunSettings)
        logging.getLogger().setLevel(run_settings.log_level)
        _run(load(LocalGatewaySettings), run_settings)
    except ConfigurationError as error:
        _logger.error("cannot start", extra={"reason": error.message})
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


def _run(settings: LocalGatewaySettings, run_settings: RunSettings) -> None:
    try:
        from uvloop import new_event_loop
    except ImportError:  # Windows has none
        new_event_loop = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run(settings, make_clock(run_settings.sim_clock_file)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local_gateway",
        description="Stands in for WSO2 API Manager 4.6 on one machine. Settings come from the environment, "
        "prefix LOCAL_GATEWAY_; see docs/local-gateway.md.",
    )
    parser.add_argument(
        "--init",
        metavar="DIR",
        type=Path,
        help="write ca.pem, the server certificate and gateway-signing.pem with their keys to DIR, keep what is there "
        "and valid, and stop",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
