"""Definitions that WSO2 can read: 3.0.3, only what is published, problems told as they are."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import pytest
from fastapi import APIRouter, FastAPI, Query
from openapi_spec_validator import validate
from pydantic import BaseModel, Field

from ev_service.clock import SteppedClock
from ev_service.openapi import as_openapi_3_0, build_published_definition, with_problems
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus
from ev_service.web import create_service, through_gateway


class Part(BaseModel):
    """A part."""

    name: str = Field(examples=["first", "second"])


class Everything(BaseModel):
    """One field of each kind that 3.0.3 writes differently."""

    optional_number: float | None = Field(default=None, description="Maybe.")
    optional_part: Part | None = Field(default=None, description="Maybe a part.")
    optional_either: int | str | None = None
    more_than_zero: float = Field(gt=0)
    less_than_one: float = Field(lt=1)
    maybe_more_than_zero: Annotated[float, Field(gt=0)] | None = None
    constant: Literal["only"] = "only"
    parts: list[Part | None] = []
    by_name: dict[str, float | None] = {}


async def well() -> dict[str, str | None]:
    return {}


def service() -> FastAPI:
    app = create_service(
        name="test",
        description="For the test.",
        clock=SteppedClock(datetime(2026, 6, 21, tzinfo=UTC)),
        health=well,
        assertion=None,
    )
    router = APIRouter(dependencies=[through_gateway("/test/1.0.0")])

    @router.get("/everything", operation_id="getEverything", summary="Everything")
    def get_everything(
        wanted: Annotated[int | None, Query(gt=0, examples=[3])] = None,
    ) -> Everything:
        """All of it."""
        return Everything(more_than_zero=wanted or 1, less_than_one=0)

    for model in (SolarStatus, BatteryStatus, GridLoad):
        router.add_api_route(
            f"/{model.__name__}", lambda: None, response_model=model, summary="S", description="D", methods=["GET"]
        )
    app.include_router(router)
    return app


@pytest.fixture(scope="module")
def definition() -> dict[str, Any]:
    return build_published_definition(service())


def field(definition: dict[str, Any], name: str) -> dict[str, Any]:
    return definition["components"]["schemas"]["Everything"]["properties"][name]


def test_the_definition_is_valid_3_0_3(definition: dict[str, Any]) -> None:
    validate(definition)
    assert definition["openapi"] == "3.0.3"


def test_only_what_is_published_stands_in_it(definition: dict[str, Any]) -> None:
    assert set(definition["paths"]) == {"/everything", "/SolarStatus", "/BatteryStatus", "/GridLoad"}


def test_one_api_of_several_is_cut_out_by_its_tag_with_the_schemas_that_it_names() -> None:
    app = service()
    router = APIRouter(tags=["other"])

    @router.get("/part", operation_id="getPart", summary="A part")
    def get_part() -> Part:
        """One part."""
        return Part(name="first")

    app.include_router(router)

    cut = build_published_definition(app, "other")

    validate(cut)
    assert set(cut["paths"]) == {"/part"}
    assert set(cut["components"]["schemas"]) == {"Part", "Problem"}
    assert {"/part", "/everything"} <= set(build_published_definition(app)["paths"])


def test_the_service_itself_documents_its_operations_too() -> None:
    whole = service().openapi()

    validate(whole)
    assert {"/health", "/livez", "/metrics"} <= set(whole["paths"])


def test_an_optional_value_is_nullable(definition: dict[str, Any]) -> None:
    said = field(definition, "optional_number")

    assert (said["type"], said["nullable"], said["description"]) == ("number", True, "Maybe.")
    assert "anyOf" not in said


def test_an_optional_reference_keeps_its_description(definition: dict[str, Any]) -> None:
    said = field(definition, "optional_part")

    assert said["allOf"] == [{"$ref": "#/components/schemas/Part"}]
    assert (said["nullable"], said["description"]) == (True, "Maybe a part.")


def test_an_optional_choice_keeps_its_choices(definition: dict[str, Any]) -> None:
    said = field(definition, "optional_either")

    assert said["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    assert said["nullable"] is True


def test_nulls_within_lists_and_mappings_are_turned_too(definition: dict[str, Any]) -> None:
    assert field(definition, "parts")["items"]["nullable"] is True
    assert field(definition, "by_name")["additionalProperties"] == {"type": "number", "nullable": True}


def test_exclusive_bounds_are_flags(definition: dict[str, Any]) -> None:
    low, high = field(definition, "more_than_zero"), field(definition, "less_than_one")

    assert (low["minimum"], low["exclusiveMinimum"]) == (0, True)
    assert (high["maximum"], high["exclusiveMaximum"]) == (1, True)
    assert field(definition, "maybe_more_than_zero")["exclusiveMinimum"] is True


def test_a_constant_is_an_enum_of_one_word(definition: dict[str, Any]) -> None:
    said = field(definition, "constant")

    assert said["enum"] == ["only"]
    assert "const" not in said


def test_the_first_of_several_examples_is_kept(definition: dict[str, Any]) -> None:
    said = definition["components"]["schemas"]["Part"]["properties"]["name"]

    assert said["example"] == "first"
    assert "examples" not in said


def test_what_goes_wrong_is_told_as_problem_json_and_fastapis_own_error_is_gone(definition: dict[str, Any]) -> None:
    responses = definition["paths"]["/everything"]["get"]["responses"]

    assert set(responses) == {"200", "default"}
    assert list(responses["default"]["content"]) == ["application/problem+json"]
    assert {"HTTPValidationError", "ValidationError"}.isdisjoint(definition["components"]["schemas"])


def test_a_name_of_a_property_is_never_taken_for_a_keyword() -> None:
    class Awkward(BaseModel):
        """Property names that are keywords of JSON Schema."""

        const: str = "x"
        examples: list[int] = []
        exclusiveMinimum: float = 0

    turned = as_openapi_3_0({"components": {"schemas": {"Awkward": Awkward.model_json_schema()}}})

    assert set(turned["components"]["schemas"]["Awkward"]["properties"]) == {"const", "examples", "exclusiveMinimum"}


def test_the_document_given_is_not_changed() -> None:
    document: dict[str, Any] = {
        "paths": {"/a": {"get": {"responses": {"200": {}, "422": {}}}}},
        "components": {"schemas": {"ValidationError": {}, "A": {"exclusiveMinimum": 0, "examples": [1]}}},
    }

    as_openapi_3_0(with_problems(document, {}))

    assert document["paths"]["/a"]["get"]["responses"] == {"200": {}, "422": {}}
    assert document["components"]["schemas"] == {
        "ValidationError": {},
        "A": {"exclusiveMinimum": 0, "examples": [1]},
    }
