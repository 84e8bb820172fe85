"""The items that a stored response was asked with, in pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grammars.errors import RequestError
from serving.api.openai_responses.items import AssistantMessage, InputMessage, Item

LIMITS = range(1, 101)
"""How many items a page may have."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Which items: `limit` of those that come after the item of the id `after`."""

    limit: int = 20
    newest_first: bool = True
    after: str | None = None


def read_page(query: Mapping[str, str]) -> Page:
    """What a request's query asks for, or a `RequestError` that names its part at fault."""
    limit, order = query.get("limit", "20"), query.get("order", "desc")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and int(limit) in LIMITS):
        raise RequestError(f"'limit' must be a number from {LIMITS[0]} to {LIMITS[-1]}", place="limit")
    if order not in ("asc", "desc"):
        raise RequestError("'order' must be 'asc' or 'desc'", place="order")
    return Page(limit=int(limit), newest_first=order == "desc", after=query.get("after"))


def input_page(items: Sequence[Item], turn: str, page: Page) -> dict[str, Any]:
    """The page, as OpenAI lists items. Each has an id, if need be one that tells where it stood in the request."""
    shown = [shown_item(item, f"item_{turn}_{index}") for index, item in enumerate(items)]
    if page.newest_first:
        shown.reverse()
    if page.after is not None:
        places = [index for index, item in enumerate(shown) if item["id"] == page.after]
        if not places:
            raise RequestError(f"there is no item {page.after!r} in this list", place="after")
        shown = shown[places[0] + 1 :]
    data = shown[: page.limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(shown) > len(data),
    }


def shown_item(item: Item, fresh_id: str) -> dict[str, Any]:
    """The item as it is listed: with an id, and a message's content in parts."""
    found = item.model_dump(mode="json", exclude_none=True, by_alias=True)
    found.setdefault("id", fresh_id)
    if isinstance(item, InputMessage | AssistantMessage):
        found.setdefault("status", "completed")
        if isinstance(item.content, str):
            said = isinstance(item, AssistantMessage)
            part = {"type": "output_text", "annotations": []} if said else {"type": "input_text"}
            found["content"] = [{**part, "text": item.content}]
    elif item.type in ("function_call", "function_call_output"):
        found.setdefault("status", "completed")
    return found
