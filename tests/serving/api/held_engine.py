"""An engine of which a test holds streams back, so that what a client sees meanwhile hangs on no clock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from grammars.branch import Branch
from serving.engines.base import SHARED, BranchEvent, Scope
from serving.engines.scripted import ScriptedEngine

PATIENCE_S = 20.0


class HeldEngine(ScriptedEngine):
    """Streams that stand on a text of which `holds` is true begin to decode when the test lets them go, and fail where
    it never does.
    """

    def __init__(self, *arguments: Any, holds: Callable[[str], bool], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._holds = holds
        self._let_go = threading.Event()

    def let_go(self) -> None:
        self._let_go.set()

    async def decode(
        self, prefix: Sequence[int], branches: Sequence[Branch], scope: Scope = SHARED
    ) -> AsyncGenerator[BranchEvent, None]:
        if any(self._holds(self.tokenizer.decode((*prefix, *branch.suffix))) for branch in branches):
            async with asyncio.timeout(PATIENCE_S):
                while not self._let_go.is_set():  # by a thread that is not the loop's
                    await asyncio.sleep(0.001)
        async for event in super().decode(prefix, branches, scope):
            yield event
