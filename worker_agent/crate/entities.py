"""What both crates tell in the same words: people, files, times, identifiers. Pure.

An entity is a dict of JSON-LD, as it stands in the graph of ``ro-crate-metadata.json``.
"""

import mimetypes
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid5

from rap.models import PrivacyLevel
from worker_agent.crate.contents import Audience, Contents, Job, Key, Part, Run, Stays
from worker_agent.workspace.provenance import ProvenanceRecord

Entity = dict[str, Any]
Graph = dict[str, Entity]
"""Entities by their ``@id``."""

RUN_FOLDER = "run/"
"""The Provenance Run Crate, within the payload."""
OUTPUTS = "outputs/"
"""The files, within the Provenance Run Crate."""
_RENAMED = "_renamed/"

VERSION = version("opensafely-rap")

COMPLETED = "http://schema.org/CompletedActionStatus"
FAILED = "http://schema.org/FailedActionStatus"
POTENTIAL = "http://schema.org/PotentialActionStatus"
SHA_512 = "https://www.iana.org/assignments/named-information#sha-512"
SHA_256 = "https://www.iana.org/assignments/named-information#sha-256"

_WHY = {
    Stays.SENSITIVE: "Highly sensitive: it stays in the backend.",
    Stays.EXCLUDED: "Kept from level 4 by an automatic check: it stays in the backend.",
    Stays.REPLACED: "It is not in the workspace any more: another has been filed since.",
    Stays.CHANGED: "What lies in its place now is not what its job filed.",
    Stays.GONE: "It is not in the workspace any more.",
    Stays.ELSEWHERE: "Read, not made: the job that filed it is no part of this crate.",
}


@dataclass(frozen=True, slots=True)
class Names:
    """Identifiers within one crate.

    What may not be named has one that is hashed with a secret of this crate, so that nobody can try
    out names until one fits.
    """

    secret: UUID
    audience: Audience
    paths: dict[Key, str]
    """Of whole files, within the folder of outputs; see :func:`payload_paths`."""
    base: str = ""
    """From the crate's root to the folder that has the outputs."""

    def of(self, part: Part) -> str:
        """The identifier of a file."""
        if part.stays is None:
            return quote(f"{self.base}{OUTPUTS}{self.paths[part.key]}")
        return f"urn:uuid:{uuid5(self.secret, f'{part.key.job_id}/{part.key.name}')}"

    def run(self, run: Run) -> str:
        """The identifier of a RAP: hashed, since the profile asks for a UUID."""
        return f"#run-{uuid5(self.secret, run.rap_id)}"


def payload_paths(parts: Iterable[Part]) -> dict[Key, str]:
    """Where whole files, all of one workspace, are put in the folder of outputs: by their names.

    But for names that manifests of bags write in two ways.
    """
    paths: dict[Key, str] = {}
    for number, part in enumerate(parts):
        name = part.key.name
        plain = "".join("_" if each == "%" or not each.isprintable() else each for each in name)
        is_plain = plain == name and not name.startswith(_RENAMED)
        paths[part.key] = name if is_plain else f"{_RENAMED}{number}/{plain}"
    return paths


def ref(identifier: str) -> Entity:
    """A reference to an entity."""
    return {"@id": identifier}


def refs(identifiers: Iterable[str]) -> list[Entity]:
    """References to entities, each once."""
    return [ref(each) for each in dict.fromkeys(identifiers)]


def entity(identifier: str, kind: str | list[str], /, **properties: Any) -> Entity:  # noqa: ANN401
    """An entity; properties without a value are left out."""
    given = {name: value for name, value in properties.items() if value not in (None, "", [], ())}
    return {"@id": identifier, "@type": kind, **given}


def graph(*entities: Entity) -> Graph:
    """Entities by their identifiers."""
    return {each["@id"]: each for each in entities}


def moment(seconds: float) -> str:
    """ISO 8601 of seconds since the epoch, UTC, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def status(*, succeeded: bool) -> str:
    """The status of an action that has ended."""
    return COMPLETED if succeeded else FAILED


def tre_id(record: ProvenanceRecord) -> str:
    """The backend, in the profile's word a trusted research environment."""
    return f"#tre-{quote(record.backend or 'unknown', safe='')}"


def tre(record: ProvenanceRecord) -> Entity:
    """The backend."""
    return entity(
        tre_id(record),
        "Organization",
        name=f"OpenSAFELY backend {record.backend or '(not on record)'}",
        url="https://www.opensafely.org/",
    )


def project_id(record: ProvenanceRecord) -> str:
    """The project on whose behalf a job ran."""
    return f"#project-{quote(record.project or 'unknown', safe='')}"


def person_id(record: ProvenanceRecord) -> str:
    """Who asked for a job."""
    return f"#person-{quote(record.user or 'unknown', safe='')}"


def people(records: Iterable[ProvenanceRecord]) -> Graph:
    """Who asked, for which project, from which organisations."""
    made: Graph = {}
    for record in records:
        orgs = {f"#organisation-{quote(each, safe='')}": each for each in record.orgs}
        made |= graph(*(entity(each, "Organization", name=name) for each, name in orgs.items()))
        for identifier, fresh in (
            (
                person_id(record),
                entity(
                    person_id(record),
                    "Person",
                    name=record.user or "Not on record",
                    affiliation=refs(orgs),
                    memberOf=[ref(project_id(record))],
                ),
            ),
            (
                project_id(record),
                entity(
                    project_id(record),
                    "Project",
                    name=record.project or "Not on record",
                    identifier=record.project,
                    member=refs(orgs),
                ),
            ),
        ):
            before = made.get(identifier, {})
            made[identifier] = before | fresh | _joined(before, fresh)
    return made


def _joined(before: Entity, fresh: Entity) -> Entity:
    """The lists of two accounts of one entity, put together."""
    return {
        name: [*old, *(each for each in fresh.get(name, ()) if each not in old)]
        for name, old in before.items()
        if isinstance(old, list) and name != "@type"
    }


def files(contents: Contents, names: Names) -> Iterator[Entity]:
    """Every file that the crate tells of, and who may read what stays."""
    # An input from outside the crate is its readers' project's to read.
    owners = {key: job.record for job in contents.jobs for key in (*job.inputs, *job.outputs)}
    for part in contents.parts.values():
        owner = owners[part.key]
        identifier = names.of(part)
        named = names.audience is Audience.INSIDE
        shown = part.stays is None
        sensitive = not shown or part.level is not PrivacyLevel.MODERATELY_SENSITIVE
        suffix_type = mimetypes.guess_type(part.key.name)[0] if shown or named else None
        permission = f"#permission-{quote(owner.project or 'unknown', safe='')}"
        kinds = [*(["File"] if shown else []), *(["DigitalDocument"] if sensitive else [])]
        yield entity(
            identifier,
            kinds[0] if len(kinds) == 1 else kinds,
            name=part.key.name if shown or named else f"File {identifier.rpartition(':')[2]}",
            description=_WHY[part.stays] if part.stays else None,
            contentSize=str(part.size),
            sha256=part.sha256,
            encodingFormat=suffix_type or ("application/octet-stream" if shown else None),
            hasDigitalDocumentPermission=ref(permission) if sensitive else None,
        )
        if sensitive:
            yield entity(
                permission,
                "DigitalDocumentPermission",
                name="To be read inside the backend only, by those whom the project allows",
                permissionType="http://schema.org/ReadPermission",
                grantee=ref(project_id(owner)),
            )


def database(job: Job) -> Iterator[Entity]:
    """The database that a job might read, and with which permissions; nothing for other jobs."""
    record = job.record
    if record.database_name is None:
        return
    permission = f"#database-permission-{quote(record.job_id, safe='')}"
    yield entity(
        database_id(record),
        "DigitalDocument",
        name=f"Patient database {record.database_name} of backend {record.backend}",
        hasDigitalDocumentPermission=ref(permission),
    )
    yield entity(
        permission,
        "DigitalDocumentPermission",
        name=f"What job {record.job_id} might read",
        description=", ".join(record.permissions) or "The usual tables",
        permissionType="http://schema.org/ReadPermission",
        grantee=ref(project_id(record)),
    )


def database_id(record: ProvenanceRecord) -> str:
    """A database of a backend, as one job might read it."""
    return f"#database-{quote(record.job_id, safe='')}"


def project_file(record: ProvenanceRecord) -> str | None:
    """Where the project file can be read at its commit, for ever, if that is a place for others."""
    url = repository_url(record)
    if url is None:
        return None
    return f"{url.removesuffix('/').removesuffix('.git')}/blob/{record.commit}/project.yaml"


def repository_name(record: ProvenanceRecord) -> str:
    """The study's repository in a word; of a folder of the machine never the path."""
    return PurePosixPath(record.repo.rstrip("/")).name.removesuffix(".git") or "study"


def repository_url(record: ProvenanceRecord) -> str | None:
    """Where the repository is, if that is a place for others."""
    return record.repo if record.repo.startswith("https://") else None
