"""The validator of RO-Crates (``roc-validator``), without a network.

What it would fetch, the JSON-LD context of each version, is put into its cache before: the newest,
which the library that writes crates carries, with the terms of workflows as earlier versions have
them.
"""

import io
import json
import subprocess
import sys
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from urllib3 import HTTPResponse

_BIOSCHEMAS = "https://bioschemas.org/"
_TYPES = {name: _BIOSCHEMAS + name for name in ("ComputationalWorkflow", "FormalParameter")}
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": {
        name: f"{_BIOSCHEMAS}ComputationalWorkflow#{name}" for name in ("input", "output")
    },
    "https://w3id.org/ro/crate/1.2/context": {
        name: f"{_BIOSCHEMAS}properties/{name}" for name in ("input", "output")
    },
}


class _Bundled(HTTPAdapter):
    """Answers every request with the bundled context."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        document = json.loads(files("rocrate.data").joinpath("ro-crate.jsonld").read_bytes())
        document["@context"] |= _TYPES | CONTEXTS[str(request.url)]
        answer = HTTPResponse(
            body=io.BytesIO(json.dumps(document).encode()),
            headers={"Content-Type": "application/ld+json"},
            status=200,
            preload_content=False,
            request_url=request.url,
        )
        return self.build_response(request, answer)


@cache
def _filled() -> Path:
    place = Path(mkdtemp(prefix="crate-validator-")) / "cache"
    with CachedSession(str(place), backend="sqlite", expire_after=-1) as session:
        session.mount("https://", _Bundled())
        for url in CONTEXTS:
            assert session.get(url).ok
    return place


def faults(*crates: tuple[Path, str], severity: str = "required") -> list[list[str]]:
    """What each of some crates does not fulfil of its profile, and of those that it builds on.

    In a process of its own: it warns of its own libraries, and is slow to start.
    """
    asked = {
        "cache": str(_filled()),
        "severity": severity,
        "crates": [(str(folder), profile) for folder, profile in crates],
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", __name__],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _validate(cache: str, severity: str, crates: list[tuple[str, str]]) -> list[list[str]]:
    from rocrate_validator import services

    found = []
    for folder, profile in crates:
        settings = {
            "rocrate_uri": folder,
            "profile_identifier": profile,
            "requirement_severity": severity.upper(),
            "validate_profile_checks": False,
            "offline": True,
            "skip_availability_check": True,
            "cache_path": cache,
        }
        result = services.validate(settings)
        found.append([f"{each.check.identifier}: {each.message}" for each in result.get_issues()])
        assert result.passed() == (not result.get_issues())
    return found


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(_validate(**json.load(sys.stdin))) + "\n")
