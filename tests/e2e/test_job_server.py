"""job-server's own calls and conclusions, with real containers at the other end."""

from collections.abc import Callable

import pytest

from tests.support.live_system import BASE, LiveSystem, Study, eventually, gated, shell, write
from tests.unit.api.client_replay.job_server import JobRequest, JobServer

pytestmark = pytest.mark.e2e


@pytest.mark.spec("rap-api:132", "rap-api:138", "rap-api:139", "rap-api:140", "rap-api:141")
def test_what_job_server_concludes_of_requests_that_succeed_fail_and_are_cancelled(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    job_server = JobServer(f"{system.api_url}{BASE}/", system.token)
    repository = study(
        {
            "good": write("good"),
            "after": write("after", needs=["good"]),
            "bad": shell("exit 1"),
            "slow": gated("slow"),
        }
    )

    def ask(action: str) -> JobRequest:
        system.workspaces.add(f"job-server-{action}")
        return job_server.submit(
            JobRequest(f"job-server-{action}", repository.url, repository.commit, [action])
        )

    requests = {action: ask(action) for action in ("after", "bad", "slow")}
    assert {request.status for request in requests.values()} == {"pending"}

    def reaches(action: str, status: str) -> None:
        def reached() -> bool:
            job_server.round()
            return requests[action].status == status

        eventually(reached, f"{action} is {status}")

    reaches("slow", "running")
    assert job_server.cancel(requests["slow"]) == "cancelled"
    reaches("after", "succeeded")
    reaches("bad", "failed")
    reaches("slow", "failed")
    job_server.round()
    job_server.update_backends()

    assert [row["action"] for row in requests["after"].jobs.values()] == ["good", "after"]
    assert requests["bad"].job("bad")["status_code"] == "nonzero_exit"
    assert requests["slow"].job("slow")["status_code"] == "cancelled_by_user"
    assert sorted(action for _, action in job_server.mails) == ["after", "bad", "good", "slow"]
    assert job_server.backends["test"]["last_seen"] is not None
    assert job_server.log == []
