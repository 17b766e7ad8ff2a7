"""Answers from memory, by the API's own server with nothing behind it, to be compared with.

``python -m bench.bare_server PORT FOLDER`` serves each file of the folder under its name.
"""

import sys
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send


def application(folder: Path) -> ASGIApp:
    answers = {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            more = (await receive()).get("more_body", False)
        body = answers[scope["path"]]
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return serve


if __name__ == "__main__":
    uvicorn.run(
        application(Path(sys.argv[2])), port=int(sys.argv[1]), log_config=None, lifespan="off"
    )
