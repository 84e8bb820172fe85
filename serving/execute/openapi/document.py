"""Document: an OpenAPI document, read and validated, whose references lead nowhere but into itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import yaml
from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator

from grammars.errors import ConfigurationError


class Offline30(OpenAPIV30SpecValidator):
    resolver_handlers = {}  # noqa: RUF012 - declared like this in the library


class Offline31(OpenAPIV31SpecValidator):
    resolver_handlers = {}  # noqa: RUF012 - declared like this in the library


VALIDATORS = {"3.0": Offline30, "3.1": Offline31}
"""The versions that are read. Nothing is fetched to validate."""

DEEPEST = 100
"""How deep containers of a document may lie in each other."""

MOST_REFERENCES = 50
"""How many references may lead to each other before something is found."""


class PlainLoader(yaml.SafeLoader):
    """YAML as JSON has it: what looks like a date is text."""


PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Document:
    """A valid OpenAPI document of version 3.0 or 3.1. `name` is what errors call it."""

    def __init__(self, name: str, root: Mapping[str, Any]) -> None:
        self.name = name
        self.root = root

    @property
    def version(self) -> str:
        """Its version of OpenAPI: "3.0" or "3.1"."""
        return version_of(self.root)

    def resolved(self, found: Any) -> Any:
        """What stands there, or what it refers to."""
        for _ in range(MOST_REFERENCES):
            if not (isinstance(found, Mapping) and "$ref" in found):
                return found
            found = self.at(found["$ref"])
        raise ConfigurationError(f"{self.name}: references go in a circle")

    def at(self, reference: str) -> Any:
        """What a reference leads to. Raises `ConfigurationError` if it leads nowhere."""
        found: Any = self.root
        for key in unquote(reference).removeprefix("#").split("/")[1:]:
            key = key.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]
            except (LookupError, TypeError, ValueError):
                raise ConfigurationError(f"{self.name}: the reference {reference!r} leads nowhere") from None
        return found


def read_document(name: str, text: str) -> Document:
    """Read JSON or YAML. Raises `ConfigurationError` for what is no valid OpenAPI document, with the place at fault.

    References to other documents are refused, and so is nothing ever fetched because a document says so.
    """
    try:
        root = json.loads(text) if text.lstrip().startswith("{") else yaml.load(text, PlainLoader)
        root = as_json(root)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name} is neither JSON nor YAML: {error}") from error
    if not isinstance(root, dict) or version_of(root) not in VALIDATORS:
        raise ConfigurationError(f"{name} is no OpenAPI document of version {' or '.join(VALIDATORS)}")
    for place, reference in references(root):
        if not reference.startswith("#/"):
            raise ConfigurationError(f"{name}: at {place} a reference leads out of the document: {reference!r}")
    for problem in VALIDATORS[version_of(root)](root).iter_errors():
        place = "/".join(map(str, problem.absolute_path))
        raise ConfigurationError(f"{name} is no valid OpenAPI document: at {place!r}: {problem.message[:300]}")
    return Document(name, root)


def version_of(root: Mapping[str, Any]) -> str:
    return ".".join(str(root.get("openapi", "")).split(".")[:2])


def as_json(found: Any, depth: int = 0) -> Any:
    """With names that are text, as JSON has them: YAML reads the name `200` as a number."""
    if depth > DEEPEST:
        raise ValueError(f"its containers lie more than {DEEPEST} deep")
    if isinstance(found, Mapping):
        return {str(name): as_json(value, depth + 1) for name, value in found.items()}
    if isinstance(found, list):
        return [as_json(value, depth + 1) for value in found]
    return found


def references(found: Any, place: str = "#") -> Iterator[tuple[str, str]]:
    """Every reference, with its place. Examples may hold what only looks like one; those are no references."""
    if isinstance(found, Mapping):
        if isinstance(found.get("$ref"), str):
            yield place, found["$ref"]
        for name, value in found.items():
            if name not in ("example", "examples", "default", "enum", "const"):
                yield from references(value, f"{place}/{name}")
    elif isinstance(found, list):
        for index, value in enumerate(found):
            yield from references(value, f"{place}/{index}")
