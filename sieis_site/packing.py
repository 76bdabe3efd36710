"""How answers are compressed."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware

GZIP = 31  # zlib's word for a gzip header around the widest window


class Packing(GZipMiddleware):
    """Packs a stream as one: Django packs each of its pieces apart, of which browsers read the first alone."""

    def process_response(self, request: HttpRequest, response: Any) -> HttpResponseBase:
        pieces = response.streaming_content if response.streaming and response.is_async else None
        answer: Any = super().process_response(request, response)
        if pieces is not None and answer.get("Content-Encoding") == "gzip":
            answer.streaming_content = packed(pieces)
        return answer


async def packed(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(wbits=GZIP)
    async for piece in pieces:
        if made := packer.compress(piece):
            yield made
    yield packer.flush()
