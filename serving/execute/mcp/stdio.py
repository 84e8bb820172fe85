"""An MCP server as a child process: it is started, spoken to over its standard input and output, and ended with all
its own children.

A line that is too long or no JSON costs the call that it answers, not the calls beside it. What the server writes to
its standard error goes to the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp.types import PARSE_ERROR, ErrorData, JSONRPCError, JSONRPCMessage, jsonrpc_message_adapter

from serving.execute.mcp.lines import ENDS_BYTES, Line, LongLine, answered_id, bounded_lines
from serving.execute.secret import Redactor, Secret

logger = logging.getLogger(__name__)

EXIT_S = 2.0
"""How long the server may take to end after each demand: its input closed, SIGTERM, SIGKILL."""

WATCH_S = 0.2
"""How often it is looked whether the process is still there: its children may keep its output open after its death."""

LOGGED_BYTES = 2000
"""How much of one line of standard error is logged."""

FromServer = SessionMessage | Exception
Streams = tuple[MemoryObjectReceiveStream[FromServer], MemoryObjectSendStream[SessionMessage]]


@dataclass(frozen=True, kw_only=True)
class Program:
    """How an MCP server is started. Of the environment it gets PATH, HOME and the like, and what is given here."""

    command: Sequence[str]
    environment: Mapping[str, str | Secret]
    folder: str | None = None
    line_limit_bytes: int
    redactor: Redactor
    name: str


@asynccontextmanager
async def running(program: Program, lose: Callable[[], None]) -> AsyncIterator[Streams]:
    """The streams of a server that was started; it has ended when this is left. Raises `OSError` if it cannot start.

    `lose` is called once the server is gone or says no more.
    """
    process = await asyncio.create_subprocess_exec(
        *program.command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=get_default_environment() | {name: revealed(value) for name, value in program.environment.items()},
        cwd=program.folder,
        start_new_session=True,
    )
    to_session, from_server = anyio.create_memory_object_stream[FromServer](0)
    to_server, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    tasks = [
        asyncio.create_task(read_messages(process, program, to_session)),
        asyncio.create_task(write_messages(process, from_session)),
        asyncio.create_task(log_errors(process, program)),
        asyncio.create_task(watch(process, to_session)),
    ]
    for task in (tasks[0], tasks[3]):
        task.add_done_callback(lambda _task: lose())
    try:
        yield from_server, to_server
    finally:
        # a cancelled caller must not leave a process behind: what follows is bounded, and not cancelled
        with anyio.CancelScope(shield=True):
            await end(process)
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception):
                    logger.error("speaking with the MCP server %r failed", program.name, exc_info=outcome)
            for stream in (to_session, from_server, to_server, from_session):
                stream.close()


def revealed(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


async def read_messages(
    process: asyncio.subprocess.Process, program: Program, to_session: MemoryObjectSendStream[FromServer]
) -> None:
    """Hand on what the server says, until it says no more; then the session's calls end."""
    assert process.stdout is not None
    with to_session, suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async for line in bounded_lines(process.stdout, program.line_limit_bytes):
            message = read_line(line, program)
            if message is not None:
                await to_session.send(SessionMessage(message))
            elif isinstance(line, LongLine):
                logger.error("the MCP server %r wrote a line too long that answers nothing known: ended", program.name)
                return


def read_line(line: Line | LongLine, program: Program) -> JSONRPCMessage | None:
    """The message on a line, an error in the place of an answer that cannot be read, or None for what is neither."""
    if isinstance(line, LongLine):
        reason = f"the answer is larger than {program.line_limit_bytes} bytes"
        return refusal(answered_id(head=line.head, tail=line.tail), reason)
    text = program.redactor.data(line.text)
    try:
        message: JSONRPCMessage = jsonrpc_message_adapter.validate_json(text, by_name=False)
    except ValueError:
        refused = refusal(answered_id(head=text[:ENDS_BYTES]), "the answer is not a message of MCP")
        if refused is None and text.strip():
            logger.warning("the MCP server %r wrote a line that is not a message of MCP", program.name)
        return refused
    return message


async def write_messages(
    process: asyncio.subprocess.Process, from_session: MemoryObjectReceiveStream[SessionMessage]
) -> None:
    """Write what the session says. A broken pipe shows at the other end, where the output ends too."""
    assert process.stdin is not None
    with from_session, suppress(OSError, anyio.ClosedResourceError):
        async for said in from_session:
            process.stdin.write(said.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
            await process.stdin.drain()


async def log_errors(process: asyncio.subprocess.Process, program: Program) -> None:
    assert process.stderr is not None
    async for line in bounded_lines(process.stderr, LOGGED_BYTES):
        if isinstance(line, Line):
            text = program.redactor.data(line.text).decode(errors="replace")
        else:
            text = f"(a line of {line.size_bytes} bytes)"
        logger.info("%s: %s", program.name, text)


async def watch(process: asyncio.subprocess.Process, to_session: MemoryObjectSendStream[FromServer]) -> None:
    """End the session's calls when the process is gone."""
    await exited(process, WATCH_S)
    to_session.close()


async def end(process: asyncio.subprocess.Process) -> None:
    """Have the server end: by itself if it will, else with all its children by force."""
    assert process.stdin is not None
    process.stdin.close()
    if not await gone(process):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            if await gone(process):
                break
        else:
            logger.error("the process %d of an MCP server cannot be ended", process.pid)
    # children of a server that has ended by itself are not ours to end, but must not keep its pipes open
    process._transport.close()  # type: ignore[attr-defined]


async def gone(process: asyncio.subprocess.Process) -> bool:
    """Whether the process ends in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(EXIT_S):
            await exited(process, 0.01)
    return process.returncode is not None


async def exited(process: asyncio.subprocess.Process, every_s: float) -> None:
    """Look until the process is gone. `Process.wait` would also wait for children of it that hold its pipes."""
    while process.returncode is None:  # noqa: ASYNC110 - there is no event for this alone
        await asyncio.sleep(every_s)


def refusal(request_id: int | str | None, reason: str) -> JSONRPCError | None:
    if request_id is None:
        return None
    return JSONRPCError(jsonrpc="2.0", id=request_id, error=ErrorData(code=PARSE_ERROR, message=reason))
