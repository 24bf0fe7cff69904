"""What a failed attempt means: which error it becomes, its sentence with what to do, and its cause. No I/O."""

from __future__ import annotations

import ssl
from typing import NamedTuple

import aiohttp
from aiohttp.http import HttpProcessingError
from yarl import URL

from yotta_async.errors import (
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    RequestTimeoutError,
    YottaError,
)
from yotta_async.support.secrets import Secret
from yotta_async.transport.messages import Request, SendState
from yotta_async.transport.session_pool import CONNECT_TIMEOUT_S, LostConnectionError

# OpenSSL's X509_V_ERR_* (https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/).
_EXPIRED = 10
_HOST_MISMATCH = frozenset({62, 64})  # a host name, an IP address
_UNTRUSTED_ISSUER = frozenset({18, 19, 20, 21})
_PROXY_AUTHENTICATION_REQUIRED = 407

# A read is known not to have been sent when one of these ended it.
_NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)


class ResponseTooLargeError(Exception):
    """A response has more bytes than its request allows."""


class Attempt(NamedTuple):
    """One attempt that failed, with all that its error may name."""

    request: Request
    state: SendState
    seconds: float  # its time limit
    base_url: URL
    proxy: Secret[URL] | None
    closed: bool  # its client or pool was closed meanwhile


def build_error(error: Exception, attempt: Attempt) -> YottaError:
    """Turn what aiohttp raised into what it means. Narrow classes first: several of aiohttp's are others' too."""
    request, state = attempt.request, attempt.state
    tls_error = _find_tls_error(error) if attempt.base_url.scheme == "https" else None
    refused_by_tls = tls_error is not None and _wants_client_certificate(tls_error) and not state.response_started
    if refused_by_tls or not _may_have_been_sent(error, attempt):
        if attempt.closed:
            return ConfigurationError(f"{request} was not sent: the client or its SessionPool was closed meanwhile")
        problem = _explain_connect_problem(error, attempt)
        return ConnectError(
            f"{request} was not sent: {problem.text}.",
            method=request.method,
            path=request.path,
            temporary=problem.is_transient,
        )
    kind: type[RequestTimeoutError | ProtocolError | ConnectionLostError]
    if attempt.closed:
        kind, text = ConnectionLostError, "the client or its SessionPool was closed before the response was there"
    elif isinstance(error, ResponseTooLargeError):
        kind = ProtocolError
        text = f"the response is larger than {request.max_bytes} bytes, and was not read on{request.too_large_advice}"
    elif isinstance(error, TimeoutError):
        kind, text = RequestTimeoutError, f"there was no whole response within {attempt.seconds:g} s"
    elif state.response_started or isinstance(
        error, HttpProcessingError | aiohttp.ClientPayloadError | aiohttp.ClientResponseError
    ):
        kind, text = ProtocolError, f"the response is cut short, or not HTTP ({type(error).__name__})"
    else:
        kind, text = ConnectionLostError, f"the connection ended before the response ({_name_of(error)})"
    acted = "" if request.is_read else " The server may have acted on it: check before you repeat it."
    return kind(f"{request}: {text}.{acted}", method=request.method, path=request.path)


def _may_have_been_sent(error: Exception, attempt: Attempt) -> bool:
    if attempt.request.is_read and attempt.proxy is None:
        return not isinstance(error, _NEVER_SENT)
    return attempt.state.request_sent


def _name_of(error: Exception) -> str:
    return str(error) if isinstance(error, LostConnectionError) else type(error).__name__


def build_cause(error: BaseException) -> BaseException:
    """Return the original exception without frames and secrets.

    aiohttp's own exceptions hold the request with its `x-api-key` header, or the proxy's URL with its password. What
    the operating system or OpenSSL said is taken out of them. What the server said stays out: it may repeat a request.
    """
    while isinstance(error, aiohttp.ClientError) and (original := _unwrap(error)) is not None:
        error = original
    cause = error
    if isinstance(error, aiohttp.ClientResponseError):
        cause = aiohttp.ClientError(f"{type(error).__name__}: HTTP {error.status}")
    elif isinstance(error, HttpProcessingError | aiohttp.ClientPayloadError):
        cause = aiohttp.ClientPayloadError(type(error).__name__)
    elif isinstance(error, aiohttp.ServerDisconnectedError):
        cause = aiohttp.ServerDisconnectedError()
    cause.__cause__ = cause.__context__ = None
    return cause.with_traceback(None)


class _ConnectProblem(NamedTuple):
    """What kept a request from being sent, with what to do; and whether a retry may succeed."""

    text: str
    is_transient: bool = True


def _explain_connect_problem(error: BaseException, attempt: Attempt) -> _ConnectProblem:
    base_url = attempt.base_url
    proxy = attempt.proxy.reveal() if attempt.proxy is not None else None
    host = f"{base_url.host}:{base_url.port}"
    via = f"{proxy.host}:{proxy.port}" if proxy is not None else ""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        if error.status == _PROXY_AUTHENTICATION_REQUIRED:
            advice = "give its user and password in SessionPool(proxy=…) or $HTTPS_PROXY"
            return _ConnectProblem(
                f"the proxy {via} wants a user and a password, or other ones (407): {advice}", is_transient=False
            )
        return _ConnectProblem(f"the proxy {via} refused to connect to {host} with HTTP {error.status}")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return _ConnectProblem(
            f"the proxy {via} cannot be reached ({_reason(error.os_error)}). Check SessionPool(proxy=…) and "
            "$HTTPS_PROXY, or give trust_env=False to do without the environment's proxy"
        )
    if proxy is not None and isinstance(error, LostConnectionError):
        return _ConnectProblem(f"the proxy {via} closed the connection before it led to {host}")
    if isinstance(error, aiohttp.ClientConnectorCertificateError) and base_url.scheme == "https":
        return _ConnectProblem(_explain_certificate(error.certificate_error, host), is_transient=False)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        name, setting = (proxy.host, "the proxy") if proxy is not None else (base_url.host, "base_url")
        return _ConnectProblem(f"no address is known for the host name {name} (DNS). Check {setting} and the network")
    tls_error = _find_tls_error(error)
    if tls_error is not None and base_url.scheme == "https":
        if _wants_client_certificate(tls_error):
            return _ConnectProblem(_explain_client_certificate(host), is_transient=False)
        return _ConnectProblem(
            f"{host} ended the TLS handshake ({_reason(tls_error)}). Check the port in base_url, and whether the "
            "server wants a client certificate, which SessionPool(ssl=…) can carry",
            is_transient="ALERT" not in (tls_error.reason or "").upper(),  # the server said no, and will again
        )
    if isinstance(error, TimeoutError):
        limit = CONNECT_TIMEOUT_S if isinstance(error, aiohttp.ConnectionTimeoutError) else attempt.seconds
        return _ConnectProblem(
            f"no connection to {via or host} was available within {limit:g} s. Check the network, and whether "
            "SessionPool(limit=…) is large enough"
        )
    reason = _reason(error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error)
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError):
        return _ConnectProblem(f"{host} refused the connection: nothing listens there. Check base_url")
    return _ConnectProblem(f"no connection to {via or host}: {reason}. Check base_url and the network")


def _find_tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return the TLS error behind an exception, or None."""
    while error is not None and (isinstance(error, aiohttp.ClientError) or not isinstance(error, ssl.SSLError)):
        error = _unwrap(error)
    return error


def _unwrap(error: BaseException) -> BaseException | None:
    """Return what is behind an exception: for those of aiohttp's connectors, what the system or OpenSSL said."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return error.certificate_error
    return error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error.__cause__


def _wants_client_certificate(error: ssl.SSLError) -> bool:
    """Whether the server ended the handshake because it got no client certificate, or one that it does not trust.

    In TLS 1.3 the server says so after the client's side of the handshake (RFC 8446, 4.4.2.4), when the request may be
    written already; no HTTP server gets to see it.
    """
    reason = (error.reason or "").upper()
    return "CERTIFICATE_REQUIRED" in reason or ("ALERT" in reason and "CERTIFICATE" in reason) or "UNKNOWN_CA" in reason


def _explain_client_certificate(host: str) -> str:
    """Say that the server wants a client certificate, and how to give one."""
    return (
        f"{host} wants a client certificate that it trusts: load it into an ssl.SSLContext with load_cert_chain(), and "
        "give that as SessionPool(ssl=…)"
    )


def _explain_certificate(error: Exception, host: str) -> str:
    code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else None
    if code == _EXPIRED:
        return f"the certificate of {host} has expired. Check this machine's clock; else the server needs a new one"
    if code in _HOST_MISMATCH:
        return f"the certificate of {host} is for another host name. Check base_url"
    if code in _UNTRUSTED_ISSUER:
        return (
            f"the certificate of {host} is not trusted: it is signed by an authority (CA) that this machine does not "
            "know. Name its file in $SSL_CERT_FILE, or give SessionPool(ssl=ssl.create_default_context(cafile=…))"
        )
    reason = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else type(error).__name__
    return f"the certificate of {host} is not trusted ({reason}). Check base_url, and this machine's clock and roots"


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return str(error.reason).replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return type(error).__name__
