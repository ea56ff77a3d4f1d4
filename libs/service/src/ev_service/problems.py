"""The error format of all services: problem+json (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from ev_service.logs import correlation_id


class Problem(BaseModel):
    """What went wrong, as RFC 9457 problem+json."""

    type: str = Field(description="Kind of problem, a URN that ends with its code.")
    title: str = Field(description="The HTTP status in words.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What went wrong here, in one sentence.")
    code: str = Field(description="Stable word for machines.", examples=["source_unavailable"])
    correlation_id: str | None = Field(default=None, description="The id of this call in every log.")


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem+json answer."""
    content = Problem(
        type=f"urn:ev-charging:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        correlation_id=correlation_id.get(),
    )
    return JSONResponse(content.model_dump(), status, dict(headers or {}), "application/problem+json")
