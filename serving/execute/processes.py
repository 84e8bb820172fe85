"""Processes: where functions run that compute, one call a process at a time.

A process that dies, whatever of, costs the one call that it ran. One whose call's time is over, or whose turn has
ended, is ended too: what computes cannot hold a processor for longer than it may. The next call gets another one.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial

from serving.execute.runners import Work, in_thread
from serving.execute.server_tool import JsonBytes, ToolFailed, ToolRefused
from serving.execute.worker import RAISED, Answer, receive, send

PIPES_S = 0.1
"""How long to wait for the pipes of a killed process; somebody that it started may still hold them."""


class Processes:
    """The processes that are there. They start when they are needed, and stay until `close`.

    As many calls may run at once as there are `workers`; whoever runs calls must see to that.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or processors()
        self._idle: list[Process] = []

    async def run(self, work: Work) -> JsonBytes:
        """The value of a function as JSON. Raises the words of what it raised, and `ToolFailed` if the process dies.

        The function must be one that another process can import. Cancelling ends the process.
        """
        try:
            message = pickle.dumps(work)
        except Exception as error:  # arguments of the tool's own types may raise anything
            raise ToolRefused(f"the call cannot be sent to a process: {error}") from error
        process = self._idle.pop() if self._idle else Process()
        try:
            answer = await in_thread(partial(process.ask, message))
        except BaseException:
            process.end()
            raise
        self._idle.append(process)
        if answer.raised is not None:
            raise RAISED[answer.raised](answer.words)
        return JsonBytes(answer.value)

    def close(self) -> None:
        """End the processes that run nothing; those that do end with their calls."""
        while self._idle:
            self._idle.pop().end()


def processors() -> int:
    """How many this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Process:
    """One worker, which starts with the first call."""

    def __init__(self) -> None:
        self._popen: subprocess.Popen[bytes] | None = None
        self._asked = threading.Lock()
        self._ended = False

    def ask(self, message: bytes) -> Answer:
        """Have the worker run a function, and wait for it. Raises `ToolFailed` if it dies over it."""
        with self._asked:
            popen = self._started()
            assert popen.stdin is not None
            assert popen.stdout is not None
            try:
                with suppress(OSError):  # it died before it had read all of the call
                    send(popen.stdin, message)
                answer = receive(popen.stdout)
                if answer is None:
                    raise ToolFailed(f"the process that ran it died, with exit code {popen.wait()}")
                found: Answer = pickle.loads(answer)
                return found
            finally:
                if self._ended:
                    close(popen)

    def end(self) -> None:
        """Kill the worker, whatever it does. May be called while another thread asks, and more than once."""
        self._ended = True
        popen = self._popen
        if popen is None:
            return
        popen.kill()
        popen.wait()
        if self._asked.acquire(timeout=PIPES_S):  # who asks hears at once that nobody is there any more
            close(popen)
            self._asked.release()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            command = [sys.executable, "-c", "from serving.execute.worker import main; main()"]
            self._popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._popen.stdin is not None
            with suppress(OSError):
                send(self._popen.stdin, pickle.dumps(sys.path))
            if self._ended:  # while it was being started
                self._popen.kill()
        return self._popen


def close(popen: subprocess.Popen[bytes]) -> None:
    """Have nothing of a killed worker left."""
    popen.kill()
    popen.wait()
    for pipe in (popen.stdin, popen.stdout):
        if pipe is not None:
            with suppress(OSError):  # what was not written is not for anybody any more
                pipe.close()
