"""Read files of studies in processes of their own, whose limits one file cannot escape.

What a file may do to whoever parses it is known only once it is parsed: a few lines can cost
minutes and gigabytes. So each is parsed by a :mod:`rap.project_worker` that has nothing else to do.
A worker that is ended by its own limits says something about the file, which is refused; any other
end says something about the machine, and passes.
"""

import asyncio
import atexit
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import BinaryIO, cast

from rap.errors import RequestRefused, Unavailable
from rap.models import ProjectAction, RefusalKind
from rap.project_worker import ACTIONS, TOO_MUCH_MEMORY, WORDS, Kind, receive, send

MOST_AT_ONCE = 4
"""Files parsed side by side; further ones wait."""
WALL_S = 60.0
"""After which a worker is given up, as on a machine that does not let it run."""
ATTEMPTS = 2
MOST_KNOWN = 32
"""Files whose content is remembered: the same commit is asked for again and again."""
LARGE = 512 * 1024
"""Bytes of a file whose reader is not kept: what it holds of its memory would be the next one's
loss."""

_INHERITED = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "LANG")
_OF_THE_FILE = {
    signal.SIGXCPU: "The file takes too long to read",
    # The parser's C code does not survive each refusal of memory, nor of stack.
    signal.SIGSEGV: TOO_MUCH_MEMORY,
    signal.SIGABRT: TOO_MUCH_MEMORY,
}


class _Worker:
    """One process, for one file at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            # A folder `rap` where we were started is not ours.
            [sys.executable, "-P", "-m", "rap.project_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: os.environ[name] for name in _INHERITED if name in os.environ},
            start_new_session=True,  # Ctrl-C is for us
        )

    def ask(self, kind: Kind, text: bytes) -> tuple[Kind, bytes] | None:
        """Its answer; ``None`` if it ended instead."""
        giving_up = threading.Timer(WALL_S, self._process.kill)
        giving_up.start()
        try:
            send(cast("BinaryIO", self._process.stdin), kind, text)
            return receive(cast("BinaryIO", self._process.stdout))
        except BrokenPipeError:
            return None
        finally:
            giving_up.cancel()

    def end(self) -> int:
        """Let it end, if it has not; its exit status, negative for a signal."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                cast("BinaryIO", pipe).close()
        return self._process.wait()


_idle: list[_Worker] = []
_threads = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="project-reader")
_known: dict[tuple[Kind, bytes], bytes] = {}


@atexit.register
def end_idle_workers() -> None:
    """End the processes that wait for another file."""
    while _idle:
        _idle.pop().end()


async def read_project(text: bytes) -> tuple[ProjectAction, ...]:
    """As :func:`rap.project.parse_project`, in another process.

    Raises:
        RequestRefused: as there, also where the file takes too much time or memory; ``kind`` is
            ``PROJECT``.
        Unavailable: this machine cannot do it now.
    """
    return ACTIONS.validate_json(await _read(Kind.PROJECT, text))


async def read_action(text: bytes) -> tuple[str, ...]:
    """As :func:`rap.action_file.parse_action`, in another process.

    Raises:
        RequestRefused: with the reason, also where the file takes too much time or memory; ``kind``
            is ``REUSABLE_ACTION``.
        Unavailable: this machine cannot do it now.
    """
    return WORDS.validate_json(await _read(Kind.ACTION, text))


async def _read(kind: Kind, text: bytes) -> bytes:
    if (kind, text) not in _known:
        content = await asyncio.get_running_loop().run_in_executor(_threads, _ask, kind, text)
        while len(_known) >= MOST_KNOWN:
            del _known[next(iter(_known))]
        _known[kind, text] = content
    return _known[kind, text]


def _ask(kind: Kind, text: bytes) -> bytes:
    for _ in range(ATTEMPTS):
        try:
            worker = _take_worker()
        except OSError:
            continue
        answer = worker.ask(kind, text)
        if answer is not None and answer[0] is Kind.CONTENT:
            _put_back(worker, text)
            return answer[1]
        # One that had to do with a bad file is not kept.
        status = worker.end()
        if answer is not None:
            raise _refused(kind, answer[1].decode())
        if -status in _OF_THE_FILE:
            raise _refused(kind, _OF_THE_FILE[signal.Signals(-status)])
    raise Unavailable(
        "Files of studies cannot be read now: a process for it was ended, or could not be started. "
        "Look at the memory of this machine."
    )


def _take_worker() -> _Worker:
    with suppress(IndexError):
        return _idle.pop()
    return _Worker()


def _put_back(worker: _Worker, text: bytes) -> None:
    if len(text) <= LARGE:
        _idle.append(worker)
    else:
        worker.end()


def _refused(kind: Kind, sentence: str) -> RequestRefused:
    if kind is Kind.ACTION:
        return RequestRefused(RefusalKind.REUSABLE_ACTION, sentence)
    if sentence in (TOO_MUCH_MEMORY, *_OF_THE_FILE.values()):
        sentence = f"Invalid project: \n{sentence}"
    return RequestRefused(RefusalKind.PROJECT, sentence)
