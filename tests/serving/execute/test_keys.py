"""Keys: what calls have in common, and that a key which is not known yet is taken for all that it may be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.errors import ConfigurationError
from serving.execute.keys import Footprint, Key, check_template, filled, footprint

TEMPLATE = "account:{id}"


@pytest.mark.parametrize(
    ("template", "arguments", "key"),
    [
        ("account:{id}", {"id": 7}, Key(text="account:7")),
        ("account:{id}", {"id": "7"}, Key(text="account:7")),
        ("account:{id}", {"id": 7.0}, Key(text="account:7")),
        ("account:{id}", {"id": 7.5}, Key(text="account:7.5")),
        ("account:{id}", {"id": None}, Key(text="account:null")),
        ("seat:{flight.number}:{seat}", {"flight": {"number": "LX1"}, "seat": "4A"}, Key(text="seat:LX1:4A")),
        ("everything", {}, Key(text="everything")),
        ("set:{{{id}}}", {"id": 1}, Key(text="set:{1}")),
        ("account:{id}", {}, Key(text="account:", is_open=True)),
        ("account:{id}", {"id": "$ref:call_1"}, Key(text="account:", is_open=True)),
        ("account:{id}", {"id": ["a", "$ref:call_1"]}, Key(text="account:", is_open=True)),
        ("seat:{flight.number}:{seat}", {"flight": "$ref:c", "seat": "4A"}, Key(text="seat:", is_open=True)),
        ("seat:{flight}:{seat}", {"flight": "LX1", "seat": "$ref:c"}, Key(text="seat:LX1:", is_open=True)),
    ],
)
def test_a_template_is_filled_as_far_as_its_arguments_are_known(
    template: str, arguments: dict[str, Any], key: Key
) -> None:
    assert filled(template, arguments, references=True) == key


def test_where_references_are_not_followed_they_are_text() -> None:
    assert filled(TEMPLATE, {"id": "$ref:c"}, references=False) == Key(text="account:$ref:c")


@pytest.mark.parametrize("template", ["account:{id", "account:}", "{}", "{a..b}", "{id!r}", "{id:>3}"])
def test_a_malformed_template_is_refused(template: str) -> None:
    with pytest.raises(ConfigurationError, match="key template"):
        check_template(template, {})


@pytest.mark.parametrize(
    ("template", "parameters", "is_fine"),
    [
        (TEMPLATE, {"properties": {"id": {}}}, True),
        (TEMPLATE, {"properties": {"name": {}}}, False),
        ("account:{id.number}", {"properties": {"id": {}}}, True),
        (TEMPLATE, {"type": "object"}, True),
    ],
)
def test_a_template_may_name_only_what_the_tool_takes(template: str, parameters: dict[str, Any], is_fine: bool) -> None:
    if is_fine:
        check_template(template, parameters)
        return
    with pytest.raises(ConfigurationError, match="no argument 'id'"):
        check_template(template, parameters)


def of(*, reads: str | None = None, writes: str | None = None, **arguments: Any) -> Footprint:
    return footprint([reads] if reads else [], [writes] if writes else [], arguments, references=True)


@pytest.mark.parametrize(
    ("one", "other", "conflict"),
    [
        (of(reads=TEMPLATE, id=1), of(reads=TEMPLATE, id=1), False),
        (of(reads=TEMPLATE, id=1), of(writes=TEMPLATE, id=1), True),
        (of(writes=TEMPLATE, id=1), of(writes=TEMPLATE, id=1), True),
        (of(writes=TEMPLATE, id=1), of(writes=TEMPLATE, id=2), False),
        (of(writes=TEMPLATE, id=1), of(writes="user:{id}", id=1), False),
        (of(writes=TEMPLATE, id=1), of(writes="account:{number}", number=1), True),
        (of(writes=TEMPLATE), of(writes=TEMPLATE, id=2), True),
        (of(writes=TEMPLATE), of(reads=TEMPLATE, id="$ref:c"), True),
        (of(writes=TEMPLATE), of(writes="user:{id}", id=2), False),
        (of(reads=TEMPLATE), of(reads=TEMPLATE), False),
        (of(), of(writes=TEMPLATE), False),
    ],
)
def test_calls_conflict_where_one_writes_what_the_other_may_touch(
    one: Footprint, other: Footprint, conflict: bool
) -> None:
    assert one.conflicts_with(other) is other.conflicts_with(one) is conflict


@given(st.text("ab:", max_size=4), st.text("ab:", max_size=4), st.text("ab:", max_size=4))
def test_an_open_key_meets_every_key_that_it_can_become(start: str, rest: str, other_start: str) -> None:
    open_key, closed = Key(text=start, is_open=True), Key(text=start + rest)
    assert open_key.meets(closed)
    assert closed.meets(open_key)
    if Key(text=other_start, is_open=True).meets(closed):
        assert Key(text=other_start, is_open=True).meets(open_key)
