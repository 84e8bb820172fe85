"""An MCP server over stdio that breaks the protocol in the way that the call asks for. It is written without the SDK,
which would not let it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

ENDLESS = {"type": "object", "properties": {"text": {"type": "string", "pattern": "^(a|a)*$"}}, "required": ["text"]}
"""A schema over which a backtracking matcher never ends."""

ARGUMENTS = {"type": "object", "properties": {"how": {"type": "string"}}, "required": ["how"]}


def answer(request: dict[str, Any], result: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)


def misbehave(request: dict[str, Any], how: str) -> None:
    number = request["id"]
    match how:
        case "garbage":
            print(f'{{"jsonrpc": "2.0", "id": {number}, "result": nonsense', flush=True)
        case "stray":
            print("debugging output, by mistake", flush=True)
            print(flush=True)
            answer(request, {"content": [{"type": "text", "text": "fine"}]})
        case "shapeless":
            answer(request, {"content": "no list"})
        case "id last":
            text = "x" * 200_000
            print(f'{{"result": {{"content": [{{"type": "text", "text": "{text}"}}]}}, "id": {number}}}', flush=True)
        case "no id":
            print("x" * 200_000, flush=True)
        case "twice":
            answer(request, {"content": [{"type": "text", "text": "first"}]})
            answer(request, {"content": [{"type": "text", "text": "second"}]})
        case "other id":
            answer({"id": 10_000}, {"content": []})
            answer(request, {"content": [{"type": "text", "text": "fine"}]})
        case "bytes":
            sys.stdout.buffer.write(f'{{"jsonrpc": "2.0", "id": {number}, "result": "'.encode() + b'\xff\xfe"}\n')
            sys.stdout.buffer.flush()
        case "held":
            held.append(request)
        case "release":
            for earlier in (*held, request):
                answer(earlier, {"content": [{"type": "text", "text": "released"}]})
            held.clear()


held: list[dict[str, Any]] = []

for line in sys.stdin:
    asked = json.loads(line)
    match asked.get("method"):
        case "initialize":
            version = asked["params"]["protocolVersion"]
            information = {"name": "faulty", "version": "1"}
            answer(asked, {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": information})
        case "tools/list":
            tools = [{"name": "misbehave", "inputSchema": ARGUMENTS}]
            structured = {"name": "structure", "inputSchema": {"type": "object"}, "outputSchema": ENDLESS}
            answer(asked, {"tools": [*tools, structured]})
        case "tools/call" if asked["params"]["name"] == "structure":
            structured = asked["params"]["arguments"].get("content")
            content = [{"type": "text", "text": "see the structure"}]
            answer(asked, {"content": content, **({"structuredContent": structured} if structured else {})})
        case "tools/call":
            misbehave(asked, asked["params"]["arguments"]["how"])
        case str() if "id" in asked:
            error = {"code": -32601, "message": "Method not found"}
            print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error}), flush=True)
