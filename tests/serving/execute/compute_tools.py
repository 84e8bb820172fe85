"""Functions that processes of the pool import: some compute, some are their end."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from typing import Any, Never

from serving.execute.server_tool import InvalidArguments, ToolRefused


def square(number: int) -> int:
    return number * number


def process_id() -> int:
    return os.getpid()


def burn(rounds: int) -> int:
    """Keep a processor busy."""
    total = 0
    for number in range(rounds):
        total = (total * 31 + number) % 1_000_003
    return total


def raises() -> Never:
    raise LookupError("no such number")


def raises_in_letters_of_its_own() -> Never:
    raise LookupError("\ud800")


def is_fed_up() -> Never:
    sys.exit(3)


def refuses() -> Never:
    raise ToolRefused("not on Sundays")


def wants_other_arguments() -> Never:
    raise InvalidArguments("number: must be even")


def dies(code: int = 7) -> None:
    os._exit(code)


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hangs() -> None:
    time.sleep(60)


def prints(text: str) -> str:
    print(text)
    os.write(1, text.encode())
    return input() if sys.stdin.readable() and not sys.stdin.closed and text == "read" else text


def huge(size: int) -> str:
    return "x" * size


def is_no_json() -> Any:
    return math.nan


def cannot_be_sent() -> Any:
    return object()
