"""The process in which files of studies are parsed: ``python -m rap.project_worker``.

One text after another comes on the standard input, and each is answered on the standard output; the
end of the input ends the process. The kernel's limits of memory and processor time hold for this
process alone, so that what a text does to its reader is nobody else's trouble.
:mod:`rap.project_reader` starts it, and knows what its end means.
"""

import os
import resource
import struct
import sys
from enum import Enum
from typing import BinaryIO

from pydantic import TypeAdapter

from rap.action_file import ReusableActionError, parse_action
from rap.errors import RequestRefused
from rap.models import ProjectAction, shortened
from rap.project import YAMLError, parse_project

PROCESSOR_S = 10
"""Of processor time for one text. Never of wall time: a busy machine is no fault of the text."""
MEMORY = 512 * 1024 * 1024
"""Bytes of address space, our own code included."""
TOO_MUCH_MEMORY = "The file takes too much memory to read"

ACTIONS = TypeAdapter(tuple[ProjectAction, ...])
WORDS = TypeAdapter(tuple[str, ...])
_HEADER = struct.Struct("!cI")


class Kind(Enum):
    """What a message between the two processes holds."""

    PROJECT = b"p"
    ACTION = b"a"
    CONTENT = b"c"
    REFUSAL = b"r"


def send(stream: BinaryIO, kind: Kind, message: bytes) -> None:
    """Send a message to the other process."""
    stream.write(_HEADER.pack(kind.value, len(message)) + message)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[Kind, bytes] | None:
    """Wait for the other's next message; ``None`` if it ends before one is complete."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    kind, length = _HEADER.unpack(header)
    message = stream.read(length)
    return (Kind(kind), message) if len(message) == length else None


def parse(kind: Kind, text: bytes) -> tuple[Kind, bytes]:
    """What a file says, or the sentence why it is refused."""
    try:
        if kind is Kind.PROJECT:
            return Kind.CONTENT, ACTIONS.dump_json(parse_project(text))
        return Kind.CONTENT, WORDS.dump_json(parse_action(text))
    except RequestRefused as error:
        sentence = str(error)
    except (ReusableActionError, YAMLError) as error:
        sentence = f"{type(error).__name__}: {error}"
    except MemoryError:
        sentence = TOO_MUCH_MEMORY
    return Kind.REFUSAL, shortened(sentence).encode("utf-8", "backslashreplace")


def main() -> None:
    """Answer until there is nothing more to read."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
        while (asked := receive(sys.stdin.buffer)) is not None:
            _allow(PROCESSOR_S)
            send(answers, *parse(*asked))


def _allow(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + seconds
    if most != resource.RLIM_INFINITY:
        soft = min(soft, most)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, most))


if __name__ == "__main__":
    main()
