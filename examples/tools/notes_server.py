"""An MCP server that keeps notes in the file that `NOTES_FILE` names."""

import os
from pathlib import Path

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("notes")
path = Path(os.environ["NOTES_FILE"])


@server.tool()
def add(text: str) -> str:
    """Keep a note."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    return "kept"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def read() -> list[str]:
    """All notes."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@server.tool(annotations=ToolAnnotations(destructive_hint=True))
def clear() -> str:
    """Throw all notes away."""
    path.unlink(missing_ok=True)
    return "gone"


if __name__ == "__main__":
    server.run("stdio")
