"""Each message that the product's own classes answer, the local gateway answers alike, or it is listed here why not."""

from pathlib import Path
from typing import Any

import pytest
from tests.contract.wso2_oracle.differences import list_documented_differences
from tests.contract.wso2_oracle.messages import messages
from tests.contract.wso2_oracle.oracle import SERVER, Oracle, run_local_gateway

from wso2_terms import mcp
from wso2_terms.mcp import Wso2Version

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.timeout(180)]

CHOSEN = 400
BREAKS = "`params` that are no object, or no message at all: the product's own reader breaks"
DIFFERENCES = {
    Wso2Version.V4_6: {
        BREAKS,
        "`initialize` with another revision than 2025-06-18",
        "`initialize` without a revision: the text of the error",
        "a method that is not known: before or after the token is looked at, its name in the error",
    },
    Wso2Version.V4_7: {BREAKS},
}
Answer = tuple[int, Any]


@pytest.mark.parametrize("version", Wso2Version)
async def test_the_local_gateway_differs_from_the_products_classes_where_it_is_listed(
    oracle: Oracle, version: Wso2Version, tmp_path: Path
) -> None:
    differences: set[str] = set()
    async with run_local_gateway(version, tmp_path) as gateway:
        for text in messages(CHOSEN):
            said = oracle.ask("message", text, server=SERVER)
            with_token = await gateway.post(text, with_token=True)
            without = await gateway.post(text, with_token=False)
            if not _agrees(said, with_token, without):
                differences.add(_kind(said, with_token) or f"not listed: {text} {said} {with_token} {without}")

    assert differences == DIFFERENCES[version]


def test_each_difference_stands_on_the_page() -> None:
    assert set[str]().union(*DIFFERENCES.values()) <= list_documented_differences()


def _agrees(said: Any, with_token: Answer, without: Answer) -> bool:
    if "malformed" in said:
        return _error(with_token) == mcp.MALFORMED and with_token == without
    if "refused" in said:
        return with_token[0] == 400 and with_token[1]["error"] == said["refused"] and with_token == without
    if "answer" not in said:
        return False
    expected = (202, None) if said["answer"] is None else (200, said["answer"])
    return with_token == expected and (without[0] == 401 if said["needsToken"] else without == expected)


def _kind(said: Any, answer: Answer) -> str | None:
    """Which of the listed differences it is, None for one that is not."""
    error = _error(answer)
    if error is None:
        return None
    if "broken" in said and answer[0] == 400:
        return BREAKS
    if error.message == "Unsupported protocol version" and said["answer"]["id"] == answer[1]["id"]:
        return "`initialize` with another revision than 2025-06-18"
    if error == mcp.build_missing_protocol_error(Wso2Version.V4_6):
        return "`initialize` without a revision: the text of the error"
    if (
        answer[0] == 400
        and error.code == mcp.METHOD_NOT_FOUND
        and error == mcp.build_method_not_found_error(_extract_method(error))
    ):
        return "a method that is not known: before or after the token is looked at, its name in the error"
    return None


def _extract_method(error: mcp.RpcError) -> str:
    return str(error.data).removeprefix("Method ").removesuffix(" not found")


def _error(answer: Answer) -> mcp.RpcError | None:
    body = answer[1]
    return mcp.RpcError(**body["error"]) if body and "error" in body else None
