"""Asking a model many things, a few at a time, with a progress bar."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


async def ask_together(
    ask: Callable[[Asked], Awaitable[Answered]],
    items: Sequence[Asked],
    *,
    title: str,
    concurrency: int,
    console: Console,
) -> list[Answered]:
    """What came of each, in their order; at most `concurrency` are asked at a time."""
    gate = asyncio.Semaphore(concurrency)
    with Progress(console=console) as progress:
        task = progress.add_task(title, total=len(items))

        async def one(item: Asked) -> Answered:
            async with gate:
                answered = await ask(item)
            progress.advance(task)
            return answered

        return list(await asyncio.gather(*map(one, items)))
