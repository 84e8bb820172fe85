"""Chain: whatever a server writes, a branch is what constrained decoding would have written, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grammars.branch import Branch, Sampling
from grammars.constraint import STRING_END, Constraint, compile_constraint
from serving.engines.base import BranchEnded, BranchProgress, BranchStarted, TokenLogprob
from serving.engines.byte_tokenizer import END_ID, ByteTokenizer
from serving.engines.chain import CHOICE_TOKENS, Chain, Link
from serving.engines.chained import pause_tokens

TOKENIZER = ByteTokenizer()
WIDE = TOKENIZER.grammar_tokenizer.vocab_size
WEATHER = Constraint.schema(
    '{"type": "object", "properties": {"city": {"type": "string", "maxLength": 9}, "unit": {"enum": ["C", "F"]}, '
    '"days": {"type": "integer", "minimum": 1, "maximum": 14}}, "required": ["city", "unit", "days"], '
    '"additionalProperties": false, '
    '"x-guidance": {"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "}}'
)
OUTLINE = Constraint.regex(r"(weather: [a-z ]{1,6}\n){1,3}end", pauses="\n")
CHOICE = Constraint.choice(["celsius", "fahrenheit", "kelvin"])
TEXT = Constraint.text()

Scores = Callable[[Sequence[int]], numpy.ndarray]


def scores(seed: int) -> Scores:
    """A model: the scores of all tokens, the same ones after the same text. It likes letters and quotes."""

    def scored(tokens: Sequence[int]) -> numpy.ndarray:
        drawn = numpy.random.default_rng([seed, *tokens[-12:]]).random(WIDE)
        drawn[list(b'abc"}\n')] += 0.4
        drawn[END_ID] += 0.3
        return drawn

    return scored


def constrained(constraint: Constraint, scored: Scores, limit: int, *, skip: bool) -> tuple[list[int], str]:
    """Greedy decoding under the grammar, a mask a step: what every branch must come to."""
    matcher = compile_constraint(constraint, TOKENIZER).matcher()
    tokens: list[int] = matcher.forced() if skip else []
    while not matcher.finished and len(tokens) < limit:
        allowed = matcher.allowed()
        assert allowed is not None
        token = max(allowed, key=lambda token: scored(tokens)[token])
        matcher.consume(token)
        tokens += [] if matcher.ended else [token]
        tokens += matcher.forced() if skip and not matcher.finished else []
    return tokens[:limit], "complete" if matcher.finished else "length"


def served(link: Link, scored: Scores) -> list[int]:
    """What a server writes for a link, greedily, without a grammar."""
    written: list[int] = []
    while len(written) < link.most_tokens:
        drawn = scored([*link.prompt, *written])
        later = link.stops if link.stops_later and not written else ()
        token = max((set(link.allowed or range(WIDE)) - set(later)), key=lambda token: drawn[token])
        written.append(token)
        if token in link.stops:
            break
    return written


def chain_of(constraint: Constraint, *, limit: int = 60, choice_tokens: int = CHOICE_TOKENS, **branch: object) -> Chain:
    given_branch = Branch(constraint=constraint, max_new_tokens=limit, **branch)  # type: ignore[arg-type]
    return Chain(
        given_branch,
        0,
        compile_constraint(constraint, TOKENIZER),
        TOKENIZER,
        prefix=(),
        room=1000,
        stops=pause_tokens(TOKENIZER.grammar_tokenizer, constraint.pauses) | {END_ID},
        choice_tokens=choice_tokens,
    )


def run(chain: Chain, scored: Scores) -> tuple[BranchEnded, list[Link], str]:
    """The chain to its end on that server: how it ended, its links, and the text of its progress."""
    links, events = [], chain.start()
    while (link := chain.next_link()) is not None:
        links.append(link)
        for token in served(link, scored):
            events += chain.take(token)
            if not chain.link_is_open:
                break
        events += chain.end_link()
    ended = [event for event in events if isinstance(event, BranchEnded)]
    assert len(ended) == 1
    assert events[-1] is ended[0]
    return ended[0], links, "".join(event.text for event in events if isinstance(event, BranchProgress))


@given(
    st.sampled_from([WEATHER, OUTLINE, CHOICE, TEXT]),
    st.integers(0, 2**32),
    st.integers(1, 50),
    st.sampled_from([0, 8, CHOICE_TOKENS]),
)
@settings(deadline=None, max_examples=60)
def test_branch_is_what_greedy_constrained_decoding_writes(
    constraint: Constraint, seed: int, limit: int, choice_tokens: int
) -> None:
    model = scores(seed)
    tokens, reason = constrained(constraint, model, limit, skip=True)
    ended, _, text = run(chain_of(constraint, limit=limit, choice_tokens=choice_tokens), model)
    assert (list(ended.tokens), ended.reason) == (tokens, reason)
    assert text == ended.text


def test_sampled_tokens_are_drawn_as_under_the_mask() -> None:
    """To draw freely, and again among the allowed tokens after a refusal, is to draw among the allowed tokens."""
    weights = numpy.array([5.0 if token in (*b"ab",) else 1.0 for token in range(WIDE)])
    draw = random.Random(1)
    counts = {"a": 0, "x": 0}
    constraint = Constraint.regex("[ax]", pauses=STRING_END)
    for _ in range(4000):
        chain = chain_of(constraint, choice_tokens=0, sampling=Sampling(temperature=1.0))
        chain.start()
        while (link := chain.next_link()) is not None:
            options = list(link.allowed or range(WIDE))
            [token] = draw.choices(options, [float(weights[option]) for option in options])
            for event in chain.take(token):
                if isinstance(event, BranchEnded):
                    counts[event.text] += 1
            chain.end_link()
    assert counts["a"] / 4000 == pytest.approx(5 / 6, abs=0.03)


def test_forced_text_stands_in_the_prompt_and_is_not_asked_for() -> None:
    ended, links, _ = run(chain_of(WEATHER), scores(3))
    assert bytes(links[0].prompt) == b'{"city": "'
    assert ended.reason == "complete"
    assert ended.steps + ended.forced_tokens == len(ended.tokens)
    asked = sum(len(link.prompt) for link in links)
    assert asked > 0
    assert ended.forced_tokens >= len('{"city": ""unit": ""days": }')


def test_run_ends_at_the_pause_and_few_options_are_a_choice() -> None:
    chain = chain_of(Constraint.regex(r"[^\n]*\n(yes|no)", pauses="\n"), choice_tokens=8)
    chain.start()
    link = chain.next_link()
    assert link is not None
    assert link.allowed is None
    assert ord("\n") in link.stops
    for token in b"abc\n":
        assert chain.link_is_open
        chain.take(token)
    assert not chain.link_is_open
    choice = chain.next_link()
    assert choice is not None
    assert (choice.allowed, choice.most_tokens) == ((ord("n"), ord("y")), 1)


def test_quote_that_begins_a_string_ends_no_run_and_the_one_that_closes_it_may_not_come_first() -> None:
    chain = chain_of(Constraint.regex("['`][a-z]+\"", pauses="'`\""))
    chain.start()
    link = chain.next_link()
    assert link is not None
    assert link.allowed is None
    assert link.stops.isdisjoint(b"'`")
    assert ord('"') in link.stops
    assert link.stops_later
    chain.take(ord("x"))
    chain.end_link()
    refused = chain.next_link()
    assert refused is not None
    assert refused.allowed == tuple(sorted(b"'`"))


def test_refused_runs_bring_ever_more_choices_before_the_next_run() -> None:
    """A model that never writes what the grammar wants costs a refusal now and then, not one a token."""
    constraint = Constraint.regex("[0-9]{60}")
    chain = chain_of(constraint, limit=60, choice_tokens=0)
    wayward = lambda tokens: numpy.where(numpy.arange(WIDE) == ord("x"), 2.0, scores(1)(tokens))  # noqa: E731
    ended, links, _ = run(chain, wayward)
    assert ended.reason == "complete"
    assert sum(link.allowed is None for link in links) < 10


def test_stepping_branch_is_one_request_under_the_servers_grammar() -> None:
    chain = chain_of(WEATHER, skip_forced=False)
    assert chain.start() == []
    link = chain.next_link()
    assert link is not None
    assert (link.grammar, link.prompt, link.most_tokens) == (WEATHER, (), 60)
    text = b'{"city": "Oslo", "unit": "C", "days": 3}'
    events = [event for token in text for event in chain.take(token)]
    end = events[-1]
    assert isinstance(end, BranchEnded)
    assert (end.reason, end.text.encode(), end.steps, end.forced_tokens) == ("complete", text, len(text), 0)
    assert chain.next_link() is None


@pytest.mark.parametrize(
    ("written", "error"),
    [(b'{"town', "should not allow"), (b'{"city": "Oslo"', "stopped before"), (b"", "stopped before")],
)
def test_stream_that_breaks_or_ends_too_soon_fails(written: bytes, error: str) -> None:
    chain = chain_of(WEATHER, skip_forced=False)
    chain.start()
    chain.next_link()
    events = []
    for token in written:
        events += chain.take(token)
        if not chain.link_is_open:
            break
    events += chain.end_link()
    end = events[-1]
    assert isinstance(end, BranchEnded)
    assert end.reason == "failed"
    assert error in str(end.error)


def test_branch_begins_when_the_server_first_writes_and_says_once_what_was_held_of_its_prompt() -> None:
    chain = chain_of(WEATHER)
    assert not any(isinstance(event, BranchStarted) for event in chain.start())
    chain.next_link()
    [started] = chain.begin(7)
    assert isinstance(started, BranchStarted)
    assert started.cached_tokens == 7
    assert chain.begin(9) == []


def test_branch_that_wants_logprobs_asks_for_them_and_hands_them_on_with_its_tokens() -> None:
    chain = chain_of(CHOICE, skip_forced=False, logprobs=3)
    chain.start()
    link = chain.next_link()
    assert link is not None
    assert link.logprobs == 3
    likely = [TokenLogprob(text=letter, bytes=(ord(letter),), logprob=-0.1) for letter in "kelvin"]
    events = [event for logprob in likely for event in chain.take(logprob.bytes[0], logprob)]
    told = [event.logprobs for event in events if isinstance(event, BranchProgress)]
    assert told == [(logprob,) for logprob in likely]


def test_branch_that_wants_none_asks_for_none() -> None:
    chain = chain_of(WEATHER)
    chain.start()
    link = chain.next_link()
    assert link is not None
    assert link.logprobs is None


def test_server_that_writes_nothing_is_not_asked_for_ever() -> None:
    chain = chain_of(TEXT)
    chain.start()
    assert chain.next_link() is not None
    [end] = chain.end_link()
    assert isinstance(end, BranchEnded)
    assert end.reason == "failed"


def test_seed_gives_every_link_a_seed_of_its_own_and_the_same_ones_again() -> None:
    def seeds() -> list[int | None]:
        _, links, _ = run(chain_of(WEATHER, sampling=Sampling(temperature=1.0, seed=7)), scores(5))
        return [link.sampling.seed for link in links]

    assert seeds() == seeds()
    assert len(set(seeds())) == len(seeds()) > 2
