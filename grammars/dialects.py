"""Dialect: how one model family writes tools, calls and results as text. Data, not code paths.

Every dialect writes a call as the JSON object `{"name": ..., "arguments": ...}`; dialects differ in what stands around
it. A model whose own chat template renders tools is given them through it; otherwise the dialect's `instructions` and
`result` texts are folded into plain messages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from grammars.errors import ConfigurationError
from grammars.marks import FAMILIES, Marks
from grammars.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """The texts around calls. `instructions` has the place `{tools}`, `result` the places `{name}` and `{text}`, or
    `{json}` where the result stands inside JSON; with `{arguments}` it also says of which call it is, and not only of
    which tool: small models take the results of a tool's several calls for one another's otherwise.

    `marker` is what no answer in text may contain, because a call begins with it. `call_id_length` is set where the
    model's template insists on short alphanumeric ids. `branch_open` stands before a call that is written alone, in a
    branch; `calls_open` before all calls of an answer. `pastes` is set where templates of the family may paste results
    and descriptions into JSON without looking: they are made JSON before. `marks` are the tokens that open the streams
    of a model which was trained for them; such a model is shown its tools as signatures, in plain messages, and needs
    no words about plans.
    """

    name: str
    marker: str
    calls_open: str
    call_open: str
    call_close: str
    separator: str
    calls_close: str
    instructions: str
    result: str
    call_id_length: int | None = None
    branch_open: str = ""
    pastes: bool = False
    marks: Marks | None = None


JSON = Dialect(
    name="json",
    marker='{"tool_calls"',
    calls_open='{"tool_calls": [',
    call_open="",
    call_close="",
    separator=", ",
    calls_close="]}",
    instructions=(
        "You can call tools. These are the tools, one JSON object each:\n{tools}\n"
        'To call tools, write only {{"tool_calls": [{{"name": ..., "arguments": {{...}}}}, ...]}}, '
        "with one entry for each call that the request needs."
    ),
    result="Result of {name} {arguments}: {text}",
)

HERMES = Dialect(
    name="hermes",
    marker="<tool_call>",
    calls_open="",
    call_open="<tool_call>\n",
    call_close="\n</tool_call>",
    separator="\n",
    calls_close="",
    instructions=(
        "You may call functions. Their signatures stand within <tools></tools>:\n<tools>\n{tools}\n</tools>\n"
        "For each function call write a JSON object with the function's name and arguments within "
        '<tool_call></tool_call>:\n<tool_call>\n{{"name": ..., "arguments": {{...}}}}\n</tool_call>'
    ),
    result='<tool_response>\n{{"name": "{name}", "content": {json}}}\n</tool_response>',
)

MISTRAL = Dialect(
    name="mistral",
    marker="[TOOL_CALLS]",
    calls_open="[TOOL_CALLS] [",
    call_open="",
    call_close="",
    separator=", ",
    calls_close="]",
    instructions="[AVAILABLE_TOOLS] [{tools}][/AVAILABLE_TOOLS]",
    result='[TOOL_RESULTS] {{"content": {json}}}[/TOOL_RESULTS]',
    call_id_length=9,
    branch_open="[TOOL_CALLS] [",
    pastes=True,
)

MISTRAL_TEKKEN = replace(
    MISTRAL,
    name="mistral-tekken",
    calls_open="[TOOL_CALLS][",
    instructions="[AVAILABLE_TOOLS][{tools}][/AVAILABLE_TOOLS]",
    result='[TOOL_RESULTS]{{"content": {json}}}[/TOOL_RESULTS]',
    branch_open="[TOOL_CALLS][",
)
"""Mistral's models with a tekken tokenizer, Nemo being the first, write no spaces after their markers."""

POLYCALL = tuple(
    replace(JSON, name=f"polycall-{family}", instructions="Tools:\n{tools}", marks=marks)
    for family, marks in FAMILIES.items()
)
"""Models that were trained by polycall, one dialect for each family of vocabularies that has the marks."""

DIALECTS = {dialect.name: dialect for dialect in (JSON, HERMES, MISTRAL, MISTRAL_TEKKEN, *POLYCALL)}


def dialect_named(name: str) -> Dialect:
    """The dialect of this name, or a `ConfigurationError` that lists those there are."""
    try:
        return DIALECTS[name]
    except KeyError:
        raise ConfigurationError(f"no dialect {name!r}; there are {', '.join(sorted(DIALECTS))}") from None


def dialect_of(tokenizer: Tokenizer) -> Dialect:
    """The dialect that a model was trained on, told by the call marker in its chat template; `json` where none is.

    The template of a model that was trained by polycall names its dialect in a comment, see `template_mark`.
    """
    template = tokenizer.chat_template
    for dialect in POLYCALL:
        if template_mark(dialect) in template:
            return dialect
    if MISTRAL_TEKKEN.calls_open in template:
        return MISTRAL_TEKKEN
    return next((dialect for dialect in (MISTRAL, HERMES) if dialect.marker in template), JSON)


def template_mark(dialect: Dialect) -> str:
    """What export writes into the chat template of a model that was trained on this dialect."""
    return f"{{# {dialect.name} #}}"


def trained_dialect(tokenizer: Tokenizer) -> Dialect:
    """The dialect that a model with this vocabulary can be trained on. Raises `ConfigurationError` where none fits."""
    for dialect in POLYCALL:
        if dialect.marks is not None and dialect.marks.fit(tokenizer.special_tokens):
            return dialect
    families = ", ".join(sorted(FAMILIES))
    raise ConfigurationError(f"the vocabulary has the marks of none of the families {families}")
