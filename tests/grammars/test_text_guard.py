"""The guard: special tokens inside of what others wrote are text; everything else is as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.errors import RequestError
from grammars.text_guard import NONCHARACTERS, TextGuard
from serving.engines.byte_tokenizer import FIRST_SPECIAL, SPECIAL_TOKENS, ByteTokenizer

TOKENIZER = ByteTokenizer()
PIECES = [*SPECIAL_TOKENS, "<", "|", "im_end|>", "<|im_start", "<|im_end|", "a", " ", "\n", *NONCHARACTERS[:2]]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)


class OverlappingTokens(ByteTokenizer):
    """Special tokens of which one may begin inside another."""

    @property
    def special_tokens(self) -> frozenset[str]:
        return frozenset({"<<>>", "<>", ">><<"})


@given(TEXTS)
def test_guarded_text_has_no_special_token_and_says_the_same(text: str) -> None:
    guard = TextGuard(TOKENIZER, text)
    guarded = guard.text(text)
    ids = guard.encode(guarded)
    assert TOKENIZER.decode(ids) == text == guard.whole(guarded)
    assert max(ids, default=0) < FIRST_SPECIAL


@given(st.text(alphabet="<>a", max_size=20))
def test_special_tokens_that_overlap_are_all_cut(text: str) -> None:
    tokenizer = OverlappingTokens()
    guard = TextGuard(tokenizer, text)
    guarded = guard.text(text)
    assert not any(token in piece for piece in guarded.split(guard.cut) for token in tokenizer.special_tokens)
    assert guard.whole(guarded) == text


@given(TEXTS, TEXTS)
def test_special_tokens_around_the_guarded_text_stay_special(before: str, text: str) -> None:
    guard = TextGuard(TOKENIZER, before + text)
    ids = guard.encode(f"<|im_start|>{guard.text(text)}<|im_end|>")
    assert [token for token in ids if token >= FIRST_SPECIAL] == [*TOKENIZER.encode("<|im_start|><|im_end|>")]


@given(st.text().filter(lambda text: not any(token in text for token in SPECIAL_TOKENS)))
def test_text_without_special_tokens_is_not_touched(text: str) -> None:
    guard = TextGuard(TOKENIZER, text)
    assert guard.text(text) == text
    assert guard.encode(text) == TOKENIZER.encode(text)


@given(st.recursive(TEXTS | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
def test_strings_and_names_in_json_are_guarded_and_nothing_else_changes(value: Any) -> None:
    written = json.dumps(value, ensure_ascii=False)
    guard = TextGuard(TOKENIZER, written)
    guarded = json.dumps(guard.json(value), ensure_ascii=False)
    assert guard.whole(guarded) == written
    assert max(guard.encode(guarded)) < FIRST_SPECIAL


def test_text_that_leaves_nothing_to_cut_with_is_refused() -> None:
    assert TextGuard(TOKENIZER, "".join(NONCHARACTERS[1:])).cut == NONCHARACTERS[0]
    with pytest.raises(RequestError, match=r"U\+FDD0"):
        TextGuard(TOKENIZER, "".join(NONCHARACTERS))
