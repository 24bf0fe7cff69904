"""Every way out of `ephemeral` deletes the pod: in this process, and in processes of their own with real signals."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import KEY, SPEC
from tests.pod_server import PodServer
from tests.raw_server import RecordedRequest, Reply, silence_on
from yotta_async import (
    ConfigurationError,
    InvalidRequestError,
    Pod,
    PodFailedError,
    PodStatus,
    RequestTimeoutError,
    WaitTimeoutError,
    YottaClient,
    install_signal_handlers,
)
from yotta_async.emulator import Emulator
from yotta_async.emulator.clock import make_clock

pytestmark = pytest.mark.both_versions


def first_delete_fails(api: PodServer) -> None:
    """Let the first DELETE answer 500."""
    api.fault = lambda what: "500 before" if what == "DELETE" and api.requests.count("DELETE") == 1 else "none"


def client_of(api: PodServer, **options: Any) -> YottaClient:
    return YottaClient(KEY, base_url=api.url, **{"clock": make_clock("auto"), **options})


async def test_it_runs_within_the_block_and_is_gone_after_it(emulator: Emulator, yotta: YottaClient) -> None:
    async with yotta.pods.ephemeral(**SPEC) as handle:
        assert handle.pod is not None
        assert handle.pod.status == PodStatus.RUNNING
        assert (await handle.refresh()).status == PodStatus.RUNNING
    assert (await handle.refresh()).status in (PodStatus.TERMINATING, PodStatus.TERMINATED)


async def test_it_can_be_entered_before_it_runs(yotta: YottaClient) -> None:
    async with yotta.pods.ephemeral(**SPEC, until=["INITIALIZE", "RUNNING"]) as handle:
        assert handle.pod is not None
        assert handle.pod.status == PodStatus.INITIALIZE


async def test_bad_input_is_refused_before_anything_is_sent(api: PodServer) -> None:
    async with client_of(api) as yotta:
        for wrong in ({"image": ""}, {"until": "RUNNING?"}, {"timeout": -1}):
            with pytest.raises(InvalidRequestError):
                yotta.pods.ephemeral(**{**SPEC, **wrong})
    assert api.requests == []


async def test_it_is_entered_once(api: PodServer) -> None:
    async with client_of(api) as yotta:
        ephemeral = yotta.pods.ephemeral(**SPEC)
        async with ephemeral:
            with pytest.raises(ConfigurationError, match="once"):
                await ephemeral.__aenter__()


async def test_a_pod_that_does_not_come_up_is_deleted(api: PodServer) -> None:
    async with client_of(api) as yotta:
        for status, error in (("PENDING", WaitTimeoutError), ("FAILED", PodFailedError)):
            api.born = status
            with pytest.raises(error):
                async with yotta.pods.ephemeral(**SPEC, timeout=20):
                    pytest.fail("it was not RUNNING")
        assert api.alive == []


async def test_fallbacks_are_tried_when_a_pod_fails_or_is_refused(api: PodServer) -> None:
    seen: list[str] = []
    fallbacks = [{"gpu_type": "B"}, {"gpu_type": "C"}]
    api.birth = lambda body: {"A": "REFUSED", "C": "RUNNING"}.get(body["gpuType"], "FAILED")
    async with client_of(api) as yotta:
        ephemeral = yotta.pods.ephemeral(
            image="i", gpu_type="A", fallbacks=fallbacks, on_change=lambda pod: seen.append(f"{pod.status}")
        )
        async with ephemeral as handle:
            assert handle.pod is not None
            assert handle.pod.gpu_type == "C"
        assert seen == ["FAILED", "RUNNING"]
        with pytest.raises(PodFailedError) as caught:
            async with yotta.pods.ephemeral(image="i", gpu_type="A", fallbacks=[{"gpu_type": "D"}, {"gpu_type": "E"}]):
                pytest.fail("none ran")
        first, second = caught.value.__notes__
        assert "insufficient capacity" in first
        assert "PodFailedError" in second
        with pytest.raises(InvalidRequestError):
            yotta.pods.ephemeral(image="i", gpu_type="A", fallbacks={"gpu_type": "B"})  # type: ignore[dict-item]  # wrong on purpose
        assert api.alive == []


async def test_one_timeout_is_for_all_alternatives(api: PodServer) -> None:
    clock = make_clock("auto")
    api.birth = lambda body: "PENDING" if body["gpuType"] == "B" else "INITIALIZE"

    def fail_later(what: str) -> str:
        for pod in api.pods.values():
            if clock.time() >= 12 and pod["status"] == "INITIALIZE":
                pod["status"] = "FAILED"
        return "none"

    api.fault = fail_later
    async with client_of(api, clock=clock) as yotta:
        with pytest.raises(WaitTimeoutError) as caught:
            async with yotta.pods.ephemeral(image="i", gpu_type="A", timeout=20, fallbacks=[{"gpu_type": "B"}, {}]):
                pytest.fail("it was not RUNNING")
        assert clock.time() == pytest.approx(20)
        assert "Before it, another alternative: PodFailedError" in caught.value.__notes__[0]
        assert len(api.pods) == 2, "a wait that timed out is not for a fallback"
        assert api.alive == []


async def test_timeout_is_for_the_list_of_alternatives_too(api: PodServer) -> None:
    clock = make_clock("auto")
    api.act = lambda what, request: silence_on(clock)  # type: ignore[method-assign]  # a server that does not answer
    async with client_of(api, clock=clock) as yotta:
        with pytest.raises(RequestTimeoutError):
            async with yotta.pods.ephemeral(**SPEC, timeout=20, fallbacks="available"):
                pytest.fail("no alternative is known")
    assert clock.time() == pytest.approx(20, abs=0.01)
    assert len(api.requests) == 1


async def test_pod_whose_create_takes_longer_than_the_timeout_is_deleted(api: PodServer) -> None:
    clock = make_clock("auto")
    api.born = "PENDING"
    act = api.act

    def act_late(what: str, request: RecordedRequest) -> Reply:
        if what != "create":
            return act(what, request)

        async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
            await clock.delay(10)
            await act(what, request)(request, writer)

        return answer

    api.act = act_late  # type: ignore[method-assign]  # a server that is slow
    async with client_of(api, clock=clock) as yotta:
        with pytest.raises(WaitTimeoutError):
            async with yotta.pods.ephemeral(**SPEC, timeout=5):
                pytest.fail("it was not RUNNING")
        assert len(api.pods) == 1
        assert api.alive == []


def test_it_is_for_async_with_only() -> None:
    ephemeral = YottaClient(KEY).pods.ephemeral(**SPEC)
    with pytest.raises(ConfigurationError, match="`async with"), ephemeral:
        pytest.fail("it was entered")


async def test_cancel_while_the_block_is_left_is_raised_once_the_pod_is_deleted(api: PodServer) -> None:
    async def work() -> None:
        async with yotta.pods.ephemeral(**SPEC):
            pass

    async with client_of(api) as yotta:
        task = asyncio.create_task(work())
        while "DELETE" not in api.requests:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert not hasattr(caught.value, "__notes__")
        assert api.requests[-2:] == ["DELETE", "GET"]
        assert api.alive == []


async def test_a_pod_that_the_caller_deleted_is_no_error(api: PodServer) -> None:
    async with client_of(api) as yotta:
        async with yotta.pods.ephemeral(**SPEC) as handle:
            await handle.delete()
        async with yotta.pods.ephemeral(**SPEC) as handle:
            del api.pods[handle.id]
        assert api.alive == []


async def test_a_pod_that_cannot_be_deleted_is_named(api: PodServer, caplog: pytest.LogCaptureFixture) -> None:
    clock = make_clock("auto")
    yotta = client_of(api, clock=clock)
    with pytest.raises(WaitTimeoutError) as caught:
        async with yotta.pods.ephemeral(**SPEC) as handle:
            api.fault = lambda what: "500 before" if what == "DELETE" else "none"
            began = clock.time()
            raise KeyError("of the block")
    assert 25 <= clock.time() - began <= 31
    assert handle.id in str(caught.value)
    assert caught.value.pod_id == handle.id
    assert isinstance(caught.value.__context__, KeyError)
    caplog.clear()
    api.fault = lambda _: "none"
    await yotta.aclose()
    assert api.alive == [], "closing tries once more"
    assert not caplog.records


@pytest.mark.parametrize("born", ["RUNNING", "PENDING"])
async def test_a_cancel_that_leaves_a_pod_says_so(api: PodServer, caplog: pytest.LogCaptureFixture, born: str) -> None:
    """In the block, or while the pod is waited for."""
    yotta = client_of(api)
    api.born = born
    api.fault = lambda what: "500 before" if what == "DELETE" else "none"
    waiting = asyncio.Event()

    def note_change(pod: Pod) -> None:
        if pod.status == "PENDING":
            waiting.set()

    async def work() -> None:
        async with yotta.pods.ephemeral(**SPEC, on_change=note_change):
            waiting.set()
            await asyncio.sleep(100)

    task = asyncio.create_task(work())
    await waiting.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    [pod_id] = api.alive
    assert pod_id in caught.value.__notes__[0]
    assert [pod_id in record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [True]
    caplog.clear()
    await yotta.aclose()
    assert [pod_id in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("is_all", "note"), [(False, "is still being deleted: closing the client waits"), (True, "deletion was cancelled")]
)
async def test_cancel_that_does_not_wait_for_the_deletion_names_the_pod(
    api: PodServer, monkeypatch: pytest.MonkeyPatch, is_all: bool, note: str
) -> None:
    """The deletion takes longer than a cancel is deferred, or all tasks are cancelled."""
    monkeypatch.setattr("yotta_async.support.tasks.CANCEL_HOLD_S", 60.0 if is_all else 0.0)
    entered, answered = asyncio.Event(), asyncio.Event()
    act = api.act

    def act_late(what: str, request: RecordedRequest) -> Reply:
        async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
            await answered.wait()
            await act(what, request)(request, writer)

        return answer if what == "DELETE" else act(what, request)

    async def work() -> None:
        async with yotta.pods.ephemeral(**SPEC):
            entered.set()
            await asyncio.sleep(100)

    api.act = act_late  # type: ignore[method-assign]  # a server that is slow
    async with client_of(api) as yotta:
        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        while is_all and "DELETE" not in api.requests:
            await asyncio.sleep(0)
        for each in asyncio.all_tasks() - {asyncio.current_task()} if is_all else ():
            each.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        [pod_id] = api.alive
        assert f"pod {pod_id}" in caught.value.__notes__[0]
        assert note in caught.value.__notes__[0]
        answered.set()
    assert api.alive == []


async def test_a_delete_without_effect_is_repeated(api: PodServer) -> None:
    lost = iter(range(2))

    async with client_of(api) as yotta:
        async with yotta.pods.ephemeral(**SPEC) as handle:
            act = api.act

            def forgetful(what: str, request: Any) -> Any:
                reply = act(what, request)
                if what == "DELETE" and next(lost, None) is not None:
                    api.pods[handle.id]["status"] = "RUNNING"
                return reply

            api.act = forgetful  # type: ignore[method-assign]  # a server that forgets
        assert api.alive == []
    assert api.requests.count("DELETE") == 3


WAYS = {
    "return": "async with pod(): pass",
    "exception": "async with pod(): raise KeyError",
    "exit": "async with pod(): raise SystemExit(3)",
    "cancel": """
        task = asyncio.create_task(work()); await entered.wait(); task.cancel()
        await asyncio.wait({task})""",
    "second cancel in the cleanup": """
        task = asyncio.create_task(work()); await entered.wait()
        for _ in range(4):
            task.cancel(); await asyncio.sleep(0.02)
        await asyncio.wait({task})""",
    "timeout": """
        async with asyncio.timeout(None) as limit:
            async def expire():
                await entered.wait(); limit.reschedule(0)
            expiring = asyncio.create_task(expire())
            await work()""",
    "sibling": """
        async def fail():
            await entered.wait(); raise KeyError
        async with asyncio.TaskGroup() as group:
            group.create_task(work()); group.create_task(fail())""",
    "closed around it": """
        async with pod():
            await yotta.aclose()""",
    "cancelled half-way": """
        task = asyncio.create_task(work())
        await asyncio.to_thread(sys.stdin.readline); task.cancel()
        await asyncio.wait({task})""",
    "interrupt": "await work()",
    "interrupt at the create": "print('entered', flush=True); await work()",
    "terminated": "install_signal_handlers(); await work()",
    "terminated in the background": "install_signal_handlers(); await work()",
}
PROGRAM = """
import asyncio, sys
from yotta_async import YottaClient, install_signal_handlers

async def main():
    entered = asyncio.Event()
    yotta = YottaClient({key!r}, base_url={url!r}, poll_interval=0.05)
    def pod():
        return yotta.pods.ephemeral(image="i", gpu_type="g")
    async def work():
        async with pod():
            print("entered", flush=True); entered.set()
            await asyncio.sleep(60)
    async with yotta:
        {way}

asyncio.run(main())
"""


@pytest.mark.one_version  # takes long
@pytest.mark.parametrize("way", WAYS)
async def test_every_way_out_of_a_process_deletes_the_pod(api: PodServer, way: str) -> None:
    first_delete_fails(api)
    program = PROGRAM.format(key=KEY, url=api.url, way=WAYS[way])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if "background" in way else None,
    )  # fmt: skip
    if way.startswith(("interrupt", "terminated")):
        assert process.stdout is not None
        await process.stdout.readline()
        while not api.requests:
            await asyncio.sleep(0.001)
        process.send_signal(signal.SIGTERM if "terminated" in way else signal.SIGINT)
    if way == "cancelled half-way":
        while not api.requests:
            await asyncio.sleep(0.001)
    _, errors = await asyncio.wait_for(process.communicate(b"\n"), 30)
    assert len(api.pods) == 1, errors
    assert api.alive == []
    assert api.requests.count("DELETE") >= 2
    assert (process.returncode == 0) == (way in ("return", "cancel", "second cancel in the cleanup", "closed around it",
                                                 "cancelled half-way")), errors  # fmt: skip
    if way in ("interrupt", "terminated"):
        assert b"KeyboardInterrupt" in errors


def test_signal_handlers_are_for_the_main_thread_and_for_signals() -> None:
    with pytest.raises(ConfigurationError, match=r"the coroutine that asyncio\.run runs"):
        install_signal_handlers()

    async def for_no_signal() -> None:
        install_signal_handlers(signal.SIGKILL)

    with pytest.raises(ConfigurationError, match="no signal"):
        asyncio.run(for_no_signal())

    async def in_a_thread() -> None:
        await asyncio.to_thread(install_signal_handlers)

    with pytest.raises(ConfigurationError, match="main thread"):
        asyncio.run(in_a_thread())
