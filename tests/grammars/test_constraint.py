"""What each kind of constraint takes and refuses, and how a matcher walks it, over a vocabulary of single bytes."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import pytest

from grammars.constraint import Constraint, Matcher, compile_constraint
from grammars.errors import RequestError
from tests.grammars.walks import BYTES, END, accepts, refused_at

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"a": {"enum": [1, 23]}},
        "required": ["a"],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
    }
)


class ByteTokenizer:
    """A vocabulary of all bytes and an end token."""

    grammar_tokenizer = BYTES
    end_ids = frozenset({END})
    renders_tools = False
    chat_template = ""

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(token for token in ids if token < 256).decode(errors="replace")

    def render_chat(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> str:
        return "\n".join(str(message) for message in [*messages, *(tools or ())])


TOKENIZER = ByteTokenizer()


def matcher_of(constraint: Constraint) -> Matcher:
    return compile_constraint(constraint, TOKENIZER).matcher()


def allowed(matcher: Matcher) -> set[int]:
    bits = numpy.unpackbits(matcher.mask().view(numpy.uint8), bitorder="little")
    return set(map(int, numpy.flatnonzero(bits)))


TABLE: dict[str, tuple[Constraint, str, str, int]] = {
    "choice": (Constraint.choice(["get", "set"]), "set", "sit", 1),
    "choice with a prefix of another": (Constraint.choice(["get", "get_all"]), "get_all", "get_", 4),
    "choice with nothing": (Constraint.choice(["", "x"]), "", "y", 0),
    "choice of one": (Constraint.choice(["only"]), "only", "onl", 3),
    "regex": (Constraint.regex("[a-c]+/[0-9]{2}"), "abc/07", "abc/7x", 5),
    "text without a marker": (Constraint.text(without=["<call>"]), "a <call b>", "a <call>", 7),
    "text like": (Constraint.text(like="[a-c]*", without=["ba"]), "abc", "abd", 2),
    "text like, without": (Constraint.text(like="[a-c]*", without=["ba"]), "bca", "abba", 3),
    "text without two": (Constraint.text(without=["/.*/", "]"]), "/.* [", "x]", 1),
}


@pytest.mark.parametrize("name", TABLE)
def test_constraint_takes_and_refuses_at_its_place(name: str) -> None:
    constraint, taken, refused, place = TABLE[name]
    assert refused_at(constraint, taken) is None
    assert refused_at(constraint, refused) == place


@pytest.mark.parametrize(
    "text", ['"', "\\", '\\"', "\n", "\t", "\x01", "\x7f", "é", "😀", "a/b", "// no", "%json {}", "<|end|>", "$x"]
)
def test_choice_is_exactly_its_text_whatever_stands_in_it(text: str) -> None:
    constraint = Constraint.choice([text, "other"])
    assert accepts(constraint, text)
    assert not accepts(constraint, text + text)
    assert accepts(Constraint.text(without=[text]), "other")
    assert not accepts(Constraint.text(without=[text]), "o" + text)


def test_text_takes_every_character() -> None:
    for text in ("", "any\n\x01 <text>/é", "\x00", "\u2028😀"):
        assert accepts(Constraint.text(), text)


def test_schema_stands_as_it_is() -> None:
    assert accepts(Constraint.schema(SCHEMA), '{"a": 23}')
    assert refused_at(Constraint.schema(SCHEMA), '{"a": 2}') == 7


@pytest.mark.parametrize("lark", ["", "start: (", "start: /(/", "start: missing", 'start: %json {"type": 3}'])
def test_grammar_that_is_none_is_a_request_error(lark: str) -> None:
    with pytest.raises(RequestError):
        compile_constraint(Constraint(lark), TOKENIZER)


def test_grammar_beyond_the_limits_is_a_request_error() -> None:
    doubled = {f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2, "minLength": 1} for i in range(20)}
    source = {"$ref": "#/$defs/a0", "$defs": {**doubled, "a20": {"type": "string"}}}
    with pytest.raises(RequestError, match="too large"):
        compile_constraint(Constraint.schema(json.dumps(source)), TOKENIZER)


def test_mask_holds_what_may_come_next_and_keeps_until_a_token_is_taken() -> None:
    matcher = matcher_of(Constraint.choice(["ab", "cd"]))
    assert allowed(matcher) == {ord("a"), ord("c")}
    assert matcher.mask() is matcher.mask()
    matcher.consume(ord("c"))
    assert allowed(matcher) == {ord("d")}


def test_forced_text_is_written_up_to_the_first_choice() -> None:
    matcher = matcher_of(Constraint.schema(SCHEMA))
    assert TOKENIZER.decode(matcher.forced()) == '{"a": '
    assert allowed(matcher) == {ord("1"), ord("2")}
    assert matcher.forced() == []
    matcher.consume(ord("2"))
    assert TOKENIZER.decode(matcher.forced()) == "3}"


def test_forced_text_that_is_all_leaves_the_matcher_finished() -> None:
    matcher = matcher_of(Constraint.choice(["only this"]))
    assert TOKENIZER.decode(matcher.forced()) == "only this"
    assert matcher.finished
    assert not matcher.error


def test_end_token_closes_the_text_only_where_it_may_end() -> None:
    matcher = matcher_of(Constraint.choice(["a", "ab"]))
    matcher.consume(ord("a"))
    assert END in allowed(matcher)
    matcher.consume(END)
    assert matcher.ended
    assert matcher.finished

    early = matcher_of(Constraint.choice(["ab"]))
    early.consume(END)
    assert early.error
    assert not early.ended


def test_refused_token_fails_the_matcher_for_good_without_raising() -> None:
    matcher = matcher_of(Constraint.choice(["ab", "cd"]))
    matcher.consume(ord("x"))
    assert matcher.error
    assert matcher.finished
    assert matcher.forced() == []
    matcher.consume(ord("a"))
    assert matcher.error


def test_accepts_counts_tokens_and_changes_nothing() -> None:
    matcher = matcher_of(Constraint.choice(["abc", "xyz"]))
    assert matcher.accepts(list(b"abd")) == 2
    assert matcher.accepts(list(b"xyz")) == 3
    assert allowed(matcher) == {ord("a"), ord("x")}


def test_matchers_of_one_constraint_do_not_see_each_other() -> None:
    compiled = compile_constraint(Constraint.choice(["ab", "cd"]), TOKENIZER)
    first, second = compiled.matcher(), compiled.matcher()
    first.consume(ord("a"))
    assert allowed(second) == {ord("a"), ord("c")}


def test_matchers_walk_in_threads_at_once() -> None:
    compiled = compile_constraint(Constraint.regex("([a-z]{3}-){50}end"), TOKENIZER)
    done: list[bool] = []

    def walk() -> None:
        matcher = compiled.matcher()
        for byte in b"abc-" * 50:
            assert byte in allowed(matcher)
            matcher.consume(byte)
        done.append(TOKENIZER.decode(matcher.forced()) == "end" and matcher.finished)

    threads = [threading.Thread(target=walk) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 4
