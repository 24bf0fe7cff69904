"""Every error that this package raises.

YottaError
├─ ConfigurationError            no key, bad base_url, closed client, wrong event loop
├─ InvalidRequestError           refused before sending (also ValueError)
├─ TransportError                no usable answer
│  ├─ ConnectError               never sent: safe to repeat
│  ├─ RequestTimeoutError        (also TimeoutError)
│  ├─ ConnectionLostError        sent, answer lost
│  └─ ProtocolError              an answer that is not the documented envelope
├─ APIError                      the API answered, and the answer is no
│  ├─ BadRequestError  AuthenticationError  PermissionDeniedError  NotFoundError
│  ├─ InvalidStateError          the pod's status does not allow it
│  ├─ RateLimitError
│  └─ ServerError
├─ CreateOutcomeUnknownError     a create that may have made a pod
├─ WaitError                     a wait that did not reach its status
│  ├─ WaitTimeoutError           (also TimeoutError)
│  ├─ PodFailedError             a state from which the target cannot come
│  └─ PodGoneError               the pod is not there any more
└─ FanOutError                   some of many did not come out as they were wanted

Every error pickles. None holds the API key, a registry token, the value of an environment variable or a header.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from yotta_async.fleet.report import FanOutReport
    from yotta_async.handle import PodHandle
    from yotta_async.models.pod import Pod
    from yotta_async.models.status import PodStatus


class YottaError(Exception):
    """The root of every error of this package; its text says what happened, to what, and what to do."""


class ConfigurationError(YottaError):
    """The client cannot work as it is set up: no key, a bad argument, a closed client, another event loop."""


class InvalidRequestError(YottaError, ValueError):
    """The request was refused before anything was sent; the text names the field and its limit."""


class TransportError(YottaError):
    """No usable answer came.

    `maybe_heard` is False when no byte of the request left this machine, and True when the server may have acted on it.
    """

    def __init__(
        self,
        message: str = "",
        *,
        method: str = "",
        path: str = "",
        request_sent: bool = True,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.method = method
        self.path = path
        self.request_id = request_id
        self.request_sent = request_sent
        self.retry_after = retry_after


class ConnectError(TransportError):
    """The request was never sent, so it is safe to repeat.

    `temporary` is False where a repeat would end the same way: a certificate that is not trusted.
    """

    def __init__(self, message: str = "", *, method: str = "", path: str = "", temporary: bool = True) -> None:
        super().__init__(message, method=method, path=path, request_sent=False)
        self.temporary = temporary


class RequestTimeoutError(TransportError, TimeoutError):
    """The request was sent and no whole answer came within the time of one attempt."""


class ConnectionLostError(TransportError):
    """The connection ended after the request was sent and before its answer began."""


class ProtocolError(TransportError):
    """An answer came that is not the documented envelope.

    HTML, a body cut short, bad JSON, wrong types, more bytes than allowed, a redirect, or a 5xx without an envelope.
    `request_id` is the id under which the server knows the request (None: it sent none).
    """


class APIError(YottaError):
    """The API answered with an error.

    `http_status` is the HTTP status, `code` the envelope's code (None where there was no envelope), `message` the API's
    own words, `retry_after` the seconds that it asked to wait (None: it did not ask), `request_id` the id under which
    the server knows the request (None: it sent none).
    """

    advice: ClassVar[str] = "The code is not a documented one; the API's message is all there is to go by."

    def __init__(
        self,
        message: str = "",
        *,
        http_status: int = 0,
        code: int | None = None,
        method: str = "",
        path: str = "",
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.http_status = http_status
        self.code = code
        self.method = method
        self.path = path
        self.retry_after = retry_after
        self.request_id = request_id

    def __str__(self) -> str:
        # %r keeps a server's control characters out of terminals and logs.
        said = repr(self.message[:500]) if self.message else "no message"
        code = "no envelope" if self.code is None else f"code {self.code}"
        request_id = "" if self.request_id is None else f", request id {self.request_id!r}"
        return f"{self.method} {self.path}: {said} (HTTP {self.http_status}, {code}{request_id}). {self._next_step()}"

    def _next_step(self) -> str:
        if self.retry_after is None:
            return self.advice
        return f"The API asks to wait {self.retry_after:g} s. {self.advice}"


class BadRequestError(APIError):
    """Invalid parameters (code 10001, HTTP 400)."""

    advice = "Correct the field that the message names; the same request would be refused again."


class AuthenticationError(APIError):
    """The API key was not accepted (HTTP 401)."""

    advice = "Check the API key (argument api_key or $YOTTA_API_KEY) and that it belongs to this host."


class PermissionDeniedError(APIError):
    """The API key may not do this (HTTP 403)."""

    advice = "Use a key of the organization that owns the pod, with the right to do this."


class NotFoundError(APIError):
    """There is no such pod (codes 10007 and 13000, HTTP 404)."""

    advice = "Check the pod id with `pods.list()`; a deleted pod disappears after a while."


class InvalidStateError(APIError):
    """The pod's status does not allow it (code 12001, HTTP 409)."""

    advice = "Look at the pod's status, wait for the one that allows this, and try again."


class RateLimitError(APIError):
    """Too many requests (HTTP 429); `retry_after` is in seconds."""

    advice = "Send fewer requests at a time, and wait as long as the API asks."


class ServerError(APIError):
    """The API failed (HTTP 5xx, code 10002). It may or may not have acted on the request."""

    advice = "The fault is the server's; look whether the request took effect before you repeat a change."


class SpendLimitError(YottaError):
    """A create was not sent, as a SpendLimit would have been passed, or could not be checked."""


class CreateOutcomeUnknownError(YottaError):
    """A create was sent and its answer is not known: there may be a pod that bills.

    `client_token` is the value of the environment variable YOTTA_CLIENT_TOKEN that such a pod would bear, or None when
    the client was told to send none. The create was not sent a second time. The failure itself is the `__cause__`.
    """

    _look: Callable[[], Awaitable[PodHandle | None]] | None = None

    def __init__(self, message: str = "", *, client_token: str | None = None) -> None:
        super().__init__(message)
        self.client_token = client_token

    async def resolve(self) -> PodHandle | None:
        """Look once more for the pod: its handle, or None while no pod bears the token.

        None is not proof that there is no pod: the create may still be under way. Raises ConfigurationError once the
        error was pickled, when its client is closed, or when the create bore no token; and what `pods.list` raises.
        """
        if self.client_token is None:
            raise ConfigurationError(
                "the create bore no client token (client_token=False), so nothing in the list tells its pod from "
                "others: compare `pods.list()` with the pods that you know of"
            )
        if self._look is None:
            raise ConfigurationError(
                "this error is no longer bound to a client, so it cannot look: list the pods, and look for the one "
                "whose environment variable YOTTA_CLIENT_TOKEN is the error's client_token"
            )
        return await self._look()

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "_look"}
        return (type(self), self.args, state)


class WaitError(YottaError):
    """A wait ended without the status that it was for.

    `last_pod` is the pod as last seen (None: never seen), its environment values removed; `history` holds a
    (status, seconds since the wait began) for every status seen, in order; `last_error` is the last failure of a poll.
    """

    def __init__(
        self,
        message: str = "",
        *,
        pod_id: str = "",
        last_pod: Pod | None = None,
        history: Sequence[tuple[PodStatus | None, float]] = (),
        last_error: YottaError | None = None,
    ) -> None:
        super().__init__(message)
        self.pod_id = pod_id
        self.last_pod = last_pod
        self.history = tuple(history)
        self.last_error = last_error


class WaitTimeoutError(WaitError, TimeoutError):
    """The deadline of a wait passed."""


class PodFailedError(WaitError):
    """The pod reached FAILED, or another state from which the status waited for cannot come."""


class PodGoneError(WaitError):
    """The pod that was waited for is not there any more."""


class FanOutError(YottaError):
    """Some of many pods did not come out as they were wanted.

    `report` says what became of each, with the specs as they were given. A pickled error has redacted copies of them,
    from which no pod can be created.
    """

    def __init__(self, message: str = "", *, report: FanOutReport | None = None) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        report = None if self.report is None else self.report.redacted()
        return (type(self), self.args, {**self.__dict__, "report": report})

    def __copy__(self) -> Self:
        made = type(self)(*self.args)
        made.__dict__.update(self.__dict__)
        return made

    def __deepcopy__(self, _: object) -> Self:
        return self.__copy__()  # a report is immutable
