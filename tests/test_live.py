"""A pod's whole life, on the emulator and, with `YOTTA_API_KEY=… pytest -m live`, on the API itself.

On the API each test rents the cheapest pod that it can and deletes it; it costs a few cents. $YOTTA_LIVE_GPU_TYPE and
$YOTTA_LIVE_IMAGE name what is rented. What passes on one and fails on the other is where the emulator is wrong.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from yotta_async import BadRequestError, InvalidStateError, NotFoundError, Pod, PodSpec, PodStatus, YottaClient
from yotta_async.emulator import Emulator

KEY, URL = os.environ.get("YOTTA_API_KEY"), os.environ.get("YOTTA_BASE_URL")
SPEC = PodSpec(
    image=os.environ.get(
        "YOTTA_LIVE_IMAGE", "yottalabsai/pytorch:2.8.0-py3.11-cuda12.8.1-cudnn-devel-ubuntu22.04-2025050802"
    ),
    gpu_type=os.environ.get("YOTTA_LIVE_GPU_TYPE", "NVIDIA_L4_24G"),
    gpu_count=1,
    pod_name="yotta-async-live-test",
    environment_vars={"GREETING": "hello"},
    expose=[(22, "SSH")],
)
LONG = 1800.0
live = pytest.param("live", marks=[pytest.mark.live, pytest.mark.timeout(4 * LONG)])


@pytest.fixture(params=["emulator", live])
async def yotta(request: pytest.FixtureRequest) -> AsyncIterator[YottaClient]:
    if request.param == "live":
        if not KEY:
            pytest.skip("YOTTA_API_KEY is not set")
        async with YottaClient(KEY, base_url=URL) as yotta:
            yield yotta
    else:
        async with Emulator(clock="auto") as emulator, emulator.client() as yotta:
            yield yotta


async def test_a_whole_life(yotta: YottaClient) -> None:
    seen: list[Pod] = []
    async with yotta.pods.ephemeral(SPEC, timeout=LONG) as handle:
        assert handle.pod is not None
        _is_complete(handle.pod)
        listed = {pod.id: pod for pod in await yotta.pods.list(statuses=[PodStatus.RUNNING])}
        assert listed[handle.id].pod_name == SPEC.pod_name
        assert handle.id not in {pod.id for pod in await yotta.pods.list(statuses=[PodStatus.PAUSED])}
        await handle.pause()
        await handle.wait_until(status=PodStatus.PAUSED, timeout=LONG, on_change=seen.append)
        with pytest.raises(InvalidStateError):
            await handle.pause()
        await handle.resume()
        await handle.wait_until(status=PodStatus.RUNNING, timeout=LONG, on_change=seen.append)
    assert {pod.status for pod in seen} <= {"PAUSING", "PAUSED", "INITIALIZE", "PENDING", "PREPARING", "RUNNING"}
    gone = await handle.wait_until(status=PodStatus.TERMINATED, timeout=LONG)
    assert gone.status == PodStatus.TERMINATED


def _is_complete(pod: Pod) -> None:
    assert pod.extra == {}, "fields that the documents do not have"
    assert (pod.image, pod.gpu_type, pod.gpu_count, pod.pod_name) == (
        SPEC.image, SPEC.gpu_type, SPEC.gpu_count, SPEC.pod_name)  # fmt: skip
    assert {variable.key for variable in pod.environment_vars} >= {"GREETING"}
    assert pod.created_at is not None
    assert pod.updated_at is not None
    assert pod.created_at <= pod.updated_at
    assert (pod.hourly_price or 0) > 0
    port = pod.port(22)
    assert port is not None
    assert port.host
    assert port.proxy_port


async def test_lists_begin_with_the_last_change(yotta: YottaClient) -> None:
    async with yotta.pods.ephemeral(SPEC, timeout=LONG), yotta.pods.ephemeral(SPEC, timeout=LONG):
        times = [pod.updated_at for pod in await yotta.pods.list() if pod.updated_at]
        assert times == sorted(times, reverse=True)


async def test_what_is_not_there(yotta: YottaClient) -> None:
    for call in (yotta.pods.get, yotta.pods.pause, yotta.pods.resume, yotta.pods.delete):
        with pytest.raises(NotFoundError):
            await call("1")


async def test_what_is_refused(yotta: YottaClient) -> None:
    with pytest.raises(BadRequestError):
        await yotta.pods.get("letters")
