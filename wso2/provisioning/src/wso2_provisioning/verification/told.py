"""Puts the gateway's answers into words that can be compared. Pure."""

import base64
import json
from typing import Any, cast

import httpx

from wso2_provisioning.proof import Verdict, read_answer
from wso2_provisioning.verification.rows import Seen
from wso2_terms.codes import Fault

DOCUMENTED = "body as documented"


def expected(fault: Fault) -> str:
    """How an answer is told that is a fault in every word."""
    return f"{fault.http_status} {fault.code}, {DOCUMENTED}"


def compared(answer: httpx.Response, fault: Fault, **details: str) -> Seen:
    """Tell an answer beside the fault that it should be."""
    body = body_of(answer)
    form = DOCUMENTED if body == fault.body(**details) else f"body {json.dumps(body)[:400]}"
    return Seen(f"{coded(answer)}, {form}")


def coded(answer: httpx.Response) -> str:
    """Status and WSO2's code.

    >>> coded(httpx.Response(401, json={"code": "900901"}))
    '401 900901'
    """
    return f"{answer.status_code} {body_of(answer).get('code', 'no code')}"


def passage(answer: httpx.Response) -> str:
    """Whether the gateway let a call through; a quota is only told to whom it would let through."""
    return "let through" if read_answer(answer).verdict is Verdict.LET_THROUGH else coded(answer)


def body_of(answer: httpx.Response) -> dict[str, Any]:
    """The body where it is a JSON object, else nothing."""
    try:
        value = cast("object", answer.json())
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def parts_of_jwt(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWT in either alphabet of base64; nothing is verified.

    Raises:
        ValueError: it is none.
    """
    header, claims, _signature = text.split(".")
    return _segment(header), _segment(claims)


def _segment(text: str) -> dict[str, Any]:
    bare = text.rstrip("=")
    return json.loads(base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True))
