"""GPU offers: what the API lists, what the account's pods cost, and the two names of a type."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import SPEC
from tests.raw_server import RawServer, envelope, http
from yotta_async import (
    AuthenticationError,
    BadRequestError,
    GpuOffer,
    GpuRegion,
    InvalidRequestError,
    NotFoundError,
    ProtocolError,
    ServerError,
    SpendLimit,
    YottaClient,
)
from yotta_async.emulator import Emulator

MakeClient = Callable[..., YottaClient]
VERSIONS = ("v1", "v2")
RTX_4090 = {
    "gpuType": "NVIDIA_RTX_4090_24G",
    "regions": [
        {"region": "us-east-1", "regionName": "US East", "available": True, "vmTypeId": 1},
        {"region": "eu-2", "regionName": "EU 2", "available": False, "vmTypeId": 2},
    ],
}


async def list_offers(server: RawServer, client_of: MakeClient, *types: Any, pods: Any = ()) -> list[GpuOffer]:
    server.answers(envelope(list(types)), envelope(list(pods)))
    return await client_of().gpus.list()


async def test_an_offer_has_regions_and_known_name_and_memory(server: RawServer, client_of: MakeClient) -> None:
    [offer] = await list_offers(server, client_of, RTX_4090)
    assert offer == GpuOffer(
        gpu_type="NVIDIA_RTX_4090_24G",
        display_name="RTX 4090",
        vram_in_gb=24,
        hourly_price=None,
        regions=(GpuRegion("us-east-1", is_available=True), GpuRegion("eu-2", is_available=False)),
    )
    assert offer.available_regions == ("us-east-1",)
    assert [request.target for request in server.received] == ["/v2/vms/types", "/openapi/v1/pods/list"]


async def test_a_price_is_that_of_a_pod_by_either_name_of_its_type(server: RawServer, client_of: MakeClient) -> None:
    pods = [
        {"id": "1", "gpuType": "NVIDIA_L4_24G"},
        {"id": "2", "gpuType": "NVIDIA_GeForce_RTX_4090_24G", "singleCardPrice": "0.65", "gpuCount": 4},
        {"id": "3", "gpuType": "NVIDIA_RTX_4090_24G", "singleCardPrice": 0.4},
    ]
    offers = await list_offers(server, client_of, RTX_4090, {"gpuType": "NVIDIA_L4_24G"}, pods=pods)
    assert [offer.hourly_price for offer in offers] == [0.65, None]


async def test_name_and_memory_of_the_response_precede_those_that_are_known(
    server: RawServer, client_of: MakeClient
) -> None:
    named = {"gpuDisplayName": "GeForce 4090", "singleCardVramInGb": "48"}
    offers = await list_offers(server, client_of, {**RTX_4090, **named}, {"gpuType": "NVIDIA_NEW_99G"})
    assert [(offer.display_name, offer.vram_in_gb) for offer in offers] == [
        ("GeForce 4090", 48),
        ("NVIDIA_NEW_99G", None),
    ]


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        (None, ()),
        ("us-east-1", ()),
        (["us-east-1"], (GpuRegion("us-east-1", None),)),
        ({"region": "a", "available": "true"}, (GpuRegion("a", is_available=True),)),
        ([{"region": "a", "available": "maybe"}, None, 7, {}], (GpuRegion("a", None),)),
        ([{"regionName": "A", "available": 1, "zone": "b"}], (GpuRegion("A", is_available=True),)),
        (
            [{"region": "a", "available": True}, {"region": "a", "available": False}, {"region": "b"}],
            (GpuRegion("a", is_available=True), GpuRegion("b", None)),
        ),
        (
            [
                {"region": "a", "available": False},
                {"region": "b"},
                {"region": "a", "available": True},
                {"region": "b", "available": False},
            ],
            (GpuRegion("a", is_available=True), GpuRegion("b", is_available=False)),
        ),
        ([{"region": "a", "available": False}, {"region": "a"}], (GpuRegion("a", is_available=False),)),
        (
            [{"region": "", "regionName": "A"}, {"region": "b", "regionName": "B"}],
            (GpuRegion("A", None), GpuRegion("b", None)),
        ),
    ],
)
async def test_odd_regions_are_tolerated(
    server: RawServer, client_of: MakeClient, regions: Any, expected: tuple[GpuRegion, ...]
) -> None:
    [offer] = await list_offers(server, client_of, {"gpuType": "NVIDIA_L4_24G", "regions": regions, "vram": []})
    assert offer.regions == expected


async def test_a_type_without_a_name_is_left_out_with_a_warning(
    server: RawServer, client_of: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    twice = {"gpuType": "NVIDIA_RTX_4090_24G", "regions": [{"region": "eu-2", "available": True}]}
    offers = await list_offers(server, client_of, RTX_4090, {"gpuType": None}, {}, "NVIDIA_L4_24G", None, twice)
    assert [offer.available_regions for offer in offers] == [("us-east-1", "eu-2")]
    [warning] = caplog.messages
    assert warning.startswith("/v2/vms/types: items left out of the list of GPU types: 4,")


async def test_a_type_that_is_listed_twice_has_what_either_says(
    server: RawServer, client_of: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    first = {"gpuType": "NVIDIA_NEW_99G", "gpuDisplayName": "", "singleCardVramInGb": 0}
    second = {"gpuType": "NVIDIA_NEW_99G", "gpuDisplayName": "NEW", "singleCardVramInGb": 99}
    third = {"gpuType": "NVIDIA_NEW_99G", "gpuDisplayName": "OLD", "singleCardVramInGb": 9}
    [offer] = await list_offers(server, client_of, first, second, third)
    assert (offer.gpu_type, offer.display_name, offer.vram_in_gb) == ("NVIDIA_NEW_99G", "NEW", 99)
    assert caplog.messages == []


async def test_region_narrows_the_offers(server: RawServer, client_of: MakeClient) -> None:
    server.answers(envelope([RTX_4090, {"gpuType": "NVIDIA_L4_24G"}]), envelope([]))
    [offer] = await client_of().gpus.list(region="eu-2")
    assert offer.regions == (GpuRegion("eu-2", is_available=False),)


@pytest.mark.parametrize("region", ["", 5, "a\n", ["us-east-1"]])
async def test_a_wrong_region_is_refused_before_anything_is_sent(
    server: RawServer, client_of: MakeClient, region: Any
) -> None:
    with pytest.raises(InvalidRequestError, match="region"):
        await client_of().gpus.list(region=region)
    assert server.received == []


async def test_a_list_of_offers_is_retried_as_other_reads(server: RawServer, client_of: MakeClient) -> None:
    server.answers(http(b"<html>", 502), envelope(code=10002, status=500), envelope([RTX_4090]), envelope([]))
    assert len(await client_of().gpus.list()) == 1
    assert len(server.received) == 4


@pytest.mark.parametrize(
    ("reply", "error", "problem"),
    [
        (envelope(code=401, status=401), AuthenticationError, "code 401"),
        (envelope(code=10002, status=500), ServerError, "code 10002"),
        (envelope({"items": []}), ProtocolError, "data is not a list"),
        (envelope(None), ProtocolError, "data is not a list"),
        (http(b"404 page not found", 404), ProtocolError, "cannot be read"),
    ],
)
async def test_failures_are_those_of_other_reads(
    server: RawServer, client_of: MakeClient, reply: Any, error: type[Exception], problem: str
) -> None:
    server.answers(reply)
    with pytest.raises(error, match=f"GET /v2/vms/types: .*{problem}"):
        await client_of().gpus.list()


async def test_a_host_without_the_list_has_its_own_advice(server: RawServer, client_of: MakeClient) -> None:
    server.answers(envelope(code=10007, status=404))
    with pytest.raises(NotFoundError, match="This host has no list of GPU types"):
        await client_of().gpus.list()


@pytest.mark.parametrize("version", VERSIONS)
async def test_offers_of_the_emulator(emulator: Emulator, version: str) -> None:
    async with emulator.client(api_version=version) as yotta:
        offers = await yotta.gpus.list()
        assert {"NVIDIA_L4_24G", "NVIDIA_RTX_4090_24G", "NVIDIA_H100_80G"} <= {offer.gpu_type for offer in offers}
        assert {offer.hourly_price for offer in offers} == {None}
        await yotta.pods.create(image="ubuntu:24.04", gpu_type="NVIDIA_RTX_4090_24G", gpu_count=2)
        prices = {offer.gpu_type: offer.hourly_price for offer in await yotta.gpus.list(region="us-west-1")}
        assert {gpu_type: price for gpu_type, price in prices.items() if price} == {"NVIDIA_RTX_4090_24G": 0.65}


@pytest.mark.parametrize("version", VERSIONS)
async def test_availability_of_the_emulator_follows_its_capacity(version: str) -> None:
    capacity = {"NVIDIA_H100_80GB_HBM3_80G": {"us-west-1": 1, "eu-west-1": 2}}
    async with Emulator(clock="auto", capacity=capacity) as emulator, emulator.client(api_version=version) as yotta:
        handle = await yotta.pods.create(image="ubuntu:24.04", gpu_type="NVIDIA_H100_80G", region="us-west-1")
        await handle.wait_until(status="RUNNING")
        offers = {offer.gpu_type: offer for offer in await yotta.gpus.list()}
        assert offers["NVIDIA_H100_80G"].available_regions == ("eu-west-1",)


@pytest.mark.parametrize("name", ["NVIDIA_RTX_5090_32G", "NVIDIA_GeForce_RTX_5090_32G"])
@pytest.mark.parametrize(("version", "sent"), [("v1", "NVIDIA_GeForce_RTX_5090_32G"), ("v2", "NVIDIA_RTX_5090_32G")])
async def test_a_create_has_the_name_of_its_version(
    server: RawServer, client_of: MakeClient, version: str, sent: str, name: str
) -> None:
    server.answers(envelope(7 if version == "v1" else {"id": "7"}))
    await client_of(api_version=version).pods.create(image="ubuntu:24.04", gpu_type=name)
    assert json.loads(server.received[0].body)["gpuType"] == sent


async def test_an_unknown_name_is_sent_as_it_is(server: RawServer, client_of: MakeClient) -> None:
    server.answers(envelope(7))
    await client_of().pods.create(image="ubuntu:24.04", gpu_type="nvidia_l4_24g")
    assert json.loads(server.received[0].body)["gpuType"] == "nvidia_l4_24g"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("NVIDIA_L4_24GB", "NVIDIA_L4_24G"),
        ("nvidia_l4_24g", "NVIDIA_L4_24G"),
        ("NVIDIA_RTX_409O_24G", "NVIDIA_GeForce_RTX_4090_24G"),
        ("RTX 4090", "NVIDIA_GeForce_RTX_4090_24G"),
        ("NVIDIA_H100", "NVIDIA_H100_80GB_HBM3_80G"),
        ("NVIDIA_L4_24G", None),
        ("NVIDIA_H900_999G", None),
        ("x" * 100_000, None),
    ],
)
async def test_a_refusal_suggests_the_type_that_is_meant(
    server: RawServer, client_of: MakeClient, name: str, meant: str | None
) -> None:
    server.answers(envelope(code=10001, message="gpuType is wrong"))
    with pytest.raises(BadRequestError) as caught:
        await client_of().pods.create(image="ubuntu:24.04", gpu_type=name)
    assert ("did you mean" in str(caught.value)) == (meant is not None)
    assert meant is None or f"did you mean {meant}?" in str(caught.value)
    assert "Correct the field" in str(caught.value)


async def test_a_refusal_for_lack_of_funds_suggests_no_type(server: RawServer, client_of: MakeClient) -> None:
    server.answers(envelope(code=10001, message="insufficient balance"))
    with pytest.raises(BadRequestError, match="Add funds") as caught:
        await client_of().pods.create(image="ubuntu:24.04", gpu_type="NVIDIA_L4_24GB")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(("version", "meant"), [("v1", "NVIDIA_GeForce_RTX_4090_24G"), ("v2", "NVIDIA_RTX_4090_24G")])
async def test_the_strict_emulator_refuses_a_misspelt_type(version: str, meant: str) -> None:
    async with (
        Emulator(clock="auto", strict=True) as emulator,
        emulator.client(api_version=version) as yotta,
    ):
        with pytest.raises(BadRequestError, match=f"did you mean {meant}"):
            await yotta.pods.create(image="ubuntu:24.04", gpu_type="NVIDIA_RTX_4090")


async def test_prices_of_a_limit_may_have_either_name(yotta: YottaClient) -> None:
    spec = {**SPEC, "gpu_type": "NVIDIA_GeForce_RTX_4090_24G"}
    limit = SpendLimit(max_hourly=1.0, prices={"NVIDIA_RTX_4090_24G": 0.7})
    plan = await yotta.pods.plan([spec, spec], prices=limit.prices, spend_limit=limit)
    assert (plan.fits, plan.items[0].hourly_price) == (1, 0.7)
