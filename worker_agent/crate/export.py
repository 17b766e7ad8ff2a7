"""A RAP or a workspace, exported as a research object: a bag, its crates, its files."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate

from rap.errors import RapError
from rap.settings import AgentSettings
from worker_agent.crate import bag, five_safes, on_record, payload, run_crate, workflow_crate
from worker_agent.crate.contents import Audience, Contents, decide
from worker_agent.crate.entities import OUTPUTS, RUN_FOLDER, Graph, Names, payload_paths
from worker_agent.crate.payload import LeftOut
from worker_agent.disk import disk_fault
from worker_agent.workspace.storage import Storage, folders

_SOFTWARE = "opensafely-rap"


class Exported(NamedTuple):
    """What was written. Never leaves the host."""

    folder: Path
    identifier: str
    """Of the bag, drawn by lot: a URN."""
    contents: Contents
    without_record: tuple[str, ...]
    """Jobs that the crate says nothing of: there is no record of provenance of them."""
    left_out: tuple[LeftOut, ...]


def export(
    settings: AgentSettings,
    what: str,
    audience: Audience,
    folder: Path,
    progress: payload.Progress = lambda _done, _all: None,
) -> Exported:
    """Write a RAP, or what makes up a workspace now, to a folder, whole or not at all.

    RapError if there is nothing of that name, the folder cannot be one for a crate, or it does not
    fit.
    """
    storage = Storage(settings)
    target = bag.checked_target(folder, folders(settings))
    found = on_record.find(storage, what)
    contents = decide(found, audience)
    bag.check_room(target, sum(part.size for part in contents.whole))
    identifier = f"urn:uuid:{uuid4()}"
    try:
        with bag.unfinished(target, private=audience is Audience.INSIDE) as unfinished:
            outputs = unfinished / RUN_FOLDER / OUTPUTS
            outputs.mkdir(parents=True)
            paths = payload_paths(contents.whole)
            contents, left_out = payload.fill(contents, storage, outputs, paths, progress)
            names = Names(uuid4(), audience, paths)
            _write(unfinished, contents, names)
            bag.make(unfinished, _info(contents, identifier))
    except OSError as error:
        if disk_fault(error) is None:
            raise
        raise RapError(f"{target} cannot be written: {error.strerror}. Nothing is left.") from error
    return Exported(target, identifier, contents, tuple(found.without_record), tuple(left_out))


def _write(folder: Path, contents: Contents, names: Names) -> None:
    now = time.time()
    for run in contents.runs:
        place = folder / five_safes.workflow_folder(run.first)
        place.mkdir(parents=True, exist_ok=True)
        root = workflow_crate.root(run.first, written_at=now)
        write_crate(place, "1.1", root, workflow_crate.entities(run.first))
        name = workflow_crate.file_name(run.first)
        for each in (place / name, folder / RUN_FOLDER / name):
            each.write_text(workflow_crate.text(contents, run.first.commit))
    write_crate(
        folder / RUN_FOLDER,
        "1.1",
        run_crate.root(contents, names, written_at=now),
        run_crate.entities(contents, names),
        run_crate.TERMS,
    )
    names = dataclasses.replace(names, base=RUN_FOLDER)
    write_crate(
        folder,
        "1.2",
        five_safes.root(contents, names, written_at=now),
        five_safes.entities(contents, names, written_at=now),
    )


def write_crate(
    folder: Path,
    version: str,
    root: Mapping[str, Any],
    entities: Graph,
    terms: Mapping[str, str] | None = None,
) -> None:
    """Write the metadata of a crate into its folder; its files are there already."""
    crate = ROCrate(version=version)
    for name, value in _compact(root).items():
        crate.root_dataset[name] = value
    for identifier, properties in entities.items():
        crate.add(ContextEntity(crate, identifier, _compact(properties)))
    crate.metadata.extra_terms = dict(terms or {})
    crate.metadata.write(folder)


def _compact(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of one are written as that one, as RO-Crate has it."""
    return {
        name: value[0] if isinstance(value, list) and len(value) == 1 else value
        for name, value in properties.items()
    }


def _info(contents: Contents, identifier: str) -> dict[str, str]:
    """What ``bag-info.txt`` says."""
    return {
        "External-Identifier": identifier,
        "Bag-Software-Agent": _SOFTWARE,
        "Source-Organization": f"OpenSAFELY backend {contents.latest.first.backend}".strip(),
        "External-Description": _ABOUT[contents.audience],
    }


_ABOUT = {
    Audience.REVIEWERS: "Outputs for review; to be handed on only if the output checkers say so.",
    Audience.INSIDE: "Highly sensitive: must not leave the backend.",
}
