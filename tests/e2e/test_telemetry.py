"""What the processes of a whole system tell a collector of spans and Prometheus."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.support.live_system import LiveSystem, Study, eventually, shell, write
from tests.support.spans import Receiver

pytestmark = pytest.mark.e2e


@pytest.mark.spec("controller:199", "controller:200", "controller:208", "agent:33")
def test_each_job_is_one_trace_told_by_controller_and_agent(
    system: LiveSystem, study: Callable[..., Study], collector: Receiver
) -> None:
    actions = {"works": write("works"), "fails": shell("exit 3", needs=["works"])}
    jobs = system.run(study(actions), "fails").wait_until_over()
    for name, succeeded in (("works", True), ("fails", False)):
        job = jobs[name]
        _, trace_id, root_id, _ = job["trace_context"]["traceparent"].split("-")

        def told(trace_id: Any = trace_id) -> Any:
            spans = collector.trace(trace_id)
            names = [(service, span.name) for service, span in spans]
            done = ("controller", "JOB") in names and names.count(("agent", "LOOP_TASK")) == 4
            return spans if done else None

        spans = eventually(told, "the whole trace")
        (root,) = [span for _, span in spans if span.name == "JOB"]
        assert (root.span_id.hex(), root.parent_span_id) == (root_id, b"")
        assert {span.parent_span_id.hex() for _, span in spans if span is not root} == {root_id}
        by_code = {span.name: span for service, span in spans if service == "controller"}
        assert {"CREATED", "INITIATED", job["status_code"].upper(), "JOB"} <= set(by_code)
        codes = sorted(
            (span for code, span in by_code.items() if code != "JOB"),
            key=lambda span: span.start_time_unix_nano,
        )
        for earlier, later in pairwise(codes):
            assert earlier.end_time_unix_nano == later.start_time_unix_nano
        assert codes[0].start_time_unix_nano == root.start_time_unix_nano + 1000
        facts = {each.key: each.value for each in root.attributes}
        assert facts["job.succeeded"].bool_value is succeeded
        assert facts["job.exit_code"].int_value == (0 if succeeded else 3)
        assert facts["job.image_id"].string_value.startswith("sha256:")
        assert not root.status.code


def test_the_sdks_figures_are_served_where_settings_say(system: LiveSystem) -> None:
    for name in ("RAP_CONTROLLER_METRICS_ADDRESS", "RAP_AGENT_METRICS_ADDRESS"):
        answer = httpx.get(f"http://{system.env[name]}/metrics")
        assert "temporal_" in answer.text
