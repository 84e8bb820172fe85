"""Composing: examples of several calls, of calls that wait for another, and of none, from requests for one call.

What data there is mostly asks for one call, or for one call of each of several tools; a model that learns from it alone
does not learn to count. So requests are put together and repeated with other values, in the forms that people use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from finetune.composed.forms import REPEATED, Asked, single, together
from finetune.composed.spoken import Spoken, spoken, spoken_of
from finetune.composed.values import Values
from finetune.readers.data_rows import Unreadable
from finetune.readers.example import Example
from finetune.readers.grouped import GROUPED
from grammars.conversation import Message
from grammars.tools import Tool

ATTEMPTS = 40
"""So often chance may come upon requests that do not lend themselves before composing gives up."""

LONGEST_REQUEST = 600
"""The most characters of a request for several calls of one tool."""


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How many of the composed examples are of which kind, relative to one another.

    `single`: one call; `repeated`: one tool several times; `mixed`: several tools, once or several times each;
    `nothing`: tools that have nothing to do with the request; `dependent`: a call that needs another's result; `kept`:
    an example as it is, but for the tools that are offered beside those that it calls; what was written for tools that
    belong together keeps these. `withheld`: one of those, of which a tool that it calls is not offered.
    """

    single: float = 2.0
    repeated: float = 4.0
    mixed: float = 4.0
    nothing: float = 2.5
    dependent: float = 0.5
    kept: float = 3.0
    withheld: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Composition:
    """What is drawn how often. `counts` are how many calls of one tool, `beside` how many tools are offered that are
    not called; `from_schema` is the share of requests that are made of a tool's own words.
    """

    shares: Shares = Shares()
    counts: tuple[int, ...] = (2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8)
    beside: tuple[int, ...] = (0, 0, 0, 1, 1, 2, 3)
    from_schema: float = 0.4


class Composer:
    """Composes from the requests for one call among these examples, and from tools alone.

    Raises `ValueError` where there is neither.
    """

    def __init__(
        self, examples: Sequence[Example], tools: Sequence[Tool] = (), composition: Composition | None = None
    ) -> None:
        self._composition = composition or Composition()
        self._examples = [example for example in examples if len(example.conversation.messages) == 1]
        self._grouped = [
            example
            for example in self._examples
            if example.source == GROUPED and example.calls and len(example.conversation.tools) > 1
        ]
        self._requests = [one for one in map(spoken, examples) if one is not None]
        offered = {tool.name: tool for example in examples for tool in example.conversation.tools}
        self._tools = [*({**offered, **{tool.name: tool for tool in tools}}).values()]
        self._described = list(tools)
        self._values = Values(self._tools, (call for example in examples for call in example.calls))
        if not self._requests and not self._described:
            raise ValueError("there is no request for one call, and no tool, to compose from")

    def examples(self, seed: int, count: int) -> Iterator[Example]:
        """So many examples, the same ones for the same seed: each depends on the seed and its number alone.

        Raises `ValueError` where nothing of what there is can be composed to one of a kind that is drawn.
        """
        kinds = vars(self._composition.shares)
        for number in range(count):
            random = Random(f"{seed} {number}")
            [kind] = random.choices(list(kinds), list(kinds.values()))
            yield self._example(kind, f"composed-{seed}-{number}", random)

    def _example(self, kind: str, id: str, random: Random) -> Example:
        for _ in range(ATTEMPTS):
            asked = getattr(self, f"_{kind}")(random)
            if asked is None:
                continue
            try:
                return self._offered(asked, id, f"composed {kind}", random)
            except Unreadable:  # values that this tool's schema does not take
                continue
        raise ValueError(f"nothing of what there is can be composed to a request of the kind {kind!r}")

    def _offered(self, asked: Asked, id: str, source: str, random: Random) -> Example:
        tools = list(asked.tools)
        names = {tool.name for tool in tools}
        beside = random.choice(self._composition.beside) if asked.calls else 0
        for tool in random.sample(self._tools, min(beside, len(self._tools))):
            if tool.name not in (*names, asked.withheld) and not is_like(tool, asked.tools):
                tools.append(tool)
        random.shuffle(tools)
        return Example.build(
            id=id,
            source=source,
            messages=[Message(role="user", text=asked.text)],
            tools=tools,
            calls=asked.calls,
        )

    def _request(self, random: Random) -> Spoken | None:
        """A request for one call."""
        from_schema = bool(self._described) and random.random() < self._composition.from_schema
        if from_schema or not self._requests:
            return spoken_of(random.choice(self._described), self._values, random)
        return random.choice(self._requests)

    def _single(self, random: Random) -> Asked | None:
        request = self._request(random)
        return None if request is None else single(request)

    def _repeated(self, random: Random) -> Asked | None:
        request = self._request(random)
        if request is None:
            return None
        asked = random.choice(REPEATED)(request, self._values, random.choice(self._composition.counts), random)
        return asked if asked is not None and len(asked.text) <= LONGEST_REQUEST else None

    def _mixed(self, random: Random) -> Asked | None:
        parts: list[Asked] = []
        for _ in range(random.choice([2, 2, 2, 3, 3, 4])):
            part = self._repeated(random) if random.random() < 0.35 else self._single(random)
            if part is not None and not any(is_like(part.tools[0], one.tools) for one in parts):
                parts.append(part)
        return together(parts, random) if len(parts) > 1 else None

    def _nothing(self, random: Random) -> Asked | None:
        part = self._repeated(random) if random.random() < 0.3 else self._single(random)
        if part is None:
            return None
        others = random.sample(self._tools, min(len(self._tools), random.choice([1, 1, 2, 3, 4])))
        tools = tuple(tool for tool in others if not is_like(tool, part.tools))
        return replace(part, tools=tools, calls=()) if tools else None

    def _kept(self, random: Random) -> Asked | None:
        if not self._examples:
            return None
        example = random.choice(self._examples)
        called = {call.name for call in example.calls}
        stay = example.conversation.tools
        if called and example.source != GROUPED:
            stay = tuple(tool for tool in stay if tool.name in called)
        return Asked(
            text=example.request,
            tools=stay,
            calls=tuple((call.name, call.arguments) for call in example.calls),
        )

    def _withheld(self, random: Random) -> Asked | None:
        """What is left to call where tools come close to what is asked, and none of them is for it."""
        if not self._grouped:
            return None
        example = random.choice(self._grouped)
        withheld = random.choice(sorted({call.name for call in example.calls}))
        return Asked(
            text=example.request,
            tools=tuple(tool for tool in example.conversation.tools if tool.name != withheld),
            calls=tuple((call.name, call.arguments) for call in example.calls if call.name != withheld),
            withheld=withheld,
        )

    def _dependent(self, random: Random) -> Asked | None:
        first, second = self._single(random), self._request(random)
        if first is None or second is None or not second.slots or is_like(second.tool, first.tools):
            return None
        name = random.choice(sorted(second.slots))
        result = random.choice(["the result of that", "what comes out of it", "whatever that returns"])
        then = Asked(
            text=second.saying({name: result}),
            tools=(second.tool,),
            calls=((second.tool.name, {**second.arguments, name: "$ref:1"}),),
        )
        return together([first, then], random)


def is_like(tool: Tool, others: Sequence[Tool]) -> bool:
    """Whether a tool could be taken for one of the others: its name and description share much with theirs."""
    own = words_of(tool)
    return any(
        tool.name == other.name or 4 * len(own & words_of(other)) > min(len(own), len(words_of(other)))
        for other in others
    )


SMALL_WORDS = frozenset(
    re.findall(r"\w+", "a an and are as at be by for from given in is it its of on or that the this to with")
)


def words_of(tool: Tool) -> set[str]:
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", f"{tool.name} {tool.description}").replace("_", " ").lower()
    return set(re.findall(r"[a-z]{2,}", text)) - SMALL_WORDS
