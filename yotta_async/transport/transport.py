"""The network: one attempt at one request with its failure classified.

With `_sessions` and `_exchange`, the only file of the client that touches aiohttp. Whether a request may have been
heard is not told by the type of the exception but by a mark that is set just before it is written: without it no byte
reached the server.
"""

from __future__ import annotations

import asyncio
import logging
import time

import aiohttp
from aiohttp.http import HttpProcessingError
from yarl import URL

from yotta_async.api.wire import Request, Response, retry_after
from yotta_async.errors import (
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    RequestTimeoutError,
    YottaError,
)
from yotta_async.support.clock import Clock, RealClock
from yotta_async.support.secrets import Secret
from yotta_async.transport.exchange import CONNECT_SECONDS, SendState, Session, TooLargeError
from yotta_async.transport.limits import Limit, Limits
from yotta_async.transport.rate_limit import AdaptiveRateLimiter
from yotta_async.transport.session_pool import LoopGuard, SessionPool

logger = logging.getLogger("yotta_async")

_TOO_MANY, _SERVER_ERROR = 429, 500


class Transport:
    """One client's way to the API: its address, its key, its time limit, and its sessions over a pool."""

    def __init__(
        self,
        *,
        base_url: URL,
        key: Secret[str],
        timeout: float,
        pool: SessionPool | None,
        clock: Clock,
        requests_per_second: float | None = None,
    ) -> None:
        self._root = base_url
        self._key = key
        self._timeout = timeout
        self._pool = pool or SessionPool()
        self._owns_pool = pool is None
        self._told = None if isinstance(clock, RealClock) else clock.call  # real time has no use for it
        self._rate_limiter = AdaptiveRateLimiter(clock, requests_per_second)
        self._bound = LoopGuard("YottaClient")
        self._sessions: dict[bool, Session] = {}
        self._limits = Limits()

    def check(self) -> None:
        """Raise ConfigurationError when the client or its pool is closed or belongs to another event loop."""
        self._bound.check()
        self._pool.bound.check()

    async def send(
        self,
        request: Request,
        *,
        send_state: SendState | None = None,
        single_use: bool = False,
        seconds: float = float("inf"),
    ) -> Response:
        """Send once, and return the whole answer. `seconds` shortens the client's time limit for this attempt.

        `mark` tells whoever holds it, while this goes on, whether the request may have been heard.

        Raises ConnectError, RequestTimeoutError, ConnectionLostError or ProtocolError, and ConfigurationError when the
        client is closed.
        """
        loop = asyncio.get_running_loop()
        if self._bound.loop is not loop or self._pool.bound.loop is not loop:
            self.check()
        if not self._rate_limiter.is_free():
            await self._rate_limiter.turn()
            if self._bound.closed:
                self._rate_limiter.over()
                self.check()
        began = time.perf_counter()
        session = self._sessions.get(single_use)
        if session is None:
            session = self._sessions[single_use] = self._pool.session(self._root, self._key, single_use=single_use)
        send_state = send_state or SendState()
        send_state.sent = send_state.answering = False
        response: Response | None = None
        is_late = False
        seconds = min(seconds, self._timeout)
        limit = Limit(self._limits, loop, seconds)
        try:
            try:
                if self._told is None:
                    response = await session.exchange(request, send_state)
                else:
                    with self._told(limit, seconds):
                        response = await session.exchange(request, send_state)
            finally:
                is_late = limit.end()
        except asyncio.CancelledError as error:
            if is_late:
                problem: BaseException = self._failure(TimeoutError(), send_state, request, seconds)
            else:
                problem = error.with_traceback(None)  # its frames hold headers and body: it goes on without them
        except Exception as error:  # noqa: BLE001  # every foreign exception becomes one of ours
            problem = self._failure(error, send_state, request, CONNECT_SECONDS)
        else:
            if logger.isEnabledFor(logging.DEBUG):
                taken = (time.perf_counter() - began) * 1000
                size = response.size
                logger.debug(
                    "%s %s: HTTP %d, %d bytes, %.0f ms", request.method, request.path, response.status, size, taken
                )
            return response
        finally:
            if response is None:
                self._rate_limiter.over()
            elif response.status == _TOO_MANY or (
                response.status >= _SERVER_ERROR and "Retry-After" in response.headers
            ):
                self._rate_limiter.over(too_many=True, retry_after=retry_after(response.headers))
            else:
                self._rate_limiter.over(good=True)
        # Raised here and not above, so that the foreign exception is not its context.
        logger.debug("%s %s: %s", request.method, request.path, type(problem).__name__)
        problem.__context__ = None
        raise problem

    def _failure(self, error: Exception, send_state: SendState, request: Request, seconds: float) -> YottaError:
        """Turn what aiohttp raised into what it means. Narrow classes first: several of aiohttp's are others' too."""
        what = f"{request.method} {request.path}"
        if not send_state.sent:
            if self._bound.closed or self._pool.bound.closed:
                return ConfigurationError(f"{what} was not sent: the client or its SessionPool was closed meanwhile")
            untrusted = isinstance(error, aiohttp.ClientConnectorCertificateError)
            if untrusted:
                text = "the host's certificate is not trusted. Check base_url, and this machine's clock and roots"
            elif isinstance(error, TimeoutError):
                text = f"there was no connection to be had within {seconds:g} s. Check base_url and the network"
            else:
                text = f"{str(error) or type(error).__name__}. Check base_url and the network"
            return ConnectError(
                f"{what} was not sent: {text}.", method=request.method, path=request.path, temporary=not untrusted
            )
        kind: type[RequestTimeoutError | ProtocolError | ConnectionLostError]
        if self._bound.closed or self._pool.bound.closed:
            kind, text = ConnectionLostError, "the client or its SessionPool was closed before the answer was there"
        elif isinstance(error, TooLargeError):
            kind, text = ProtocolError, f"the answer is larger than {request.max_bytes} bytes, and was not read on"
        elif isinstance(error, TimeoutError):
            kind, text = RequestTimeoutError, f"there was no whole answer within {seconds:g} s"
        elif send_state.answering or isinstance(error, HttpProcessingError | aiohttp.ClientPayloadError):
            kind, text = ProtocolError, f"the answer is cut short, or no HTTP ({type(error).__name__})"
        else:
            kind, text = ConnectionLostError, f"the connection ended before the answer ({type(error).__name__})"
        acted = "" if request.method == "GET" else " The server may have acted on it: look before you repeat it."
        return kind(f"{what}: {text}.{acted}", method=request.method, path=request.path)

    async def aclose(self) -> None:
        """End the calls in flight and close the sessions, and the pool if no one else gave it. May be called again."""
        self._bound.close()
        self._rate_limiter.close()
        self._limits.close()
        # Each call needs a few turns of the loop to let go of its connection, and none that waits for the network.
        for _ in range(100):
            if not self._limits.open:
                break
            await asyncio.sleep(0)
        self._sessions.clear()
        if self._owns_pool:
            await self._pool.aclose()
