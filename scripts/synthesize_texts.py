"""Answers in text for requests that need no call: those that a model gives before it is trained.

A model that learns nothing but calls forgets how to answer in text. What it would have said without tools is what it
should go on saying where none of the tools that are offered can help.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ask_together import ask_together
from rich.console import Console

from finetune.readers.example import Example
from grammars.dialects import dialect_of
from serving.config import load_settings
from serving.decode.events import RoundEnded, TextWritten
from serving.decode.request import RoundRequest
from serving.decode.round import Decoder
from serving.engines.build import build_engine

TEXT_TOKENS = 64
TOGETHER = 16
"""So many answers are decoded at the same time."""

SENTENCES = re.compile(r".*[.!?](?=\s|$)", re.DOTALL)


def with_texts(examples: Sequence[Example], model: str, console: Console) -> list[Example]:
    """The examples, of which those without calls and without a text have what the model says, if it says a sentence:
    without tools, which is how an answer in text is asked for while serving, too.

    Raises `ConfigurationError` where there is no such model.
    """
    silent = [place for place, example in enumerate(examples) if not example.calls and not example.text]
    asked = [examples[place].offering(()) for place in silent]
    texts = asyncio.run(answers(asked, model, console))
    found = list(examples)
    for place, text in zip(silent, texts, strict=True):
        found[place] = replace(examples[place], text=text)
    return found


async def answers(asked: Sequence[Example], model: str, console: Console) -> list[str]:
    """What the model answers, greedily."""
    engine = build_engine(load_settings({"model": model, "engine": "transformers"}))
    decoder = Decoder(engine, dialect_of(engine.tokenizer))
    try:
        return await ask_together(
            partial(answered_in_text, decoder), asked, title="answering", concurrency=TOGETHER, console=console
        )
    finally:
        await engine.close()


async def answered_in_text(decoder: Decoder, example: Example) -> str:
    """The model's answer, or the whole sentences of one that is longer."""
    text, is_whole = "", False
    async for event in decoder.decode_round(example.conversation, RoundRequest(max_tokens=TEXT_TOKENS)):
        if isinstance(event, TextWritten):
            text += event.text
        if isinstance(event, RoundEnded):
            is_whole = event.reason == "text"
    return text.strip() if is_whole else whole_sentences(text)


def whole_sentences(text: str) -> str:
    """The text up to the end of its last whole sentence; nothing if there is none."""
    found = SENTENCES.match(text.strip())
    return found.group() if found else ""
