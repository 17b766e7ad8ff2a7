"""What the Five Safes crate says was checked, by whom, and what is still to be. Pure.

The gate's verdict on each file, and each job's comparison of its inputs with what their jobs filed,
are automatic; the review by people comes after the crate, so it is pending. Kinds are terms of the
ontology of Safe Havens (https://w3id.org/shp) that the profile names.
"""

from urllib.parse import quote

from rap.models import PrivacyLevel
from worker_agent.crate.contents import Audience, Contents, Job, Part
from worker_agent.crate.entities import (
    COMPLETED,
    FAILED,
    POTENTIAL,
    SHA_256,
    SHA_512,
    VERSION,
    Entity,
    Graph,
    Names,
    entity,
    graph,
    moment,
    ref,
    refs,
    tre,
    tre_id,
)
from worker_agent.workspace.provenance import ProvenanceRecord

_SHP = "https://w3id.org/shp#"
_KINDS = ("CheckValue", "DisclosureCheck", "GenerateCheckValue")
GATE, EXPORTER, REVIEWERS = "#level-4-gate", "#rap-agent", "#output-checkers"
POLICY = "#level-4-policy"


def checkers(contents: Contents) -> Graph:
    """Who checks, by what, and the words for it."""
    first = contents.latest.first
    return graph(
        entity(SHA_512, "DefinedTerm", name="sha-512 algorithm"),
        entity(SHA_256, "DefinedTerm", name="sha-256 algorithm"),
        *(entity(_SHP + kind, "DefinedTerm", name=f"{kind} (Safe Haven)") for kind in _KINDS),
        entity(
            REVIEWERS,
            "Organization",
            name=f"Output checkers of {tre(first)['name']}",
            parentOrganization=ref(tre_id(first)),
        ),
        _program(GATE, "The gate to level 4 of the OpenSAFELY RAP agent", first),
        _program(EXPORTER, "OpenSAFELY RAP agent", first),
        *(_policy(job.record) for job in contents.jobs),
    )


def checks(contents: Contents, names: Names, *, written_at: float) -> list[Entity]:
    """All that was checked, and the review that is still to come."""
    made: list[Entity] = []
    for job in contents.jobs:
        if job.record.inputs:
            made.append(_inputs_check(contents, names, job))
        made += [
            _verdict(contents, names, job, number, contents.parts[key])
            for number, key in enumerate(job.outputs)
            if _was_judged(contents.parts[key])
        ]
    whole = [names.of(part) for part in contents.whole]
    return [
        *made,
        entity(
            "#disclosure-review",
            "AssessAction",
            name="Disclosure review by the output checkers: pending",
            additionalType=ref(f"{_SHP}DisclosureCheck"),
            object=refs(["./", *whole]),
            instrument=ref(_policy_id(contents.latest.first)),
            agent=ref(REVIEWERS),
            actionStatus=POTENTIAL,
        ),
        entity(
            "#bag",
            "UpdateAction",
            name="Manifests of the bag written",
            additionalType=ref(f"{_SHP}GenerateCheckValue"),
            object=ref("./"),
            instrument=ref(SHA_512),
            agent=ref(EXPORTER),
            startTime=moment(written_at),
            actionStatus=COMPLETED,
        ),
    ]


def _was_judged(part: Part) -> bool:
    """Only what its maker would show comes before the gate."""
    return part.level is PrivacyLevel.MODERATELY_SENSITIVE


def _inputs_check(contents: Contents, names: Names, job: Job) -> Entity:
    action, unverified = job.record.action, sum(not each.verified for each in job.record.inputs)
    outcome = f"{unverified} without a hash on record" if unverified else "OK"
    return entity(
        f"#inputs-{quote(job.record.job_id, safe='')}",
        "AssessAction",
        name=f"Inputs of {action} are what their jobs filed: {outcome}",
        additionalType=ref(f"{_SHP}CheckValue"),
        object=refs(["./", *(names.of(contents.parts[key]) for key in job.inputs)]),
        instrument=ref(SHA_256),
        agent=ref(EXPORTER),
        endTime=moment(job.started_at),
        # What could not be compared was not found to be right.
        actionStatus=POTENTIAL if unverified else COMPLETED,
    )


def _verdict(contents: Contents, names: Names, job: Job, number: int, part: Part) -> Entity:
    outcome = "kept from level 4" if part.excluded else "shown at level 4"
    reason = part.reason if contents.audience is Audience.INSIDE else None
    note = f" ({reason})" if part.excluded and reason else ""
    return entity(
        f"#gate-{quote(job.record.job_id, safe='')}-{number}",
        "AssessAction",
        name=f"Automatic check of output {number + 1} of {job.record.action}: {outcome}{note}",
        additionalType=ref(f"{_SHP}DisclosureCheck"),
        object=refs(["./", names.of(part)]),
        instrument=ref(_policy_id(job.record)),
        agent=ref(GATE),
        endTime=moment(job.ended_at),
        actionStatus=FAILED if part.excluded else COMPLETED,
    )


def _policy_id(record: ProvenanceRecord) -> str:
    limits = (
        record.level4_max_filesize,
        record.level4_max_csv_rows,
        *record.level4_file_types,
    )
    known = [str(each).removeprefix(".") for each in limits if each is not None]
    return "-".join([POLICY, *known])


def _policy(record: ProvenanceRecord) -> Entity:
    """The limits by which the gate judged the files of a job."""
    limits = []
    if record.level4_max_filesize is not None:
        limits.append(f"Files of at most {record.level4_max_filesize} bytes.")
    if record.level4_max_csv_rows is not None:
        limits.append(f"Tables of at most {record.level4_max_csv_rows} rows.")
    if record.level4_file_types:
        limits.append(f"Types of file: {', '.join(record.level4_file_types)}.")
    limits.append("No table with a row for each patient; each file is what its name says.")
    return entity(
        _policy_id(record),
        "CreativeWork",
        name="What may be shown to output checkers (level 4)",
        description=" ".join(limits),
        url="https://docs.opensafely.org/requesting-file-release/",
    )


def _program(identifier: str, name: str, record: ProvenanceRecord) -> Entity:
    return entity(
        identifier,
        "SoftwareApplication",
        name=name,
        url="https://www.opensafely.org/",
        version=VERSION,
        provider=ref(tre_id(record)),
    )
