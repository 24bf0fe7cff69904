"""A server that says what it was given, as fast as Python can: what is measured is the client and not the server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# As the guide shows a pod, with what else the OpenAPI document names.
POD: dict[str, Any] = {
    "id": "331864222267218690", "orgId": "217646376996249600", "applicantId": "217646376987860992",
    "podName": "benchmark", "imageId": "219419172892971036", "officialImage": "OFFICIAL", "imagePublicType": "PUBLIC",
    "image": "yottalabsai/pytorch:2.8.0-py3.11-cuda12.8.1-cudnn-devel-ubuntu22.04",
    "imageRegistry": "https://index.docker.io/v1/", "imageRegistryUsername": None, "resourceType": "GPU",
    "gpuType": "NVIDIA_L4_24G", "gpuDisplayName": "L4", "gpuCount": 1, "shmInGb": None, "singleCardVramInGb": 24,
    "singleCardRamInGb": 10, "singleCardVcpu": 3, "location": "CA", "region": "us-west-1", "cloudType": "SECURE",
    "containerVolumeInGb": 252, "persistentVolumeInGb": 0, "persistentMountPath": None, "networkUploadMbps": 1258.2912,
    "networkDownloadMbps": 1761.60768, "diskReadSpeedMbps": 2516.5824, "diskWriteSpeedMbps": 5872.0256,
    "singleCardPrice": 0.6, "persistentVolumePrice": 0.00005, "containerVolumePrice": 0.00005,
    "initializationCommand": "", "environmentVars": [{"key": "JUPYTER_PASSWORD", "value": "not-a-password"}],
    "expose": [
        {"port": 22, "proxyPort": 32002, "protocol": "SSH", "host": "34.19.26.12", "healthy": True,
         "ingressUrl": None, "serviceName": None},
    ],
    "sshCmd": "ssh root@34.19.26.12 -p 32002", "status": "RUNNING", "createdAt": "2026-07-04 10:29:56",
    "updatedAt": "2026-07-04 10:31:12", "persistentVolumes": [], "internalIp": "10.197.215.20",
}  # fmt: skip


class _Replies(asyncio.Protocol):
    """One connection. A GET has no body, so a request ends where its headers do."""

    def __init__(self, one: bytes, many: bytes) -> None:
        self._one, self._many = one, many
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        for request in requests:
            self._transport.write(self._many if b"/list" in request.partition(b"\r\n")[0] else self._one)


def _reply(data: object) -> bytes:
    body = json.dumps({"message": "success", "code": 10000, "data": data}, separators=(",", ":")).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def _serve(pods: int) -> None:
    one, many = _reply(POD), _reply([POD | {"id": str(int(POD["id"]) + number)} for number in range(pods)])
    server = await asyncio.get_running_loop().create_server(lambda: _Replies(one, many), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def fixed(pods: int = 0) -> Iterator[str]:
    """Serve one pod under any id, and a list of many, from a process of its own; yield the address."""
    command = [sys.executable, "-m", "benchmarks.fixed", str(pods)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            process.wait(10)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
