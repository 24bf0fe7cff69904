"""One attempt at one request: limits of time and rate, and what each failure means."""

from __future__ import annotations

import asyncio
import logging
import time

import aiohttp
from yarl import URL

from yotta_async.errors import YottaError
from yotta_async.support.clock import Clock
from yotta_async.support.loop_guard import LoopGuard
from yotta_async.support.secrets import Secret
from yotta_async.transport.failures import Attempt, ResponseTooLargeError, build_cause, build_error
from yotta_async.transport.headers import read_retry_after
from yotta_async.transport.messages import Request, Response, SendState
from yotta_async.transport.rate_limit import AdaptiveRateLimiter
from yotta_async.transport.session_pool import ClientSessions, SessionPool

logger = logging.getLogger("yotta_async")

_TOO_MANY_REQUESTS, _SERVER_ERROR = 429, 500


class Transport:
    """One client's way to the API: its address, its key, its time limit, and its sessions over a pool."""

    def __init__(
        self,
        *,
        base_url: URL,
        key: Secret[str],
        timeout: float,
        pool: SessionPool,
        clock: Clock,
        requests_per_second: float | None = None,
        user_agent: str = "",
    ) -> None:
        self._base_url = base_url
        self._key = key
        self._timeout = timeout
        self._pool = pool
        self._user_agent = user_agent
        self._clock = clock
        self._rate_limiter = AdaptiveRateLimiter(clock, requests_per_second)
        self._guard = LoopGuard("YottaClient")
        self._sessions: ClientSessions | None = None
        self._prefix = base_url.raw_path.rstrip("/")

    def check(self) -> None:
        """Raise ConfigurationError when the client or its pool is closed or belongs to another event loop."""
        self._guard.check()
        self._pool.guard.check()

    async def send(
        self,
        request: Request,
        *,
        send_state: SendState | None = None,
        seconds: float = float("inf"),
        fresh_connection: bool = False,
    ) -> Response:
        """Send once, and return the whole response. `seconds` shortens the client's time limit for this attempt.

        `send_state` tells its holder, while this goes on, whether the request may have reached the server. Changes
        always have a connection of their own; `fresh_connection` gives one to a read.

        Raises ConnectError, RequestTimeoutError, ConnectionLostError or ProtocolError, and ConfigurationError when the
        client is closed.
        """
        self.check()
        if not self._rate_limiter.try_acquire():
            await self._rate_limiter.acquire()
            if self._guard.closed:
                self._rate_limiter.release()
                self.check()
        began = time.perf_counter()
        state = send_state or SendState()
        state.request_sent = state.response_started = False
        seconds = min(seconds, self._timeout)
        response: Response | None = None
        try:
            response = await self._exchange(request, state, seconds, fresh_connection=fresh_connection)
        except asyncio.CancelledError as error:
            problem: BaseException = error.with_traceback(None)  # its frames hold headers and body
        except Exception as error:  # noqa: BLE001  # every foreign exception becomes one of ours
            problem = self._build_error(error, request, state, seconds)
        else:
            if logger.isEnabledFor(logging.DEBUG):
                taken = (time.perf_counter() - began) * 1000
                logger.debug("%s: HTTP %d, %d bytes, %.0f ms", request, response.status, response.size, taken)
            return response
        finally:
            self._report_to_rate_limiter(response)
        # Raised here and not above, so that the foreign exception is not its context.
        logger.debug("%s: %s", request, type(problem).__name__)
        problem.__context__ = None
        raise problem

    async def _exchange(
        self, request: Request, state: SendState, seconds: float, *, fresh_connection: bool
    ) -> Response:
        sessions = self._sessions
        if sessions is None:
            sessions = self._sessions = self._pool.open_sessions(self._base_url, self._key, self._user_agent)
        async with asyncio.timeout(seconds) as timeout:
            sessions.calls.add(timeout)
            try:
                with self._clock.call(timeout, seconds):
                    received = await sessions.request(
                        request, self._url_of(request), state, fresh_connection=fresh_connection
                    )
                    state.request_sent = state.response_started = True
                    try:
                        chunks = await _read_body(received, request.max_bytes)
                    except BaseException:
                        received.close()  # a response that was read to its end has given its connection back
                        raise
                    return Response(received.status, received.headers, chunks, self._key)
            finally:
                sessions.calls.discard(timeout)

    def _url_of(self, request: Request) -> URL:
        # Paths and queries are encoded where they are built; aiohttp must not encode them again.
        url = self._base_url.with_path(f"{self._prefix}{request.path}", encoded=True)
        return URL(f"{url}?{request.query}", encoded=True) if request.query else url

    def _report_to_rate_limiter(self, response: Response | None) -> None:
        if response is None:
            self._rate_limiter.release()
        elif response.status == _TOO_MANY_REQUESTS or (
            response.status >= _SERVER_ERROR and "Retry-After" in response.headers
        ):
            self._rate_limiter.release(complained=True, retry_after=read_retry_after(response.headers))
        else:
            self._rate_limiter.release(succeeded=True)

    def _build_error(self, error: Exception, request: Request, state: SendState, seconds: float) -> YottaError:
        if isinstance(error, YottaError):
            return error
        closed = self._guard.closed or self._pool.guard.closed
        proxy = self._pool.proxy_for(self._base_url)
        problem = build_error(error, Attempt(request, state, seconds, self._base_url, proxy, closed))
        problem.__cause__ = build_cause(error)
        return problem

    async def aclose(self) -> None:
        """End the calls in flight and close the sessions. May be called again."""
        self._guard.close()
        self._rate_limiter.close()
        if self._sessions is not None:
            await self._pool.close_sessions(self._sessions)
            self._sessions = None


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int) -> list[bytes]:
    chunks: list[bytes] = []
    size = 0
    while not response.content.at_eof():
        chunks.append(await response.content.readany())
        size += len(chunks[-1])  # after decompression, and before the next chunk is read
        if size > max_bytes:
            raise ResponseTooLargeError
    return chunks
