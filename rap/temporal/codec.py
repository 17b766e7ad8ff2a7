"""How arguments and results are written into Temporal's histories: JSON, compressed where large.

Temporal takes no payload above 2 MiB, and a backend with ten thousand waiting jobs has that much to
carry over when it continues as new. Small payloads stay as they are, for the Web UI to show.
"""

import dataclasses
import logging
import zlib
from collections.abc import Sequence

from google.protobuf.message import DecodeError
from pydantic import BaseModel
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import PayloadCodec

log = logging.getLogger(__name__)

COMPRESS_ABOVE = 32 * 1024
"""Bytes. What a failed workflow carries must be small, and thousands of jobs are told of in it."""

MOST_DECOMPRESSED = 64 * 1024 * 1024
"""Bytes; more is not ours, and is not decompressed."""

MOST_STORED = 2 * 1024 * 1024
"""Bytes that Temporal takes as an argument or a result."""

_ENCODING = b"binary/zlib"


class CompressLargePayloads(PayloadCodec):
    """Compresses large payloads, and decompresses what it compressed."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Compress what is large."""
        return [_compressed(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decompress what was compressed.

        What is damaged, or larger than anything that was compressed, stays as it is: whoever wants
        its value cannot read it, and nobody else is troubled. An error here would fail the whole
        task of a workflow, again and again, whoever sent the payload.
        """
        return [_decompressed(payload) for payload in payloads]


def _compressed(payload: Payload) -> Payload:
    if payload.ByteSize() <= COMPRESS_ABOVE:
        return payload
    compressed = zlib.compress(payload.SerializeToString(), level=1)
    return Payload(metadata={"encoding": _ENCODING}, data=compressed)


def _decompressed(payload: Payload) -> Payload:
    if payload.metadata.get("encoding") != _ENCODING:
        return payload
    decompressor = zlib.decompressobj()
    try:
        data = decompressor.decompress(payload.data, MOST_DECOMPRESSED)
        whole = Payload.FromString(data) if decompressor.eof else None
    except (zlib.error, DecodeError) as error:
        log.warning("a compressed payload is damaged: %s", error)
        return payload
    if whole is None:
        log.warning("a compressed payload is incomplete, or decompresses to more than it may")
    return whole or payload


def size_as_sent(message: BaseModel) -> int:
    """Bytes that an argument or result takes of what Temporal allows."""
    (payload,) = pydantic_data_converter.payload_converter.to_payloads([message])
    return _compressed(payload).ByteSize()


DATA_CONVERTER = dataclasses.replace(pydantic_data_converter, payload_codec=CompressLargePayloads())
"""For every client of Temporal."""
