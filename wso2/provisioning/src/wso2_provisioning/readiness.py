"""Waits until WSO2 is ready: tenants, deployed APIs and policies are loaded.

Source: WSO2 API Manager 4.6.0, health check of the gateway REST API (200 ready; before that refused, 404 or 500).
"""

from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential

from wso2_provisioning.errors import NotReadyError
from wso2_provisioning.http_client import HttpClient

HEALTH_PATH = "/api/am/gateway/v2/server-startup-healthcheck"


def wait_until_ready(http: HttpClient, management_url: str, wait_s: float, report: Callable[[str], None]) -> None:
    """Return as soon as WSO2 reports that it is ready.

    Args:
        http: HTTP client.
        management_url: base URL of the REST APIs.
        wait_s: maximum time to wait [s], >= 0; 0 for one attempt.
        report: called with the progress.

    Raises:
        NotReadyError: it is not ready in time, or its certificate is not trusted.
    """

    def ask() -> None:
        status = http.send_once("GET", management_url + HEALTH_PATH).status_code
        if status != 200:
            raise NotReadyError(f"{management_url} answers, but is still starting (status {status})", is_final=False)

    def before_sleep(state: RetryCallState) -> None:
        reason = state.outcome.exception() if state.outcome else None
        report(f"waiting for WSO2, {state.seconds_since_start or 0:.0f} s of {wait_s:.0f} s: {reason}")

    attempts = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, NotReadyError) and not error.is_final),
        stop=stop_after_delay(wait_s),
        wait=wait_exponential(multiplier=0.1, max=5.0),
        sleep=http.sleep,
        before_sleep=before_sleep,
        reraise=True,
    )
    try:
        attempts(ask)
    except NotReadyError as error:
        if error.is_final:
            raise
        raise NotReadyError(f"{error.message}; gave up after {wait_s:.0f} s (--wait)", is_final=True) from error
