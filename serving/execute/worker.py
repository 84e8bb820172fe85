"""The worker: a process that runs one function after another and writes each value back as JSON.

It reads from its standard input, and ends with it. A message is its length in eight bytes and then that many bytes,
pickled: first the path to import from, then functions with their arguments. It trusts whoever started it.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Literal

from pydantic_core import to_json

from serving.execute.server_tool import InvalidArguments, ToolFailed, ToolRefused

LENGTH = struct.Struct(">Q")

RAISED: dict[str, type[Exception]] = {error.__name__: error for error in (InvalidArguments, ToolRefused, ToolFailed)}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The value as JSON text, or the words of what was raised, as data: not every exception can be sent."""

    value: bytes = b""
    raised: Literal["InvalidArguments", "ToolRefused", "ToolFailed"] | None = None
    words: str = ""


def send(pipe: IO[bytes], message: bytes) -> None:
    """Write one message."""
    pipe.write(LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def receive(pipe: IO[bytes]) -> bytes | None:
    """Read one message, or None where the other side has ended."""
    header = pipe.read(LENGTH.size)
    if len(header) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(header)
    message = pipe.read(length)
    return message if len(message) == length else None


def answer_to(message: bytes) -> Answer:
    """Run the function."""
    try:
        work: Callable[[], Any] = pickle.loads(message)
        return Answer(value=to_json(work()))
    except (InvalidArguments, ToolRefused, ToolFailed) as error:
        return Answer(raised=type(error).__name__, words=str(error))  # type: ignore[arg-type]
    except BaseException as error:
        words = str(error).encode(errors="backslashreplace").decode()
        name = type(error).__name__
        return Answer(raised="ToolFailed", words=f"{name}: {words}" if words else name)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends this process
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # what a function reads or prints must not get between the messages
    os.dup2(2, 1)
    path = receive(incoming)
    if path is not None:
        sys.path[:] = pickle.loads(path)
    while (message := receive(incoming)) is not None:
        send(outgoing, pickle.dumps(answer_to(message)))
