"""The routes of SkyPilot's provisioner: by the requests that it sends, and with the provisioner itself, unmodified.

SkyPilot needs some 20 packages, so it is no dependency of the tests. Install it into an environment of its own
(`pip install skypilot==0.14.1`), and name its Python in YOTTA_TEST_SKYPILOT_PYTHON.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.emulator.test_server import CLUSTERS, ROOT, Peer
from yotta_async.emulator import Emulator, Timings

PYTHON = os.environ.get("YOTTA_TEST_SKYPILOT_PYTHON")
PROGRAM = Path(__file__).with_name("skypilot_program.py")
CLUSTER: dict[str, Any] = {
    "clusterName": "c", "instanceType": "2x28v238g_NVIDIA_GeForce_RTX_5090_32G_SECURE", "region": "us-east-2",
    "imageName": "ubuntu:24.04", "expose": [{"port": 22, "protocol": "SSH"}, {"port": 8266, "protocol": "HTTP"}],
    "publicKey": "ssh-ed25519 AAAA", "sshUser": "root", "nodeNum": 2, "clusterType": 1, "source": 1, "containerVolumeInGb": 100,
}  # fmt: skip
NODE: dict[str, Any] = {
    "imagePublicType": "PUBLIC", "image": "ubuntu:24.04", "clusterName": "c", "initializationCommand": "sleep infinity",
    "expose": CLUSTER["expose"],
}  # fmt: skip
BY_NAME = {"clusterName": "c", "source": 1}


class PeerOfSkyPilot(Peer):
    """A client that sends what the provisioner sends."""

    async def post(self, path: str, body: Any, code: int = 10000) -> Any:
        _, answer = await self.call("POST", f"{CLUSTERS}/{path}", json=body)
        assert answer["code"] == code, answer["message"]
        return answer["data"]

    async def create_cluster(self) -> str:
        cluster_id: str = (await self.post("create", CLUSTER))["clusterId"]
        return cluster_id

    async def create_node(self, cluster_id: str, name: str, **fields: Any) -> str:
        pod_id: str = await self.post("create/pod", NODE | {"clusterId": cluster_id, "name": name} | fields)
        return pod_id

    async def get_status(self, cluster_id: str) -> str:
        _, answer = await self.call("GET", f"{CLUSTERS}/status/{cluster_id}")
        return str(answer["data"]["status"])

    async def list_statuses(self) -> dict[str, str]:
        return {node["name"]: node["status"] for node in await self.post("pods/list", BY_NAME)}


@pytest.fixture
async def peer() -> AsyncIterator[PeerOfSkyPilot]:
    async with Emulator(clock="manual") as emulator, aiohttp.ClientSession() as session:
        yield PeerOfSkyPilot(emulator, session)


async def test_cluster_of_two_nodes_through_its_life(peer: PeerOfSkyPilot) -> None:
    await peer.post("pods/list", BY_NAME, code=44003)
    await peer.post("release", BY_NAME, code=44003)
    cluster_id = await peer.create_cluster()
    assert await peer.create_cluster() == cluster_id
    assert await peer.get_status(cluster_id) == "RUNNING"
    assert await peer.post("pods/list", BY_NAME) == []
    head = await peer.create_node(cluster_id, "c-head")
    await peer.create_node(cluster_id, "c-worker")
    other = await peer.create()
    assert await peer.list_statuses() == {"c-head": "INITIALIZE", "c-worker": "INITIALIZE"}
    await peer.emulator.clock.advance(3)
    node = next(node for node in await peer.post("pods/list", BY_NAME) if node["id"] == head)
    assert (node["name"], node["podName"], node["status"], node["region"]) == (
        "c-head",
        "c-head",
        "RUNNING",
        "us-east-2",
    )
    assert (node["gpuType"], node["gpuCount"], node["cloudType"]) == ("NVIDIA_GeForce_RTX_5090_32G", 2, "SECURE")
    assert (node["singleCardVcpu"], node["singleCardRamInGb"], node["containerVolumeInGb"]) == (14, 119, 100)
    assert node["expose"][0] == node["expose"][0] | {"port": 22, "protocol": "SSH", "healthy": True}
    _, answer = await peer.call("GET", f"{ROOT}/{head}")
    assert answer["data"] == {name: value for name, value in node.items() if name != "name"}
    await peer.post("release", BY_NAME)
    assert await peer.get_status(cluster_id) == "TERMINATING"
    await peer.post("create/pod", NODE | {"clusterId": cluster_id, "name": "late"}, code=12001)
    await peer.emulator.clock.advance(1)
    assert await peer.get_status(cluster_id) == "TERMINATED"
    assert await peer.list_statuses() == {"c-head": "TERMINATED", "c-worker": "TERMINATED"}
    _, answer = await peer.call("GET", f"{ROOT}/{other}")
    assert answer["data"]["status"] == "RUNNING"
    assert await peer.create_cluster() != cluster_id
    assert await peer.list_statuses() == {}
    peer.emulator.reset()
    await peer.post("pods/list", BY_NAME, code=44003)


async def test_key_check(peer: PeerOfSkyPilot) -> None:
    assert (await peer.call("GET", "/openapi/key/check?orgId=7"))[1] == {
        "message": "success",
        "code": 10000,
        "data": True,
    }
    assert (await peer.call("GET", "/openapi/key/check"))[1]["code"] == 10001
    assert (await peer.call("GET", "/openapi/key/check?orgId=7", headers={"X-API-KEY": "wrong"}))[0] == 401


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [("create", CLUSTER | {"instanceType": "H100"}, "instanceType"), ("create", CLUSTER | {"nodeNum": 0}, "nodeNum"),
     ("create", CLUSTER | {"instanceType": "3x42v357g_NVIDIA_L4_24G_SECURE"}, "gpuCount"),
     ("create", CLUSTER | {"instanceType": "0x0v0g_NVIDIA_L4_24G_SECURE"}, "instanceType"),
     ("create", {"clusterName": "c"}, "instanceType"), ("pods/list", {}, "clusterName"), ("release", [], "the body"),
     ("create/pod", NODE, "name"), ("create/pod", NODE | {"name": "n", "clusterId": "1", "clusterName": 5}, "clusterName")],
)  # fmt: skip
async def test_wrong_bodies_are_refused_with_the_name_of_the_field(
    peer: PeerOfSkyPilot, path: str, body: Any, field: str
) -> None:
    status, answer = await peer.call("POST", f"{CLUSTERS}/{path}", json=body)
    assert (status, answer["code"]) == (400, 10001)
    assert answer["message"].startswith(f"{field}: ")


async def test_private_image_needs_its_registry(peer: PeerOfSkyPilot) -> None:
    cluster_id = await peer.create_cluster()
    node = NODE | {
        "clusterId": cluster_id,
        "name": "c-head",
        "imagePublicType": "PRIVATE",
        "imageRegistryUsername": "u",
    }
    assert (await peer.call("POST", f"{CLUSTERS}/create/pod", json=node))[0] == 400
    await peer.post("create/pod", node | {"imageRegistryToken": "secret-token"})
    assert "secret-token" not in json.dumps(await peer.post("pods/list", BY_NAME))


async def test_faults_act_on_nodes(peer: PeerOfSkyPilot) -> None:
    peer.emulator.faults.add(kind="stuck", pod_name="*-worker")
    peer.emulator.faults.add(kind="status", on="create", nth=2, code=10002)
    cluster_id = await peer.create_cluster()
    await peer.create_node(cluster_id, "c-worker")
    await peer.post("create/pod", NODE | {"clusterId": cluster_id, "name": "c-head"}, code=10002)
    await peer.post("create/pod", NODE | {"clusterId": "1", "name": "c-head"}, code=44003)
    await peer.create_node(cluster_id, "c-head")
    await peer.emulator.clock.advance(60)
    assert await peer.list_statuses() == {"c-head": "RUNNING", "c-worker": "INITIALIZE"}


@pytest.mark.skipif(not PYTHON, reason="YOTTA_TEST_SKYPILOT_PYTHON names no Python with SkyPilot 0.14")
def test_provisioner_of_skypilot(tmp_path: Path) -> None:
    timings = Timings(initialize=0.2, terminating=0.2)
    with Emulator(timings=timings) as emulator:
        credentials = tmp_path / ".yotta" / "credentials"
        credentials.parent.mkdir()
        credentials.write_text(f"orgId=7\napikey={emulator.api_key}\n")
        done = subprocess.run(
            [str(PYTHON), str(PROGRAM), emulator.url],
            capture_output=True, text=True, timeout=50, env={"HOME": str(tmp_path), "PATH": os.defpath}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        shown = json.loads(done.stdout.splitlines()[-1])
        head, worker = shown["created"]
        assert (shown["key"], shown["before"], shown["again"]) == (True, {}, [])
        assert shown["head"] == shown["info_head"] == head
        assert shown["statuses"] == {head: "UP", worker: "UP"}
        assert set(shown["ssh_ports"]) == {head, worker}
        assert len(set(shown["ssh_ports"].values())) == 2
        assert shown["ports"] == [8080]
        assert shown["terminated"] == {head: "STOPPED", worker: "STOPPED"}
        assert {request.http_status for request in emulator.requests} == {200}
