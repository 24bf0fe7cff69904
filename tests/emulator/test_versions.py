"""Version 2 of the API over the same account as version 1: its names, its forms, and what each sees of the other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import aiohttp
import pytest

from tests.emulator.test_server import CREATE, ROOT, Peer
from yotta_async.emulator import Emulator, Timings

V2 = "/v2/pods"
CREATE_V2: dict[str, Any] = {"name": "p", "image": "ubuntu:24.04", "gpuType": "NVIDIA_L4_24G", "gpuCount": 1}
# The fields of a pod in v2, by the vendor's documents.
POD_FIELDS = {
    "id", "name", "image", "imageRegistry", "gpuType", "gpuDisplayName", "gpuCount", "status", "createdAt", "updatedAt",
    "sshCmd", "resourceType", "region", "cloudType", "containerVolumeInGb", "shmInGb", "singleCardVramInGb",
    "singleCardRamInGb", "singleCardVcpu", "singleCardPrice", "expose", "initializationCommand", "internalIp",
}  # fmt: skip


class PeerV2(Peer):
    """A client of v2 that is not the SDK."""

    async def create_v2(self, **fields: Any) -> Any:
        status, body = await self.call("POST", V2, json=CREATE_V2 | fields)
        assert (status, body["code"], body["message"]) == (200, 10000, "success")
        return body["data"]

    async def get(self, path: str) -> Any:
        status, body = await self.call("GET", path)
        assert (status, body["code"]) == (200, 10000)
        return body["data"]


@pytest.fixture
async def peer() -> AsyncIterator[PeerV2]:
    async with (
        Emulator(clock="manual", timings=Timings(initialize=2.5)) as emulator,
        aiohttp.ClientSession() as session,
    ):
        yield PeerV2(emulator, session)


async def test_create_answers_the_pod_with_the_documented_fields(peer: PeerV2) -> None:
    pod = await peer.create_v2(
        name="trainer",
        gpuType="NVIDIA_RTX_4090_24G",
        gpuCount=2,
        regions=["us-east-2"],
        shmInGb=4,
        environmentVars=[{"key": "A", "value": "secret-value"}],
        expose=[{"port": 22, "protocol": "SSH"}],
    )
    assert set(pod) == POD_FIELDS | {"environmentVars"}
    assert pod["environmentVars"] == [{"key": "A", "value": "secret-value"}]
    assert (type(pod["id"]), pod["name"], pod["gpuType"], pod["gpuCount"]) == (str, "trainer", "NVIDIA_RTX_4090_24G", 2)
    assert (pod["region"], pod["status"], pod["singleCardPrice"]) == ("us-east-2", "INITIALIZE", "0.65")
    assert (pod["createdAt"], pod["updatedAt"]) == (1_767_225_600_000, 1_767_225_600_000)
    await peer.emulator.clock.advance(3)
    running = await peer.get(f"{V2}/{pod['id']}")
    assert (running["status"], running["createdAt"], running["updatedAt"]) == (
        "RUNNING", 1_767_225_600_000, 1_767_225_602_500)  # fmt: skip
    assert running["sshCmd"] == running["expose"][0]["ingressUrl"]
    assert await peer.get(V2) == [running]


async def test_changes_answer_true(peer: PeerV2) -> None:
    path = f"{V2}/{(await peer.create_v2())['id']}"
    await peer.emulator.clock.advance(3)
    for method, action, status in (
        ("POST", "/pause", "PAUSED"),
        ("POST", "/resume", "RUNNING"),
        ("DELETE", "", "TERMINATED"),
    ):
        assert await peer.call(method, path + action) == (200, {"message": "success", "code": 10000, "data": True})
        await peer.emulator.clock.advance(3)
        assert (await peer.get(path))["status"] == status
    assert (await peer.call("DELETE", path))[1]["code"] == 12001
    assert (await peer.call("GET", f"{V2}/1"))[1] == {"message": "pod not found", "code": 13000, "data": None}
    assert (await peer.call("GET", f"{V2}/abc"))[0] == 400


async def test_each_version_sees_the_pods_of_the_other(peer: PeerV2) -> None:
    old = str(await peer.create(podName="old", gpuType="NVIDIA_H100_80GB_HBM3_80G", gpuCount=4))
    new = (
        await peer.create_v2(
            name="new", gpuType="NVIDIA_H100_80G", persistentVolumes=[{"volumeId": 7, "mountPath": "/x"}]
        )
    )["id"]
    pods_v2 = {pod["id"]: pod for pod in await peer.get(V2)}
    pods_v1 = {pod["id"]: pod for pod in await peer.get(f"{ROOT}/list")}
    assert set(pods_v1) == set(pods_v2) == {old, new}
    assert [pods_v1[pod_id]["podName"] for pod_id in (old, new)] == ["old", "new"]
    assert [pods_v2[pod_id]["name"] for pod_id in (old, new)] == ["old", "new"]
    assert {pod["gpuType"] for pod in pods_v1.values()} == {"NVIDIA_H100_80GB_HBM3_80G"}
    assert {pod["gpuType"] for pod in pods_v2.values()} == {"NVIDIA_H100_80G"}
    assert pods_v1[new]["persistentVolumes"][0]["id"] == "7"
    await peer.emulator.clock.advance(3)
    await peer.call("POST", f"{V2}/{old}/pause")
    await peer.call("DELETE", f"{ROOT}/{new}")
    assert (await peer.get(f"{ROOT}/{old}"))["status"] == "PAUSING"
    assert (await peer.get(f"{V2}/{new}"))["status"] == "TERMINATING"


@pytest.mark.parametrize(
    ("query", "count"),
    [("", 3), ("statusList=1", 2), ("statusList=1,3", 3), ("statusList=1&statusList=3", 3), ("statusList=STOPPED", 1),
     ("statusList=PAUSED,INITIALIZING", 1), ("statusList=0", 0), ("regionList=us-east-2", 1),
     ("regionList=us-east-2,us-west-1", 3), ("regionList=us-east-2&statusList=3", 0)],
)  # fmt: skip
async def test_filters(peer: PeerV2, query: str, count: int) -> None:
    await peer.create_v2(regions=["us-east-2"])
    _, pod = [await peer.create_v2() for _ in range(2)]
    await peer.emulator.clock.advance(3)
    await peer.call("POST", f"{V2}/{pod['id']}/pause")
    await peer.emulator.clock.advance(3)
    assert len(await peer.get(f"{V2}?{query}")) == count


async def test_unknown_status_is_refused(peer: PeerV2) -> None:
    assert (await peer.call("GET", f"{V2}?statusList=NONE"))[0] == 400
    assert (await peer.call("GET", f"{ROOT}/list?statusList=STOPPED"))[0] == 400  # v1 has no such name


@pytest.mark.parametrize(
    ("change", "field"),
    [({"name": None}, "name"), ({"name": ""}, "name"), ({"name": "x" * 256}, "name"), ({"image": None}, "image"),
     ({"gpuType": None}, "gpuType"), ({"gpuType": " "}, "gpuType"), ({"gpuCount": None}, "gpuCount"), ({"gpuCount": 3}, "gpuCount"),
     ({"gpuCount": "1"}, "gpuCount"), ({"gpuCount": True}, "gpuCount"), ({"regions": "us-east-2"}, "regions"),
     ({"regions": ["a", "a"]}, "regions"), ({"containerRegistryAuthId": "x"}, "containerRegistryAuthId"),
     ({"imagePublicType": "OFFICIAL"}, "imagePublicType"), ({"imagePublicType": "PRIVATE"}, "imageRegistryUsername"),
     ({"imagePublicType": "PRIVATE", "imageRegistryUsername": "u", "imageRegistryToken": "t"}, "imageRegistryPassword"),
     ({"persistentVolumeInGb": 5}, "persistentMountPath"), ({"persistentVolumes": [{"mountPath": "/x"}]}, "persistentVolumes[0].volumeId")],
)  # fmt: skip
async def test_invalid_create_is_refused_with_the_name_of_the_field(
    peer: PeerV2, change: dict[str, Any], field: str
) -> None:
    status, body = await peer.call("POST", V2, json=CREATE_V2 | change)
    assert (status, body["code"], body["data"]) == (400, 10001, None)
    assert body["message"].startswith(f"{field}: ")


@pytest.mark.parametrize("name", ["name", "image", "gpuType", "gpuCount"])
async def test_required_fields(peer: PeerV2, name: str) -> None:
    status, body = await peer.call("POST", V2, json={key: value for key, value in CREATE_V2.items() if key != name})
    assert (status, body["code"], body["message"]) == (400, 10001, f"{name}: must not be null")


async def test_wrong_key_is_refused(peer: PeerV2) -> None:
    for method, path in (("GET", V2), ("POST", V2), ("GET", "/v2/vms/types")):
        assert (await peer.call(method, path, headers={"X-API-Key": "wrong"}))[0] == 401


async def test_unknown_fields_are_ignored_and_refused_by_a_strict_emulator(peer: PeerV2) -> None:
    await peer.create_v2(regionList=["us-east-2"])
    async with Emulator(strict=True) as emulator, aiohttp.ClientSession() as session:
        strict = PeerV2(emulator, session)
        await strict.create()
        await strict.create_v2(regions=["us-east-2"])
        for path, body, name, similar in (
            (V2, CREATE_V2, "regionList", "regions"), (V2, CREATE_V2, "podName", ""), (f"{ROOT}/create", CREATE, "podname", "podName"),
        ):  # fmt: skip
            status, answer = await strict.call("POST", path, json=body | {name: "x"})
            assert (status, answer["code"]) == (400, 10001)
            assert answer["message"].startswith(f"{name}: is not a field of a create")
            assert similar in answer["message"]


async def test_environment_variables_and_statuses_by_option() -> None:
    options: dict[str, Any] = {"v2_environment_vars": "hidden", "v2_statuses": "guide"}
    async with Emulator(clock="manual", **options) as emulator, aiohttp.ClientSession() as session:
        peer = PeerV2(emulator, session)
        variables = [{"key": "A", "value": "1"}]
        pod = await peer.create_v2(environmentVars=variables)
        assert pod["status"] == "INITIALIZING"
        assert set(pod) == POD_FIELDS
        await emulator.clock.advance(3)
        await peer.call("POST", f"{V2}/{pod['id']}/pause")
        await emulator.clock.advance(3)
        assert [pod["status"] for pod in await peer.get(f"{V2}?statusList=STOPPED")] == ["STOPPED"]
        assert [pod["status"] for pod in await peer.get(f"{V2}?statusList=3")] == ["STOPPED"]
        assert (await peer.get(f"{ROOT}/list"))[0]["status"] == "PAUSED"
    for name in options:
        with pytest.raises(ValueError, match=name):
            Emulator(**options | {name: "else"})


@pytest.mark.parametrize(("ids", "kind"), [("wire", str), ("text", str), ("number", int)])
async def test_form_of_ids(ids: Any, kind: type) -> None:
    async with Emulator(ids=ids) as emulator, aiohttp.ClientSession() as session:
        assert type((await PeerV2(emulator, session).create_v2())["id"]) is kind


async def test_gpu_types_with_their_availability() -> None:
    capacity: dict[str, Any] = {"NVIDIA_H100_80G": {"us-east-2": 2, "moon-1": 1}, "NVIDIA_L4_24G": 1, "NVIDIA_X1_8G": 0}
    async with Emulator(clock="manual", capacity=capacity) as emulator, aiohttp.ClientSession() as session:
        peer = PeerV2(emulator, session)

        async def list_available() -> dict[str, list[str]]:
            types = await peer.get("/v2/vms/types")
            return {
                gpu["gpuType"]: [region["region"] for region in gpu["regions"] if region["available"]] for gpu in types
            }

        first = (await peer.get("/v2/vms/types"))[0]
        assert set(first) == {"gpuType", "regions"}
        assert first["regions"][0] == {
            "region": "us-west-1",
            "regionName": "US West 1",
            "available": True,
            "vmTypeId": 1,
        }
        available = await list_available()
        assert available["NVIDIA_H100_80G"] == ["us-east-2", "moon-1"]
        assert available["NVIDIA_X1_8G"] == []
        assert len(available["NVIDIA_RTX_4090_24G"]) == len(available["NVIDIA_L4_24G"]) == 8
        await peer.create(gpuType="NVIDIA_H100_80GB_HBM3_80G", gpuCount=2, region="us-east-2")
        l4 = await peer.create_v2()
        available = await list_available()
        assert (available["NVIDIA_H100_80G"], available["NVIDIA_L4_24G"]) == (["moon-1"], [])
        await emulator.clock.advance(3)
        await peer.call("DELETE", f"{V2}/{l4['id']}")
        assert len((await list_available())["NVIDIA_L4_24G"]) == 8
    with pytest.raises(ValueError, match="twice"):
        Emulator(capacity={"NVIDIA_H100_80G": 1, "NVIDIA_H100_80GB_HBM3_80G": 1})


@pytest.mark.parametrize("gpu_type", ["NVIDIA_H100_80G", "NVIDIA_H100_80GB_HBM3_80G"])
async def test_both_names_of_a_gpu_type_are_the_same_gpus(gpu_type: str) -> None:
    capacity = {gpu_type: 1}
    async with (
        Emulator(capacity=capacity, scarcity="refuse", strict=True) as emulator,
        aiohttp.ClientSession() as session,
    ):
        peer = PeerV2(emulator, session)
        pod = await peer.create_v2(gpuType="NVIDIA_H100_80GB_HBM3_80G")
        assert (pod["gpuType"], pod["gpuDisplayName"]) == ("NVIDIA_H100_80G", "H100")
        _, body = await peer.call("POST", f"{ROOT}/create", json=CREATE | {"gpuType": "NVIDIA_H100_80G"})
        assert "insufficient capacity" in body["message"]


async def test_faults_act_on_both_versions(peer: PeerV2) -> None:
    peer.emulator.faults.add(kind="stuck", pod_name="slow-*")
    peer.emulator.faults.add(kind="unknown_status", pod_name="odd", status="REBUILDING")
    slow = await peer.create_v2(name="slow-1")
    await peer.create_v2(name="odd")
    statuses = {pod["name"]: pod["status"] for pod in await peer.get(V2)}
    assert statuses == {"slow-1": "INITIALIZE", "odd": "REBUILDING"}
    await peer.emulator.clock.advance(60)
    assert (await peer.get(f"{V2}/{slow['id']}"))["status"] == "INITIALIZE"
    peer.emulator.faults.add(kind="list_lag", seconds=58)
    assert [pod["status"] for pod in await peer.get(f"{V2}?statusList=0")] == ["INITIALIZE"]
    peer.emulator.faults.clear()
    peer.emulator.faults.add(kind="status", on="gpus", http_status=503)
    assert (await peer.call("GET", "/v2/vms/types"))[0] == 503
    peer.emulator.faults.add(kind="missing_from_list", pod_name="odd")
    assert [pod["name"] for pod in await peer.get(V2)] == ["slow-1"]
    peer.emulator.faults.add(kind="answer_lost_after_commit", on="create", pod_name="lost")
    with pytest.raises(aiohttp.ClientError):
        await peer.create_v2(name="lost")
    assert [pod["podName"] for pod in await peer.get(f"{ROOT}/list")] == ["lost", "slow-1"]
    assert peer.emulator.requests[-2].faults == ("answer_lost_after_commit",)


async def test_state_file_keeps_the_times_of_pods(tmp_path: Any) -> None:
    state = tmp_path / "pods.db"
    shown: list[Any] = []
    for _ in range(2):
        async with Emulator(clock="manual", state=state) as emulator, aiohttp.ClientSession() as session:
            peer = PeerV2(emulator, session)
            if not shown:
                await peer.create_v2()
                await emulator.clock.advance(3)
            shown.append(await peer.get(V2))
    assert shown[0] == shown[1]


def test_every_name_in_the_catalogue_is_of_one_gpu_type() -> None:
    catalogue = json.loads(files("yotta_async").joinpath("gpus.json").read_text(encoding="utf-8"))
    names = [name for gpu in catalogue["gpu_types"] for name in {gpu["v1"], gpu["v2"]}]
    assert len(names) == len(set(names))
    assert catalogue["default_region"] in catalogue["regions"]


async def test_control_routes_act_on_version_2() -> None:
    async with Emulator(clock="manual", control=True) as emulator, aiohttp.ClientSession() as session:
        peer = PeerV2(emulator, session)

        async def control(method: str, path: str, body: Any = None) -> Any:
            headers = {"X-API-Key": emulator.api_key}
            url = f"{emulator.url}/_emulator/{path}"
            async with session.request(method, url, json=body, headers=headers) as response:
                assert response.status == 200
                return await response.json()

        await control("POST", "faults", {"kind": "status", "on": "create", "nth": 1, "http_status": 503})
        assert (await peer.call("POST", V2, json=CREATE_V2))[0] == 503
        pod = await peer.create_v2()
        await control("POST", "clock", {"advance": 60})
        assert (await peer.get(f"{V2}/{pod['id']}"))["status"] == "RUNNING"
        recorded = [
            (request["method"], request["path"], request["faults"]) for request in await control("GET", "requests")
        ]
        assert recorded == [("POST", V2, ["status"]), ("POST", V2, []), ("GET", f"{V2}/{pod['id']}", [])]
        assert [pod["podName"] for pod in (await control("GET", "state"))["pods"]] == ["p"]
