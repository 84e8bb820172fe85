"""Schemas of an OpenAPI document as JSON Schemas that stand by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grammars.schema_document import LISTED, NAMED, ONE
from serving.execute.openapi.document import Document

SILENT = frozenset({"$ref", "xml", "externalDocs", "discriminator"})
"""What is left out: references are written anew, and the others tell neither a model nor a validator anything."""


class SchemaCollector:
    """Rewrites schemas for one tool: what they refer to is gathered under `$defs`, as `definitions` has it.

    Properties that only answers have (`readOnly`) are left out, since the schemas are those of requests. The bounds of
    version 3.0 (`exclusiveMinimum: true`) become those of JSON Schema.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._names: dict[str, str] = {}
        self.definitions: dict[str, Any] = {}

    def schema(self, source: Any) -> Any:
        """The schema as it stands in a tool's parameters."""
        if not isinstance(source, Mapping):
            return source
        old = self._document.version == "3.0"
        if "$ref" in source:
            reference = {"$ref": f"#/$defs/{self._name(source['$ref'])}"}
            # beside a reference, version 3.0 knows nothing
            return reference if old else {**self._keywords(source), **reference}
        return bounded(self._keywords(source)) if old else self._keywords(source)

    def _keywords(self, source: Mapping[str, Any]) -> dict[str, Any]:
        read: dict[str, Any] = {}
        for keyword, value in source.items():
            if keyword == "properties" and isinstance(value, Mapping):
                read[keyword] = {name: self.schema(item) for name, item in value.items() if not self._read_only(item)}
            elif keyword == "required" and isinstance(value, list):
                properties = source.get("properties", {})
                read[keyword] = [name for name in value if not self._read_only(properties.get(name))]
            elif keyword in ONE:
                read[keyword] = self.schema(value)
            elif keyword in LISTED and isinstance(value, list):
                read[keyword] = [self.schema(item) for item in value]
            elif keyword in NAMED and isinstance(value, Mapping):
                read[keyword] = {name: self.schema(item) for name, item in value.items()}
            elif keyword not in SILENT:
                read[keyword] = value
        return read

    def _read_only(self, schema: Any) -> bool:
        if not isinstance(schema, Mapping):
            return False
        if schema.get("readOnly") is True:
            return True
        target = self._document.resolved(schema)
        return isinstance(target, Mapping) and target.get("readOnly") is True

    def _name(self, reference: str) -> str:
        """The name of the definition for what a reference leads to; it is gathered when it is met first."""
        if reference in self._names:
            return self._names[reference]
        wanted = reference.rpartition("/")[2].replace("~1", "_").replace("%", "_") or "root"
        name = wanted
        while name in self.definitions:
            name = f"{name}_"
        self._names[reference] = name
        self.definitions[name] = {}  # taken, for schemas that refer to themselves
        self.definitions[name] = self.schema(self._document.at(reference))
        return name


def bounded(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with version 3.0's flags on bounds as bounds of their own."""
    read = dict(schema)
    for flag, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(read.get(flag), bool):
            exclusive = read.pop(flag)
            if exclusive and bound in read:
                read[flag] = read.pop(bound)
    return read
