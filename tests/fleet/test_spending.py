"""Limits on what is rented, checked before anything is sent; plans; and sweeping."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import attrs
import pytest

from tests.conftest import KEY, SPEC
from tests.pod_server import PodServer
from yotta_async import (
    ConfigurationError,
    InvalidRequestError,
    PodSpec,
    PodStatus,
    SpendLimit,
    SpendLimitError,
    YottaClient,
)
from yotta_async.emulator import Emulator
from yotta_async.emulator.clock import make_clock

L4 = PodSpec(**SPEC, gpu_count=2)
PRICES = {"NVIDIA_L4_24G": 0.5}


def client_of(api: PodServer, **options: Any) -> YottaClient:
    return YottaClient(KEY, base_url=api.url, **{"clock": make_clock("auto"), **options})


async def test_a_number_of_pods_is_not_passed(api: PodServer) -> None:
    async with client_of(api, spend_limit=SpendLimit(max_pods=3)) as yotta:
        outcomes = await asyncio.gather(*(yotta.pods.create(L4) for _ in range(5)), return_exceptions=True)
        assert [type(each) for each in outcomes].count(SpendLimitError) == 2
        assert len(api.alive) == 3
        with pytest.raises(SpendLimitError, match="2 more on top of the account's 3 pods would pass max_pods=3"):
            await yotta.pods.create_many([L4] * 2)
        assert api.requests.count("create") == 3
        await yotta.pods.delete(api.alive[0])
        await yotta.pods.create(L4)


async def test_all_of_a_fan_out_is_checked_before_any_is_sent(api: PodServer) -> None:
    async with client_of(api) as yotta:
        with pytest.raises(SpendLimitError):
            await yotta.pods.create_many([L4] * 4, spend_limit=SpendLimit(max_pods=3))
        assert "create" not in api.requests
        assert len((await yotta.pods.create_many([L4] * 3, spend_limit=SpendLimit(max_pods=3))).succeeded) == 3


async def test_a_pod_counts_once_while_its_fan_out_goes_on(api: PodServer) -> None:
    api.born = "INITIALIZE"
    async with client_of(api, spend_limit=SpendLimit(max_pods=10)) as yotta:
        first = asyncio.create_task(yotta.pods.create_many([L4] * 5, until="RUNNING", timeout=50))
        while len(api.pods) < 5:
            await asyncio.sleep(0)
        await yotta.pods.create_many([L4] * 5)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_pod_that_was_deleted_counts_no_more(api: PodServer) -> None:
    api.listed = lambda pods: [pod for pod in pods if pod["status"] != "TERMINATING"]
    async with client_of(api, spend_limit=SpendLimit(max_pods=1)) as yotta:
        handle = await yotta.pods.create(L4)
        await handle.delete()
        await yotta.pods.create(L4)


async def test_others_pods_count_unless_the_limit_is_for_this_client(api: PodServer) -> None:
    async with client_of(api) as other:
        await other.pods.create_many([L4] * 3)
    async with client_of(api) as yotta:
        with pytest.raises(SpendLimitError):
            await yotta.pods.create(L4, spend_limit=SpendLimit(max_pods=2))
        mine = SpendLimit(max_pods=2, of="client")
        await yotta.pods.create(L4, spend_limit=mine)
        await yotta.pods.create(L4, spend_limit=mine)
        with pytest.raises(SpendLimitError, match="this client's 2 pods"):
            await yotta.pods.create(L4, spend_limit=mine)


async def test_a_price_is_not_passed_and_an_unknown_one_is_not_zero(emulator: Emulator) -> None:
    async with emulator.client() as yotta:
        with pytest.raises(SpendLimitError, match="price of what is to be created is unknown"):
            await yotta.pods.create(L4, spend_limit=SpendLimit(max_hourly=100))
        await yotta.pods.create(L4, spend_limit=SpendLimit(max_hourly=5, prices=PRICES))
        [pod] = await yotta.pods.list()
        assert pod.hourly_price
        await yotta.pods.create(L4, spend_limit=SpendLimit(max_hourly=2 * pod.hourly_price))
        with pytest.raises(SpendLimitError, match="would pass max_hourly"):
            await yotta.pods.create(L4, spend_limit=SpendLimit(max_hourly=2 * pod.hourly_price))
        assert len(await yotta.pods.list()) == 2


async def test_price_of_volumes_is_given_where_the_api_names_none(emulator: Emulator) -> None:
    async with emulator.client(api_version="v2") as yotta:
        await yotta.pods.create(L4)
        [pod] = await yotta.pods.list()
        assert (pod.hourly_price, pod.container_volume_price) == (None, None)
        with pytest.raises(SpendLimitError, match="give SpendLimit\\(volume_price="):
            await yotta.pods.create(L4, spend_limit=SpendLimit(max_hourly=5, prices=PRICES))
        limit = SpendLimit(max_hourly=5, prices=PRICES, volume_price=0.00005)
        plan = await yotta.pods.plan([L4], spend_limit=limit)
        assert plan.refusal is None
        assert plan.hourly_now
        await yotta.pods.create(L4, spend_limit=limit)
        with pytest.raises(SpendLimitError, match="would pass max_hourly"):
            await yotta.pods.create(L4, spend_limit=SpendLimit(max_hourly=1, prices=PRICES, volume_price=0.00005))


async def test_a_pod_without_a_price_makes_the_sum_unknown(api: PodServer) -> None:
    async with client_of(api) as yotta:
        await yotta.pods.create(L4)
        with pytest.raises(SpendLimitError, match="price of one of the account's pods is unknown"):
            await yotta.pods.create(L4, spend_limit=SpendLimit(max_hourly=100, prices=PRICES))


async def test_volumes_cost_too(emulator: Emulator) -> None:
    """Source: the guide's section on billing: the volumes' price by the GB and the hour comes on top of the GPUs'."""
    large = PodSpec(**SPEC, container_volume_in_gb=1000, persistent_volume_in_gb=500, persistent_mount_path="/data")
    async with emulator.client() as yotta:
        limit = SpendLimit(max_hourly=10, prices=PRICES)
        with pytest.raises(SpendLimitError, match=r"is unknown, .* volume_price="):
            await yotta.pods.create(large, spend_limit=limit)
        with pytest.raises(SpendLimitError, match=r"\$15.50 an hour"):
            await yotta.pods.create(large, spend_limit=attrs.evolve(limit, volume_price=0.01))
        assert (await yotta.pods.plan([large], prices=PRICES)).unpriced == (large,)
        await yotta.pods.create(large, spend_limit=attrs.evolve(limit, volume_price=0.001))

        [there] = await yotta.pods.list()
        [planned] = (await yotta.pods.plan([large])).items
        assert there.hourly_price is not None
        assert planned.hourly_price is not None
        assert there.hourly_price <= planned.hourly_price < there.hourly_price * 1.2
        [plain] = (await yotta.pods.plan([PodSpec(**SPEC)])).items
        persistent = 500 * (there.persistent_volume_price or 0)
        assert plain.hourly_price == pytest.approx(there.hourly_price - persistent)


@pytest.mark.parametrize(
    "wrong", [{"max_pods": -1}, {"max_pods": 1.5}, {"max_pods": True}, {"max_hourly": "5"}, {"max_hourly": float("nan")},
              {"of": "me"}, {"prices": {"L4": "a"}}, {"prices": {"L4": -1}}, {"volume_price": -1}],
)  # fmt: skip
def test_a_limit_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        SpendLimit(**wrong)
    with pytest.raises(ConfigurationError):
        YottaClient(KEY, spend_limit=wrong)  # type: ignore[arg-type]  # wrong on purpose


async def test_a_plan_tells_what_it_would_cost_and_sends_nothing_that_changes_anything(emulator: Emulator) -> None:
    async with emulator.client() as yotta:
        await yotta.pods.create(L4)
        [pod] = await yotta.pods.list()
        other = PodSpec(image="i", gpu_type="NVIDIA_H100_80GB_HBM3_80G")
        before = len(emulator.requests)
        plan = await yotta.pods.plan([L4, SPEC, other])
        assert pod.hourly_price is not None
        assert [item.hourly_price for item in plan.items] == [pod.hourly_price, pod.hourly_price / 2, None]
        assert (plan.pods_now, plan.hourly_now, plan.hourly_price, plan.unpriced) == (
            1,
            pod.hourly_price,
            None,
            (other,),
        )
        plan = await yotta.pods.plan([L4, other], prices={"NVIDIA_H100_80GB_HBM3_80G": 3})
        assert plan.hourly_price == pytest.approx(pod.hourly_price + 3)
        assert {request.method for request in tuple(emulator.requests)[before:]} == {"GET"}


async def test_sweeping_is_dry_by_default(emulator: Emulator, yotta: YottaClient) -> None:
    handles = [await yotta.pods.create(**SPEC, pod_name=name) for name in ("ci-1", "ci-2", "keep")]
    await yotta.pods.wait_many(handles)
    report = await yotta.pods.sweep(match="ci-*")
    assert sorted(pod.pod_name or "" for pod in report.pods) == ["ci-1", "ci-2"]
    assert report.report is None
    assert report.hourly_price
    assert {pod.status for pod in await yotta.pods.list()} == {PodStatus.RUNNING}
    report = await yotta.pods.sweep(match="ci-*", dry_run=False)
    assert report.report is not None
    assert len(report.report.succeeded) == 2
    assert await handles[2].refresh() == handles[2].pod
    await yotta.pods.wait_many(handles[:2], status="PAUSED")

    assert (await yotta.pods.sweep(older_than=3600, idle_status="PAUSED", action="delete")).pods == ()
    await emulator.clock.advance(4000)
    report = await yotta.pods.sweep(
        older_than=timedelta(hours=1), idle_status="PAUSED", action="delete", match=lambda pod: pod.pod_name == "ci-1",
        dry_run=False,
    )  # fmt: skip
    assert [pod.pod_name for pod in report.pods] == ["ci-1"]
    await handles[0].wait_until(status="TERMINATED")


@pytest.mark.parametrize("wrong", [{}, {"match": "*", "action": "stop"}, {"match": 7}, {"older_than": -1}])
async def test_a_sweep_that_makes_no_sense_is_refused(yotta: YottaClient, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        await yotta.pods.sweep(**wrong)


async def test_one_list_is_enough_for_all_creates_that_ask_at_the_same_time(api: PodServer) -> None:
    async with client_of(api, spend_limit=SpendLimit(max_pods=8)) as yotta:
        outcomes = await asyncio.gather(*(yotta.pods.create(L4) for _ in range(10)), return_exceptions=True)
        assert [type(each) for each in outcomes].count(SpendLimitError) == 2
        assert api.requests.count("list") <= 2, "one for the first, one for those who came while it was sent"


@pytest.mark.parametrize("of", ["account", "client"])
async def test_a_limit_is_for_ephemeral_pods_too(api: PodServer, of: Any) -> None:
    async with client_of(api, spend_limit=SpendLimit(max_pods=2, of=of)) as yotta:
        async with yotta.pods.ephemeral(L4):
            with pytest.raises(SpendLimitError):
                async with yotta.pods.ephemeral(L4, spend_limit=SpendLimit(max_pods=1, of=of)):
                    pytest.fail("one pod was the limit")
            async with yotta.pods.ephemeral(L4):
                with pytest.raises(SpendLimitError):
                    await yotta.pods.create(L4)
        assert api.requests.count("create") == 2
        assert api.alive == []


async def test_a_plan_says_what_would_be_refused_and_how_much_fits(emulator: Emulator) -> None:
    async with emulator.client(spend_limit=SpendLimit(max_pods=5)) as yotta:
        await yotta.pods.create(L4)
        plans = [await yotta.pods.plan([L4] * count) for count in (0, 4, 5, 9)]
        assert [plan.fits for plan in plans] == [0, 4, 4, 4]
        assert [plan.refusal is None for plan in plans] == [True, True, False, False]
        assert "9 more on top" in str(plans[-1].refusal)
        [there] = await yotta.pods.list()
        room = (there.hourly_price or 0) + 3.5
        narrow = await yotta.pods.plan([L4] * 9, spend_limit=SpendLimit(max_hourly=room, prices=PRICES))
        assert narrow.fits == 3, "a pod of two costs $1 an hour"
        dear = [{"gpu_type": "NVIDIA_H100_80GB_HBM3_80G"}]
        limit = SpendLimit(max_hourly=room, prices={**PRICES, "NVIDIA_H100_80GB_HBM3_80G": 2})
        assert (await yotta.pods.plan([L4], spend_limit=limit)).refusal is None
        assert (await yotta.pods.plan([L4], spend_limit=limit, fallbacks=dear)).fits == 0
        assert len(await yotta.pods.list()) == 1


# Pods that cannot be read, wholly or in part

PRICED = {
    "gpuType": "NVIDIA_L4_24G", "gpuCount": 1, "singleCardPrice": 0.5, "containerVolumeInGb": 0,
    "persistentVolumeInGb": 0, "updatedAt": "2025-07-04 10:29:56", "podName": "p",
}  # fmt: skip


def show(api: PodServer, *pods: Any) -> None:
    """Let lists show these pods before those of the server."""
    api.listed = lambda others: [*pods, *others]


@pytest.mark.parametrize("status", ["RUNNING", "REBUILDING", None, "", {}, 5, "FAILED", 1])
async def test_limit_counts_pods_of_any_status(api: PodServer, status: object) -> None:
    show(api, {"id": "1", "status": status, **PRICED}, {"id": "2", "status": "TERMINATED", **PRICED})
    async with client_of(api, spend_limit=SpendLimit(max_pods=1)) as yotta:
        with pytest.raises(SpendLimitError, match="1 more on top of the account's 1 pods"):
            await yotta.pods.create(L4)
        plan = await yotta.pods.plan([L4])
        assert (plan.pods_now, plan.fits) == (1, 0)
    assert "create" not in api.requests


async def test_price_as_text_counts(api: PodServer) -> None:
    show(api, {"id": "1", "status": "RUNNING", **PRICED, "singleCardPrice": "0.6"})
    async with client_of(api) as yotta:
        assert (await yotta.pods.plan([L4])).hourly_now == 0.6
        with pytest.raises(SpendLimitError, match=r"\$0.60 would pass"):
            await yotta.pods.create(L4, spend_limit=SpendLimit(max_hourly=1.5, prices=PRICES))
        await yotta.pods.create(L4, spend_limit=SpendLimit(max_hourly=1.6, prices=PRICES))


@pytest.mark.parametrize(
    ("change", "is_known"),
    [
        ({"singleCardPrice": "?"}, False),
        ({"gpuCount": "many"}, False),
        ({"containerVolumeInGb": "many"}, False),
        ({"containerVolumePrice": "?"}, True),  # of a volume that the pod does not have
        ({"singleCardPrice": "?", "status": "FAILED"}, True),  # which costs nothing
        ({"singleCardPrice": "?", "status": "TERMINATED"}, True),
        ({"singleCardPrice": "?", "status": "REBUILDING"}, False),
    ],
)
async def test_limit_refuses_where_a_price_that_counts_is_unreadable(
    api: PodServer, change: dict[str, Any], is_known: bool
) -> None:
    show(api, {"id": "331", "status": "RUNNING", **PRICED, **change})
    limit = SpendLimit(max_hourly=100, prices=PRICES)
    async with client_of(api) as yotta:
        assert ((await yotta.pods.plan([L4])).hourly_now is not None) is is_known
        if is_known:
            await yotta.pods.create(L4, spend_limit=limit)
        else:
            with pytest.raises(
                SpendLimitError, match=rf"price of one of .* is unknown.*pod 331 .*{next(iter(change))}"
            ):
                await yotta.pods.create(L4, spend_limit=limit)
        await yotta.pods.create(L4, spend_limit=SpendLimit(max_pods=5))


@pytest.mark.parametrize("item", [{}, {"status": "RUNNING"}, {"id": {}}, None, 5])
@pytest.mark.parametrize("limit", [SpendLimit(max_pods=50), SpendLimit(max_hourly=50, prices=PRICES)])
async def test_limit_refuses_while_the_list_has_items_without_an_id(
    api: PodServer, item: object, limit: SpendLimit
) -> None:
    show(api, item)
    async with client_of(api) as yotta:
        with pytest.raises(SpendLimitError, match="no pod id can be read for 1 of the items of the account's list"):
            await yotta.pods.create(L4, spend_limit=limit)
        assert yotta.pods.unreadable_items == 1
        plan = await yotta.pods.plan([L4], spend_limit=limit)
        assert (plan.unreadable_items, plan.hourly_now, plan.fits) == (1, None, 0)
        assert plan.refusal is not None
        show(api)
        await yotta.pods.create(L4, spend_limit=limit)


async def test_sweep_deletes_pods_of_unknown_status(api: PodServer) -> None:
    statuses: list[Any] = ["RUNNING", "REBUILDING", None, "", {}, 5]
    odd = {str(number): status for number, status in enumerate(statuses)}
    gone = {"10": "TERMINATING", "11": "TERMINATED"}
    api.pods = {pod_id: {"id": pod_id, **PRICED, "status": status} for pod_id, status in (odd | gone).items()}
    show(api, {"podName": "no id"})
    async with client_of(api) as yotta:
        report = await yotta.pods.sweep(action="delete", match="*")
        assert {pod.id for pod in report.pods} == set(odd)
        assert report.unreadable_items == 1
        assert {pod.id for pod in (await yotta.pods.sweep(action="pause", match="*")).pods} == {"0"}
        chosen = await yotta.pods.sweep(action="delete", idle_status="REBUILDING")
        assert [pod.id for pod in chosen.pods] == ["1"]
        report = await yotta.pods.sweep(action="delete", older_than=60, dry_run=False)
        assert report.report is not None
        assert len(report.report.succeeded) == len(odd)
    assert {pod["status"] for pod_id, pod in api.pods.items() if pod_id in odd} == {"TERMINATING"}
