"""What is written into Temporal's histories."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from rap.messages.backends import BackendLimits, BackendStart
from rap.messages.slots import Reservation, SlotRequest
from rap.temporal.codec import COMPRESS_ABOVE, DATA_CONVERTER, CompressLargePayloads

pytestmark = pytest.mark.unit

TEMPORAL_TAKES = 2 * 1024 * 1024


async def test_a_backend_with_fifty_thousand_waiting_jobs_fits_into_a_payload() -> None:
    start = BackendStart(
        slug="tpp",
        limits=BackendLimits(max_workers=10, max_db_workers=10),
        reservations=tuple(
            Reservation(
                rap_id=f"rap{number:013}",
                since=float(number),
                request=SlotRequest(
                    job_id=f"job{number:013}",
                    workspace=f"workspace-of-a-study-{number % 200}",
                    requires_db=True,
                    created_at=number,
                    attempt=1,
                ),
            )
            for number in range(50_000)
        ),
    )
    (payload,) = await DATA_CONVERTER.encode([start])
    assert payload.ByteSize() < TEMPORAL_TAKES
    assert await DATA_CONVERTER.decode([payload], [BackendStart]) == [start]


async def test_small_payloads_stay_readable_in_the_web_ui() -> None:
    (payload,) = await DATA_CONVERTER.encode(["text"])
    assert payload.data == b'"text"'
    assert payload.metadata["encoding"] == b"json/plain"


@given(data=st.binary(max_size=200), times=st.integers(1, 4000))
async def test_what_is_packed_comes_back_as_it_was(data: bytes, times: int) -> None:
    codec = CompressLargePayloads()
    payload = Payload(metadata={"encoding": b"json/plain", "other": b"x"}, data=data * times)
    (compressed,) = await codec.encode([payload])
    assert (compressed == payload) == (payload.ByteSize() <= COMPRESS_ABOVE)
    assert await codec.decode([compressed]) == [payload]


@pytest.mark.parametrize("harm", [lambda data: data[:-5], lambda data: b"x" + data])
async def test_a_damaged_payload_troubles_only_those_who_want_its_value(
    harm: Callable[..., Any],
) -> None:
    codec = CompressLargePayloads()
    (compressed,) = await codec.encode([Payload(data=bytes(COMPRESS_ABOVE + 1))])
    damaged = Payload(metadata=compressed.metadata, data=harm(compressed.data))
    assert await codec.decode([damaged]) == [damaged]
    with pytest.raises(KeyError, match="Unknown payload encoding"):
        await DATA_CONVERTER.decode([damaged], [str])
