"""Arguments of tools: location, encoding and validation."""

import json
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_gateway.gateway.mcp_arguments import BackendRequest, InvalidArguments, build_backend_request, parse_arguments
from local_gateway.gateway.path_normalization import decode_path

SCHEMA = {
    "type": "object",
    "properties": {
        "path_decision_id": {"type": "string"},
        "query_limit": {"type": "integer"},
        "query_before": {"type": "string"},
        "query_detail": {"type": "string", "enum": ["short", "long"]},
        "query_is_new": {"type": "boolean"},
        "query_at_least_kw": {"type": "number"},
        "query_anything": {},
        "header_X-Reason": {"type": "string"},
        "header_Host": {"type": "string"},
    },
    "required": ["path_decision_id"],
}
ARGUMENTS = parse_arguments(json.dumps(SCHEMA))
TARGET = "/decisions/{decision_id}/explain"


def build(**given: Any) -> BackendRequest | InvalidArguments:
    return build_backend_request(TARGET, ARGUMENTS, {"decision_id": "d-1", **given}, frozenset({"host"}))


def reason(**given: Any) -> str:
    unusable = build(**given)
    assert isinstance(unusable, InvalidArguments)
    return unusable.reason


def test_each_argument_is_sent_in_the_location_of_the_stored_schema() -> None:
    asked = build(limit=3, before="2026-06-21T12:00:00Z", is_new=True, at_least_kw=2.5, **{"X-Reason": "curious"})

    assert asked == BackendRequest(
        path="/decisions/d-1/explain",
        query="?limit=3&before=2026-06-21T12%3A00%3A00Z&is_new=true&at_least_kw=2.5",
        headers={"X-Reason": "curious"},
    )


def test_an_argument_cannot_become_a_second_one() -> None:
    asked = build(before="a&limit=1000#x +%")

    assert isinstance(asked, BackendRequest)
    assert asked.query == "?before=a%26limit%3D1000%23x%20%2B%25"


@pytest.mark.parametrize("value", ["..", ".", "a/b", "../../grid/1.0.0", "a\\b", "%2e%2e", "a;b", "a\nb", "a\x00"])
def test_a_value_with_several_path_segments_is_rejected(value: str) -> None:
    assert reason(decision_id=value) == "An argument cannot be a part of the path"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"decision_id": None}, "The argument decision_id is missing"),
        ({"decision_id": ""}, "The argument decision_id is empty"),
        ({"limit": "3"}, "The argument limit is no integer"),
        ({"limit": 3.5}, "The argument limit is no integer"),
        ({"limit": True}, "The argument limit is no integer"),
        ({"at_least_kw": float("inf")}, "The argument at_least_kw is no number"),
        ({"at_least_kw": False}, "The argument at_least_kw is no number"),
        ({"is_new": 1}, "The argument is_new is no boolean"),
        ({"before": ["a"]}, "The argument before is no string"),
        ({"anything": {"a": 1}}, "The argument anything is no text, number or boolean"),
        ({"detail": "longest"}, "The argument detail is none of short, long"),
        ({"X-Reason": "a\r\nX-Admin: yes"}, "The argument X-Reason holds what a header cannot carry"),
        ({"X-Reason": "é"}, "The argument X-Reason holds what a header cannot carry"),
        ({"Host": "elsewhere"}, "The argument Host is a header that the gateway sets itself"),
        ({"before": "\ud800"}, "The argument before is no text that UTF-8 can carry"),
        ({"admin": True}, "The tool takes no argument admin"),
        ({"<script>": True}, "The tool takes no argument of that name"),
    ],
)
def test_an_argument_that_could_arrive_wrongly_is_refused(given: dict[str, Any], why: str) -> None:
    assert reason(**given) == why


def test_a_whole_number_is_a_number_and_nothing_given_is_nothing_sent() -> None:
    assert build(at_least_kw=2) == BackendRequest("/decisions/d-1/explain", "?at_least_kw=2")
    assert build(limit=None) == build() == BackendRequest("/decisions/d-1/explain")


def test_a_type_that_is_a_list_of_types_takes_any_plain_value() -> None:
    arguments = parse_arguments(json.dumps({"properties": {"query_x": {"type": ["string", "null"]}}}))

    assert build_backend_request("/a", arguments, {"x": "y"}, frozenset()) == BackendRequest("/a", "?x=y")


def test_a_variable_of_the_path_that_no_argument_fills_is_refused() -> None:
    assert isinstance(build_backend_request("/decisions/{other}", (), {}, frozenset()), InvalidArguments)


def test_a_body_is_one_object_and_goes_as_json() -> None:
    schema = {"properties": {"requestBody": {"type": "object", "contentType": "application/json"}}}
    arguments = parse_arguments(json.dumps({**schema, "required": ["requestBody"]}))

    assert build_backend_request("/kills", arguments, {"requestBody": {"reason": "é"}}, frozenset()) == BackendRequest(
        "/kills", body=b'{"reason": "\\u00e9"}'
    )
    assert build_backend_request("/kills", arguments, {}, frozenset()) == InvalidArguments(
        "The argument requestBody is missing"
    )
    assert build_backend_request("/kills", arguments, {"requestBody": "x"}, frozenset()) == InvalidArguments(
        "The argument requestBody is no object"
    )


@given(value=st.text(st.characters()), before=st.text(st.characters()))
def test_what_arrives_is_what_was_given_or_nothing_is_sent(value: str, before: str) -> None:
    asked = build_backend_request(TARGET, ARGUMENTS, {"decision_id": value, "before": before}, frozenset())

    if isinstance(asked, BackendRequest):
        _, _, part, last = asked.path.split("/")
        assert (unquote(part), last) == (value, "explain")
        assert decode_path(asked.path) == f"/decisions/{value}/explain"
        assert parse_qsl(asked.query.removeprefix("?"), keep_blank_values=True) == [("before", before)]
