"""A checked JSON Schema made into one that the grammar library enforces whole, and the list of what that leaves out.

The lowered schema is at most as strict as the original but for two things. Formats and patterns leave out rare forms of
strings, such as quoted local parts of e-mail addresses. And objects are closed: in decoding, one that lists
`properties` admits no others. Precisely: a *place* in a value is looked at by one schema, or by several (`allOf`,
`anyOf`, `oneOf`, `$ref`, `if`, `then`, `else`, `dependentSchemas`). It is closed, to all the names that any of these
mention in `properties`, `required` or `dependentRequired`, if one of them has `properties` and none has
`additionalProperties`, `patternProperties` or `unevaluatedProperties`. A schema that only chooses between others (one
`anyOf`, `oneOf` or `$ref`, and nothing about objects or arrays) leaves the question to each of them. Where several
schemas describe the same member of a place, that member stays open, for no single list closes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from grammars.choices import types_are_disjoint, unenforced_choices
from grammars.compiling import compiles
from grammars.constants import is_exact, normal, type_of
from grammars.endless import without_endless
from grammars.keywords import ASSERTIONS, CHECKED_FORMATS, CLOSE_FORMATS, EXACT_FORMATS, LOCAL, NOT_IN_GRAMMAR, OBJECT
from grammars.place import ARRAY, Place
from grammars.schema_check import validator_of
from grammars.schema_document import Document, JsonSchema, children, step
from grammars.schema_references import in_place

MAX_LENGTH = 100_000
MAX_ITEMS = 1_000
MAX_CHOICES = 256
MAX_STATES = 5_000
"""Bounds above these are only checked: the grammar's cost grows with them.

`MAX_STATES` bounds the least common multiple of all `multipleOf` in a schema: the library keeps one state a remainder,
multiplied out for those that may stand in one place, and none of its own limits counts them."""


@dataclass(kw_only=True)
class Lowered:
    """The lowered schema, and (pointer, keyword) of what it does not enforce, in the order of the document."""

    schema: JsonSchema
    checked: tuple[tuple[str, str], ...]


@dataclass
class Lowering:
    """One run over one document. Without `joined`, of schemas that meet in one place only the first is lowered."""

    document: Document
    joined: bool = True
    _checked: set[tuple[str, str]] = field(default_factory=set)
    _names: dict[tuple[str, bool], str] = field(default_factory=dict)
    _waiting: list[tuple[str, bool]] = field(default_factory=list)
    _states: int = 1

    def run(self, start: str = "") -> Lowered:
        """The whole document, or the part that begins at `start`, which stands alone in its place."""
        schema = self._lower(start, alone=True)
        definitions: dict[str, JsonSchema] = {}
        while self._waiting:
            pointer, alone = self._waiting.pop(0)
            definitions[self._names[pointer, alone]] = self._lower(pointer, alone=alone)
        schema, definitions = without_endless(schema, definitions)
        if isinstance(schema, dict) and definitions:
            schema = {**schema, "$defs": definitions}
        order = {pointer: index for index, pointer in enumerate(self.document.subschemas)}
        checked = self._checked | unenforced_choices(self.document, self._checked)
        return Lowered(schema=schema, checked=tuple(sorted(checked, key=lambda place: (order[place[0]], place[1]))))

    def _check(self, pointer: str, keyword: str) -> None:
        self._checked.add((pointer, keyword))

    def _reference(self, target: str, alone: bool) -> JsonSchema:
        if target in ("true", "false"):
            return target == "true"
        key = (target, alone)
        if key not in self._names:
            self._names[key] = f"d{len(self._names)}"
            self._waiting.append(key)
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def _lower(self, pointer: str, *, alone: bool) -> JsonSchema:
        schema = self.document.subschemas[pointer]
        if isinstance(schema, bool):
            return schema
        if schema.get("not", False) in (True, {}):
            return False
        for keyword in NOT_IN_GRAMMAR & schema.keys():
            if keyword != "uniqueItems" or schema[keyword]:
                self._check(pointer, keyword)
        if "const" in schema or "enum" in schema:
            return self._lower_values(pointer, schema)
        place = Place.at(self.document, pointer)
        parts = [keyword for keyword in ("$ref", "allOf", "anyOf", "oneOf") if keyword in schema]
        chooses = (
            len(parts) == 1 and not (OBJECT | ARRAY) & schema.keys() and not {"if", "then", "else"} & schema.keys()
        )
        if chooses and parts[0] == "allOf":
            chooses = len(schema["allOf"]) == 1
        base: dict[str, Any] = {}
        if "type" in schema:
            base["type"] = schema["type"]
        self._numbers(pointer, schema, base, alone and not parts)
        self._strings(pointer, schema, base)
        self._arrays(pointer, schema, base, place, alone)
        self._objects(pointer, schema, base, place, alone and not chooses)
        meets = bool(base) + sum(len(schema[part]) if part == "allOf" else 1 for part in parts)
        if meets > 1 and (not self.joined or place.choices > MAX_CHOICES):
            for _, below in place.reached:
                self._check_all(below)
            for part in parts:
                self._check(pointer, part)
            return base or True
        for part in parts:
            self._apply(pointer, part, base, alone and chooses)
        return base or True

    def _check_all(self, pointer: str) -> None:
        """Everything that the schema here, and whatever is below it, asserts is left to the validator."""
        waiting, seen = [pointer], {pointer}
        while waiting:
            at = waiting.pop()
            if at not in self.document.subschemas:
                continue
            schema = self.document.subschemas[at]
            if isinstance(schema, bool):
                continue
            for keyword in (ASSERTIONS | NOT_IN_GRAMMAR) & schema.keys():
                self._check(at, keyword)
            below = [place for _, place, _ in children(at, schema)] + [
                place for _, place in in_place(self.document, at)
            ]
            waiting.extend(place for place in below if place not in seen)
            seen.update(below)

    def _apply(self, pointer: str, part: str, base: dict[str, Any], alone: bool) -> None:
        schema = self.document.subschemas[pointer]
        assert isinstance(schema, dict)
        if part == "$ref":
            base.update(_as_object(self._reference(self.document.targets[step(pointer, "$ref")], alone)))
            return
        options = [self._lower(step(pointer, part, index), alone=alone) for index in range(len(schema[part]))]
        if part == "allOf":
            base["allOf"] = options
        elif "anyOf" not in base:
            base["anyOf"] = options
        else:
            base.setdefault("allOf", []).append({"anyOf": options})
        if part == "oneOf" and not types_are_disjoint(schema[part]):
            self._check(pointer, part)

    def _lower_values(self, pointer: str, schema: dict[str, Any]) -> JsonSchema:
        """An enumeration. Only values that the keywords beside it admit stay, so that those are enforced too."""
        values = [schema["const"]] if "const" in schema else schema["enum"]
        local = {keyword: schema[keyword] for keyword in LOCAL & schema.keys()}
        validator = validator_of(local)
        values = [value for value in values if validator.is_valid(value)]
        for keyword in local:
            self._checked.discard((pointer, keyword))
        for keyword, place, _ in children(pointer, schema):
            if keyword not in ("$defs", "definitions", "contentSchema"):
                self._check(pointer, keyword)
                self._check_all(place)
        if "$ref" in schema:
            self._check(pointer, "$ref")
            self._check_all(self.document.targets[step(pointer, "$ref")])
        if not all(map(is_exact, values)):
            self._check(pointer, "const" if "const" in schema else "enum")
            return {"type": sorted({type_of(value) for value in values})}
        return {"enum": [normal(value) for value in values]}

    def _numbers(self, pointer: str, schema: dict[str, Any], base: dict[str, Any], alone: bool) -> None:
        for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if keyword in schema:
                if is_exact(schema[keyword]):
                    base[keyword] = normal(schema[keyword])
                else:
                    self._check(pointer, keyword)
        if "multipleOf" in schema:
            multiple = normal(schema["multipleOf"])
            digits = int("".join(map(str, Decimal(repr(multiple)).normalize().as_tuple().digits)))
            states = math.lcm(self._states, digits)
            bounded = states <= MAX_STATES and 1e-6 < multiple <= MAX_STATES
            if alone and bounded and compiles({"type": "number", "multipleOf": multiple}):
                self._states = states
                base["multipleOf"] = multiple
            else:
                self._check(pointer, "multipleOf")

    def _strings(self, pointer: str, schema: dict[str, Any], base: dict[str, Any]) -> None:
        wanted: dict[str, Any] = {}
        for keyword in ("minLength", "maxLength"):
            if keyword in schema:
                if schema[keyword] <= MAX_LENGTH:
                    wanted[keyword] = int(schema[keyword])
                else:
                    self._check(pointer, keyword)
        if "pattern" in schema:
            wanted["pattern"] = schema["pattern"]
        if (name := schema.get("format")) in EXACT_FORMATS | CLOSE_FORMATS:
            wanted["format"] = name
        if name in CLOSE_FORMATS | CHECKED_FORMATS:
            self._check(pointer, "format")
        for keyword in ("", "minLength", "maxLength", "format", "pattern"):
            if keyword in wanted:
                del wanted[keyword]
                self._check(pointer, keyword)
            if not {"pattern", "format"} & wanted.keys() or compiles({"type": "string", **wanted}):
                break
        base.update(wanted)

    def _arrays(self, pointer: str, schema: dict[str, Any], base: dict[str, Any], place: Place, alone: bool) -> None:
        single = alone and place.arrays == 1
        for keyword in ("minItems", "maxItems"):
            if keyword in schema:
                if schema[keyword] <= MAX_ITEMS:
                    base[keyword] = int(schema[keyword])
                else:
                    self._check(pointer, keyword)
        if "prefixItems" in schema:
            count = len(schema["prefixItems"])
            base["prefixItems"] = [self._lower(step(pointer, "prefixItems", i), alone=single) for i in range(count)]
        for keyword in ("items", "unevaluatedItems"):
            if keyword in schema and (
                keyword == "items" or (not place.reached and not {"items", "contains"} & schema.keys())
            ):
                base["items"] = self._lower(step(pointer, keyword), alone=single)
                self._checked.discard((pointer, keyword))

    def _objects(self, pointer: str, schema: dict[str, Any], base: dict[str, Any], place: Place, alone: bool) -> None:
        if "properties" in schema:
            base["properties"] = {
                name: self._lower(
                    step(pointer, "properties", name),
                    alone=alone and (not place.reached or (not place.open and place.properties[name] == 1)),
                )
                for name in schema["properties"]
            }
        if "required" in schema:
            base["required"] = schema["required"]
        if "patternProperties" in schema:
            patterns = {
                pattern: self._lower(step(pointer, "patternProperties", pattern), alone=alone and not place.reached)
                for pattern in schema["patternProperties"]
            }
            if compiles({"type": "object", "patternProperties": dict.fromkeys(patterns, True)}):
                base["patternProperties"] = patterns
            else:
                self._check_all(pointer)
                return
        for keyword in ("additionalProperties", "unevaluatedProperties"):
            if keyword == "unevaluatedProperties" and (place.reached or "additionalProperties" in schema):
                continue
            if keyword in schema:
                base["additionalProperties"] = self._lower(step(pointer, keyword), alone=alone and not place.reached)
                self._checked.discard((pointer, keyword))
        sealed = (
            schema.get("unevaluatedProperties") is False
            and "additionalProperties" not in schema  # which evaluates whatever it speaks of
            and bool(place.reached)
            and not place.opens_besides(schema)
        )
        if alone and ((place.lists and not place.open) or sealed):
            listed = base.get("properties", {})
            base["properties"] = {**listed, **{name: True for name in place.names if name not in listed}}
            base["additionalProperties"] = False
        if not place.reached and "properties" not in schema and "required" not in schema:
            self._map_size(pointer, schema, base)

    def _map_size(self, pointer: str, schema: dict[str, Any], base: dict[str, Any]) -> None:
        """The number of members of a map. The grammar does not see a name come twice: more than one is checked."""
        if schema.get("maxProperties", MAX_ITEMS + 1) <= MAX_ITEMS:
            base["maxProperties"] = int(schema["maxProperties"])
            self._checked.discard((pointer, "maxProperties"))
        if schema.get("minProperties", MAX_ITEMS + 1) <= MAX_ITEMS:
            base["minProperties"] = int(schema["minProperties"])
            if schema["minProperties"] <= 1:
                self._checked.discard((pointer, "minProperties"))


def _as_object(schema: JsonSchema) -> dict[str, Any]:
    if isinstance(schema, dict):
        return schema
    return {} if schema else {"enum": []}
