"""The checklist of Docker: the engine, the database network, the images.

What the engine answered is judged by pure functions; only :func:`engine`, :func:`network` and
:func:`images` ask.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rap.errors import JobFault
from rap.findings import Finding, ok, problem, warning
from rap.settings import AgentSettings
from worker_agent.engine.docker import System
from worker_agent.engine.facts import EngineState
from worker_agent.engine.observer import Observer

KNOWN_RUNTIMES = ("ehrql:v1", "python:v2", "r:v2", "stata-mp:latest")
"""The images that most studies use; below ``DOCKER_REGISTRY``."""
OLDEST_ENGINE = (20, 10)
GOOD_DRIVERS = ("overlay2", "overlayfs", "btrfs", "zfs")
CLOCK_TOLERANCE_S = 5.0
REGISTRY_LIMIT_S = 20.0
_DAEMON = "/etc/docker/daemon.json"


async def engine(system: System) -> list[Finding]:
    """Whether Docker answers and is set up so that jobs can run and be bounded."""
    began = time.time()
    try:
        state = await system.state()
    except JobFault as fault:
        return [
            problem(
                "docker",
                f"Docker does not answer: {fault}",
                "systemctl start docker, and let this user be in the group that owns its socket; "
                "DOCKER_HOST names where it listens if not at /var/run/docker.sock",
            )
        ]
    return list(judged_engine(state, between=(began, time.time())))


def judged_engine(state: EngineState, *, between: tuple[float, float]) -> Iterator[Finding]:
    """What to think of an engine by its own words, got between two looks at this host's clock."""
    if _numbers(state.version) < OLDEST_ENGINE:
        yield warning(
            "docker",
            f"version {state.version} is older than any this was tested with",
            "Upgrade Docker to 20.10 or newer while no jobs run.",
        )
    else:
        yield ok("docker", f"version {state.version}")
    if not state.memory_limit:
        yield problem(
            "cgroups",
            "the kernel cannot limit the memory of containers",
            "Add cgroup_enable=memory swapaccount=1 to the kernel's command line and reboot.",
        )
    elif not state.swap_limit:
        yield warning(
            "cgroups",
            "the kernel cannot limit the swap of containers: a job can use more memory than its "
            "limit",
            "Add swapaccount=1 to the kernel's command line and reboot, or switch swap off.",
        )
    else:
        yield ok("cgroups", f"version {state.cgroup_version}, driver {state.cgroup_driver}")
    if state.storage_driver in GOOD_DRIVERS:
        yield ok("storage driver", state.storage_driver)
    else:
        yield warning(
            "storage driver",
            f"{state.storage_driver} is slow or no longer supported",
            f'Set "storage-driver": "overlay2" in {_DAEMON} (images are then pulled anew).',
        )
    if state.live_restore:
        yield ok("live restore", "containers outlive a restart of Docker")
    else:
        yield warning(
            "live restore",
            "a restart of Docker ends all running jobs",
            f'Set "live-restore": true in {_DAEMON}, then systemctl reload docker.',
        )
    if state.user_namespaces:
        yield problem(
            "user namespaces",
            "the engine maps users: jobs could not write to the volumes that the agent makes",
            f'Remove "userns-remap" from {_DAEMON} and restart Docker.',
        )
    before, after = between
    off = 0.0 if state.at is None else max(before - state.at, state.at - after)
    if off > CLOCK_TOLERANCE_S:
        yield warning(
            "clock",
            f"Docker's clock and this one differ by {off:.0f} s",
            "Set both by NTP: timedatectl set-ntp true",
        )


async def network(system: System, settings: AgentSettings) -> Finding:
    """Whether the network of database jobs is as it should be (docs/spec/agent.md 8.3)."""
    name = settings.database_access_network
    if settings.using_dummy_data_backend:
        return ok("database network", "not needed: the data of this backend are dummies")
    try:
        return judged_network(name, await system.network(name))
    except JobFault:
        return _unknown("database network")


def judged_network(name: str, document: Mapping[str, Any] | None) -> Finding:
    """What to think of the database network; ``None``: the engine has none of that name."""
    subject = "database network"
    if document is None:
        return problem(
            subject,
            f"Docker has no network {name}: database jobs wait for it",
            "Run the backend's own script that makes it together with its firewall rules "
            "(jobrunner-network-config.sh). Never make it by hand: without the rules jobs "
            "could reach any address.",
        )
    wrong = []
    if document.get("Driver") != "bridge":
        wrong.append(f"its driver is {document.get('Driver')}, not bridge")
    bridge = (document.get("Options") or {}).get("com.docker.network.bridge.name")
    if bridge != name:
        wrong.append(f"its bridge is not called {name}, so firewall rules by that name miss it")
    if document.get("Internal"):
        wrong.append("it is internal, so that no database can be reached")
    if document.get("EnableIPv6"):
        wrong.append("it has IPv6, which rules for IPv4 do not cover")
    if not wrong:
        return ok(subject, f"{name}, a bridge of that name")
    return problem(
        subject,
        f"{name}: {'; '.join(wrong)}",
        f"Pause the backend, `docker network rm {name}`, and make it anew with the backend's "
        "own script.",
    )


async def images(observer: Observer, settings: AgentSettings) -> list[Finding]:
    """Which runtimes are here, and whether the registry proxy would give others."""
    registry, proxy = settings.docker_registry, settings.docker_proxy
    try:
        held = [*await observer.images(registry), *await observer.images(proxy)]
    except JobFault:
        return [_unknown("images")]
    digests = held_digests(held, settings)
    here = [
        ok("image", f"{name} {digest[:19] or 'without a digest: never pulled from a registry'}")
        for name, digest in sorted(digests.items())
    ]
    missing = [
        warning(
            "image",
            f"{name} is not here: the first job that needs it waits for it to be pulled",
            f"docker pull {proxy}/{name} && docker tag {proxy}/{name} {registry}/{name}",
        )
        for name in KNOWN_RUNTIMES
        if name not in digests
    ]
    return [*here, *missing, await _registry(observer, proxy)]


def held_digests(documents: Iterable[Mapping[str, Any]], settings: AgentSettings) -> dict[str, str]:
    """Name and tag of each image of the registry that is here, with its digest if it has one."""
    found: dict[str, str] = {}
    for document in documents:
        digests = [str(each).partition("@")[2] for each in document.get("RepoDigests") or ()]
        for tag in document.get("RepoTags") or ():
            for prefix in (settings.docker_registry, settings.docker_proxy):
                if str(tag).startswith(f"{prefix}/"):
                    name = str(tag).removeprefix(f"{prefix}/")
                    found[name] = next(iter(digests), "") or found.get(name, "")
    return found


async def _registry(observer: Observer, proxy: str) -> Finding:
    """Ask the proxy, through the engine: the way that pulls go."""
    subject, reference = "registry proxy", f"{proxy}/{KNOWN_RUNTIMES[0]}"
    try:
        async with asyncio.timeout(REGISTRY_LIMIT_S):
            digest = await observer.digest_in_registry(reference)
    except (JobFault, TimeoutError) as error:
        why = str(error) or f"no answer within {REGISTRY_LIMIT_S:.0f} s"
        return warning(
            subject,
            f"{proxy} does not answer Docker: {why}",
            "Only images that are here can be used. Check DOCKER_PROXY, /etc/hosts and the "
            "firewall.",
        )
    if digest is None:
        return warning(
            subject,
            f"it answers, but gives no {reference}",
            "Check DOCKER_PROXY: the path behind its host too, and whether a login is needed.",
        )
    return ok(subject, f"it answers; {reference} is {digest[:19]}")


def _unknown(subject: str) -> Finding:
    return problem(subject, "not known: Docker does not answer", "See docker.")


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts if part.isdecimal())
