"""Fixtures for proxies and TLS: a private CA, an API over TLS, a proxy, and an environment without either."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import LOOPBACK, CertificateAuthority
from tests.connect_proxy import ConnectProxy, connect_proxy
from tests.pod_server import PodServer
from tests.raw_server import RawServer, raw_server

# A name that no resolver knows. The proxy maps it to the server on loopback, whose certificate has it.
API_HOST = "api.yotta.test"
API_URL = f"https://{API_HOST}"
PROXY_USER, PROXY_PASSWORD = "proxy-user", "proxy-password-that-must-not-show"


@dataclass
class SecureApi:
    """Pods behind TLS, with a pod 7 from the start."""

    pods: PodServer
    server: RawServer

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@pytest.fixture(autouse=True)
def _no_proxies_or_roots_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path)


@pytest.fixture
async def secure_api(authority: CertificateAuthority) -> AsyncIterator[SecureApi]:
    certificate = authority.issue("server", hosts=(*LOOPBACK, API_HOST))
    pods = PodServer()
    pods.pods["7"] = {"id": "7", "status": "RUNNING"}
    async with raw_server(pods.serve, ssl=authority.server_context(certificate)) as server:
        yield SecureApi(pods, server)


@pytest.fixture
async def proxy(secure_api: SecureApi) -> AsyncIterator[ConnectProxy]:
    credentials = (PROXY_USER, PROXY_PASSWORD)
    async with connect_proxy(credentials=credentials, hosts={API_HOST: secure_api.port}) as proxy:
        yield proxy
