"""PodCluster: results are correct whatever happens to pods, and no pod is left."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import logging
import math
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
import pytest

dask = pytest.importorskip("dask", reason="needs Dask: pip install -e '.[test-all]'")

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
from yotta_async.dask import PodCluster, bootstrap, replacement, scaling, worker
from yotta_async.dask.addresses import build_scheduler_spec, resolve_security
from yotta_async.dask.bootstrap import GREETING, receive_address, sign
from yotta_async.dask.handshake import HandshakeError, send_address
from yotta_async.dask.replacement import ReplacementBudget
from yotta_async.emulator import Emulator, Timings
from yotta_async.emulator.clock import make_clock

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the emulator runs no processes on Windows"),
]
TIMINGS = Timings(initialize=0.0, pausing=0.0, terminating=0.0)
ONE = {"nthreads": 1, "memory_limit": "1 GiB"}
WORKER = PodSpec(image="ghcr.io/dask/dask:latest", gpu_type="NVIDIA_L4_24G")
LOST = [PodStatus.TERMINATING, PodStatus.TERMINATED]


@pytest.fixture
async def real() -> AsyncIterator[Emulator]:
    """Return an emulator that runs pods as processes."""
    async with Emulator(runtime="process", timings=TIMINGS, api_key=KEY) as emulator:
        yield emulator


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """Return an emulator of simulated pods, in which no worker ever starts."""
    async with Emulator(timings=TIMINGS, api_key=KEY) as emulator:
        yield emulator


async def list_alive(yotta: YottaClient) -> list[Pod]:
    return [pod for pod in await yotta.pods.list() if pod.status not in LOST]


def count_creates(emulator: Emulator) -> int:
    return sum(request.path.endswith("/create") for request in emulator.requests)


async def wait_for(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def square(number: int) -> int:
    time.sleep(0.02)
    return number * number


@pytest.mark.parametrize("options", [{}, {"security": "temporary", "worker_port": 8786}], ids=["plain", "relayed-tls"])
async def test_results_are_correct_when_a_pod_is_deleted(real: Emulator, options: dict[str, Any]) -> None:
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
            await wait_for(lambda: cluster.observed == {"pi-1", "pi-2"})
            assert "pi-0 is replaced by pi-2" in (await cluster.get_logs(scheduler=False, workers=False))["Cluster"]
            assert victim.id not in {pod.id for pod in cluster.pods.values()}
            del futures
            await cluster.scale(0)
            assert cluster.pods == {}
            assert await list_alive(yotta) == []
        await cluster.close()
        assert await list_alive(yotta) == []


async def test_scaling_down_moves_results(real: Emulator) -> None:
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
        assert len(await list_alive(yotta)) == 1
        assert await client.gather(futures) == [0, 1], "scattered data cannot be computed again"


async def test_adaptive_cluster_starts_and_ends_without_pods(real: Emulator) -> None:
    async with (
        real.client(poll_interval=0.1, spend_limit=SpendLimit(max_pods=2)) as yotta,
        PodCluster(yotta, worker_options=ONE) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        cluster.adapt(minimum=0, maximum=9, interval="50ms", wait_count=2, target_duration="100ms")
        assert sum(await client.gather(client.map(square, range(100)))) == 328350
        await wait_for(lambda: not cluster.plan and not cluster.pods)
        assert await list_alive(yotta) == []
        assert count_creates(real) == 2, "the limit allows two, and retired workers are not replaced"


# Pods that fail or are lost


async def test_fallback_is_used_after_a_failed_pod(real: Emulator) -> None:
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
        assert [each.id for each in await list_alive(yotta)] == [pod.id]


async def test_slow_pod_does_not_delay_other_workers(real: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    real.faults.add(kind="stuck", nth=1)
    async with (
        real.client(poll_interval=0.05) as yotta,
        PodCluster(yotta, worker_options=ONE) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        await cluster.scale(2)
        assert await client.submit(square, 3) == 9
        assert len(cluster.observed) == 1
        monkeypatch.setattr(worker, "RESPONSE_TIMEOUT_S", 0.01)
        real.faults.add(kind="delay", on="create", nth=1, seconds=1)
        await cluster.scale(3)
        assert count_creates(real) == 2, "scale does not wait for the third create"


@pytest.mark.parametrize("how", ["exit", "unreachable", "paused", "no Dask"])
async def test_replacement_ends_if_no_worker_ever_joins(
    real: Emulator, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"max_replacements": 1}
    if how == "unreachable":
        options |= {"start_timeout": 0.5, "worker_port": 8786}
        real.faults.add(kind="unhealthy_port")
    commands = {
        "exit": "exit 3",
        "no Dask": "mkdir distributed; echo 'raise ImportError' > distributed/__init__.py; export PYTHONPATH=$PWD",
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
            for pod in cluster.pods.values() if how == "paused" else ():
                with contextlib.suppress(YottaError):
                    await yotta.pods.pause(pod)
            await asyncio.sleep(0.01)
        await wait_for(lambda: not cluster.workers)
        logged = (await cluster.get_logs(scheduler=False, workers=False))["Cluster"]
        assert "x-0 is replaced by x-1: " in logged
        assert "x-1 is not replaced, too many were lost; call scale again for more: " in logged
        assert {
            "exit": "was RUNNING and is now FAILED",
            "no Dask": "was RUNNING and is now FAILED",
            "unreachable": "port 8786 is not healthy",
            "paused": "and is now PAUS",
        }[how] in logged
        if how == "no Dask":
            assert "has no Dask" in real.logs((await yotta.pods.list())[0].id)
        await wait_for_no_pods(yotta)
        assert count_creates(real) == 2
    assert [record.levelname for record in caplog.records if record.name == "yotta_async.dask"] == ["WARNING", "ERROR"]


async def wait_for_no_pods(yotta: YottaClient) -> None:
    while await list_alive(yotta):
        await asyncio.sleep(0.01)


async def test_worker_lost_by_the_scheduler_is_replaced_once(real: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
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
        await wait_for(lambda: cluster.plan == {"x-1"})
        await cluster
        await wait_for(lambda: cluster.observed == {"x-1"})
        assert count_creates(real) == 2, "one after the other, because the limit is one"
        assert await client.submit(square, 4) == 16
        await wait_for(lambda: len(cluster.pods) == 1)
        assert [pod.pod_name for pod in await list_alive(yotta)] == ["x-1"], "the pod of the lost worker is deleted"


async def test_client_restart_replaces_workers(real: Emulator) -> None:
    async with (
        real.client(poll_interval=0.05) as yotta,
        PodCluster(yotta, n_workers=1, worker_options=ONE) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        for number in range(2):
            assert await client.submit(square, number) == number * number
            await client.restart()
            assert len(cluster.plan) == 1
        assert count_creates(real) == 3


async def test_refused_polls_keep_pods(emulator: Emulator) -> None:
    async with emulator.client(poll_interval=0.02) as yotta, PodCluster(yotta, n_workers=2) as cluster:
        await wait_for(lambda: [pod.status for pod in cluster.pods.values()] == ["RUNNING"] * 2)
        faults = [emulator.faults.add(kind="status", http_status=403, code=403, on=on) for on in ("list", "get")]
        await wait_for(lambda: sum(fault.fired for fault in faults) >= 2)  # whichever request the poll uses
        emulator.faults.clear()
        assert len(cluster.plan) == len(cluster.pods) == len(await list_alive(yotta)) == 2
        victim = next(iter(cluster.pods.values()))
        await yotta.pods.delete(victim)
        await wait_for(lambda: victim.id not in {pod.id for pod in cluster.pods.values()} and len(cluster.pods) == 2)


async def test_nothing_is_replaced_after_the_scheduler_ended(emulator: Emulator) -> None:
    async with (
        emulator.client(poll_interval=0.05) as yotta,
        PodCluster(yotta, n_workers=1, start_timeout=0.2) as cluster,
    ):
        scheduler: Any = cluster.scheduler
        await scheduler.close()  # for instance by its idle-timeout
        await wait_for(lambda: not cluster.plan)
        assert count_creates(emulator) == 1
        await wait_for_no_pods(yotta)


async def test_outdated_removal_is_ignored(emulator: Emulator) -> None:
    async with emulator.client(poll_interval=0.05) as yotta, PodCluster(yotta) as cluster:
        cluster._update_worker_status("remove", "tcp://127.0.0.1:1")  # `wait_for_workers` may have removed it before
        watching: Any = cluster._watch_worker_status_task
        assert not watching.done()


def test_replacements_are_limited_and_slow_down(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        budget = ReplacementBudget(None)
        assert [budget.record_loss(2) for _ in range(5)] == [0, 0, 1, 1, None]
        assert budget.is_exhausted(2)
        assert not budget.is_exhausted(3), "a larger cluster may lose more"
        with monkeypatch.context() as patched:
            patched.setattr(replacement, "LOSS_WINDOW_S", -1.0)
            assert budget.is_exhausted(2), "losses in a row count however old they are"
        budget.reset()
        for _ in range(20):
            budget.record_join()
            assert budget.record_loss(2) == 0
        assert budget.record_loss(2) is None, "workers that join and are lost are limited too"
        none = ReplacementBudget(0)
        assert not none.is_exhausted(1)
        assert none.record_loss(9) is None
        assert none.is_exhausted(1)

    asyncio.run(check())


# Costs, limits and invalid arguments


async def test_repr_and_widget_show_costs(emulator: Emulator) -> None:
    async with emulator.client(poll_interval=0.05) as yotta:
        cluster = PodCluster(yotta, n_workers=2, worker=WORKER, name="x")
        assert repr(cluster) == "PodCluster(x, '<Not Connected>', workers=0, threads=0, memory=0 B, pods=0, $0.00/h)"
        async with cluster:
            cost = sum(pod.hourly_price or 0 for pod in await yotta.pods.list())
            assert cluster.hourly_price == cost > 0
            assert {name: pod.pod_name for name, pod in cluster.pods.items()} == {"x-0": "x-0", "x-1": "x-1"}
            for shown in (repr(cluster), cluster._repr_html_(), cluster._scaling_status()):
                assert f"pods=2, ${cost:.2f}/h" in shown


async def test_missing_price_is_unknown(api: PodServer) -> None:
    async with YottaClient(KEY, base_url=api.url) as yotta, PodCluster(yotta, n_workers=1) as cluster:
        assert cluster.hourly_price is None
        assert "pods=1, price unknown" in repr(cluster)


async def test_spend_limits_apply_to_scaling(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    async with emulator.client(poll_interval=0.05, spend_limit=SpendLimit(max_pods=3)) as yotta:
        with pytest.raises(SpendLimitError):
            await PodCluster(yotta, n_workers=4)
        with pytest.raises(SpendLimitError):
            async with PodCluster(yotta, n_workers=4):
                pytest.fail("the limit is three")
        with pytest.raises(SpendLimitError):
            async with PodCluster(
                yotta, n_workers=2, spend_limit=SpendLimit(max_hourly=0.1, prices={WORKER.gpu_type: 1})
            ):
                pytest.fail("the limit is ten cents")
        async with PodCluster(yotta, n_workers=1) as cluster:
            with pytest.raises(SpendLimitError, match="3 more on top of the account's 1 pods"):
                await cluster.scale(4)
            assert count_creates(emulator) == 1
            caplog.clear()
            cluster.scale(4)
            with pytest.raises(SpendLimitError):
                await cluster
            cluster.scale(4)
            await wait_for(lambda: "max_pods=3" in caplog.text)  # not awaited, so asyncio logs it
            await cluster.scale(3)
            assert len(cluster.plan) == count_creates(emulator) == 3
            await cluster.scale(1)
            cluster.scale(3)
            await cluster.scale(2)
            assert len(cluster.plan) == len(await list_alive(yotta)) == 2, "the last call counts"


@pytest.mark.parametrize("fault", [{"http_status": 401, "code": 401}, {"code": 10001, "message": "no such image"}])
async def test_final_create_error_is_raised_and_not_retried(emulator: Emulator, fault: dict[str, Any]) -> None:
    async with emulator.client() as yotta:
        emulator.faults.add(kind="status", on="create", **{"http_status": 200, **fault})
        with pytest.raises(YottaError) as caught:
            await PodCluster(yotta, n_workers=2)
        assert count_creates(emulator) == 2
        assert isinstance(caught.value, AuthenticationError) == (fault["code"] == 401)
        emulator.faults.clear()
        emulator.faults.add(kind="answer_lost_after_commit", on="create")
        emulator.faults.add(kind="missing_from_list", pod_name="*")
    async with emulator.client(settle_timeout=0.1) as yotta:
        with pytest.raises(CreateOutcomeUnknownError):
            await PodCluster(yotta, n_workers=1)
        assert count_creates(emulator) == 3


PEMS = [f"tls_{role}_{what}" for role in ("client", "scheduler", "worker") for what in ("cert", "key")]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"yotta": "key"}, "yotta must be a YottaClient, or a function that makes one, not str"),
    ({"asynchronous": False}, "give a function"),
    ({"worker": {"image": "i"}}, "worker must be a PodSpec, not dict"),
    ({"worker": attrs.evolve(WORKER, environment_vars={"YOTTA_DASK_TOKEN": "1"})}, "YOTTA_DASK_TOKEN is reserved"),
    ({"n_workers": -1}, "n_workers must be a whole number"),
    ({"n_workers": True}, "n_workers must be a whole number"),
    ({"max_replacements": 1.5}, "max_replacements must be a whole number"),
    ({"security": True}, "security must be"),
    (
        {"security": Security(require_encryption=True)},
        "it has no tls_ca_file, tls_client_cert, tls_client_key, tls_scheduler_cert",
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
    ({"worker_options": {"name": "a"}}, "worker_options cannot have name"),
    ({"worker_options": {"plugins": [object()]}}, "worker_options must be JSON"),
    ({"spend_limit": 5}, "spend_limit must be a SpendLimit"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[message[:30] for _, message in WRONG])
async def test_invalid_arguments_are_refused_before_any_request(
    emulator: Emulator, options: dict[str, Any], message: str
) -> None:
    async with emulator.client() as yotta:
        with pytest.raises((ConfigurationError, InvalidRequestError), match=re.escape(message)):
            PodCluster(**{"yotta": yotta, **options})
    assert len(emulator.requests) == 0


async def test_unreachable_scheduler_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with YottaClient(KEY) as yotta:
        with pytest.raises(ConfigurationError, match=r"pods of api\.yottalabs\.ai cannot reach .*give scheduler_host"):
            await PodCluster(yotta)
        with pytest.raises(ConfigurationError, match="must return a YottaClient, not str"):
            await PodCluster(lambda: "key")  # type: ignore[arg-type, return-value]  # wrong on purpose
        assert not caplog.records
        spec = build_scheduler_spec(None, host="gpu.example.com", port=None, security=resolve_security(None))
        assert (spec["options"]["host"], spec["options"]["contact_address"]) == (
            "0.0.0.0",
            "tcp://gpu.example.com:8786",
        )
        assert "runs code for anyone who can reach it" in caplog.text
        moved = build_scheduler_spec(
            {"options": {"port": 9}}, host="a.example.com", port=None, security=resolve_security(None)
        )
        assert moved["options"]["contact_address"] == "tcp://a.example.com:9"
        given = {"options": {"contact_address": "tls://tunnel.example.com:5", "port": 9}}
        options = build_scheduler_spec(given, host="2001:db8::1", port=7, security=Security(require_encryption=True))[
            "options"
        ]
        assert (options["contact_address"], options["port"], options["host"]) == ("tls://tunnel.example.com:5", 9, "::")


# Closing


async def stay(cluster: PodCluster) -> None:
    async with cluster:
        await asyncio.Event().wait()


@pytest.mark.parametrize("sent", [0, 1, 2, 3, 99])
async def test_cancel_at_any_moment_leaves_no_pod(emulator: Emulator, sent: int) -> None:
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
        assert await list_alive(yotta) == []
        assert (cluster.status.name, cluster.pods) == ("closed", {})


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_close_during_start_leaves_no_pod(emulator: Emulator, turns: int) -> None:
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
        assert await list_alive(yotta) == []
        with pytest.raises(ConfigurationError, match="is closed: make a new one"):
            async with cluster:
                pytest.fail("the cluster is closed")
        for call in (lambda: cluster.scale(1), lambda: cluster.adapt(maximum=1)):
            with pytest.raises(ConfigurationError, match="is closed: make a new one"):
                call()
        await cluster.scale(0)


async def test_cancel_has_a_note_if_a_pod_may_be_left(api: PodServer, caplog: pytest.LogCaptureFixture) -> None:
    async with YottaClient(KEY, base_url=api.url, clock=make_clock("auto")) as yotta:
        entering = asyncio.Event()

        async def entered() -> None:
            async with PodCluster(yotta, n_workers=1) as cluster:
                await wait_for(lambda: cluster.pods)
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


async def test_scale_before_start_and_by_cores_or_memory(emulator: Emulator) -> None:
    async with emulator.client(poll_interval=0.05) as yotta:
        cluster = PodCluster(yotta)
        await cluster.scale(2)
        async with cluster:
            assert len(cluster.plan) == 2
            for wrong in ({"cores": 4}, {"memory": "1 GiB"}):
                with pytest.raises(ConfigurationError, match="give worker_options="):
                    cluster.scale(**wrong)
        async with PodCluster(yotta, worker_options=ONE) as cluster:
            await cluster.scale(cores=2)
            assert len(cluster.plan) == 2
            await cluster.scale(memory="2.5 GiB")
            assert len(cluster.plan) == 3


async def test_adaptive_cluster_grows_again_after_it_shrank(real: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "LIMIT_RETRY_INTERVAL_S", math.inf)
    async with (
        real.client(poll_interval=0.1, spend_limit=SpendLimit(max_pods=1)) as yotta,
        PodCluster(yotta, worker_options=ONE) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        cluster.adapt(minimum=0, maximum=2, interval="50ms", wait_count=2)
        for _ in range(2):
            assert await client.gather(client.map(square, range(30))) == [number * number for number in range(30)]
            await wait_for(lambda: not cluster.plan)


async def test_error_in_the_block_leaves_no_pod(emulator: Emulator) -> None:
    async with emulator.client(poll_interval=0.05) as yotta:
        with pytest.raises(KeyError):
            async with PodCluster(yotta, n_workers=2):
                raise KeyError
        assert count_creates(emulator) == 2
        assert await list_alive(yotta) == []


async def test_closing_the_client_first_leaves_no_pod(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    yotta = emulator.client(poll_interval=0.05)
    async with PodCluster(yotta, n_workers=2) as cluster:
        await wait_for(lambda: len(cluster.pods) == 2)
        await yotta.aclose()
        await wait_for(lambda: not cluster.plan)
    assert count_creates(emulator) == 2
    async with emulator.client() as other:
        assert await list_alive(other) == []


async def test_close_names_a_pod_that_cannot_be_deleted(api: PodServer) -> None:
    clock = make_clock("auto")
    async with YottaClient(KEY, base_url=api.url, clock=clock) as yotta:
        cluster = await PodCluster(yotta, n_workers=1)
        await wait_for(lambda: cluster.pods)
        api.fault = lambda what: "500 before" if what == "DELETE" else "none"
        with pytest.raises(YottaError, match=rf"may have left pods: .*{api.alive[0]}"):
            await cluster.close()
        api.fault = lambda _: "none"
    assert api.alive == [], "closing the client deletes it"


PROGRAM = """
import ast
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
async def test_interrupted_or_killed_program_leaves_no_pod(
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
            assert len(await list_alive(yotta)) == 2
            assert len((await yotta.pods.reap()).pods) == 2
        assert await list_alive(yotta) == []


UNCLOSED_PROGRAM = """
import ast
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


async def test_no_replacement_when_all_tasks_are_cancelled(emulator: Emulator) -> None:
    program = UNCLOSED_PROGRAM.format(key=KEY, url=emulator.url)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=-1, stderr=-1)
    await process.communicate()
    assert count_creates(emulator) == 2, "cancelled workers are not replaced"
    async with emulator.client() as yotta:
        assert await list_alive(yotta) == []


# Without an event loop


def test_cluster_without_event_loop() -> None:
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
def test_interrupted_constructor_leaves_no_pod(seconds: float) -> None:
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
            time.sleep(0.01)  # in case the signal is late
        except KeyboardInterrupt:
            pass
        assert asyncio.run(left(emulator)) == []


async def left(emulator: Emulator) -> list[Pod]:
    async with emulator.client() as yotta:
        return await list_alive(yotta)


def test_asynchronous_cluster_outside_a_loop_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="asynchronous=False"):
        PodCluster(YottaClient(KEY))


# Secrets and the handshake


async def test_secrets_are_not_shown(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    worker = attrs.evolve(
        WORKER, environment_vars={"HF_TOKEN": "hf-secret"}, initialization_command="login --with hf-secret"
    )
    async with (
        emulator.client(poll_interval=0.05) as yotta,
        PodCluster(yotta, n_workers=1, worker=worker, security="temporary", worker_port=8786) as cluster,
    ):
        [pod] = await yotta.pods.list()
        settings = {variable.key: variable.value for variable in pod.environment_vars}
        hidden = [KEY, "hf-secret", settings["YOTTA_DASK_TOKEN"], *json.loads(settings["YOTTA_DASK_TLS"]).values()]
        assert settings["HF_TOKEN"] == "hf-secret"
        command = pod.initialization_command or ""
        assert command.startswith("{ login --with hf-secret\n} && exec ")
        assert not any(secret in command for secret in hidden if secret != "hf-secret")
        await wait_for(lambda: cluster.pods)
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


async def test_pod_accepts_its_address_only_with_the_token() -> None:
    listening = asyncio.create_task(receive_address("token", "127.0.0.1", port := free_port()))
    where: dict[str, Any] = {"host": "127.0.0.1", "port": port, "address": "tcp://a:1", "timeout": 5}
    with pytest.raises(HandshakeError, match="does not know the pod's token"):
        while True:  # until it listens
            with contextlib.suppress(ConnectionError):
                await send_address(**where, token="another")
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, b"tcp://evil:1 " + b"0" * 64 + b"\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.readline()).startswith(GREETING.encode())
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)  # a port scan that stays connected
    await send_address(**where, token="token")
    assert await listening == "tcp://a:1"
    with pytest.raises(ConnectionError):
        await send_address(**where, token="token")
    writer.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"\xff\xfe\n",
        b"x" * 5000,
        f"{GREETING} 00\n{sign('other', 'confirm', '00', 'tcp://a:1')}\n".encode(),
    ],
)
async def test_other_program_at_the_port_is_refused(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.write_eof()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        with pytest.raises(HandshakeError):
            await send_address(
                "127.0.0.1", server.sockets[0].getsockname()[1], token="token", address="tcp://a:1", timeout=5
            )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_bootstrap_is_valid_for_python_3_10() -> None:
    ast.parse(Path(bootstrap.__file__).read_text(), feature_version=(3, 10))
