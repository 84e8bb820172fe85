"""Tools of MCP servers, through the official SDK: the only package that imports `mcp`."""
