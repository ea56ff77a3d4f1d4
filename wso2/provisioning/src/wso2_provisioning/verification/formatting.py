"""Formats the gateway's answers as texts that can be compared."""

import base64
import json
from typing import Any, cast

import httpx

from wso2_provisioning.smoke_test import Verdict, parse_answer
from wso2_provisioning.verification.rows import Observation
from wso2_terms.codes import Fault

DOCUMENTED = "body as documented"


def format_documented_fault(fault: Fault) -> str:
    """Return the text of an answer that equals a fault, body included."""
    return f"{fault.http_status} {fault.code}, {DOCUMENTED}"


def compare_with_fault(answer: httpx.Response, fault: Fault, **details: str) -> Observation:
    """Compare an answer with the fault that it should be."""
    body = parse_body(answer)
    form = DOCUMENTED if body == fault.body(**details) else f"body {json.dumps(body)[:400]}"
    return Observation(f"{format_status(answer)}, {form}")


def format_status(answer: httpx.Response) -> str:
    """Return status and WSO2 code of an answer.

    >>> format_status(httpx.Response(401, json={"code": "900901"}))
    '401 900901'
    """
    return f"{answer.status_code} {parse_body(answer).get('code', 'no code')}"


def describe_access(answer: httpx.Response) -> str:
    """Return `let through`, or status and code; a used-up quota counts as let through, since it implies access."""
    return "let through" if parse_answer(answer).verdict is Verdict.LET_THROUGH else format_status(answer)


def parse_body(answer: httpx.Response) -> dict[str, Any]:
    """Return the body if it is a JSON object, else an empty one."""
    try:
        value = cast("object", answer.json())
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def decode_jwt(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a JWT in either alphabet of base64, without verification.

    Raises:
        ValueError: it is not a JWT.
    """
    header, claims, _signature = text.split(".")
    return _decode_segment(header), _decode_segment(claims)


def _decode_segment(text: str) -> dict[str, Any]:
    bare = text.rstrip("=")
    return json.loads(base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True))
