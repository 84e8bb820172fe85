"""Registry: a function's signature becomes a tool, and a call's arguments become what the function expects."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from grammars.errors import ConfigurationError
from serving.execute.facts import DEFAULT_TIMEOUT_S, Resource
from serving.execute.registry import Registry
from serving.execute.runners import FunctionRunner
from serving.execute.server_tool import InvalidArguments, ServerTool


class Unit(Enum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


@dataclass
class Place:
    name: str
    height_m: float = 0.0


class Booking(BaseModel):
    guests: int


def registered(function: Any, **options: Any) -> ServerTool:
    registry = Registry()
    registry.tool(**options)(function)
    found = registry.get(options.get("name") or function.__name__)
    assert found is not None
    return found


def read_by(function: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments that the function gets."""
    runner = registered(function).runner
    assert isinstance(runner, FunctionRunner)
    return runner.read(arguments)


def weather(city: str, day: datetime.date, unit: Unit = Unit.CELSIUS) -> str:
    """Weather for one city.

    For days up to a week ahead.
    """
    return f"{city} {day} {unit}"


def test_a_function_becomes_a_tool_with_its_name_docstring_and_schema() -> None:
    tool = registered(weather).tool
    assert tool.name == "weather"
    assert tool.description == "Weather for one city.\n\nFor days up to a week ahead."
    assert tool.parameters["required"] == ["city", "day"]
    assert tool.parameters["additionalProperties"] is False
    assert tool.parameters["properties"]["city"] == {"type": "string"}
    assert tool.parameters["properties"]["day"] == {"type": "string", "format": "date"}


def test_descriptions_and_bounds_of_a_field_reach_the_schema() -> None:
    def book(guests: Annotated[int, Field(ge=1, le=9, description="how many come")]) -> None: ...

    book.__annotations__["guests"] = Annotated[int, Field(ge=1, le=9, description="how many come")]
    guests = registered(book).tool.parameters["properties"]["guests"]
    assert guests == {"type": "integer", "minimum": 1, "maximum": 9, "description": "how many come"}


def test_name_description_and_timeout_can_be_given() -> None:
    found = registered(weather, name="forecast", description="Short.", timeout_s=1.5)
    assert (found.tool.name, found.tool.description, found.facts.timeout_s) == ("forecast", "Short.", 1.5)
    assert registered(weather).facts.timeout_s == DEFAULT_TIMEOUT_S


def test_a_function_without_parameters_takes_an_empty_object() -> None:
    def now() -> str:
        return "noon"

    found = registered(now)
    assert found.tool.parameters["type"] == "object"
    assert found.tool.description == ""
    assert read_by(now, {}) == {}


def test_arguments_are_converted_as_the_annotations_say() -> None:
    assert read_by(weather, {"city": "Bern", "day": "2026-11-20", "unit": "fahrenheit"}) == {
        "city": "Bern",
        "day": datetime.date(2026, 11, 20),
        "unit": Unit.FAHRENHEIT,
    }


def test_nested_dataclasses_and_models_are_built() -> None:
    def visit(place: Place, booking: Booking, tags: set[str]) -> None: ...

    read = read_by(visit, {"place": {"name": "Eiger"}, "booking": {"guests": 2}, "tags": ["a", "a"]})
    assert read == {"place": Place("Eiger"), "booking": Booking(guests=2), "tags": {"a"}}


def test_parameter_names_that_pydantic_models_reserve_are_ordinary_here() -> None:
    def odd(schema: str, copy: bool, _hidden: int = 3, *, model_config: str = "x") -> None: ...

    read = read_by(odd, {"schema": "s", "copy": True})
    assert read == {"schema": "s", "copy": True, "_hidden": 3, "model_config": "x"}


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"day": "2026-11-20"}, "city"),
        ({"city": "Bern", "day": "tomorrow"}, "day"),
        ({"city": "Bern", "day": "2026-11-20", "unit": "kelvin"}, "unit"),
        ({"city": "Bern", "day": "2026-11-20", "country": "CH"}, "country"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_their_place(arguments: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidArguments, match=f"^{where}: "):
        read_by(weather, arguments)


def variadic(*cities: str) -> None: ...
def keywords(**cities: str) -> None: ...
def positional(city: str, /) -> None: ...
def bare(city) -> None: ...  # type: ignore[no-untyped-def]
def unknown(value: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "names"),
    [(variadic, "cities"), (keywords, "cities"), (positional, "city"), (bare, "city"), (unknown, "Nowhere")],
)
def test_parameters_that_no_json_object_can_fill_are_refused(function: Any, names: str) -> None:
    with pytest.raises(ConfigurationError, match=names):
        registered(function)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "not a name"}, "not a tool name"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"duration_s": -1.0}, "duration_s"),
        ({"retries": -1, "idempotent": True}, "retries must be 0 or more"),
        ({"retries": 1}, "idempotent or read_only"),
        ({"read_only": True, "writes": ["account:{city}"]}, "read_only tool cannot write"),
        ({"resource": "api.weather"}, "not declared"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        registered(weather, **options)


def test_a_name_is_registered_once() -> None:
    registry = Registry()
    registry.tool()(weather)
    with pytest.raises(ConfigurationError, match="twice"):
        registry.tool()(weather)


def test_resources_are_declared_once_and_before_their_tools() -> None:
    registry = Registry()
    registry.resource(Resource(name="api.weather", capacity=4, rate_per_s=10.0))
    registry.tool(resource="api.weather")(weather)
    found = registry.get("weather")
    assert found is not None
    assert found.facts.resource == registry.resources[0].name == "api.weather"
    with pytest.raises(ConfigurationError, match="twice"):
        registry.resource(Resource(name="api.weather"))


@pytest.mark.parametrize(("capacity", "rate_per_s"), [(0, None), (None, 0.0), (None, math.nan), (None, math.inf)])
def test_a_resource_that_admits_nothing_or_anything_is_refused(capacity: int | None, rate_per_s: float | None) -> None:
    with pytest.raises(ConfigurationError, match="the resource"):
        Resource(name="api.weather", capacity=capacity, rate_per_s=rate_per_s)


def test_tools_are_offered_in_the_order_of_registration() -> None:
    registry = Registry()
    for name in ("zebra", "apple", "mango"):
        registry.tool(name=name)(weather)
    assert [tool.name for tool in registry.tools] == ["zebra", "apple", "mango"]


def test_a_literal_becomes_an_enum() -> None:
    def turn(side: Literal["left", "right"]) -> None: ...

    assert registered(turn).tool.parameters["properties"]["side"] == {"type": "string", "enum": ["left", "right"]}
