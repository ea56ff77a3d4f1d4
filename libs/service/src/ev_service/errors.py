"""The errors of our services, with code and HTTP status.

    EvError
    ├── ConfigurationError     a setting or file is wrong; the process does not start
    ├── SourceUnavailableError      the service has no value that it may give
    │   └── SourceExhaustedError    … because its recording does not cover this moment
    └── AssertionRefusedError       the call did not come through the gateway

Domain code raises these and never a web exception; `ev_service.web` turns them into problem+json.
"""

from typing import ClassVar


class EvError(Exception):
    """Base of our errors."""

    code: ClassVar[str] = "internal_error"
    """Stable name for machines."""

    http_status: ClassVar[int] = 500
    """Status of the response."""

    retry_after_s: ClassVar[int | None] = None
    """Time after which the caller may try again [s]; None if it is not known."""

    def __init__(self, message: str, **details: object) -> None:
        """Create the error.

        Args:
            message: what went wrong, in one sentence.
            details: numbers and names, never secrets.
        """
        super().__init__(message)
        self.message = message
        self.details = details


class ConfigurationError(EvError):
    """A setting or a file that a setting names cannot be used."""

    code = "configuration_error"


class SourceUnavailableError(EvError):
    """The service has no value that it may return now."""

    code = "source_unavailable"
    http_status = 503


class SourceExhaustedError(SourceUnavailableError):
    """The recording holds no value for this moment."""

    code = "source_exhausted"


class AssertionRefusedError(EvError):
    """The request carries no valid gateway assertion for this API."""

    code = "assertion_refused"
    http_status = 401
