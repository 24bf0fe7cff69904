"""A Dask cluster of pods: work that comes out right whatever becomes of a pod, and no pod that is left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import dask
import pytest
from distributed import Client, Security

from tests.conftest import KEY
from tests.pod_server import PodServer
from yotta_async import (
    AuthenticationError,
    ConfigurationError,
    CreateOutcomeUnknownError,
    InvalidRequestError,
    Pod,
    PodSpec,
    PodStatus,
    SpendLimit,
    SpendLimitError,
    YottaClient,
    YottaError,
)
from yotta_async.dask import PodCluster, worker
from yotta_async.dask.bootstrap import GREETING, signed, told
from yotta_async.dask.losses import Losses
from yotta_async.dask.places import scheduler_spec, security_of
from yotta_async.dask.rendezvous import NotMetError, tell
from yotta_async.emulator import Emulator, Timings
from yotta_async.emulator.clock import make_clock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the emulator runs no processes there")
TIMINGS = Timings(initialize=0.0, pausing=0.0, terminating=0.0)
ONE = {"nthreads": 1, "memory_limit": "1 GiB"}
WORKER = PodSpec(image="ghcr.io/dask/dask:latest", gpu_type="NVIDIA_L4_24G")
LOST = [PodStatus.TERMINATING, PodStatus.TERMINATED]


@pytest.fixture
async def real() -> AsyncIterator[Emulator]:
    """Return an emulator whose pods really run."""
    async with Emulator(runtime="process", timings=TIMINGS, api_key=KEY) as emulator:
        yield emulator


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """Return one whose pods are RUNNING, and from which no worker ever comes."""
    async with Emulator(timings=TIMINGS, api_key=KEY) as emulator:
        yield emulator


async def alive(yotta: YottaClient) -> list[Pod]:
    return [pod for pod in await yotta.pods.list() if pod.status not in LOST]


def creates(emulator: Emulator) -> int:
    return sum(request.path.endswith("/create") for request in emulator.requests)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def square(number: int) -> int:
    time.sleep(0.02)
    return number * number


@pytest.mark.parametrize("options", [{}, {"security": "temporary", "worker_port": 8786}], ids=["plain", "relayed-tls"])
async def test_all_results_are_right_when_a_pod_is_deleted(real: Emulator, options: dict[str, Any]) -> None:
    async with real.client(poll_interval=0.1) as yotta:
        async with (
            PodCluster(yotta, n_workers=2, worker=WORKER, worker_options=ONE, name="pi", **options) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            await client.wait_for_workers(2)
            addresses = list(cluster.scheduler_info["workers"])
            ports = [port for pod in cluster.pods.values() for port in pod.expose]
            assert sorted(addresses) == sorted(f"tls://{port.host}:{port.proxy_port}" for port in ports) or not options
            assert await client.gather(client.map(lambda x: x + 1, range(200))) == list(range(1, 201))
            futures = client.map(square, range(60))
            await futures[0]
            victim = cluster.pods["pi-0"]
            await yotta.pods.delete(victim)
            assert await client.gather(futures) == [number * number for number in range(60)]
            await until(lambda: cluster.observed == {"pi-1", "pi-2"})
            assert "pi-0 is replaced by pi-2" in (await cluster.get_logs(scheduler=False, workers=False))["Cluster"]
            assert victim.id not in {pod.id for pod in cluster.pods.values()}
            del futures
            await cluster.scale(0)
            assert cluster.pods == {}
            assert await alive(yotta) == []
        await cluster.close()
        assert await alive(yotta) == []


async def test_scaling_down_moves_the_results(real: Emulator) -> None:
    async with (
        real.client(poll_interval=0.1) as yotta,
        PodCluster(yotta, n_workers=2, worker_options=ONE) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        await client.wait_for_workers(2)
        futures = [
            await client.scatter(number, workers=[at]) for number, at in enumerate(cluster.scheduler_info["workers"])
        ]
        await cluster.scale(1)
        assert len(await alive(yotta)) == 1
        assert await client.gather(futures) == [0, 1], "what was scattered can be computed nowhere again"


async def test_an_adaptive_cluster_begins_and_ends_with_nothing(real: Emulator) -> None:
    async with (
        real.client(poll_interval=0.1, spend_limit=SpendLimit(max_pods=2)) as yotta,
        PodCluster(yotta, worker_options=ONE) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        cluster.adapt(minimum=0, maximum=9, interval="50ms", wait_count=2, target_duration="100ms")
        assert sum(await client.gather(client.map(square, range(100)))) == 328350
        await until(lambda: not cluster.plan and not cluster.pods)
        assert await alive(yotta) == []
        assert creates(real) == 2, "there was room for no more, and none was taken for lost"


# What goes wrong with pods


async def test_a_pod_that_fails_is_followed_by_the_fallback(real: Emulator) -> None:
    real.faults.add(kind="failed", nth=1)
    async with (
        real.client(poll_interval=0.05) as yotta,
        PodCluster(
            yotta, n_workers=1, worker=WORKER, worker_options=ONE, fallbacks=[{"gpu_type": "NVIDIA_L40S_48G"}]
        ) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        assert await client.submit(square, 7) == 49
        [pod] = cluster.pods.values()
        assert pod.gpu_type == "NVIDIA_L40S_48G"
        assert [each.id for each in await alive(yotta)] == [pod.id]


async def test_a_slow_pod_does_not_hold_up_the_others(real: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    real.faults.add(kind="stuck", nth=1)
    async with (
        real.client(poll_interval=0.05) as yotta,
        PodCluster(yotta, worker_options=ONE) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        await cluster.scale(2)
        assert await client.submit(square, 3) == 9
        assert len(cluster.observed) == 1
        monkeypatch.setattr(worker, "_ANSWER_SECONDS", 0.01)
        real.faults.add(kind="delay", on="create", nth=1, seconds=1)
        await cluster.scale(3)
        assert creates(real) == 2, "the third create is not answered, and nobody waits for it"


@pytest.mark.parametrize("how", ["it exits", "it is not reached", "it is paused", "it has no Dask"])
async def test_what_never_works_is_given_up(real: Emulator, how: str, caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, Any] = {"max_replacements": 1}
    if how == "it is not reached":
        options |= {"start_timeout": 0.5, "worker_port": 8786}
        real.faults.add(kind="unhealthy_port")
    commands = {
        "it exits": "exit 3",
        "it has no Dask": "mkdir distributed; echo 'raise ImportError' > distributed/__init__.py; export PYTHONPATH=$PWD",
    }
    async with (
        real.client(poll_interval=0.05) as yotta,
        PodCluster(
            yotta,
            n_workers=1,
            name="x",
            worker_options=ONE,
            worker=PodSpec(image="i", gpu_type="g", initialization_command=commands.get(how)),
            **options,
        ) as cluster,
    ):
        while cluster.plan:
            for pod in cluster.pods.values() if how == "it is paused" else ():
                with contextlib.suppress(YottaError):
                    await yotta.pods.pause(pod)
            await asyncio.sleep(0.01)
        await until(lambda: not cluster.workers)
        logged = (await cluster.get_logs(scheduler=False, workers=False))["Cluster"]
        assert "x-0 is replaced by x-1: " in logged
        assert "x-1 is not replaced, as too many were lost; scale again for more: " in logged
        assert {
            "it exits": "it has been RUNNING, and is FAILED",
            "it has no Dask": "it has been RUNNING, and is FAILED",
            "it is not reached": "port 8786 is not healthy",
            "it is paused": "and is PAUS",
        }[how] in logged
        if how == "it has no Dask":
            assert "has no Dask" in real.logs((await yotta.pods.list())[0].id)
        await until_none(yotta)
        assert creates(real) == 2
    assert [record.levelname for record in caplog.records if record.name == "yotta_async.dask"] == ["WARNING", "ERROR"]


async def until_none(yotta: YottaClient) -> None:
    while await alive(yotta):
        await asyncio.sleep(0.01)


async def test_a_worker_that_the_scheduler_lost_is_not_made_twice(
    real: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(dask.config.config["distributed"]["deploy"], "lost-worker-timeout", "10ms")
    async with (
        real.client(poll_interval=0.05, spend_limit=SpendLimit(max_pods=1)) as yotta,
        PodCluster(
            yotta,
            n_workers=1,
            worker=attrs.evolve(WORKER, initialization_command="(sleep 600 &)"),
            worker_options=ONE,
            name="x",
        ) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        await client.wait_for_workers(1)
        real.faults.add(kind="delay", on="delete", nth=1, seconds=0.5)
        await client.run(lambda: threading.Timer(0.05, os._exit, (0,)).start())
        await until(lambda: cluster.plan == {"x-1"})
        await cluster
        await cluster._correct_state()
        await until(lambda: cluster.observed == {"x-1"})
        assert creates(real) == 2, "one after the other, as one is the limit"
        assert await client.submit(square, 4) == 16
        await until(lambda: len(cluster.pods) == 1)
        assert [pod.pod_name for pod in await alive(yotta)] == ["x-1"], "its pod ran on, and is deleted"


async def test_a_restart_is_no_trouble(real: Emulator) -> None:
    async with (
        real.client(poll_interval=0.05) as yotta,
        PodCluster(yotta, n_workers=1, worker_options=ONE) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        for number in range(2):
            assert await client.submit(square, number) == number * number
            await client.restart()
            assert len(cluster.plan) == 1
        assert creates(real) == 3


async def test_a_refused_look_gives_no_pod_up(emulator: Emulator) -> None:
    async with emulator.client(poll_interval=0.02) as yotta, PodCluster(yotta, n_workers=2) as cluster:
        await until(lambda: [pod.status for pod in cluster.pods.values()] == ["RUNNING"] * 2)
        faults = [emulator.faults.add(kind="status", http_status=403, code=403, on=on) for on in ("list", "get")]
        await until(lambda: sum(fault.fired for fault in faults) >= 2)  # whichever way it looks
        emulator.faults.clear()
        assert len(cluster.plan) == len(cluster.pods) == len(await alive(yotta)) == 2
        victim = next(iter(cluster.pods.values()))
        await yotta.pods.delete(victim)
        await until(lambda: victim.id not in {pod.id for pod in cluster.pods.values()} and len(cluster.pods) == 2)


async def test_without_a_scheduler_nothing_is_replaced(emulator: Emulator) -> None:
    async with (
        emulator.client(poll_interval=0.05) as yotta,
        PodCluster(yotta, n_workers=1, start_timeout=0.2) as cluster,
    ):
        scheduler: Any = cluster.scheduler
        await scheduler.close()  # such as by its idle-timeout
        await until(lambda: not cluster.plan)
        assert creates(emulator) == 1
        await until_none(yotta)


async def test_news_that_is_old_ends_nothing(emulator: Emulator) -> None:
    async with emulator.client(poll_interval=0.05) as yotta, PodCluster(yotta) as cluster:
        cluster._update_worker_status("remove", "tcp://127.0.0.1:1")  # `wait_for_workers` knew it before
        watching: Any = cluster._watch_worker_status_task
        assert not watching.done()


def test_losses_are_bounded_and_slow_down() -> None:
    async def check() -> None:
        losses = Losses(None)
        assert [losses.pause(2) for _ in range(5)] == [0, 0, 1, 1, None]
        assert losses.are_too_many(2)
        assert not losses.are_too_many(3), "a larger cluster may lose more"
        losses._times.clear()
        assert losses.are_too_many(2), "however slowly they fail: none has come since"
        losses.forget()
        for _ in range(20):
            losses.joined()
            assert losses.pause(2) == 0
        assert losses.pause(2) is None, "those that come and go are bounded, too"
        none = Losses(0)
        assert not none.are_too_many(1)
        assert none.pause(9) is None
        assert none.are_too_many(1)

    asyncio.run(check())


# What it costs, and what is refused


async def test_it_says_what_it_costs(emulator: Emulator) -> None:
    async with emulator.client(poll_interval=0.05) as yotta:
        cluster = PodCluster(yotta, n_workers=2, worker=WORKER, name="x")
        assert repr(cluster) == "PodCluster(x, '<Not Connected>', workers=0, threads=0, memory=0 B, pods=0, $0.00/h)"
        async with cluster:
            cost = sum(pod.hourly_price or 0 for pod in await yotta.pods.list())
            assert cluster.hourly_price == cost > 0
            assert {name: pod.pod_name for name, pod in cluster.pods.items()} == {"x-0": "x-0", "x-1": "x-1"}
            for shown in (repr(cluster), cluster._repr_html_(), cluster._scaling_status()):
                assert f"pods=2, ${cost:.2f}/h" in shown


async def test_a_price_that_the_api_does_not_tell_is_unknown(api: PodServer) -> None:
    async with YottaClient(KEY, base_url=api.url) as yotta, PodCluster(yotta, n_workers=1) as cluster:
        assert cluster.hourly_price is None
        assert "pods=1, price unknown" in repr(cluster)


async def test_limits_on_spending_are_for_scaling_too(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    async with emulator.client(poll_interval=0.05, spend_limit=SpendLimit(max_pods=3)) as yotta:
        with pytest.raises(SpendLimitError):
            await PodCluster(yotta, n_workers=4)
        with pytest.raises(SpendLimitError):
            async with PodCluster(yotta, n_workers=4):
                pytest.fail("three were the limit")
        with pytest.raises(SpendLimitError):
            async with PodCluster(
                yotta, n_workers=2, spend_limit=SpendLimit(max_hourly=0.1, prices={WORKER.gpu_type: 1})
            ):
                pytest.fail("ten cents were the limit")
        async with PodCluster(yotta, n_workers=1) as cluster:
            with pytest.raises(SpendLimitError, match="3 more on top of the account's 1 pods"):
                await cluster.scale(4)
            assert creates(emulator) == 1
            caplog.clear()
            cluster.scale(4)
            with pytest.raises(SpendLimitError):
                await cluster
            cluster.scale(4)
            await until(lambda: "max_pods=3" in caplog.text)  # nobody awaits it, so asyncio says it
            await cluster.scale(3)
            assert len(cluster.plan) == creates(emulator) == 3
            await cluster.scale(1)
            cluster.scale(3)
            await cluster.scale(2)
            assert len(cluster.plan) == len(await alive(yotta)) == 2, "the last word counts"


@pytest.mark.parametrize("fault", [{"http_status": 401, "code": 401}, {"code": 10001, "message": "no such image"}])
async def test_a_create_that_would_fail_again_is_raised_and_not_repeated(
    emulator: Emulator, fault: dict[str, Any]
) -> None:
    async with emulator.client() as yotta:
        emulator.faults.add(kind="status", on="create", **{"http_status": 200, **fault})
        with pytest.raises(YottaError) as caught:
            await PodCluster(yotta, n_workers=2)
        assert creates(emulator) == 2
        assert isinstance(caught.value, AuthenticationError) == (fault["code"] == 401)
        emulator.faults.clear()
        emulator.faults.add(kind="answer_lost_after_commit", on="create")
        emulator.faults.add(kind="missing_from_list", pod_name="*")
    async with emulator.client(settle_timeout=0.1) as yotta:
        with pytest.raises(CreateOutcomeUnknownError):
            await PodCluster(yotta, n_workers=1)
        assert creates(emulator) == 3


PEMS = [f"tls_{role}_{what}" for role in ("client", "scheduler", "worker") for what in ("cert", "key")]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"yotta": "key"}, "yotta must be a YottaClient, or a function that makes one, not str"),
    ({"asynchronous": False}, "give a function"),
    ({"worker": {"image": "i"}}, "worker must be a PodSpec, not dict"),
    ({"worker": attrs.evolve(WORKER, environment_vars={"YOTTA_DASK_TOKEN": "1"})}, "YOTTA_DASK_TOKEN is the cluster's"),
    ({"n_workers": -1}, "n_workers must be a whole number"),
    ({"n_workers": True}, "n_workers must be a whole number"),
    ({"max_replacements": 1.5}, "max_replacements must be a whole number"),
    ({"security": True}, "security must be"),
    (
        {"security": Security(require_encryption=True)},
        "lacks tls_ca_file, tls_client_cert, tls_client_key, tls_scheduler_cert",
    ),
    (
        {"security": Security(tls_ca_file="no/such", **dict.fromkeys(PEMS, "a"))},
        "tls_ca_file of `security` cannot be read",
    ),
    ({"scheduler": {"host": "a"}}, "scheduler must be"),
    ({"scheduler_host": "tcp://a:1"}, "scheduler_host must be"),
    ({"scheduler_port": 70000}, "scheduler_port must be"),
    ({"scheduler_host": "a.example.com", "scheduler_port": 0}, "scheduler_port must be"),
    ({"worker_port": 0}, "worker_port must be"),
    ({"start_timeout": 0}, "start_timeout must be"),
    ({"start_timeout": float("nan")}, "start_timeout must be"),
    ({"fallbacks": [{"pod_name": "a"}]}, "a fallback cannot change pod_name"),
    ({"fallbacks": ["NVIDIA_L4_24G"]}, "fallbacks must be a list of changes"),
    ({"fallbacks": [{"gpu_count": 3}]}, "gpu_count must be a power of two"),
    ({"worker_options": {"name": "a"}}, "worker_options cannot hold name"),
    ({"worker_options": {"plugins": [object()]}}, "worker_options go to the pods as JSON"),
    ({"spend_limit": 5}, "spend_limit must be a SpendLimit"),
]


@pytest.mark.parametrize(("options", "says"), WRONG, ids=[says[:30] for _, says in WRONG])
async def test_what_cannot_work_is_refused_before_anything_is_sent(
    emulator: Emulator, options: dict[str, Any], says: str
) -> None:
    async with emulator.client() as yotta:
        with pytest.raises((ConfigurationError, InvalidRequestError), match=re.escape(says)):
            PodCluster(**{"yotta": yotta, **options})
    assert len(emulator.requests) == 0


async def test_a_scheduler_that_pods_cannot_reach_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with YottaClient(KEY) as yotta:
        with pytest.raises(ConfigurationError, match=r"pods of api\.yottalabs\.ai cannot reach .*give scheduler_host"):
            await PodCluster(yotta)
        with pytest.raises(ConfigurationError, match="must return a YottaClient, not str"):
            await PodCluster(lambda: "key")  # type: ignore[arg-type, return-value]  # wrong on purpose
        assert not caplog.records
        spec = scheduler_spec(None, host="gpu.example.com", port=None, security=security_of(None))
        assert (spec["options"]["host"], spec["options"]["contact_address"]) == (
            "0.0.0.0",
            "tcp://gpu.example.com:8786",
        )
        assert "takes work from everybody who reaches it" in caplog.text
        moved = scheduler_spec({"options": {"port": 9}}, host="a.example.com", port=None, security=security_of(None))
        assert moved["options"]["contact_address"] == "tcp://a.example.com:9"
        given = {"options": {"contact_address": "tls://tunnel.example.com:5", "port": 9}}
        options = scheduler_spec(given, host="2001:db8::1", port=7, security=Security(require_encryption=True))[
            "options"
        ]
        assert (options["contact_address"], options["port"], options["host"]) == ("tls://tunnel.example.com:5", 9, "::")


# The end


async def stay(cluster: PodCluster) -> None:
    async with cluster:
        await asyncio.Event().wait()


@pytest.mark.parametrize("sent", [0, 1, 2, 3, 99])
async def test_a_cancel_at_any_moment_leaves_nothing(emulator: Emulator, sent: int) -> None:
    async with emulator.client(poll_interval=0.05) as yotta:
        cluster = PodCluster(yotta, n_workers=2)
        task = asyncio.create_task(stay(cluster))
        await asyncio.sleep(0)
        while len(emulator.requests) < sent and len(cluster.pods) < 2:
            await asyncio.sleep(0)
        task.cancel()
        if sent == 99:
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await cluster.close()
        await cluster.close()
        assert await alive(yotta) == []
        assert (cluster.status.name, cluster.pods) == ("closed", {})


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_closing_during_the_start_leaves_nothing(emulator: Emulator, turns: int) -> None:
    async with emulator.client(poll_interval=0.05) as yotta:
        cluster = PodCluster(yotta, n_workers=2)
        task = asyncio.create_task(stay(cluster))
        for _ in range(turns):
            await asyncio.sleep(0)
        await cluster.close()
        assert cluster.status.name == "closed"
        assert cluster.scheduler is None or cluster.scheduler.status.name == "closed"
        if not task.done() and len(emulator.requests) < 3:
            await asyncio.sleep(0.05)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        assert isinstance(outcome, asyncio.CancelledError | ConfigurationError)
        assert await alive(yotta) == []
        with pytest.raises(ConfigurationError, match="is closed: make a new one"):
            async with cluster:
                pytest.fail("it is closed")
        for call in (lambda: cluster.scale(1), lambda: cluster.adapt(maximum=1)):
            with pytest.raises(ConfigurationError, match="is closed: make a new one"):
                call()
        await cluster.scale(0)


async def test_a_cancel_that_leaves_a_pod_goes_through_with_a_note(
    api: PodServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with YottaClient(KEY, base_url=api.url, clock=make_clock("auto")) as yotta:
        entering = asyncio.Event()

        async def entered() -> None:
            async with PodCluster(yotta, n_workers=1) as cluster:
                await until(lambda: cluster.pods)
                api.fault = lambda what: "500 before" if what == "DELETE" else "none"
                entering.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(entered())
        await entering.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert api.alive[0] in caught.value.__notes__[0]
        assert "may have left pods" in caplog.text
        api.fault = lambda _: "none"
    assert api.alive == []


async def test_it_is_scaled_before_it_is_entered(emulator: Emulator) -> None:
    async with emulator.client(poll_interval=0.05) as yotta:
        cluster = PodCluster(yotta)
        await cluster.scale(2)
        async with cluster:
            assert len(cluster.plan) == 2
            for wrong in ({"cores": 4}, {"memory": "1 GiB"}):
                with pytest.raises(ConfigurationError, match="say with worker_options="):
                    cluster.scale(**wrong)
        async with PodCluster(yotta, worker_options=ONE) as cluster:
            await cluster.scale(cores=2)
            assert len(cluster.plan) == 2
            await cluster.scale(memory="2.5 GiB")
            assert len(cluster.plan) == 3


async def test_an_adaptive_cluster_sees_room_again_when_it_has_shrunk(real: Emulator) -> None:
    async with (
        real.client(poll_interval=0.1, spend_limit=SpendLimit(max_pods=1)) as yotta,
        PodCluster(yotta, worker_options=ONE) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        cluster.adapt(minimum=0, maximum=2, interval="50ms", wait_count=2)
        for _ in range(2):
            assert await client.gather(client.map(square, range(30))) == [number * number for number in range(30)]
            before = asyncio.get_running_loop().time()
            await until(lambda: not cluster.plan)
            assert cluster._full_until < before, "it looks again at once"


async def test_an_error_in_the_block_leaves_nothing(emulator: Emulator) -> None:
    async with emulator.client(poll_interval=0.05) as yotta:
        with pytest.raises(KeyError):
            async with PodCluster(yotta, n_workers=2):
                raise KeyError
        assert creates(emulator) == 2
        assert await alive(yotta) == []


async def test_closing_the_client_first_leaves_nothing(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    yotta = emulator.client(poll_interval=0.05)
    async with PodCluster(yotta, n_workers=2) as cluster:
        await until(lambda: len(cluster.pods) == 2)
        await yotta.aclose()
        await until(lambda: not cluster.plan)
    assert creates(emulator) == 2
    async with emulator.client() as other:
        assert await alive(other) == []


async def test_a_pod_that_cannot_be_deleted_is_named(api: PodServer) -> None:
    clock = make_clock("auto")
    async with YottaClient(KEY, base_url=api.url, clock=clock) as yotta:
        cluster = await PodCluster(yotta, n_workers=1)
        await until(lambda: cluster.pods)
        api.fault = lambda what: "500 before" if what == "DELETE" else "none"
        with pytest.raises(YottaError, match=rf"may have left pods: .*{api.alive[0]}"):
            await cluster.close()
        api.fault = lambda _: "none"
    assert api.alive == [], "closing the client tries again"


PROGRAM = """
import asyncio
from yotta_async import YottaClient
from yotta_async.dask import PodCluster

async def main():
    async with YottaClient({key!r}, base_url={url!r}, journal={folder!r}, poll_interval=0.05) as yotta:
        async with PodCluster(yotta, n_workers=2) as cluster:
            print("entered", flush=True)
            await asyncio.sleep(100)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_program_that_is_ended_leaves_no_pod(
    emulator: Emulator, tmp_path: Path, number: signal.Signals
) -> None:
    program = PROGRAM.format(key=KEY, url=emulator.url, folder=str(tmp_path))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=-1, stderr=-1)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"entered\n"
    process.send_signal(number)
    await process.communicate()
    async with emulator.client(journal=tmp_path) as yotta:
        if number == signal.SIGKILL:
            assert len(await alive(yotta)) == 2
            assert len((await yotta.pods.reap()).pods) == 2
        assert await alive(yotta) == []


FORGETFUL = """
import asyncio
from yotta_async import YottaClient
from yotta_async.dask import PodCluster

async def main():
    yotta = YottaClient({key!r}, base_url={url!r}, poll_interval=0.05)
    cluster = await PodCluster(yotta, n_workers=2)
    while len(cluster.pods) < 2:
        await asyncio.sleep(0.01)

asyncio.run(main())
"""


async def test_when_everything_ends_nothing_is_begun(emulator: Emulator) -> None:
    program = FORGETFUL.format(key=KEY, url=emulator.url)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=-1, stderr=-1)
    await process.communicate()
    assert creates(emulator) == 2, "none is taken for lost as every task is cancelled"
    async with emulator.client() as yotta:
        assert await alive(yotta) == []


# Without a loop


def test_it_works_without_a_loop() -> None:
    with Emulator(runtime="process", timings=TIMINGS) as emulator:
        made: list[YottaClient] = []

        async def make() -> YottaClient:
            made.append(emulator.client(poll_interval=0.05, spend_limit=SpendLimit(max_pods=2)))
            return made[-1]

        with (
            PodCluster(make, asynchronous=False, n_workers=1, worker_options=ONE) as cluster,
            Client(cluster) as client,
        ):
            assert client.submit(square, 5).result() == 25
            with pytest.raises(SpendLimitError):
                cluster.scale(3)
            cluster.scale(2)
            client.wait_for_workers(2)
            assert len(cluster.pods) == 2
            cluster.scale(0)
            assert cluster.pods == {}
        cluster.close()
        with pytest.raises(ConfigurationError, match="closed"):
            asyncio.run(made[0].pods.list())
        with pytest.raises(SpendLimitError):
            PodCluster(make, asynchronous=False, n_workers=3)
        assert len(made) == 2


@pytest.mark.parametrize("seconds", [0.05, 0.4])
def test_an_interrupt_of_the_constructor_leaves_nothing(seconds: float) -> None:
    with Emulator(timings=TIMINGS) as emulator:
        emulator.faults.add(kind="delay", on="create", seconds=0.3)

        def interrupt() -> None:
            while not len(emulator.requests):
                time.sleep(0.001)
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGINT)

        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        try:
            PodCluster(lambda: emulator.client(poll_interval=0.05), asynchronous=False, n_workers=2).close()
            interrupting.join()
            time.sleep(0.01)  # for the signal, should it come as late as this
        except KeyboardInterrupt:
            pass
        assert asyncio.run(left(emulator)) == []


async def left(emulator: Emulator) -> list[Pod]:
    async with emulator.client() as yotta:
        return await alive(yotta)


def test_outside_a_loop_an_asynchronous_cluster_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="asynchronous=False"):
        PodCluster(YottaClient(KEY))


# What is secret, and who is believed


async def test_no_secret_is_shown(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    worker = attrs.evolve(
        WORKER, environment_vars={"HF_TOKEN": "hf-secret"}, initialization_command="login --with hf-secret"
    )
    async with (
        emulator.client(poll_interval=0.05) as yotta,
        PodCluster(yotta, n_workers=1, worker=worker, security="temporary", worker_port=8786) as cluster,
    ):
        [pod] = await yotta.pods.list()
        told = {variable.key: variable.value for variable in pod.environment_vars}
        hidden = [KEY, "hf-secret", told["YOTTA_DASK_TOKEN"], *json.loads(told["YOTTA_DASK_TLS"]).values()]
        assert told["HF_TOKEN"] == "hf-secret"
        command = pod.initialization_command or ""
        assert command.startswith("{ login --with hf-secret\n} && exec ")
        assert not any(secret in command for secret in hidden if secret != "hf-secret")
        await until(lambda: cluster.pods)
        shown = [
            repr(cluster),
            cluster._repr_html_(),
            repr(cluster.worker_spec),
            repr(cluster.workers),
            repr(pod),
            str(await cluster.get_logs()),
        ]
        shown += [repr(vars(each)) for each in cluster.workers.values()]
    shown.append(caplog.text)
    for secret in hidden:
        assert not any(secret in each or secret[30:60] in each for each in shown if len(secret) > 60 or secret in each)


async def test_only_who_knows_the_token_is_believed() -> None:
    listening = asyncio.create_task(told("token", "127.0.0.1", port := free_port()))
    where: dict[str, Any] = {"host": "127.0.0.1", "port": port, "address": "tcp://a:1", "timeout": 5}
    with pytest.raises(NotMetError, match="does not know the pod's token"):
        while True:  # it may not listen yet
            with contextlib.suppress(ConnectionError):
                await tell(**where, token="another")
    for said in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, b"tcp://evil:1 " + b"0" * 64 + b"\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.readline()).startswith(GREETING.encode())
        writer.write(said)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)  # a probe that says nothing and stays
    await tell(**where, token="token")
    assert await listening == "tcp://a:1"
    with pytest.raises(ConnectionError):
        await tell(**where, token="token")
    writer.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"\xff\xfe\n",
        b"x" * 5000,
        f"{GREETING} 00\n{signed('other', 'heard', '00', 'tcp://a:1')}\n".encode(),
    ],
)
async def test_a_stranger_at_the_port_is_not_taken_for_the_pod(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.write_eof()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        with pytest.raises(NotMetError):
            await tell("127.0.0.1", server.sockets[0].getsockname()[1], token="token", address="tcp://a:1", timeout=5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
