"""Keeps what goes wrong with one charger away from the others."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

from charger_service.envelope import EvseKey

_logger = logging.getLogger(__name__)


@contextmanager
def isolate_errors(work: str, key: EvseKey) -> Generator[None]:
    """Log what fails in here for one EVSE, so that a loop over all of them serves the others.

    Args:
        work: what is being done, for the log.
        key: the EVSE.
    """
    try:
        yield
    except Exception:
        said = {"work": work, "charger_id": key[0], "evse_id": key[1]}
        _logger.exception("failed for one EVSE; the others are served", extra=said)
