"""What the versions of the API have of their own, on the wire and read from the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.test_responses import parts, pod_or_none, response_of, values
from tests.calls import name_call
from tests.conftest import KEY, SPEC
from tests.raw_server import RawServer, Reply, envelope
from yotta_async import (
    CapacityError,
    ConfigurationError,
    CreateOutcomeUnknownError,
    InvalidRequestError,
    NotFoundError,
    PersistentVolumeRequest,
    Pod,
    PodHandle,
    PodSpec,
    PodStatus,
    ProtocolError,
    YottaClient,
)
from yotta_async.api import converter, responses
from yotta_async.api.converter import parse_pod_json, structure
from yotta_async.api.pod_list import parse_pods
from yotta_async.api.requests import build_create_request, build_get_request, build_list_request
from yotta_async.api.responses import UnreadableLog, parse_created, parse_pod
from yotta_async.api.versions import V2
from yotta_async.emulator import Emulator

Make = Callable[..., YottaClient]

# Every field of a pod in v2, in the forms that its documents have.
POD: dict[str, Any] = {
    "id": "331864222263676928", "name": "mine", "image": "ubuntu:24.04", "imageRegistry": "https://index.docker.io/v1/",
    "gpuType": "NVIDIA_RTX_5090_32G", "gpuDisplayName": "RTX 5090", "gpuCount": 2, "status": "RUNNING",
    "createdAt": 1751624996000, "updatedAt": 1751624997000, "sshCmd": "ssh root@host", "resourceType": "GPU",
    "region": "us-west-1", "cloudType": "SECURE", "containerVolumeInGb": 0, "shmInGb": 8, "singleCardVramInGb": 32,
    "singleCardRamInGb": 64, "singleCardVcpu": 8, "singleCardPrice": "0.65",
    "expose": [{"port": 22, "proxyPort": 32002, "protocol": "SSH", "host": "1.2.3.4", "healthy": True}],
    "initializationCommand": "", "internalIp": "10.0.0.1",
}  # fmt: skip


def body_of(server: RawServer) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(server.received[0].body)
    return body


# Which version is spoken


async def test_version_is_an_argument_or_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def version(**options: Any) -> str:
        async with YottaClient(KEY, **options) as yotta:
            return yotta.api_version

    monkeypatch.delenv("YOTTA_API_VERSION")
    assert (await version(), await version(api_version="v2")) == ("v1", "v2")
    monkeypatch.setenv("YOTTA_API_VERSION", "v2")
    assert (await version(), await version(api_version="v1")) == ("v2", "v1")
    monkeypatch.setenv("YOTTA_API_VERSION", "")
    assert await version() == "v1"


@pytest.mark.parametrize("wrong", ["v3", "2", "V2", "", "x" * 100, 2, True, ["v1"]])
def test_version_that_there_is_not_is_refused(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = repr(wrong[:40]) if isinstance(wrong, str) else f"a value of type {type(wrong).__name__}"
    with pytest.raises(ConfigurationError, match=f"^api_version must be 'v1' or 'v2', not {shown}$"):
        YottaClient(KEY, api_version=wrong)
    monkeypatch.setenv("YOTTA_API_VERSION", "v3")
    with pytest.raises(ConfigurationError, match=r"^\$YOTTA_API_VERSION must be 'v1' or 'v2', not 'v3'$"):
        YottaClient(KEY)


async def test_pod_of_one_version_is_seen_by_the_other() -> None:
    async with (
        Emulator(clock="auto") as emulator,
        emulator.client(api_version="v1") as first,
        emulator.client(api_version="v2") as second,
    ):
        made = await second.pods.create(**SPEC, pod_name="mine", gpu_count=2)
        before = await first.pods.get(made)
        after = await second.pods.get(made)
        assert before.pod_name == after.pod_name == "mine"
        assert (before.created_at, before.single_card_price) == (after.created_at, after.single_card_price)
        await first.pods.pause(await second.pods.wait_until(made))
        assert (await second.pods.wait_until(made, status="STOPPED")).status is PodStatus.PAUSED
        await second.pods.delete(made)
        assert {request.path.split("/")[1] for request in emulator.requests} == {"openapi", "v2"}


# What is sent


async def test_create_has_the_names_of_v2(server: RawServer, client_of: Make) -> None:
    server.answers(envelope(POD))
    handle = await client_of(api_version="v2").pods.create(
        **SPEC,
        gpu_count=2,
        pod_name="mine",
        region="a",
        region_list=["b", "a"],
        image_public_type="PRIVATE",
        image_registry_username="me",
        image_registry_token="hunter2",
        credential_id=331864222263676928,
        environment_vars={"A": "1"},
        persistent_volumes=[
            PersistentVolumeRequest(
                mount_path="/data",
                volume_type="NFS",
                id=5,
                name="data",
                mount_mode="rw",
                volume_size=7,
                volume_price=0.1,
                cloud_storage_type="S3",
                system_volume_type="Local",
                system_volume_type_enum="LOCAL",
                need_backup=True,
            )
        ],
    )
    [request] = server.received
    assert (request.method, request.target) == ("POST", "/v2/pods")
    body = body_of(server)
    assert body.pop("environmentVars")[0] == {"key": "A", "value": "1"}
    assert body == {
        "image": "ubuntu:24.04",
        "gpuType": "NVIDIA_L4_24G",
        "gpuCount": 2,
        "name": "mine",
        "regions": ["a", "b"],
        "imagePublicType": "PRIVATE",
        "imageRegistryUsername": "me",
        "imageRegistryPassword": "hunter2",
        "containerRegistryAuthId": 331864222263676928,
        "persistentVolumes": [{"mountPath": "/data", "volumeId": 5, "needBackup": True}],
    }
    assert handle.id == POD["id"]


async def test_v2_is_sent_a_name_and_a_count_that_the_caller_does_not_give(server: RawServer, client_of: Make) -> None:
    server.answers(envelope(POD))
    await client_of(api_version="v2").pods.create(**SPEC)
    body = body_of(server)
    assert body["gpuCount"] == 1
    assert body["name"] == f"yotta-async-{body['environmentVars'][0]['value']}"
    assert "region" not in body
    server.answers(envelope(POD | {"name": "any"}))
    await client_of(api_version="v2", client_token=False).pods.create(**SPEC)
    body = body_of(server)
    assert body["name"].startswith("yotta-async-")
    assert "environmentVars" not in body
    server.answers(envelope(7))
    await client_of(api_version="v1", client_token=False).pods.create(**SPEC)
    assert body_of(server) == {"image": "ubuntu:24.04", "gpuType": "NVIDIA_L4_24G"}


async def test_name_that_was_drawn_for_another_pod_is_not_taken_over(server: RawServer, client_of: Make) -> None:
    old = f"yotta-async-{'a' * 32}"
    server.answers(envelope(7))
    await client_of(api_version="v2").pods.create(**SPEC, pod_name=old)
    assert body_of(server)["name"] == f"yotta-async-{body_of(server)['environmentVars'][0]['value']}" != old


async def test_calls_of_v2_have_its_paths(server: RawServer, client_of: Make) -> None:
    pods = client_of(api_version="v2").pods
    server.answers(envelope(True))
    await pods.pause(7)
    await pods.resume(7)
    await pods.delete(7)
    server.replies = [envelope([POD])]
    await pods.list(regions=["a b", "c"], statuses=["RUNNING", "STOPPED"])
    assert [(request.method, request.target.split("?")[0]) for request in server.received] == [
        ("POST", "/v2/pods/7/pause"),
        ("POST", "/v2/pods/7/resume"),
        ("DELETE", "/v2/pods/7"),
        ("GET", "/v2/pods"),
    ]
    regions, statuses = server.received[-1].target.partition("?")[2].split("&")
    assert regions == "regionList=a%20b,c"
    assert statuses in ("statusList=1,3", "statusList=3,1")


@pytest.mark.parametrize(
    ("version", "volume", "message"),
    [
        ("v2", {}, r"persistent_volumes\[0\] needs id: API v2"),
        ("v1", {"id": 5, "need_backup": True}, r"persistent_volumes\[0\] has need_backup, which API v1"),
    ],
)
async def test_what_a_version_cannot_express_is_refused_before_anything_is_sent(
    server: RawServer, client_of: Make, version: str, volume: dict[str, Any], message: str
) -> None:
    fields = {**SPEC, "persistent_volumes": [{"mount_path": "/data", "volume_type": "NFS", **volume}]}
    pods = client_of(api_version=version).pods
    for call in (
        lambda: pods.create(**fields),
        lambda: pods.create_many([SPEC, fields]),
        lambda: pods.create_many([SPEC], fallbacks=[{"persistent_volumes": fields["persistent_volumes"]}]),
        lambda: pods.plan([fields]),
    ):
        with pytest.raises(InvalidRequestError, match=message):
            await call()
    with pytest.raises(InvalidRequestError, match=message):
        pods.ephemeral(**fields)
    assert server.received == []


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_host_without_the_version_is_named(server: RawServer, client_of: Make, version: str) -> None:
    server.answers(envelope(code=404, message="no such path", status=404))
    pods = client_of(api_version=version).pods
    for call in (pods.list, lambda: pods.create(**SPEC)):
        with pytest.raises(NotFoundError, match="check base_url and api_version"):
            await call()


# What is read


async def test_create_of_v2_gives_the_first_pod_without_a_request(server: RawServer, client_of: Make) -> None:
    server.answers(envelope(POD))
    yotta = client_of(api_version="v2")
    handle = await yotta.pods.create(**SPEC, pod_name="mine")
    assert handle.pod is not None
    assert (handle.pod.id, handle.pod.pod_name, handle.pod.status) == (POD["id"], "mine", "RUNNING")
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("data", "has_pod"),
    [("7", False), (7, False), ({"id": 7}, True), ({"id": "7", "status": "INITIALIZING", "regions": ["a"]}, True)],
)
async def test_create_of_v2_is_answered_in_several_forms(
    server: RawServer, client_of: Make, data: Any, has_pod: bool
) -> None:
    server.answers(envelope(data))
    handle = await client_of(api_version="v2").pods.create(**SPEC)
    assert (handle.id, handle.pod is not None) == ("7", has_pod)


@pytest.mark.parametrize(
    "data",
    [{}, None, [], {"id": None}, {"id": "a/b"}, {"name": "x"}, {"id": 7, "name": f"yotta-async-{'a' * 32}"},
     {"id": 7, "environmentVars": [{"key": "YOTTA_CLIENT_TOKEN", "value": "another"}]}],
)  # fmt: skip
async def test_answer_without_the_pod_of_the_create_is_settled_by_a_list(
    server: RawServer, client_of: Make, data: Any
) -> None:
    async def listed(request: Any, writer: asyncio.StreamWriter) -> None:
        await envelope([{"id": 8, "name": body_of(server)["name"]}])(request, writer)

    server.answers(envelope(data), listed)
    handle = await client_of(api_version="v2").pods.create(**SPEC)
    assert handle.id == "8"
    assert [(request.method, request.path) for request in server.received] == [
        ("POST", "/v2/pods"),
        ("GET", "/v2/pods"),
    ]


async def test_refusal_for_lack_of_capacity_is_known_in_v2(server: RawServer, client_of: Make) -> None:
    server.answers(envelope(code=10001, message="insufficient capacity"))
    pods = client_of(api_version="v2").pods
    with pytest.raises(CapacityError):
        await pods.create(**SPEC)


def test_documented_pod_of_v2_takes_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = structure(POD, Pod, V2)
    for module in (converter, responses):
        monkeypatch.setattr(module, "structure", None)
    raw = json.dumps(POD).encode()
    pod = parse_pod_json(raw, V2)
    assert pod == expected
    assert (pod.pod_name, pod.single_card_price, pod.hourly_price) == ("mine", 0.65, 1.3)
    assert pod.created_at == datetime(2025, 7, 4, 10, 29, 56, tzinfo=UTC)
    assert (pod.extra, pod.unreadable) == ({}, ())
    body = b'{"message":"success","code":10000,"data":%b}' % raw
    assert parse_pod(build_get_request(pod.id, V2), response_of(body), pod.id, UnreadableLog(), V2) == pod
    listed = response_of(b'{"message":"success","code":10000,"data":[%b]}' % raw)
    assert asyncio.run(parse_pods(build_list_request((), (), V2), listed, UnreadableLog(), V2)).pods == [pod]


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from([*POD, "podName", "environmentVars", "regions", "new"]), values, max_size=4),
       st.lists(parts, max_size=2))  # fmt: skip
def test_struct_and_converter_agree_on_v2(change: dict[str, Any], ports: list[Any]) -> None:
    pod = POD | {"expose": ports} | change
    read = pod_or_none(parse_pod_json, json.dumps(pod).encode(), V2)
    assert read == pod_or_none(lambda value: structure(value, Pod, V2), pod)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("word", "status", "kept"),
    [
        ("INITIALIZING", "INITIALIZE", True),
        ("STOPPED", "PAUSED", True),
        ("stopped", "PAUSED", True),
        ("PAUSED", "PAUSED", False),
        ("RUNNING", "RUNNING", False),
        ("REBUILDING", "REBUILDING", False),
    ],
)
async def test_other_words_for_statuses_are_read_and_kept(
    server: RawServer, client_of: Make, version: str, word: str, status: str, kept: bool
) -> None:
    shown = {"id": "7", "status": word}
    server.answers(envelope(shown), envelope([shown, {**shown, "id": 8}]), envelope({**shown, "new": 1}))
    pods = client_of(api_version=version).pods
    for pod in (await pods.get(7), *await pods.list(), await pods.get(7)):
        assert pod.status == status
        assert pod.extra.get("status") == (word if kept else None)


def test_pod_of_v1_in_a_response_of_v2_is_understood() -> None:
    pod = structure({"id": 7, "podName": "mine", "singleCardPrice": 0.5, "createdAt": "2025-07-04 10:29:56"}, Pod, V2)
    assert (pod.pod_name, pod.single_card_price, pod.extra) == ("mine", 0.5, {})
    for nothing in (None, ""):
        assert structure({"podName": "mine", "id": 7, "name": nothing}, Pod, V2) == Pod(id="7", pod_name="mine")
    both = structure({"id": 7, "name": "mine", "podName": "other"}, Pod, V2)
    assert (both.pod_name, both.extra) == ("mine", {"podName": "other"})
    odd = response_of(b'{"code":10000,"data":{"id":7,"name":"mine","new":1}}')
    assert parse_pod(build_get_request("7", V2), odd, "7", UnreadableLog(), V2).pod_name == "mine"
    assert pod.created_at == datetime(2025, 7, 4, 10, 29, 56, tzinfo=UTC)


def test_token_of_a_create_counts_in_its_answer() -> None:
    request = build_create_request(PodSpec(**SPEC), "a" * 32, V2)
    body = json.dumps({"code": 10000, "data": {"id": 7, "name": f"yotta-async-{'a' * 32}"}}).encode()
    assert parse_created(request, response_of(body), "a" * 32, UnreadableLog(), V2).id == "7"
    for token in ("b" * 32, None):
        with pytest.raises(ProtocolError, match="the pod of another create"):
            parse_created(request, response_of(body), token, UnreadableLog(), V2)


async def test_pod_of_a_create_with_unreadable_fields_is_warned_of(
    server: RawServer, client_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers(envelope(POD | {"gpuCount": "many"}))
    pods = client_of(api_version="v2").pods
    for handle in (await pods.create(**SPEC), await pods.create(**SPEC)):
        assert handle.pod is not None
        assert handle.pod.unreadable == ("gpuCount",)
    [warning] = caplog.messages
    assert warning.startswith(f"/v2/pods: the field 'gpuCount' of a pod ('{POD['id']}')")


# A stranger's server, which follows the documents in one of their forms


@pytest.mark.parametrize("deleted", [True, None, {}])
@pytest.mark.parametrize("starting", ["INITIALIZING", "INITIALIZE"])
async def test_pod_lives_on_a_server_that_follows_the_documents(
    server: RawServer, client_of: Make, deleted: Any, starting: str
) -> None:
    pod: dict[str, Any] = {}
    statuses = iter([starting, "RUNNING", "RUNNING", "STOPPED", "TERMINATED"])

    async def serve(request: Any, writer: asyncio.StreamWriter) -> None:
        reply: Reply = envelope(deleted)
        if name_call(request) == "create":
            body = json.loads(request.body)
            assert body["name"]
            assert body["gpuCount"]
            pod.update(id="7", name=body["name"], regionList=["a"], status=next(statuses), singleCardPrice=0.5)
            reply = envelope(pod)
        elif request.method == "GET":
            pod["status"] = next(statuses, "TERMINATED")
            reply = envelope([pod] if name_call(request) == "list" else pod)
        await reply(request, writer)

    server.answers(serve)
    yotta = client_of(api_version="v2")
    handle = await yotta.pods.create(**SPEC)
    assert handle.pod is not None
    assert handle.pod.status is PodStatus.INITIALIZE
    assert isinstance(handle, PodHandle)
    await handle.wait_until()
    await handle.drive(to="PAUSED")
    await handle.delete()
    await handle.wait_until(status="TERMINATED")


# Names and tokens where no response shows the environment


async def create_and_lose(server: RawServer, client_of: Make, pod: dict[str, Any], **fields: Any) -> PodHandle:
    async def serve(request: Any, writer: asyncio.StreamWriter) -> None:
        if name_call(request) == "create":
            pod.setdefault("name", json.loads(request.body)["name"])
            writer.close()
        else:
            await envelope([{"id": "9", "name": "another", "status": "RUNNING"}, pod])(request, writer)

    server.answers(serve)
    return await client_of(api_version="v2").pods.create(**SPEC, **fields)


async def test_lost_create_is_found_by_the_name_that_was_drawn(server: RawServer, client_of: Make) -> None:
    assert (await create_and_lose(server, client_of, {"id": "7", "status": "RUNNING"})).id == "7"


async def test_lost_create_with_a_name_of_the_callers_is_unknown_and_says_why(
    server: RawServer, client_of: Make
) -> None:
    with pytest.raises(CreateOutcomeUnknownError, match=r"do not show the environment.* by the name.*'mine'") as caught:
        await create_and_lose(server, client_of, {"id": "7", "status": "RUNNING"}, pod_name="mine")
    assert "resolve()" not in str(caught.value)
    assert await caught.value.resolve() is None
    assert {request.method for request in server.received} == {"POST", "GET"}
    assert [request.method for request in server.received].count("POST") == 1


HIDDEN: list[Any] = [
    [],
    {},
    None,
    *([{"key": "YOTTA_CLIENT_TOKEN", "value": value}] for value in ("", "***", None)),
    [{"key": "A", "value": "1"}, {"key": "YOTTA_CLIENT_TOKEN"}],
]


@pytest.mark.parametrize("shown", HIDDEN)
async def test_environment_that_is_empty_or_masked_does_not_count(
    server: RawServer, client_of: Make, shown: Any
) -> None:
    pod = {"id": "7", "status": "RUNNING", "environmentVars": shown}
    assert (await create_and_lose(server, client_of, {**pod})).id == "7"
    with pytest.raises(CreateOutcomeUnknownError, match=r"do not show the environment.* by the name.*'mine'"):
        await create_and_lose(server, client_of, {**pod}, pod_name="mine")


@pytest.mark.parametrize("shown", HIDDEN)
async def test_create_is_answered_with_a_hidden_environment(server: RawServer, client_of: Make, shown: Any) -> None:
    server.answers(envelope(POD | {"environmentVars": shown}))
    handle = await client_of(api_version="v2").pods.create(**SPEC)
    assert handle.pod is not None
    assert handle.pod.client_token is None
    assert len(server.received) == 1


@pytest.mark.parametrize("other", [{}, {"gpuCount": "1"}])
async def test_lost_create_is_found_by_its_name_as_v1_writes_it(
    server: RawServer, client_of: Make, other: dict[str, Any]
) -> None:
    async def serve(request: Any, writer: asyncio.StreamWriter) -> None:
        if name_call(request) == "create":
            writer.close()
        else:
            await envelope([{"id": "7", "podName": body_of(server)["name"], **other}])(request, writer)

    server.answers(serve)
    assert (await client_of(api_version="v2").pods.create(**SPEC)).id == "7"


async def test_lost_create_whose_name_is_not_shown_is_unknown_and_says_why(server: RawServer, client_of: Make) -> None:
    with pytest.raises(CreateOutcomeUnknownError, match="neither the environment nor the name") as caught:
        await create_and_lose(server, client_of, {"id": "7", "status": "RUNNING", "name": None})
    assert f"'yotta-async-{caught.value.client_token}'" in str(caught.value)


async def test_environment_decides_over_a_name(server: RawServer, client_of: Make) -> None:
    pod = {"id": "7", "status": "RUNNING", "environmentVars": [{"key": "YOTTA_CLIENT_TOKEN", "value": "another"}]}
    with pytest.raises(CreateOutcomeUnknownError, match="No list has shown it"):
        await create_and_lose(server, client_of, pod)


@pytest.mark.parametrize(("shown", "fields"), [("shown", {"pod_name": "mine"}), ("hidden", {})])
async def test_lost_create_is_found_by_its_environment_or_its_drawn_name(shown: Any, fields: dict[str, str]) -> None:
    async with (
        Emulator(clock="auto", v2_environment_vars=shown) as emulator,
        emulator.client(api_version="v2") as yotta,
    ):
        emulator.faults.add(kind="answer_lost_after_commit", on="create", times=1)
        handle = await yotta.pods.create(**SPEC | fields)
        assert fields.items() <= {"pod_name": (await handle.refresh()).pod_name}.items()
        assert len(await yotta.pods.list()) == 1
