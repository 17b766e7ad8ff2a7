"""A registry with one image repository, speaking just enough of the protocol to be pulled from."""

import hashlib
import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar"


class Registry:
    """Serves the images put into it under ``opensafely-core/<name>``."""

    def __init__(self) -> None:
        self.manifests: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.failures = 0
        """How many of the next requests are to fail as a broken server would."""
        self.gives_details = True
        """Whether errors carry details: some registries' do not."""
        self.requests: list[str] = []
        self._answers = threading.Event()
        self._answers.set()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                registry.answer(self, body=True)

            def do_HEAD(self) -> None:
                registry.answer(self, body=False)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.prefix = f"127.0.0.1:{self.server.server_port}/opensafely-core"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def hold(self) -> None:
        """Take questions from now on, and do not answer them."""
        self._answers.clear()

    def let_go(self) -> None:
        """Answer again, first what was held."""
        self._answers.set()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def put(self, layer: bytes, created: str, tag: str) -> str:
        """Add an image of one uncompressed layer; its digest."""
        diff = _digest(layer)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": created,
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [diff]},
            }
        ).encode()
        for blob in (layer, config):
            self.blobs[_digest(blob)] = blob
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "size": len(config), "digest": _digest(config)},
                "layers": [{"mediaType": LAYER, "size": len(layer), "digest": diff}],
            }
        ).encode()
        self.manifests[_digest(manifest)] = self.manifests[tag] = manifest
        return _digest(manifest)

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        self.requests.append(request.path)
        self._answers.wait()
        status, kind, content = self._find(request.path)
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(content)))
        request.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if kind == MANIFEST:
            request.send_header("Docker-Content-Digest", _digest(content))
        request.end_headers()
        if body:
            request.wfile.write(content)

    def _find(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        if self.failures:
            self.failures -= 1
            return HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", b"broken"
        if path == "/v2/":
            return HTTPStatus.OK, "application/json", b"{}"
        _, kind, name = path.rsplit("/", 2)
        if kind == "manifests" and name in self.manifests:
            return HTTPStatus.OK, MANIFEST, self.manifests[name]
        if kind == "blobs" and name in self.blobs:
            return HTTPStatus.OK, "application/octet-stream", self.blobs[name]
        unknown: dict[str, object] = {"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}
        if self.gives_details:
            unknown["detail"] = {"name": name}
        return HTTPStatus.NOT_FOUND, "application/json", json.dumps({"errors": [unknown]}).encode()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
