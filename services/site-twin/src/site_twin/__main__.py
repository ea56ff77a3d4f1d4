"""Starts the site twin, or writes its chargers: `python -m site_twin [--init DIR]`."""

import argparse
import logging
import sys
from pathlib import Path

import uvicorn

from ev_service.clock import SystemClock
from ev_service.connections import BACKLOG, UVICORN_PROTOCOL
from ev_service.errors import ConfigurationError
from ev_service.logs import configure_logging
from ev_service.settings import load
from site_twin.app import NAME, create_app
from site_twin.field_devices import init_keys
from site_twin.fleet import CHARGE_POINTS, CHARGERS, init
from site_twin.settings import TwinSettings

_logger = logging.getLogger("site_twin")


def main() -> int:
    """Do what the command line asks; 0 when it went well, 2 when something has to be set right first."""
    arguments = _parser().parse_args()
    configure_logging(NAME)
    try:
        if arguments.init is not None:
            # Real time, because certificates are judged by it.
            made = (*init(arguments.init), *init_keys(arguments.init, SystemClock().now()))
            sys.stdout.write("".join(f"{path}\n" for path in made))
            return 0
        settings = load(TwinSettings)
        app = create_app()
    except ConfigurationError as error:
        _logger.error("cannot start", extra={"reason": error.message})
        return 2
    uvicorn.run(app, host=settings.host, port=settings.port, http=UVICORN_PROTOCOL, backlog=BACKLOG, log_config=None)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m site_twin",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
The devices of a simulated site in one process: sun, battery, building, cars and charge points.

It answers GET /site, /solar-status, /battery-status, /grid-load and /faults on TWIN_HOST:TWIN_PORT
(127.0.0.1:8006). Its charge points connect to the charger service where TWIN_OCPP_URL is set, and its
sensors speak MQTT where TWIN_MQTT_URL is. Settings come from the environment, prefix TWIN_; .env.example
lists them.""",
        epilog="""\
To see cars charge on this machine:
  python -m site_twin --init .state/site
  CHARGERS_FILE=.state/site/chargers.json       start the charger service
  TWIN_OCPP_URL=ws://127.0.0.1:9000 TWIN_CHARGE_POINTS_FILE=.state/site/charge-points.json python -m site_twin""",
    )
    parser.add_argument(
        "--init",
        metavar="DIR",
        type=Path,
        help=f"write {CHARGERS} (for the charger service, passwords as SHA-256) and {CHARGE_POINTS} (for the twin, "
        "with the passwords, readable by its owner alone) to DIR, beside them certificates for the broker and the "
        "charger service with their authority, keep those that are there, and stop",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
