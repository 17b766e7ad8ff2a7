"""How arguments and results are written into Temporal's histories: JSON, packed where it is large.

Temporal takes no payload above 2 MiB, and a backend with ten thousand waiting jobs has that much to
carry over when it continues as new. Small payloads stay as they are, for the Web UI to show.
"""

import dataclasses
import zlib
from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import PayloadCodec

PACK_ABOVE = 256 * 1024
"""Bytes."""

MOST_UNPACKED = 64 * 1024 * 1024
"""Bytes; more is not ours, and is not unpacked."""

_ENCODING = b"binary/zlib"


class PackLargePayloads(PayloadCodec):
    """Packs large payloads, and unpacks what it packed."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Pack what is large."""
        return [_pack(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Unpack what was packed.

        Raises:
            ValueError: a payload is damaged, or larger than anything that was packed.
        """
        return [_unpack(payload) for payload in payloads]


def _pack(payload: Payload) -> Payload:
    if payload.ByteSize() <= PACK_ABOVE:
        return payload
    packed = zlib.compress(payload.SerializeToString(), level=1)
    return Payload(metadata={"encoding": _ENCODING}, data=packed)


def _unpack(payload: Payload) -> Payload:
    if payload.metadata.get("encoding") != _ENCODING:
        return payload
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(payload.data, MOST_UNPACKED)
    except zlib.error as error:
        raise ValueError(f"A packed payload is damaged: {error}") from None
    if not unpacker.eof:
        raise ValueError("A packed payload is incomplete, or unpacks to more than it may")
    return Payload.FromString(data)


DATA_CONVERTER = dataclasses.replace(pydantic_data_converter, payload_codec=PackLargePayloads())
"""For every client of Temporal."""
