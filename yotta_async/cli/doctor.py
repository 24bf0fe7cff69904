"""`yotta-async doctor`: what stands between this machine and the API, in a sentence each; sends nothing that costs."""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
import statistics
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import attrs

from yotta_async import PodStatus, YottaClient, YottaError, __version__
from yotta_async.cli.exits import API, DONE, KEY, code_of, line_of
from yotta_async.cli.output import print_json, print_line, print_table, say
from yotta_async.cli.settings import Settings, client

_PACKAGES = ("aiohttp", "aiolimiter", "attrs", "cattrs", "msgspec", "tenacity", "click", "rich")
_TIMES = 3
# A clock that is off by more than this makes ages and waits look wrong.
_SKEW = 5.0
_SLOW = 2.0


@attrs.frozen
class Finding:
    """What one look showed."""

    check: str
    state: Literal["ok", "warning", "problem"]
    said: str


async def diagnose(settings: Settings) -> int:
    """Look at one thing after another, and say of each what it is like."""
    findings: list[Finding] = []
    code = DONE
    async for finding, its_code in _looks(settings):
        findings.append(finding)
        code = code or its_code
        if settings.output == "jsonl":
            print_line(attrs.asdict(finding))
    if settings.output == "json":
        print_json([attrs.asdict(finding) for finding in findings])
    elif settings.output == "table":
        print_table(("check", "state", "what"), [(each.check, each.state, each.said) for each in findings])
        problems = sum(each.state == "problem" for each in findings)
        say("All is well." if not problems else f"{problems} to mend; the first is likely the cause of the others.")
    return code


async def _looks(settings: Settings) -> AsyncIterator[tuple[Finding, int]]:
    yield _versions(), DONE
    if not settings.has_key:
        yield Finding("key", "problem", "There is no API key: set YOTTA_API_KEY, as your account's page shows it."), KEY
        return
    where = "--api-key" if settings.api_key else "YOTTA_API_KEY"
    yield Finding("key", "ok", f"There is one, from {where}."), DONE
    try:
        yotta = client(settings)
    except YottaError as error:
        yield Finding("host", "problem", line_of(error)), code_of(error, settings)
        return
    async with yotta:
        root = yotta.base_url
        finding, answer = await _reach(root)
        yield finding, DONE if answer is not None else API
        if answer is None:
            return
        if root.startswith("https"):
            yield Finding("tls", "ok", "The host's certificate is trusted here."), DONE
        yield _clock(answer), DONE
        yield await _access(yotta, settings)


def _versions() -> Finding:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} missing")
    text = f"yotta-async {__version__}, Python {platform.python_version()} on {sys.platform}, {', '.join(found)}."
    return Finding("versions", "warning" if "missing" in text else "ok", text)


async def _reach(root: str) -> tuple[Finding, Any]:
    """Ask the host for anything, without the key."""
    host = urlsplit(root).netloc
    timeout = aiohttp.ClientTimeout(total=10)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(root, allow_redirects=False) as answer,
        ):
            return Finding("host", "ok", f"{host} answers."), answer.headers.get("Date", "")
    except aiohttp.ClientConnectorDNSError:
        said = f"{host} has no address: check the base URL, and this machine's name server."
    except aiohttp.ClientSSLError:
        said = f"The certificate of {host} is not trusted: check the base URL, this machine's clock and its roots."
    except TimeoutError:
        said = f"{host} does not answer within 10 s: check the network and its proxy."
    except (aiohttp.ClientError, OSError):
        said = f"{host} cannot be reached: check the base URL and the network."
    return Finding("host", "problem", said), None


def _clock(date: str) -> Finding:
    """Compare this machine's clock with the date of an answer."""
    try:
        skew = (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):
        return Finding("clock", "warning", "The host does not say what time it is.")
    if abs(skew) <= _SKEW:
        return Finding("clock", "ok", "This machine's clock agrees with the host's.")
    way = "ahead of" if skew > 0 else "behind"
    return Finding(
        "clock", "warning", f"This machine's clock is {abs(skew):.0f} s {way} the host's: ages will look wrong."
    )


async def _access(yotta: YottaClient, settings: Settings) -> tuple[Finding, int]:
    """Ask for a short list a few times: whether the key is good, and how long it takes."""
    taken = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        try:
            await yotta.pods.list(statuses=[PodStatus.PAUSING])
        except YottaError as error:
            return Finding("access", "problem", line_of(error)), code_of(error, settings)
        taken.append(time.perf_counter() - began)
        await asyncio.sleep(0)
    median = statistics.median(taken)
    said = f"The key is accepted; a list takes {median * 1000:.0f} ms."
    return Finding("access", "warning" if median > _SLOW else "ok", said), DONE
