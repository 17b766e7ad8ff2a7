"""Where spans go: the variables, a real receiver, and receivers that fail or hang."""

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rap.telemetry import export as exporting
from rap.telemetry import traces
from rap.telemetry.export import Service
from tests.support.spans import Receiver, receiver

pytestmark = pytest.mark.unit


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiver() as server:
        yield server


@pytest.fixture(autouse=True)
def _off_again() -> Iterator[None]:
    yield
    traces.use(None)


def emit(name: str = "JOB", **attributes: Any) -> None:
    traces.record(
        traces.tracer("jobs"),
        name,
        start_ns=1_700_000_000 * traces.NS,
        end_ns=1_700_000_001 * traces.NS,
        attributes=attributes,
    )


@pytest.mark.parametrize("env", [{}, {"OTEL_SERVICE_NAME": "x", "BACKEND": "tpp"}])
def test_nothing_is_sent_unless_a_variable_says_where(env: dict[str, Any]) -> None:
    assert exporting.start(Service.AGENT, env=env) is None
    assert not traces.is_on()
    assert exporting.stop(None) == 0


def test_traces_can_be_switched_off_with_the_usual_variable(collector: Receiver) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_EXPORTER": "none"}
    assert exporting.start(Service.AGENT, env=env) is None


def test_spans_arrive_at_a_receiver_with_who_sent_them(collector: Receiver) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/",
        "OTEL_EXPORTER_OTLP_HEADERS": '"x-honeycomb-team=abc,x-other=d"',
        "OTEL_SERVICE_NAME": "rap-agent",
        "BACKEND": "tpp",
    }
    export = exporting.start(Service.AGENT, version="1.2", env=env)
    code: dict[str, Any] = {"job.exit_code": 137}
    emit(**code)
    assert exporting.stop(export, 20) == 0
    ((name, attributes, resource),) = collector.spans
    assert (name, attributes) == ("JOB", {"job.exit_code": 137})
    assert (
        resource
        | {
            "service.name": "rap-agent",
            "service.namespace": "tpp",
            "service.version": "1.2",
            "rap.service": "agent",
            "rap.backend": "tpp",
        }
        == resource
    )
    assert collector.paths == ["/v1/traces"]
    assert collector.headers[0]["x-honeycomb-team"] == "abc"
    assert collector.headers[0]["x-other"] == "d"


def test_a_process_without_names_says_so() -> None:
    described = exporting.resource(Service.CONTROLLER, version="unknown", env={}).attributes
    assert described["service.name"] == "jobrunner"
    assert described["service.namespace"] == described["rap.backend"] == "unknown"
    assert described["rap.service"] == "controller"


def test_a_receiver_that_is_away_costs_nothing_but_spans(collector: Receiver) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    collector.status = 400
    export = exporting.start(Service.AGENT, env=env)
    emit()
    assert exporting.stop(export, 20) == 1


@pytest.mark.spec("agent:158")
def test_a_receiver_that_hangs_holds_up_neither_the_work_nor_the_end(collector: Receiver) -> None:
    collector.answering.clear()
    export = exporting.start(Service.AGENT, env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    emit("first")
    flushing = threading.Thread(target=export.provider.force_flush, daemon=True)
    flushing.start()
    assert collector.asked.wait(20)
    emit("second")
    exporting.stop(export, 0.05)
    # The receiver has still not answered: whoever waited for it would not be here.
    assert collector.requests == []
    assert flushing.is_alive()
    collector.answering.set()
    flushing.join(20)


def test_spans_can_be_shown_on_the_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", sys.__stderr__)
    export = exporting.start(Service.MANAGE, env={"OTEL_EXPORTER_CONSOLE": "1"})
    emit("SHOWN")
    exporting.stop(export, 20)
    out, err = capfd.readouterr()
    assert '"name": "SHOWN"' in err
    assert out == ""
