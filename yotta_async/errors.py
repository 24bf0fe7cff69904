"""The errors that this package raises. Those that carry results are in the files that the tree names.

YottaError
├─ ConfigurationError            no key, bad base_url, closed client, wrong event loop
├─ InvalidRequestError           refused before sending (also ValueError)
├─ TransportError                no usable response
│  ├─ ConnectError               not sent: safe to repeat
│  ├─ RequestTimeoutError        (also TimeoutError)
│  ├─ ConnectionLostError        sent, response lost
│  └─ ProtocolError              a response that is not the documented envelope
├─ APIError                      the API refused, or failed
│  ├─ BadRequestError
│  │  └─ CapacityError           a create refused because no such GPU is free
│  ├─ AuthenticationError  PermissionDeniedError  NotFoundError
│  ├─ InvalidStateError          the pod's status does not allow it
│  ├─ RateLimitError
│  └─ ServerError
├─ SpendLimitError               a create that would pass a SpendLimit, or may
├─ CreateOutcomeUnknownError     a create that may have made a pod (handle.py)
├─ WaitError                     a wait that did not reach its status (polling/wait_errors.py)
│  ├─ WaitTimeoutError           (also TimeoutError)
│  ├─ PodFailedError             a status from which the target cannot come
│  └─ PodGoneError               the pod does not exist any more
│     └─ RolledBackError         deleted because others of its fan-out failed (fleet/report.py)
└─ FanOutError                   too few of many are as they were wanted (fleet/report.py)

Every error can be pickled. None holds the API key, a registry token, the value of an environment variable or a header.
"""

from __future__ import annotations


class YottaError(Exception):
    """The base class of every error of this package. Its text says what happened, to what, and what to do next."""


class ConfigurationError(YottaError):
    """The client cannot work as it is set up: no key, a wrong argument, a closed client, another event loop."""


class InvalidRequestError(YottaError, ValueError):
    """The request was refused before anything was sent; the text names the field and its limit."""


class TransportError(YottaError):
    """There was no usable response.

    The `__cause__` is the original error, without secrets.

    Attributes:
        request_sent: False if no byte of the request was sent, so that a retry is safe. True if the server may have
            acted on it.
        method: The HTTP method.
        path: The path of the request, without a query.
        request_id: The id under which the server knows the request, or None.
        retry_after: The seconds that the server asked to wait, or None.

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
    """The request was not sent, so it is safe to repeat.

    Attributes:
        temporary: False if a retry would end in the same way, as with a certificate that is not trusted.

    """

    def __init__(self, message: str = "", *, method: str = "", path: str = "", temporary: bool = True) -> None:
        super().__init__(message, method=method, path=path, request_sent=False)
        self.temporary = temporary


class RequestTimeoutError(TransportError, TimeoutError):
    """The request was sent, and there was no whole response within the time limit of one attempt."""


class ConnectionLostError(TransportError):
    """The connection ended after the request was sent and before its response began."""


class ProtocolError(TransportError):
    """The response is not the documented envelope.

    It is HTML, cut short, not JSON, of wrong types, too large, a redirect, or a 5xx without an envelope.
    """


class APIError(YottaError):
    """The API responded with an error.

    Attributes:
        http_status: The HTTP status.
        code: The code of the envelope, or None if there was no envelope.
        message: The API's own words.
        method: The HTTP method.
        path: The path of the request, without a query.
        retry_after: The seconds that the API asked to wait, or None.
        request_id: The id under which the server knows the request, or None.

    """

    advice: str = "The code is not a documented one; only the API's message says what it means."
    """What to do, for all errors of a class, or for one."""

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


class CapacityError(BadRequestError):
    """A create was refused because no such GPU is free, by the words of the API's message."""

    advice = "Wait and try again, or name other GPUs or regions as `fallbacks` of create_many or ephemeral."


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

    advice = "Check the pod's status with `pods.get`, wait for one that allows this, and try again."


class RateLimitError(APIError):
    """Too many requests (HTTP 429); `retry_after` is in seconds."""

    advice = "Send fewer requests at a time, and wait as long as the API asks."


class ServerError(APIError):
    """The API failed (HTTP 5xx, code 10002). It may or may not have acted on the request."""

    advice = "The server failed. Check whether a change took effect before you repeat it."


class SpendLimitError(YottaError):
    """A create was not sent, because it would pass a SpendLimit, or because the limit could not be checked."""
