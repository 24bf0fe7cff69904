"""What `yotta-async doctor` does: check what a call to the API needs, one check after another. Nothing costs money."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import ssl
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
import attrs
from yarl import URL

from yotta_async import ConfigurationError, PodStatus, RetryPolicy, SessionPool, YottaClient, YottaError, __version__
from yotta_async.cli.printing import echo_err, format_error, print_json_line, print_table, print_value
from yotta_async.cli.run import ExitCode, get_exit_code
from yotta_async.cli.settings import (
    Settings,
    build_client,
    build_session_pool,
    describe_profile_source,
    describe_source,
)
from yotta_async.profiles import ConnectionSettings

PACKAGES = ("aiohttp", "aiolimiter", "attrs", "cattrs", "msgspec", "tenacity", "click", "platformdirs", "rich")
LATENCY_SAMPLES = 3
SLOW_LIST_S = 2.0
# A clock that differs by more makes ages and waits look wrong.
MAX_CLOCK_SKEW_S = 5.0


@attrs.frozen
class Finding:
    """The result of one check."""

    check: str
    state: Literal["ok", "warning", "problem"]
    text: str
    exit_code: int = ExitCode.DONE


async def diagnose(settings: Settings) -> int:
    """Print the result of each check, and return the exit code of the first problem."""
    findings = []
    async for finding in _run_checks(settings):
        findings.append(finding)
        if settings.output == "jsonl":
            print_json_line(_to_json(finding))
    if settings.output in ("json", "yaml"):
        print_value(settings.output, [_to_json(finding) for finding in findings])
    elif settings.is_for_people:
        print_table(("check", "state", "what"), [(each.check, each.state, each.text) for each in findings])
        problems = sum(each.state == "problem" for each in findings)
        echo_err("All is well." if not problems else f"{problems} to fix; the first is likely the cause of the others.")
    return next((finding.exit_code for finding in findings if finding.exit_code), ExitCode.DONE)


async def _run_checks(settings: Settings) -> AsyncIterator[Finding]:
    """Yield findings until one of them makes the next checks pointless."""
    yield _check_versions()
    try:
        connection = settings.connection
    except ConfigurationError as error:
        yield Finding("profile", "problem", format_error(error), ExitCode.WRONG_USAGE)
        return
    yield _check_profile(connection)
    version = connection.api_version
    yield Finding("api", "ok", f"Version {version.mask()}, from {describe_source(connection, version)}.")
    try:
        connection.require_key()
    except ConfigurationError as error:
        yield Finding("key", "problem", format_error(error), ExitCode.KEY_REFUSED)
        return
    yield _check_key(connection)
    responses = _Responses()
    async with AsyncExitStack() as stack:
        try:
            pool = await stack.enter_async_context(
                build_session_pool(settings, trace_configs=[responses.build_trace()])
            )
            client = build_client(settings, session_pool=pool, retry=RetryPolicy(max_attempts=1))
            yotta = await stack.enter_async_context(client)
            proxy = _check_proxy(connection, pool, yotta.base_url)
        except YottaError as error:
            yield Finding("host", "problem", format_error(error), get_exit_code(error, settings))
            return
        yield proxy
        is_https = yotta.base_url.startswith("https")
        if is_https:
            yield _check_roots(connection)
        access = await _check_access(yotta, settings)
    host = urlsplit(yotta.base_url).netloc
    if responses.date is None:
        yield Finding("host", "problem", access.text, access.exit_code)
        return
    yield Finding("host", "ok", f"{host} answers.")
    if is_https:
        yield Finding("tls", "ok", "The host's certificate is trusted here.")
    yield _check_clock(responses.date)
    yield access


class _Responses:
    """Keeps the Date of the last response, for a comparison of clocks; None when none came."""

    def __init__(self) -> None:
        self.date: str | None = None

    def build_trace(self) -> aiohttp.TraceConfig:
        """Return what a session calls."""
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._keep_date)
        return trace

    async def _keep_date(self, _: object, __: object, end: aiohttp.TraceRequestEndParams) -> None:
        self.date = end.response.headers.get("Date", "")


def _check_versions() -> Finding:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} missing")
    text = f"yotta-async {__version__}, Python {platform.python_version()} on {sys.platform}, {', '.join(found)}."
    return Finding("versions", "warning" if "missing" in text else "ok", text)


def _check_profile(connection: ConnectionSettings) -> Finding:
    """Name the profile in use, and what named it."""
    if connection.profile is None:
        return Finding("profile", "ok", f"None is in use: {connection.file.path} has no default profile.")
    source = describe_profile_source(connection)
    return Finding("profile", "ok", f"{connection.profile.name} ({source}), of {connection.file.path}.")


def _check_key(connection: ConnectionSettings) -> Finding:
    """Name the source of the key; a variable that wins over the profile in use may be a surprise."""
    source = describe_source(connection, connection.api_key)
    if (
        connection.profile is None
        or connection.api_key.source != "environment"
        or not connection.profile.has("api_key")
    ):
        return Finding("key", "ok", f"There is one, from {source}.")
    name = connection.profile.name
    text = f"{source} wins over the key of the profile {name}: unset it, or name the profile by --profile {name}."
    return Finding("key", "warning", text)


def _check_proxy(connection: ConnectionSettings, pool: SessionPool, base_url: str) -> Finding:
    """Name the proxy in use, without its password."""
    proxy = pool.proxy_for(URL(base_url))
    if proxy is None:
        return Finding("proxy", "ok", "None: neither --proxy nor HTTPS_PROXY names one for this host.")
    url = proxy.reveal()
    shown = url if url.password is None else url.with_password("***")
    named = connection.proxy.value is not None
    return Finding(
        "proxy", "ok", f"{shown}, from {describe_source(connection, connection.proxy) if named else 'HTTPS_PROXY'}."
    )


def _check_roots(connection: ConnectionSettings) -> Finding:
    """Name the root certificates in use."""
    if connection.ca_file.value is not None:
        source = describe_source(connection, connection.ca_file)
        return Finding("roots", "ok", f"{connection.ca_file.value.reveal()}, from {source}.")
    paths = ssl.get_default_verify_paths()
    if os.environ.get(paths.openssl_cafile_env):
        found = os.environ[paths.openssl_cafile_env]
        state: Literal["ok", "problem"] = "ok" if Path(found).is_file() else "problem"
        return Finding("roots", state, f"{found}, from {paths.openssl_cafile_env}.")
    found = " and ".join(path for path in (paths.cafile, paths.capath) if path)
    if not found:
        return Finding("roots", "problem", "OpenSSL finds none on this machine: name a file with --ca-file.")
    return Finding("roots", "ok", f"{found}, OpenSSL's own.")


def _check_clock(date: str) -> Finding:
    """Compare this machine's clock with the Date of a response."""
    try:
        skew = (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):
        return Finding("clock", "warning", "The host does not say what time it is.")
    if abs(skew) <= MAX_CLOCK_SKEW_S:
        return Finding("clock", "ok", "This machine's clock agrees with the host's.")
    direction = "ahead of" if skew > 0 else "behind"
    text = f"This machine's clock is {abs(skew):.0f} s {direction} the host's: ages will look wrong."
    return Finding("clock", "warning", text)


async def _check_access(yotta: YottaClient, settings: Settings) -> Finding:
    """Request a short list a few times: whether the key is accepted, and how long a list takes."""
    durations = []
    for _ in range(LATENCY_SAMPLES):
        started = time.perf_counter()
        try:
            await yotta.pods.list(statuses=[PodStatus.PAUSING])
        except YottaError as error:
            return Finding("access", "problem", format_error(error), get_exit_code(error, settings))
        durations.append(time.perf_counter() - started)
    median = statistics.median(durations)
    text = f"The key is accepted; a list takes {median * 1000:.0f} ms."
    return Finding("access", "warning" if median > SLOW_LIST_S else "ok", text)


def _to_json(finding: Finding) -> dict[str, str]:
    return {"check": finding.check, "state": finding.state, "said": finding.text}
