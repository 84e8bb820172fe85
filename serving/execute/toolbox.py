"""Toolbox: all tools that the server runs, those known from the start and those of sources that are opened first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from grammars.errors import ConfigurationError
from serving.execute.registry import Registry
from serving.execute.sources import ToolSource

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """A registry, and the sources whose tools it gets. Opened once, before the first request is answered.

    `parts` are registries whose tools stand in it, too, and whose processes end with it.
    """

    registry: Registry = field(default_factory=Registry)
    sources: Sequence[ToolSource] = ()
    parts: Sequence[Registry] = ()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """While inside, the registry has the tools of all sources, in the order of the sources.

        The sources are opened together. Raises `ConfigurationError` if one cannot be, after closing the others.
        """
        try:
            found = await asyncio.gather(*(source.open() for source in self.sources), return_exceptions=True)
            for source, tools in zip(self.sources, found, strict=True):
                if isinstance(tools, BaseException):
                    raise tools
                for tool in tools:
                    try:
                        self.registry.add(tool)
                    except ConfigurationError as error:
                        raise ConfigurationError(f"{source.name}: {error}") from error
                logger.info("%s has %d tools", source.name, len(tools))
            yield
        finally:
            await asyncio.gather(*(source.close() for source in self.sources))
            for part in self.parts:
                part.processes.close()
