"""Key and secret of an OAuth 2.0 client in HTTP Basic, with any characters."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wso2_terms.basic_credentials import decode_client, encode_client

texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(client_id=texts, secret=texts)
def test_encoded_credentials_are_decoded(client_id: str, secret: str) -> None:
    assert decode_client(encode_client(client_id, secret)) == (client_id, secret)


def test_wso2s_own_keys_are_the_same_in_either_form() -> None:
    plain = base64.b64encode(b"ThC_9aXyZ0:q1_W2e3").decode()

    assert encode_client("ThC_9aXyZ0", "q1_W2e3") == f"Basic {plain}"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Bearer YTpi",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        "Basic " + base64.b64encode(b"a:%FF").decode(),
        "Basic " + base64.b64encode(b"a:b").decode() + "*",
    ],
)
def test_other_headers_decode_to_none(header: str) -> None:
    assert decode_client(header) is None


def test_a_secret_may_hold_colons_that_nobody_encoded() -> None:
    assert decode_client("basic " + base64.b64encode(b"a:b:c").decode()) == ("a", "b:c")
