"""The whole-turn grammar: one stream that writes all calls of a turn, or text, in the dialect's array.

This is what every other server writes, calls one after another; here it is the sequential baseline, the oracle in
tests, and the shape of the retry. How many calls, and of which tools, stands in the grammar and not in hope.
"""

from __future__ import annotations

from collections.abc import Sequence

from grammars import worked_example
from grammars.constraint import STRING_END, Constraint, quoted, text_rule
from grammars.conversation import Choice, Conversation
from grammars.dialects import Dialect
from grammars.prompt import call_ending, call_opening, call_text
from grammars.schema import read_schema
from grammars.tokenizer import Tokenizer
from grammars.tools import Tool

INSTRUCTIONS = """\
When the request needs tools, write all the calls that it needs at once, in the order of the request, one for each \
thing that is asked. A tool that is needed for several things gets a call for each of them. Leave out tools that the \
request does not need.

For example, with the tools {tools}, the calls for "{request}" are:
{calls}"""
"""How a model is asked for calls in one stream: with the same worked example as for an outline."""


def instructions(dialect: Dialect) -> str:
    """What the system message says about calling, for decoding in one stream; to a model that was trained by polycall
    nothing, since its examples said nothing.
    """
    if dialect.marks is not None:
        return ""
    calls = dialect.separator.join(call_text(call.name, call.arguments, dialect) for call in worked_example.CALLS)
    return INSTRUCTIONS.format(
        tools=worked_example.TOOLS,
        request=worked_example.REQUEST,
        calls=dialect.calls_open + calls + dialect.calls_close,
    )


def turn_constraint(conversation: Conversation, dialect: Dialect, tokenizer: Tokenizer) -> Constraint:
    """What a turn may write in one stream: its calls within the caller's bounds, or text where that is allowed.

    Raises `SchemaRefused` naming the tool whose schema cannot be honoured.
    """
    choice = conversation.choice
    if choice.mode == "none":
        return Constraint.text(without=[dialect.marker])
    tools = conversation.callable_tools
    rules = [text_rule("TEXT", without=[dialect.marker])] if allows_text(choice) else []
    rules += [call_rule(index, tool, dialect, tokenizer) for index, tool in enumerate(tools)]
    indices = {tool.name: index for index, tool in enumerate(tools)}
    if choice.exact is not None:
        calls = separated([f"call_{indices[name]}" for name in choice.exact], dialect, tokenizer)
    else:
        rules.append("call: " + " | ".join(f"call_{index}" for index in indices.values()))
        least, most = max(choice.least, 1), choice.most
        comma = literal(dialect.separator, tokenizer)
        calls = f"call ({comma} call){{{least - 1},{most - 1}}}" if most > 1 else "call"
    opening, closing = literal(dialect.calls_open, tokenizer), literal(dialect.calls_close, tokenizer)
    whole = " ".join(part for part in (opening, calls, closing) if part)
    start = f"start: calls | TEXT\ncalls: {whole}" if rules[0].startswith("TEXT") else f"start: {whole}"
    return Constraint("\n".join([start, *rules]), pauses=STRING_END)


def allows_text(choice: Choice) -> bool:
    """Whether the model may answer in text instead of calling."""
    return choice.mode == "none" or (choice.mode == "auto" and choice.least == 0)


def separated(names: Sequence[str], dialect: Dialect, tokenizer: Tokenizer) -> str:
    """These rules in this order, with the dialect's separator between them."""
    return f" {literal(dialect.separator, tokenizer)} ".join(names)


def call_rule(index: int, tool: Tool, dialect: Dialect, tokenizer: Tokenizer) -> str:
    """The rules for one call of a tool."""
    opening = literal(call_opening(tool.name, dialect), tokenizer)
    ending = literal(call_ending(dialect), tokenizer)
    schema = read_schema(tool.parameters)
    return f"call_{index}: {opening} arguments_{index} {ending}\narguments_{index}: %json {schema.grammar}"


def literal(text: str, tokenizer: Tokenizer) -> str:
    """`text` in the grammar language. Special tokens in it stand for themselves and cannot be spelled in letters."""
    known = tokenizer.grammar_tokenizer
    parts: list[str] = []
    plain: list[int] = []
    ids = tokenizer.encode(text)
    if not any(known.is_special_token(token) for token in ids):
        return quoted(text) if text else ""
    for token in ids:
        if known.is_special_token(token):
            if plain:
                parts.append(quoted(tokenizer.decode(plain)))
                plain = []
            parts.append(f"<[{token}]>")
        else:
            plain.append(token)
    if plain:
        parts.append(quoted(tokenizer.decode(plain)))
    return " ".join(parts)
