"""Writes the page about limits of time from the code: ``python -m tools.timeouts_reference``.

What each is for is its docstring; for those that have none, or no name, it stands here.
"""

import re
import sys
from collections.abc import Iterable, Iterator

from tools.timeouts import ROOT, Limit, limits

PAGE = ROOT / "docs" / "reference" / "timeouts.md"

NO_TIMES = {
    "rap/settings/agent.py AgentSettings.container_pids_limit": "processes",
    "workflows/backend/scheduling.py PATIENCE": "slots",
    "workflows/job/conclusion.py Conclusion.pause_s": "a field that says how long",
    "worker_agent/state/usage_series.py ROOM_AFTER_THINNING": "a share of a file",
    "workflows/rap/attempts.py EarlierAttempts._ask sleep": "a turn of the event loop",
    "cli/jobs.py jobs limit": "rows of a table",
    "infra/processes.py Service.started_at": "a moment",
    "rap/temporal/messages.py execute_update_with_start timeout": "ends a call that has ended",
}
"""What looks like one and is none."""

REASONS = {
    "rap/models.py INTERRUPTIONS_A_DAY": "so often a job begins afresh because what it ran on went "
    "away beneath it; then it is taken to bring it down itself",
    "rap/project_reader.py ATTEMPTS": "a worker that dies may have been killed for the machine's "
    "sake; a second one that dies has met a file that kills it",
    "rap/records/engine.py _CONNECT_SECONDS": "a database that takes longer is away, and is waited "
    "for elsewhere",
    "rap/records/engine.py _STATEMENT_MILLISECONDS": "no statement of ours takes a second; within "
    "the limit of a local activity",
    "rap/temporal/health.py LOOK_EVERY_S": "a person reads it; a look takes 0.1 s",
    "rap/waiting.py until_it_answers multiplier": "the first pause; most are back at once",
    "rap/waiting.py until_it_answers max": "the longest pause: nobody waits for more once "
    "a service is back",
    "workflows/backend/agents.py FORGET_AFTER_S": "a host that is gone for longer is not shown",
    "workflows/backend/database_checks.py LIMIT": "pausing a schedule is one call; the rest is for "
    "waiting for a controller",
    "workflows/backend/database_checks.py TRY_AGAIN": "checks are minutes apart",
    "workflows/backend/database_checks.py CheckSwitchboard.run attempts": "within its limit",
    "workflows/backend/errands.py Runner._reweigh attempts": "a RAP that has ended needs none",
    "workflows/backend/errands.py Runner._tell_of_lost_rap attempts": "its workspace may just be "
    "starting again",
    "workflows/backend/errands.py _tell_of_lost_host attempts": "a RAP that has ended waits for "
    "no host",
    "workflows/job/start.py latest_attempt attempts": "within its limit; then it is asked again",
    "workflows/backend/errands.py _announce attempts": "a RAP that has ended is noticed otherwise",
    "workflows/backend/healing.py ANNOUNCEMENTS_WITHIN": "until then a backend that was lost "
    "grants nothing; what answers later is taken in then",
    "workflows/backend/healing.py Watch._ask attempts": "a RAP that has ended has nothing to say",
    "workflows/backend/messages.py BackendMessages._send_grants_to attempts": "the slot of a RAP "
    "that has ended is given to others",
    "workflows/backend/messages.py BackendMessages._send_stops attempts": "a job that was granted "
    "a slot may not have been started yet: half a minute for it",
    "workflows/calls.py _BACKOFF initial_interval": "what fails by chance works at once",
    "workflows/calls.py _BACKOFF maximum_interval": "the longest pause while a host or the read "
    "model is away: nobody waits for more than that once it is back",
    "workflows/calls.py on_controller attempts": "unless its caller says otherwise",
    "workflows/calls.py on_controller initial_interval": "as above",
    "workflows/calls.py await_attempts start_to_close_timeout": "twice as long as it waits at most",
    "workflows/calls.py await_attempts heartbeat_timeout": "six signs of life are missing: its "
    "controller was killed",
    "workflows/calls.py for_client initial_interval": "between its tries, of which a client waits "
    "for the end",
    "workflows/calls.py at_once maximum_attempts": "what fails is tried by the slower way",
    "workflows/calls.py on_records start_to_close_timeout": "one write, with the waiting for other "
    "writers; then again",
    "workflows/calls.py on_host start_to_close_timeout": "ending a container takes seconds; an "
    "order that takes longer is given again, and carried out once",
    "workflows/calls.py on_backend start_to_close_timeout": "pulling an image takes up to twenty "
    "minutes, its program five",
    "workflows/calls.py on_backend heartbeat_timeout": "ten signs of life are missing: its agent "
    "was killed",
    "workflows/calls.py on_backend initial_interval": "the next agent takes it",
    "workflows/calls.py on_backend maximum_attempts": "the next check comes by itself",
    "workflows/calls.py send_signal attempts": "unless its caller says otherwise; the pauses grow "
    "from 2 s to a minute",
    "workflows/calls.py start_run_job start_to_close_timeout": "jobs run for weeks",
    "workflows/calls.py start_run_job heartbeat_timeout": "twelve signs of life are missing: the "
    "host is away, or its agent was killed",
    "workflows/database_checks.py DatabaseStatusWorkflow.run attempts": "the next check says it "
    "anew",
    "workflows/image_digests.py LIMIT": "a registry that needs longer is away; the job says so and "
    "asks again",
    "workflows/job/conclusion.py FIRST_PAUSE_S": "before the second attempt after a fault that may "
    "pass; four times as long before each one more",
    "workflows/job/conclusion.py LONGEST_PAUSE_S": "nobody waits for more than that once the fault "
    "has passed",
    "workflows/job/start.py stop_attempt attempts": "one that has ended needs no telling",
    "workflows/rap/messages.py RapMessages._send_notices attempts": "once, to see whether its "
    "workspace is there; then, started again, for minutes: what is not told is in the records",
    "workflows/workspace/closed_raps.py CHECK_RAPS_OLDER_THAN_S": "a younger one may just be "
    "starting",
    "workflows/workspace/workflow.py FIRST_QUESTION_WITHIN": "whoever starts it asks at once; "
    "longer, and a workspace that nobody asked would stay",
    "workflows/workspace/workflow.py REMEMBER_REFUSALS_S": "no request is on its way for so long",
    "workflows/workspace/workflow.py TRY_AGAIN": "what was told to a workspace that was lost waits "
    "for this",
    "workflows/workspace/workflow.py WorkspaceWorkflow.cancel_jobs attempts": "a client waits",
    "workflows/workspace/workflow.py WorkspaceWorkflow._forget_closed_raps wait_s": "a client "
    "waits: an attempt that winds down is asked about by the next create",
    "workflows/workspace/workflow.py WorkspaceWorkflow._tell attempts": "a RAP that is not there "
    "after six seconds was terminated",
    "activities/controller/for_clients.py _SIGNS_EVERY_S": "three may be missing",
    "activities/controller/lost_raps.py _ROWS_WITHIN": "a closed workflow is read from its history "
    "to answer",
    "activities/controller/registry.py LIMIT_S": "of one request of the two or three that a digest "
    "takes",
    "worker_controller/backends.py LOOK_EVERY_S": "how soon a backend that was terminated is "
    "started again",
    "worker_controller/worker.py GRACE": "for the tasks at hand, when the process is told to stop",
    "worker_agent/engine/connections.py CALL_LIMIT": "copying, removing and committing take long "
    "with large volumes",
    "worker_agent/engine/connections.py Connections.__init__ inspect_limit": "what an engine "
    "answers at once; one that needs longer is away",
    "worker_agent/engine/connections.py Connections.__init__ stats_limit": "a measurement takes "
    "two seconds, and one that is missed does no harm",
    "worker_agent/engine/container_calls.py Containers.wait sleep": "an engine that ends waiting "
    "at once is not asked more often",
    "worker_agent/engine/images.py ATTEMPTS": "for what passes within seconds; the rest is a new "
    "attempt at the job",
    "worker_agent/execution.py LOOK_AT_CLOCK_EVERY": "a clock that is set, or a host that slept, "
    "is noticed by then",
    "worker_agent/execution.py KILL_AGAIN_AFTER": "a kill that an engine lost is given again",
    "worker_agent/operations/checklist_engine.py CLOCK_TOLERANCE_S": "tokens and traces still fit",
    "worker_agent/operations/checklist_engine.py REGISTRY_LIMIT_S": "a person waits",
    "worker_agent/pauses.py Pauses.probe_image": "a registry is not ours",
    "worker_agent/startup.py HAND_BACK_DELAY": "the activity comes back to the agent that starts",
    "worker_agent/worker.py GRACE": "for orders at hand, when the process is told to stop",
    "worker_agent/worker.py HELPER_PAUSE": "before a helper that failed begins again",
    "worker_agent/worker.py CANCEL_THROTTLE": "how soon an activity hears that it is cancelled",
    "api/create.py _WAY_BACK_S": "the answer of the workspace has to come back",
    "api/create.py _LEAST_S": "a workspace that is there decides in less",
    "api/offering.py LOOK_EVERY_S": "a look is one query",
    "api/probes.py _PATIENCE": "a read model that needs longer serves nobody",
    "api/services.py _PAUSE_S": "before the read model is asked once more",
    "cli/agent/jobs.py _LOOK_EVERY": "a reading of the engine takes a second",
    "cli/backend/signals.py SHOWN_WITHIN_S": "a backend writes its row within a second or two",
    "cli/backend/signals.py _LOOK_EVERY_S": "a person waits",
    "cli/connection.py QUERY_WITHIN": "a person waits, and without an answer other sources do",
    "cli/console.py _PATIENCE_S": "then a command says what it waits for",
    "cli/operations/doctor.py Doctor._lose sleep": "the read model has no events to wait for",
    "cli/operations/requests.py SEEN_WITHIN_S": "a cancel shows in the records by then",
    "infra/demo.py RUN_LIMIT": "the demo takes half a minute",
    "infra/demo.py PROGRESS_INTERVAL": "a person watches",
    "infra/images/build.py _ANSWER_LIMIT": "an engine that needs longer is away",
    "infra/images/build.py _PULL_LIMIT": "then an image is built from what is here",
    "infra/images/build.py connect timeout": "building takes long",
    "infra/images/database_utils_stand_in.py PATIENCE": "a database that needs longer is away",
    "infra/local_system.py READY_LIMIT": "on a busy machine",
    "infra/local_system.py LocalSystem.client timeout": "longer than any answer of the API",
    "infra/local_system.py LocalSystem.wait_until_ready sleep": "a person waits",
    "infra/processes.py PROBE_EVERY_S": "how soon a process that does not work is started again",
    "infra/processes.py LOOK_EVERY_S": "how soon the end of a process is noticed",
    "infra/processes.py Service.stop_limit_s": "then it is killed; ours take less",
    "infra/processes.py Stack.keep_running short_life_s": "what ends sooner would do so again",
    "infra/temporal/cli.py DOWNLOAD_LIMIT": "of 30 MB",
    "infra/temporal/cli.py BUILD_LIMIT": "of the Temporal server, on a slow machine",
    "infra/temporal/cli.py _ANSWER_LIMIT": "a site that needs longer cannot be downloaded from",
    "infra/temporal/dev_server.py START_LIMIT": "it takes less than a second",
    "infra/temporal/dev_server.py DevServer.stop_limit_s": "then it is killed, which it survives",
    "infra/temporal/dev_server.py DevServer._wait_until_it_answers sleep": "a person waits",
}
"""For those without a docstring."""

_TITLES = (
    ("A create, and what a client waits for", ("rap/deadlines", "rap/settings/api", "api/")),
    ("Workflows", ("workflows/",)),
    ("Controller", ("worker_controller/", "activities/controller/", "rap/settings/controller")),
    ("Agent", ("worker_agent/", "activities/agent/", "rap/settings/agent")),
    ("What all share", ("rap/",)),
    ("The `rap` command", ("cli/",)),
    ("Development", ("infra/",)),
)
_HEAD = """\
# Limits of time

Every limit, pause and number of tries in the product: its value, why it is so, and where it stands.
Of retries without an end the pauses are here. Temporal's own defaults are not repeated:
a workflow's task may take 10 s, and is tried again.

This page is made from the code by `just fix`; a limit without a reason fails the tests.
"""


def page(found: Iterable[Limit] | None = None) -> str:
    """The whole page."""
    rest = [one for one in (limits() if found is None else found) if one.key not in NO_TIMES]
    parts = [_HEAD]
    for title, beginnings in _TITLES:
        own = [one for one in rest if one.module.startswith(beginnings)]
        rest = [one for one in rest if one not in own]
        if own:
            parts.append(f"\n## {title}\n\n| Limit | Value | Why | Where |\n|---|---|---|---|\n")
            parts += _rows(own)
    return "".join(parts)


def _rows(own: list[Limit]) -> Iterator[str]:
    by_key: dict[str, list[Limit]] = {}
    for one in own:
        by_key.setdefault(one.key, []).append(one)
    for key, same in by_key.items():
        first = same[0]
        values = " or ".join(dict.fromkeys(one.value for one in same))
        why = _plain(REASONS.get(key) or first.reason)
        yield f"| `{first.name}` | {values} | {why} | `{first.module}` |\n"


def _plain(text: str) -> str:
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text.replace("``", "`")).replace("|", "\\|")
    return text[:1].upper() + text[1:].removesuffix(".")


def without_reason(found: Iterable[Limit]) -> list[str]:
    """Those that nobody has said a reason for."""
    return [
        f"{one.module}:{one.line} {one.name} = {one.value}"
        for one in found
        if not one.reason and one.key not in REASONS and one.key not in NO_TIMES
    ]


def stale(found: Iterable[Limit]) -> list[str]:
    """What stands here about limits that there are not, or that tell their reason themselves."""
    silent = {one.key for one in found if not one.reason}
    known = {one.key for one in found}
    return sorted((REASONS.keys() - silent) | (NO_TIMES.keys() - known))


def main() -> None:
    """Write the page, or say what has no reason."""
    found = list(limits())
    if missing := without_reason(found):
        print("Give each a docstring that says why:", *missing, sep="\n  ", file=sys.stderr)
    PAGE.write_text(page(found))


if __name__ == "__main__":
    main()
