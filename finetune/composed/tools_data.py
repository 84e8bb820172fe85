"""Tools as data: a file of tools, one a line, as Seal-Tools describes them or as the chat API has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from finetune.readers.data_rows import RowRefused, Unreadable, read_rows
from finetune.readers.openai_logs import read_tool
from finetune.readers.seal_tools import seal_tool
from grammars.errors import SchemaRefused
from grammars.schema import read_schema
from grammars.tools import Tool


def read_tools(path: Path) -> Iterator[Tool]:
    """The tools of a file. Raises `RowRefused`, which names file, line and reason, for one that cannot be offered, and
    `ConfigurationError` if the file cannot be read.
    """
    for row in read_rows(path):
        if isinstance(row, RowRefused):
            raise row
        try:
            tool = seal_tool(row.value) if "api_name" in row.value else read_tool(row.value)
            read_schema(tool.parameters)
        except (Unreadable, SchemaRefused) as error:
            raise row.refused(str(error)) from None
        except KeyError as error:
            raise row.refused(f"there is no field {error}") from None
        yield tool
