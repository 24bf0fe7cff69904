"""The emulator's HTTP server, tested without the SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import SPEC
from yotta_async.emulator import Emulator, Timings

SCHEMAS = json.loads((Path(__file__).parent.parent / "data/pods-v1.openapi.json").read_text())["components"]["schemas"]
ROOT = "/openapi/v1/pods"
CLUSTERS = "/openapi/v1/skypilot/cluster"
CREATE: dict[str, Any] = {"image": "ubuntu:24.04", "gpuType": "NVIDIA_L4_24G"}


class Peer:
    """A client that is not the SDK."""

    def __init__(self, emulator: Emulator, session: aiohttp.ClientSession) -> None:
        self.emulator = emulator
        self.session = session

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        headers = {"X-API-Key": self.emulator.api_key} | options.pop("headers", {})
        async with self.session.request(method, self.emulator.url + path, headers=headers, **options) as response:
            assert response.content_type == "application/json"
            body = await response.json()
            assert set(body) == {"message", "code", "data"}
            return response.status, body

    async def create(self, **fields: Any) -> int:
        status, body = await self.call("POST", f"{ROOT}/create", json=CREATE | fields)
        assert (status, body["code"], body["message"]) == (200, 10000, "success")
        pod_id: int = body["data"]
        return pod_id


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Emulator(clock="manual") as emulator, aiohttp.ClientSession() as session:
        yield Peer(emulator, session)


def check(value: Any, schema: dict[str, Any], where: str = "data") -> None:
    """Compare with the API's own schema; ids are text in responses, and every field may be null."""
    if value is None:
        return
    if "$ref" in schema:
        check(value, SCHEMAS[schema["$ref"].rpartition("/")[2]], where)
    elif schema.get("type") == "object":
        assert set(value) <= set(schema["properties"]), where
        for name, part in value.items():
            check(part, schema["properties"][name], f"{where}.{name}")
    elif schema.get("type") == "array":
        for part in value:
            check(part, schema["items"], where)
    else:
        kinds = {"integer": int, "number": int | float, "string": str, "boolean": bool}
        kind = str if schema.get("format") == "int64" else kinds[schema["type"]]
        assert isinstance(value, kind), where
        assert value in schema.get("enum", [value]), where


async def test_response_has_exactly_the_documented_fields(peer: Peer) -> None:
    pod_id = await peer.create(
        gpuCount=2,
        expose=[{"port": 22, "protocol": "SSH"}, {"port": 80}],
        environmentVars=[{"key": "A", "value": "1"}],
        persistentVolumes=[{"id": 5, "mountPath": "/x", "volumeType": "NFS", "mountMode": "rw"}],
        imageRegistryToken="secret-token",
        shmInGb=4,
    )
    status, body = await peer.call("GET", f"{ROOT}/{pod_id}")
    assert status == 200
    pod = body["data"]
    schema = SCHEMAS["OpenapiPodListDetailResponse"]
    assert set(pod) == set(schema["properties"])
    check(pod, schema)
    assert pod["id"] == str(pod_id)
    assert len(pod["id"]) == 18
    assert "secret-token" not in json.dumps(body)
    _, listed = await peer.call("GET", f"{ROOT}/list")
    assert listed["data"] == [pod]


async def test_statuses_follow_each_other_by_the_clock(peer: Peer) -> None:
    clock = peer.emulator.clock
    pod_id = await peer.create()

    async def status() -> str:
        _, body = await peer.call("GET", f"{ROOT}/{pod_id}")
        return str(body["data"]["status"])

    async def change(method: str, path: str) -> int:
        _, body = await peer.call(method, path)
        assert body["data"] is None
        return int(body["code"])

    assert await status() == "INITIALIZE"
    assert await change("POST", f"{ROOT}/pause/{pod_id}") == 12001
    await clock.advance(3)
    assert await status() == "RUNNING"
    assert await change("POST", f"{ROOT}/resume/{pod_id}") == 12001
    assert await change("POST", f"{ROOT}/pause/{pod_id}") == 10000
    assert await status() == "PAUSING"
    await clock.advance(1)
    assert await status() == "PAUSED"
    assert await change("POST", f"{ROOT}/resume/{pod_id}") == 10000
    assert await status() == "INITIALIZE"
    await clock.advance(3)
    assert await change("DELETE", f"{ROOT}/{pod_id}") == 10000
    assert await status() == "TERMINATING"
    assert await change("DELETE", f"{ROOT}/{pod_id}") == 12001
    await clock.advance(1)
    assert await status() == "TERMINATED"
    await clock.advance(86_398)
    assert await status() == "TERMINATED"
    await clock.advance(2)
    assert await change("GET", f"{ROOT}/{pod_id}") == 13000


async def test_updated_at_is_the_time_of_the_status_change() -> None:
    timings = Timings(initialize=10.0)
    async with Emulator(clock="manual", timings=timings) as emulator, aiohttp.ClientSession() as session:
        peer = Peer(emulator, session)
        pod_id = await peer.create()
        await emulator.clock.advance(3600)
        _, body = await peer.call("GET", f"{ROOT}/{pod_id}")
    assert (body["data"]["createdAt"], body["data"]["updatedAt"]) == ("2026-01-01 00:00:00", "2026-01-01 00:00:10")


async def test_same_seed_gives_the_same_ids() -> None:
    async def ids(seed: int) -> list[int]:
        async with Emulator(seed=seed) as emulator, aiohttp.ClientSession() as session:
            return [await Peer(emulator, session).create() for _ in range(5)]

    assert await ids(1) == await ids(1) != await ids(2)


@pytest.mark.parametrize("form", ["1,3", "RUNNING,PAUSED", "running", "1&statusList=3", "1&statusList=PAUSED", ""])
async def test_status_list_accepts_every_form(peer: Peer, form: str) -> None:
    running = await peer.create()
    await peer.emulator.clock.advance(3)
    new = await peer.create()
    status, body = await peer.call("GET", f"{ROOT}/list?statusList={form}")
    assert status == 200
    expected = [str(new), str(running)] if form == "" else [str(running)]
    assert [pod["id"] for pod in body["data"]] == expected


@pytest.mark.parametrize("form", ["5", "NONSENSE", "1,x", "-1", "99999999999"])
async def test_status_list_refuses_unknown_statuses(peer: Peer, form: str) -> None:
    status, body = await peer.call("GET", f"{ROOT}/list?statusList={form}")
    assert (status, body["code"]) == (400, 10001)
    assert "statusList" in body["message"]


async def test_region_list_accepts_every_form(peer: Peer) -> None:
    for region in ("us-east-2", "us-west-1", "ap-southeast-1"):
        await peer.create(region=region)
    await peer.create(regionList=["us-east-2", "elsewhere"])
    for form, count in (
        ("us-east-2", 2),
        ("us-east-2,us-west-1", 3),
        ("us-west-1&regionList=ap-southeast-1", 2),
        ("x", 0),
    ):
        _, body = await peer.call("GET", f"{ROOT}/list?regionList={form}")
        assert len(body["data"]) == count


@pytest.mark.parametrize(
    ("change", "field"),
    [({"image": None}, "image"), ({"image": ""}, "image"), ({"image": "x" * 256}, "image"), ({"gpuType": ""}, "gpuType"),
     ({"gpuCount": 3}, "gpuCount"), ({"gpuCount": "1"}, "gpuCount"), ({"gpuCount": True}, "gpuCount"), ({"shmInGb": 0}, "shmInGb"),
     ({"minSingleCardRamInGb": 1537}, "minSingleCardRamInGb"), ({"expose": [{}]}, "expose[0].port"),
     ({"expose": [{"port": 65536}]}, "expose[0].port"), ({"expose": {"port": 1}}, "expose"),
     ({"environmentVars": [{"key": "A"}]}, "environmentVars[0].value"),
     ({"environmentVars": [{"key": "", "value": "x"}]}, "environmentVars[0].key"),
     ({"regionList": ["a", "a"]}, "regionList"), ({"imagePublicType": "SECRET"}, "imagePublicType"),
     ({"imagePublicType": "PRIVATE"}, "imageRegistryUsername"), ({"credentialId": -1}, "credentialId"),
     ({"persistentVolumes": [{"volumeType": "NFS"}]}, "persistentVolumes[0].mountPath"),
     ({"persistentVolumes": [{"volumeType": "NFS", "mountPath": "/x", "volumePrice": float("inf")}]}, "JSON")],
)  # fmt: skip
async def test_invalid_create_is_refused_with_the_name_of_the_field(
    peer: Peer, change: dict[str, Any], field: str
) -> None:
    status, body = await peer.call("POST", f"{ROOT}/create", json=CREATE | change)
    assert (status, body["code"], body["data"]) == (400, 10001, None)
    assert field in body["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"\xff", b"[" * 100_000, b'{"gpuCount": NaN}'])
async def test_create_body_that_is_not_an_object_is_refused(peer: Peer, body: bytes) -> None:
    status, response = await peer.call("POST", f"{ROOT}/create", data=body)
    assert (status, response["code"]) == (400, 10001)


@pytest.mark.parametrize("key", ["", "wrong", "émulator"])
async def test_wrong_key_is_refused(peer: Peer, key: str) -> None:
    for method, path in (("GET", f"{ROOT}/list"), ("POST", f"{ROOT}/create"), ("GET", "/nowhere")):
        status, _ = await peer.call(method, path, headers={"x-api-key": key})
        assert status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Host": "evil.example.com"}, 403), ({"Host": "127.0.0.1.evil.com:80"}, 403), ({"Host": "localhost:1"}, 200),
     ({"Host": "[::1]:5"}, 200), ({"Host": "[::1]"}, 200), ({"Origin": "http://localhost"}, 403), ({"Origin": "null"}, 403)],
)  # fmt: skip
async def test_foreign_host_and_origin_are_refused(peer: Peer, headers: dict[str, str], status: int) -> None:
    assert (await peer.call("GET", f"{ROOT}/list", headers=headers))[0] == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", f"{ROOT}/abc", 400), ("GET", f"{ROOT}/{'9' * 20}", 400), ("DELETE", f"{ROOT}/create", 400),
     ("PUT", f"{ROOT}/list", 405), ("POST", f"{ROOT}/pause/x", 400)],
)  # fmt: skip
async def test_routing_errors_are_envelopes(peer: Peer, method: str, path: str, status: int) -> None:
    assert (await peer.call(method, path))[0] == status


async def test_unknown_path_is_named_with_the_routes_that_exist(peer: Peer) -> None:
    for method, path, status in (("GET", "/openapi/v1/gpus", 404), ("PATCH", f"{ROOT}/create", 405)):
        assert await peer.call(method, path) == (
            status,
            {
                "code": status,
                "data": None,
                "message": f"the emulator has no route {method} {path}. Routes: POST {ROOT}/create, GET {ROOT}/list, "
                f"POST {ROOT}/pause/{{podId}}, POST {ROOT}/resume/{{podId}}, GET {ROOT}/{{podId}}, "
                f"DELETE {ROOT}/{{podId}}, GET /openapi/key/check, POST {CLUSTERS}/create, "
                f"GET {CLUSTERS}/status/{{clusterId}}, POST {CLUSTERS}/create/pod, POST {CLUSTERS}/pods/list, "
                f"POST {CLUSTERS}/release",
            },
        )
    _, body = await peer.call("GET", "/v2/nothing")
    assert body["message"].endswith("POST /v2/pods/{podId}/resume, GET /v2/vms/types")
    _, body = await peer.call("GET", "/v3/pods")
    assert all(f"GET {path}" in body["message"] for path in (f"{ROOT}/list", "/v2/pods", "/openapi.json"))


async def test_strict_emulator_refuses_gpu_types_that_are_not_in_the_catalogue() -> None:
    async with Emulator(strict=True, faults=[{"kind": "failed"}]) as emulator, aiohttp.ClientSession() as session:
        peer = Peer(emulator, session)
        for unknown in ("NVIDIA_L4", "x" * 10_000):
            status, body = await peer.call("POST", f"{ROOT}/create", json=CREATE | {"gpuType": unknown})
            assert (status, body["code"]) == (400, 10001)
            assert body["message"].startswith(
                f"gpuType: '{unknown[:200]}' is not in the emulator's catalogue. Similar: "
            )
            assert next(iter(emulator.faults)).fired == 0
        assert (
            "NVIDIA_L4_24G"
            in (await peer.call("POST", f"{ROOT}/create", json=CREATE | {"gpuType": "L4"}))[1]["message"]
        )
        await peer.create()
    async with Emulator() as emulator, aiohttp.ClientSession() as session:
        await Peer(emulator, session).create(gpuType="NVIDIA_L4")


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "example.com", "::", "", None])
def test_host_must_be_a_loopback_address(host: Any) -> None:
    with pytest.raises(ValueError, match="loopback"):
        Emulator(host=host)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="clock must be 'real' or 'manual' or 'auto', not 'fast'"):
        Emulator(clock="fast")  # type: ignore[arg-type]  # wrong on purpose
    for key in ("", " ", "a\n", "é"):
        with pytest.raises(ValueError, match="api_key"):
            Emulator(api_key=key)
    with pytest.raises(ValueError, match="port"):
        Emulator(port=70000)
    with pytest.raises(TypeError, match="timings"):
        Emulator(timings=5)  # type: ignore[arg-type]  # likewise
    for wrong in (-1, (3, 1), "1", (1, 2, 3), float("nan")):
        with pytest.raises(ValueError, match=r"Timings\.initialize"):
            Timings(initialize=wrong)  # type: ignore[arg-type]  # likewise
    with pytest.raises(RuntimeError, match="not started"):
        _ = Emulator().url


async def test_requests_are_recorded(peer: Peer) -> None:
    await peer.emulator.clock.advance(5)
    await peer.call("GET", f"{ROOT}/list?statusList=1")
    request = peer.emulator.requests[-1]
    assert (request.time, request.method, request.path) == (5.0, "GET", f"{ROOT}/list")
    assert (request.query, request.http_status) == ("statusList=1", 200)


async def test_port_in_use_is_an_error_and_closing_twice_is_not() -> None:
    async with Emulator() as first:
        with pytest.raises(OSError, match="address"):
            await Emulator(port=int(first.url.rpartition(":")[2])).start()
        await first.aclose()
    await first.aclose()


async def test_other_loopback_address_and_key_that_is_not_ascii() -> None:
    async with Emulator(host="127.0.0.2") as emulator, emulator.client() as yotta:
        assert await yotta.pods.list() == []
        reader, writer = await asyncio.open_connection("127.0.0.2", int(emulator.url.rpartition(":")[2]))
        writer.write(b"GET /openapi/v1/pods/list HTTP/1.1\r\nHost: 127.0.0.2\r\nx-api-key: \xff\xfe\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
        writer.close()


async def test_infinite_price_is_refused(peer: Peer) -> None:
    volume = b'{"volumeType": "NFS", "mountPath": "/x", "volumePrice": 1e999}'
    body = b'{"image": "a", "gpuType": "b", "persistentVolumes": [' + volume + b"]}"
    status, response = await peer.call("POST", f"{ROOT}/create", data=body)
    assert (status, response["code"]) == (400, 10001)
    assert "volumePrice" in response["message"]


@pytest.mark.parametrize("scarcity", ["fail", "refuse"])
async def test_capacity_by_gpu_type(scarcity: Any) -> None:
    capacity = {"NVIDIA_L4_24G": 3}
    async with Emulator(clock="auto", capacity=capacity, scarcity=scarcity) as emulator, emulator.client() as yotta:
        report = await yotta.pods.create_many([{**SPEC, "gpu_count": 2}, SPEC, SPEC], until="RUNNING", concurrency=1)
        assert [item.error is None for item in report.items] == [True, True, False]
        assert len(await yotta.pods.list()) == (3 if scarcity == "fail" else 2)
        await yotta.pods.delete(report.items[1].pod_id or "")
        assert len((await yotta.pods.create_many([SPEC], until="RUNNING")).succeeded) == 1
    with pytest.raises(ValueError, match="scarcity"):
        Emulator(scarcity="none")  # type: ignore[arg-type]  # wrong on purpose
