"""Git repositories for tests: on disk, and behind a real HTTP server (``git http-backend``)."""

import os
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_IDENTITY = {
    "GIT_AUTHOR_NAME": "Author",
    "GIT_AUTHOR_EMAIL": "author@example.com",
    "GIT_COMMITTER_NAME": "Author",
    "GIT_COMMITTER_EMAIL": "author@example.com",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


class StudyRepo:
    """A repository that a test writes to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    @property
    def url(self) -> str:
        return str(self.path)

    def git(self, *args: str) -> str:
        """Run git in the work tree and return what it prints."""
        return subprocess.run(
            ["git", *args],
            cwd=self.path,
            env=os.environ | _IDENTITY,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def commit(self, files: Mapping[str, str | bytes] | None = None, message: str = "x") -> str:
        """Write files, commit everything and return the commit."""
        for name, content in (files or {}).items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def commits(self, count: int) -> list[str]:
        """Make that many commits, oldest first."""
        return [self.commit({"counter": str(number)}) for number in range(count)]


class Fault(Enum):
    """How a connection ends without an answer."""

    RESET = "reset"
    CUT_OFF = "cut off"
    """After the head of an answer that would be longer."""


@dataclass
class GitServer:
    """A running server. Its switches may be turned while it runs."""

    url: str
    """Base URL; repositories are below it, by their path under the served folder."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path with query, and the Authorization header, of each request."""
    required_authorization: str | None = None
    hangs: threading.Event = field(default_factory=threading.Event)
    """While set, requests are accepted and not answered."""
    released: threading.Event = field(default_factory=threading.Event)
    redirect_to: str | None = None
    fault: Fault | int | None = None
    """What every request gets instead of an answer: a fault, or an HTTP status."""
    next_faults: list[Fault | int | None] = field(default_factory=list)
    """The same for the next requests, one each; ``None`` for an answer."""


@contextmanager
def serve_git(folder: Path, certificate: Path | None = None) -> Iterator[GitServer]:
    """Serve all repositories below a folder over HTTP on a free port of the loopback.

    Args:
        folder: holds the repositories.
        certificate: a PEM file with key and certificate; given, HTTPS is spoken.
    """
    state = GitServer(url="")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def do_CONNECT(self) -> None:
            """As a proxy, which this is not."""
            self._answer()

        def _fail(self, fault: Fault | int) -> None:
            self.close_connection = True
            if isinstance(fault, int):
                self.send_response(fault)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if fault is Fault.CUT_OFF:
                self.send_response(200)
                self.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
                self.send_header("Content-Length", "1000")
                self.end_headers()
            never = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, never)
            self.connection.close()

        def _answer(self) -> None:
            authorization = self.headers.get("Authorization")
            state.requests.append((self.path, authorization))
            fault = state.next_faults.pop(0) if state.next_faults else state.fault
            if fault is not None:
                self._fail(fault)
                return
            if state.hangs.is_set():
                state.released.wait(60)
                return
            if state.redirect_to:
                self.send_response(302)
                self.send_header("Location", state.redirect_to + self.path)
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif state.required_authorization not in (None, authorization):
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                _run_backend(self, folder)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    state.url = f"{scheme}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _run_backend(request: BaseHTTPRequestHandler, folder: Path) -> None:
    path, _, query = request.path.partition("?")
    env = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(folder),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "REQUEST_METHOD": request.command,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        "REMOTE_ADDR": "127.0.0.1",
    }
    body = _body(request)
    env["CONTENT_LENGTH"] = str(len(body))
    answer = subprocess.run(
        ["git", "http-backend"], env=env, input=body, capture_output=True, check=False
    ).stdout
    head, _, content = answer.partition(b"\r\n\r\n")
    status, headers = 200, []
    for line in head.decode().splitlines():
        name, _, value = line.partition(": ")
        if name == "Status":
            status = int(value.split(" ", 1)[0])
        else:
            headers.append((name, value))
    request.send_response(status)
    for name, value in headers:
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length", "0")))
    body = b""
    while size := int(request.rfile.readline(), 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body
