"""What a remote has answered to a git that failed: no, or nothing. Pure.

Git's exit code is 128 for every failure, and its texts are for people. But it can be told to write
down the protocol: the status lines of HTTP, and the packets of its own protocol, in which a server
that will not serve a request says so by one that begins with ``ERR``. This module reads those, and
is the only one that does. What is not an answer of the remote passes: a name that does not resolve,
a connection that is refused or reset, TLS, a time limit, an answer of 5xx, one that breaks off, or
what a proxy in between answers.
"""

import re
from enum import Enum
from pathlib import Path


class Answer(Enum):
    """The last word of a remote that git failed at."""

    NONE = "none"
    NO_REPOSITORY = "no repository"
    """There is none, or not for us."""
    NO_COMMIT = "no commit"
    """The repository is there, but not what was asked for."""


_NO_REPOSITORY = frozenset({401, 403, 404, 410, 451})
_STATUS = re.compile(rb"<= Recv header: HTTP/[0-9.]+ ([0-9]{3})")
_ASKED = re.compile(rb"=> Send header: ([A-Z]+) ")
_ERR = re.compile(rb"packet:\s+[a-z-]+< ERR ")
_TO_A_PROXY = b"CONNECT"


def tracing(file: Path) -> dict[str, str]:
    """The environment in which git writes the protocol to a file; credentials are left out."""
    return {
        "GIT_TRACE_CURL": str(file),
        "GIT_TRACE_CURL_NO_DATA": "1",
        "GIT_TRACE_PACKET": str(file),
        "GIT_TRACE_REDACT": "1",
    }


def answer_in(trace: bytes) -> Answer:
    """What the protocol of a failed git says that the remote answered."""
    asked, status = b"", 0
    for line in trace.splitlines():
        if _ERR.search(line):
            return Answer.NO_COMMIT
        if request := _ASKED.search(line):
            asked, status = request[1], 0
        elif answer := _STATUS.search(line):
            status = int(answer[1])
    if status in _NO_REPOSITORY and asked != _TO_A_PROXY:
        return Answer.NO_REPOSITORY
    return Answer.NONE
