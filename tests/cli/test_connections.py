"""--proxy and --ca-file, and what `yotta-async doctor` says of them."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import LOOPBACK, CertificateAuthority
from tests.cli.conftest import run_process
from tests.connect_proxy import connect_proxy
from tests.pod_server import PodServer
from tests.raw_server import raw_server

API_HOST = "api.yotta.test"  # a name that only the proxy knows
USER, PASSWORD = "proxy-user", "proxy-password-that-must-not-show"


@pytest.fixture(autouse=True)
def _no_proxies_or_roots_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


async def run_secure(*arguments: str, base_url: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {"YOTTA_API_KEY": "key", "YOTTA_BASE_URL": base_url} | changes
    done = await asyncio.to_thread(run_process, *arguments, **environment)
    assert PASSWORD not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def get_findings(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[str, str]]:
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    return {finding["check"]: (finding["state"], finding["said"]) for finding in findings}


async def test_proxy_and_own_ca_by_option_and_by_environment(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    pods = PodServer()
    certificate = authority.issue("server", hosts=(*LOOPBACK, API_HOST))
    async with raw_server(pods.serve, ssl=authority.server_context(certificate)) as server:
        hosts = {API_HOST: int(server.url.rpartition(":")[2])}
        async with connect_proxy(credentials=(USER, PASSWORD), hosts=hosts) as proxy:
            url = f"http://{USER}:{PASSWORD}@{proxy.address}"
            options = ("--proxy", url, "--ca-file", str(authority.file))
            base_url = f"https://{API_HOST}"
            for arguments, changes in (
                (options, {}),
                ((), {"HTTPS_PROXY": url, "SSL_CERT_FILE": str(authority.file)}),
            ):
                done = await run_secure("pods", "list", *arguments, base_url=base_url, **changes)
                assert done.returncode == 0, done.stderr
                found = get_findings(await run_secure("doctor", "-o", "json", *arguments, base_url=base_url, **changes))
                assert found.pop("clock") == ("warning", "The host does not say what time it is.")
                assert [state for state, _ in found.values()] == ["ok"] * len(found)
                sources = ("--proxy", "--ca-file") if arguments else ("HTTPS_PROXY", "SSL_CERT_FILE")
                assert found["proxy"][1] == f"http://{USER}:***@{proxy.address}, from {sources[0]}."
                assert found["roots"][1] == f"{authority.file}, from {sources[1]}."
            assert {request.target for request in proxy.requests} == {f"{API_HOST}:443"}
            wrong = f"http://{USER}:wrong-{PASSWORD}@{proxy.address}"
            done = await run_secure("doctor", "-o", "json", "--proxy", wrong, base_url=base_url)
            assert done.returncode == 1
            assert "give its user and password in --proxy" in get_findings(done)["host"][1]


async def test_untrusted_certificate_names_the_option(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    context = authority.server_context(authority.issue("server", hosts=LOOPBACK))
    async with raw_server(PodServer().serve, ssl=context) as server:
        done = await run_secure("pods", "list", base_url=server.url)
        assert done.returncode == 1
        assert "--ca-file" in done.stderr
        assert (await run_secure("pods", "list", "--ca-file", str(authority.file), base_url=server.url)).returncode == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--proxy", f"ftp://u:{PASSWORD}@h:1"), "--proxy must be the URL of an HTTP proxy"),
        (("--ca-file", "empty.pem"), "empty.pem has no certificates in PEM form"),
        (("--ca-file", "missing.pem"), "does not exist"),
    ],
)
async def test_wrong_values_are_wrong_usage(
    options: tuple[str, ...], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.pem").write_text("")
    done = await run_secure("pods", "list", *options, base_url="https://127.0.0.1:1")
    assert done.returncode == 2
    assert text in done.stderr


async def test_doctor_without_a_key_or_a_host() -> None:
    done = await run_secure("doctor", base_url="https://127.0.0.1:1", YOTTA_API_KEY="")
    assert done.returncode == 4
    assert "set $YOTTA_API_KEY" in done.stdout
    done = await run_secure("doctor", base_url="https://127.0.0.1:1")
    assert done.returncode == 1
    assert "None: neither --proxy nor HTTPS_PROXY" in done.stdout
    assert "Check --base-url" in done.stdout
