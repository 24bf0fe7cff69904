"""`fallbacks="available"`: what is tried after the spec itself, by what the API says is available."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import SPEC
from tests.raw_server import RawServer, RecordedRequest, envelope, http
from yotta_async import (
    CapacityError,
    InvalidRequestError,
    NotFoundError,
    PodFailedError,
    PodSpec,
    ProtocolError,
    SpendLimit,
    YottaClient,
)
from yotta_async.emulator import Emulator

MakeClient = Callable[..., YottaClient]
L4 = PodSpec(**SPEC)
L4_WEST = PodSpec(**SPEC, region="us-west-1")


def offer(gpu_type: str, *regions: str, **fields: Any) -> dict[str, Any]:
    """Return a GPU type that is available in these regions, and not in those whose name begins with "-"."""
    named = [{"region": name.lstrip("-"), "available": not name.startswith("-")} for name in regions]
    return {"gpuType": gpu_type, "regions": named, **fields}


async def tried_with(
    server: RawServer, yotta: YottaClient, offers: list[Any], spec: PodSpec
) -> list[tuple[str, list[str]]]:
    """Return GPU type and regions of each create that is sent when all are refused for lack of capacity."""
    creates: list[tuple[str, list[str]]] = []

    async def serve(request: RecordedRequest, writer: Any) -> None:
        reply = envelope(code=10001, message="no GPU available")
        if request.path == "/v2/vms/types":
            reply = envelope(offers)
        elif request.method == "POST":
            body = json.loads(request.body)
            creates.append((body["gpuType"], [body["region"]] if "region" in body else body.get("regionList", [])))
        await reply(request, writer)

    server.answers(serve)
    [item] = (await yotta.pods.create_many([spec], fallbacks="available")).items
    assert isinstance(item.error, CapacityError)
    assert item.attempts == len(creates) == len(item.errors)
    assert item.spec == spec
    return creates


async def test_other_regions_come_before_other_types(server: RawServer, client_of: MakeClient) -> None:
    offers = [
        offer("NVIDIA_H100_80G", "eu-1", "us-west-1"),
        offer("NVIDIA_A10_24G", "eu-1", "-us-west-1"),
        offer("NVIDIA_L4_24G", "-us-west-1", "eu-1", "-eu-2", "us-east-1"),
        offer("NVIDIA_T4_16G", "us-west-1"),  # less memory
        offer("NVIDIA_A40_48G", "-us-west-1"),  # not available
        offer("NVIDIA_RTX_4090_24G", "us-west-1", "us-east-1"),
        offer("AMD_MI300X_192G", "us-west-1"),  # of another vendor
        offer("NVIDIA_NEW", "us-west-1"),  # of unknown memory
        offer("NVIDIA_NEWER", "eu-2", singleCardVramInGb=32),
        offer("NVIDIA_L40_48G"),
    ]  # fmt: skip
    assert await tried_with(server, client_of(), offers, L4_WEST) == [
        ("NVIDIA_L4_24G", ["us-west-1"]),
        ("NVIDIA_L4_24G", ["eu-1", "us-east-1"]),
        ("NVIDIA_GeForce_RTX_4090_24G", ["us-west-1"]),
        ("NVIDIA_H100_80GB_HBM3_80G", ["us-west-1"]),
        ("NVIDIA_A10_24G", ["eu-1"]),
        ("NVIDIA_NEWER", ["eu-2"]),
    ]


async def test_a_spec_without_a_region_names_those_that_are_available(server: RawServer, client_of: MakeClient) -> None:
    offers = [offer("NVIDIA_A10_24G", "eu-1", "eu-2"), offer("NVIDIA_L4_24G", "us-east-1", "-eu-1")]
    assert await tried_with(server, client_of(), offers, L4) == [
        ("NVIDIA_L4_24G", []),
        ("NVIDIA_L4_24G", ["us-east-1"]),
        ("NVIDIA_A10_24G", ["eu-1", "eu-2"]),
    ]


async def test_the_memory_that_a_spec_asks_for_counts_too(server: RawServer, client_of: MakeClient) -> None:
    offers = [offer("NVIDIA_A10_24G", "eu-1"), offer("NVIDIA_A40_48G", "eu-1")]
    spec = PodSpec(**SPEC, min_single_card_vram_in_gb=40)
    assert [gpu_type for gpu_type, _ in await tried_with(server, client_of(), offers, spec)] == [
        "NVIDIA_L4_24G",
        "NVIDIA_A40_48G",
    ]


async def test_a_type_whose_memory_is_unknown_has_no_other_types(server: RawServer, client_of: MakeClient) -> None:
    offers = [offer("NVIDIA_A10_24G", "eu-1"), offer("NVIDIA_NEW", "eu-1")]
    spec = PodSpec(image="ubuntu:24.04", gpu_type="NVIDIA_NEW")
    assert await tried_with(server, client_of(), offers, spec) == [("NVIDIA_NEW", []), ("NVIDIA_NEW", ["eu-1"])]


async def test_at_most_eight_other_types_are_tried(server: RawServer, client_of: MakeClient) -> None:
    offers = [offer(f"NVIDIA_NEW_{size}G", "eu-1", singleCardVramInGb=size) for size in range(40, 20, -1)]
    tried = await tried_with(server, client_of(), offers, L4)
    assert [gpu_type for gpu_type, _ in tried[1:]] == [f"NVIDIA_NEW_{size}G" for size in range(24, 32)]


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_pods_fall_back_to_what_the_emulator_has(version: str) -> None:
    capacity: dict[str, Any] = {"NVIDIA_L4_24G": {"us-west-1": 1, "eu-west-1": 1}, "NVIDIA_A10_24G": 1}
    async with Emulator(clock="auto", capacity=capacity) as emulator, emulator.client(api_version=version) as yotta:
        report = await yotta.pods.create_many([L4_WEST] * 4, until="RUNNING", fallbacks="available", concurrency=1)
        pods = [item.pod for item in report.succeeded if item.pod is not None]
        assert sorted((pod.gpu_type or "", pod.region or "") for pod in pods) == [
            ("NVIDIA_A10_24G", "us-west-1"),
            ("NVIDIA_L4_24G", "eu-west-1"),
            ("NVIDIA_L4_24G", "us-west-1"),
            ("NVIDIA_RTX_A5000_24G", "us-west-1"),
        ]


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_an_ephemeral_pod_falls_back_too(version: str) -> None:
    capacity = {"NVIDIA_L4_24G": {"eu-west-1": 1}}
    async with Emulator(clock="auto", capacity=capacity) as emulator, emulator.client(api_version=version) as yotta:
        async with yotta.pods.ephemeral(L4_WEST, fallbacks="available") as handle:
            assert handle.pod is not None
            assert (handle.pod.gpu_type, handle.pod.region) == ("NVIDIA_L4_24G", "eu-west-1")
        with pytest.raises(PodFailedError):
            async with yotta.pods.ephemeral(L4_WEST):
                pass


async def test_a_price_limit_refuses_no_spec_for_the_price_of_its_alternatives(yotta: YottaClient) -> None:
    limit = SpendLimit(max_hourly=0.6, prices={"NVIDIA_L4_24G": 0.6, "NVIDIA_H100_80G": 3.0})
    plan = await yotta.pods.plan([L4], fallbacks="available", spend_limit=limit)
    assert (plan.fits, plan.refusal) == (1, None)
    report = await yotta.pods.create_many([L4], fallbacks="available", spend_limit=limit)
    assert len(report.succeeded) == 1


async def test_only_affordable_types_are_tried(server: RawServer, client_of: MakeClient) -> None:
    creates: list[str] = []
    offers = [offer("NVIDIA_A10_24G", "eu-1"), offer("NVIDIA_A40_48G", "eu-1"), offer("NVIDIA_RTX_4090_24G", "eu-1")]

    async def serve(request: RecordedRequest, writer: Any) -> None:
        reply = envelope(offers if request.path == "/v2/vms/types" else [])
        if request.method == "POST":
            creates.append(json.loads(request.body)["gpuType"])
            reply = envelope(code=10001, message="no GPU available")
        await reply(request, writer)

    server.answers(serve)
    prices = {"NVIDIA_L4_24G": 0.6, "NVIDIA_A10_24G": 0.7, "NVIDIA_GeForce_RTX_4090_24G": 0.6}
    limit = SpendLimit(max_hourly=9, prices=prices)
    yotta = client_of(spend_limit=limit)
    await yotta.pods.create_many([L4], fallbacks="available", spend_limit=SpendLimit(max_pods=5))
    assert creates == ["NVIDIA_L4_24G", "NVIDIA_GeForce_RTX_4090_24G"]


@pytest.mark.parametrize("reply", [http(b"404 page not found", 404), envelope(code=10007, status=404)])
async def test_nothing_is_created_when_the_types_cannot_be_listed(
    server: RawServer, client_of: MakeClient, reply: Any
) -> None:
    server.answers(reply)
    yotta = client_of()
    with pytest.raises((ProtocolError, NotFoundError), match="/v2/vms/types"):
        await yotta.pods.create_many([L4], fallbacks="available")
    with pytest.raises((ProtocolError, NotFoundError), match="/v2/vms/types"):
        async with yotta.pods.ephemeral(L4, fallbacks="available"):
            pass
    assert {request.method for request in server.received} == {"GET"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"fallbacks": "availible"},
        {"fallbacks": ""},
        {"fallbacks": ["available"]},
        {"policy": 9},
        {"concurrency": 0},
        {"spend_limit": 5},
        {"on_event": 5},
        {"specs": [L4, 7]},
    ],
)
async def test_bad_input_is_refused_before_the_types_are_listed(
    server: RawServer, client_of: MakeClient, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError):
        await client_of().pods.create_many(**{"specs": [L4], "fallbacks": "available", **wrong})
    if "fallbacks" in wrong:
        with pytest.raises(InvalidRequestError, match='"available"'):
            client_of().pods.ephemeral(L4, **wrong)
    assert server.received == []


async def test_no_specs_need_no_list(server: RawServer, client_of: MakeClient) -> None:
    assert (await client_of().pods.create_many([], fallbacks="available")).items == ()
    assert server.received == []
