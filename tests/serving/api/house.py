"""A server's own tools, of which one wants approval."""

from __future__ import annotations

from serving.execute.registry import Registry


class House:
    """A tool that wants approval always, one that never does, and what they did."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.registry = Registry()

        @self.registry.tool(approval="always")
        def delete(file: str) -> str:
            self.did.append(f"delete {file}")
            return f"deleted {file}"

        @self.registry.tool(read_only=True)
        def look() -> str:
            self.did.append("look")
            return "two files"
