"""What the transport carries: requests, responses, and whether a request was sent."""

from __future__ import annotations

from collections.abc import Mapping

from yotta_async.support.secrets import Secret

# Room for any single pod: one takes about 1.6 KB as JSON.
MAX_BYTES = 2**20


class Request:
    """One call as it goes out. `secrets` are values that its response may repeat and no error may.

    `max_bytes` bounds the response, decompressed; `too_large_advice` says in its error how to ask for less.
    """

    __slots__ = ("body", "max_bytes", "method", "path", "query", "secrets", "too_large_advice")

    def __init__(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        body: Secret[bytes] | None = None,
        max_bytes: int = MAX_BYTES,
        too_large_advice: str = "",
        secrets: tuple[Secret[str], ...] = (),
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.body = body
        self.max_bytes = max_bytes
        self.secrets = secrets
        self.too_large_advice = too_large_advice

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing, so that it may be repeated whatever happened to it."""
        return self.method == "GET"


class Response:
    """One whole response, with the key of its request, which the server may repeat and no error may.

    `chunks` are its body; a reader of a long body may take them away as they are read. `size` is in bytes.
    """

    __slots__ = ("chunks", "headers", "key", "size", "status")

    def __init__(self, status: int, headers: Mapping[str, str], chunks: list[bytes], key: Secret[str]) -> None:
        self.status = status
        self.headers = headers
        self.chunks = chunks
        self.key = key
        self.size = sum(map(len, chunks))

    @property
    def body(self) -> bytes:
        """The whole body."""
        if len(self.chunks) != 1:
            self.chunks = [b"".join(self.chunks)]
        return self.chunks[0]


class SendState:
    """How far one change has got.

    `request_sent` is set immediately before the first byte is written. If it is false, nothing was sent and a retry is
    safe; the type of an exception alone does not tell. `abandoned` is set by a caller that wants no further attempt.
    Reads do not set `request_sent`, as they may be repeated in any case.
    """

    __slots__ = ("abandoned", "request_sent", "response_started")

    def __init__(self) -> None:
        self.request_sent = False
        self.response_started = False
        self.abandoned = False
