"""An engine of a test's own, which may be killed, stopped and started again."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.docker.busybox import build_busybox

LIMIT = 60.0


@dataclass
class PrivateEngine:
    """A ``dockerd`` with data, containers and a socket beneath one folder; without networks."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder / 'd.sock'}"

    def start(self) -> None:
        # Docker takes a process that nobody has collected yet for one that lives.
        for left in (self.folder / "d.pid", self.folder / "exec/containerd/containerd.pid"):
            left.unlink(missing_ok=True)
        options = {
            "data-root": self.folder / "data",
            "exec-root": self.folder / "exec",
            "pidfile": self.folder / "d.pid",
            "host": self.url,
            "bridge": "none",
            "iptables": "false",
            "ip6tables": "false",
        }
        with (self.folder / "log").open("ab") as log:
            # Without a bridge it would remove that of every other engine on its network.
            self.process = subprocess.Popen(
                [
                    "unshare",
                    "--net",
                    "dockerd",
                    *(f"--{name}={value}" for name, value in options.items()),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + LIMIT
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the engine does not answer"
            time.sleep(0.05)

    def answers(self) -> bool:
        # One that asks for no version when it is made.
        client = docker.APIClient(base_url=self.url, version="1.40", timeout=5)
        try:
            return bool(client.ping())
        except (docker.errors.DockerException, OSError):
            return False
        finally:
            client.close()

    def end(self, how: signal.Signals) -> None:
        """End the engine: with SIGKILL its containers go on without it."""
        assert self.process is not None
        containerd = int((self.folder / "exec/containerd/containerd.pid").read_text())
        self.process.send_signal(how)
        self.process.wait(LIMIT)
        deadline = time.monotonic() + LIMIT
        while _lives(containerd):
            assert time.monotonic() < deadline, "containerd outlives its engine"
            time.sleep(0.02)

    def restart(self, how: signal.Signals) -> None:
        self.end(how)
        self.start()

    def lose_power(self) -> None:
        """End the engine and every container, at once; nobody notes anything."""
        self.end(signal.SIGKILL)
        self._kill_containers()

    def client(self) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.url)

    def build_image(self) -> str:
        client = self.client()
        try:
            return build_busybox(client, self.folder / "image")
        finally:
            client.close()

    def remove(self) -> None:
        """End it with all its containers, and leave nothing."""
        if self.process is not None and self.process.poll() is None:
            client = self.client()
            for container in client.containers.list(all=True):
                container.remove(force=True)
            client.close()
            self.end(signal.SIGTERM)
        self._kill_containers()
        # One that was killed leaves its mounts.
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in sorted(mounts, reverse=True):
            if Path(mount).is_relative_to(self.folder):
                subprocess.run(["umount", "--lazy", mount], check=True)
        shutil.rmtree(self.folder)

    def _kill_containers(self) -> None:
        """Kill the containers that the engine has left behind, and what stands between them."""
        shims = self._shims()
        for shim in shims:
            programs = Path(f"/proc/{shim}/task/{shim}/children").read_text().split()
            for pid in (shim, *map(int, programs)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _shims(self) -> list[int]:
        """The processes that stand between this engine and its containers."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes()
            except OSError:
                continue
            if b"containerd-shim" in words and str(self.folder).encode() in words:
                found.append(int(path.parent.name))
        return found


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
