"""The keywords and formats of JSON Schema, by what the grammar library makes of them (1.9.1, found out by trying)."""

from __future__ import annotations

from grammars.schema_document import words

EXACT_FORMATS = frozenset({"uuid", "ipv4"})
CLOSE_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv6", "uri"})
CHECKED_FORMATS = words(
    "idn-email idn-hostname iri iri-reference json-pointer relative-json-pointer regex uri-reference uri-template"
)
"""Formats that the grammar enforces, that it enforces but for rare values (30 February), and that are only checked.

Any other format is an annotation, as the standard has it."""

OBJECT = words(
    "properties required additionalProperties patternProperties unevaluatedProperties propertyNames dependentRequired "
    "dependentSchemas minProperties maxProperties"
)
NOT_IN_GRAMMAR = words(
    "not if then else uniqueItems contains minContains maxContains dependentRequired dependentSchemas propertyNames "
    "unevaluatedItems unevaluatedProperties $dynamicRef minProperties maxProperties"
)
LOCAL = words(
    "type const enum minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern format "
    "minItems maxItems uniqueItems required minProperties maxProperties dependentRequired"
)
"""The keywords that need no other schema to be judged by."""

ASSERTIONS = words(
    "type const enum multipleOf minimum maximum exclusiveMinimum exclusiveMaximum minLength maxLength pattern format "
    "required additionalProperties minItems maxItems prefixItems items properties patternProperties anyOf oneOf"
)
