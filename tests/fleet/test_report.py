"""Reports of many pods: as they were given in memory, and without secrets in every text and pickle."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from tests.conftest import KEY, SPEC
from tests.pod_server import PodServer
from yotta_async import (
    EnvironmentVariable,
    FanOutError,
    FanOutItem,
    FanOutReport,
    InvalidRequestError,
    Pod,
    PodSpec,
    YottaClient,
)
from yotta_async.emulator import Emulator
from yotta_async.emulator.clock import make_clock

SECRET = "hunter2-the-value"


def spec() -> PodSpec:
    return PodSpec(**SPEC, environment_vars={"PASSWORD": SECRET}, initialization_command=SECRET)


async def fail(api: PodServer, yotta: YottaClient) -> FanOutReport:
    """Create many with a policy that is not met, and return the report of the error."""
    api.birth = lambda _: "REFUSED"
    with pytest.raises(FanOutError) as caught:
        await yotta.pods.create_many([spec()] * 3, policy="all_or_nothing")
    assert SECRET not in str(caught.value) + repr(caught.value) + repr(vars(caught.value))
    assert caught.value.report is not None
    return caught.value.report


async def test_failed_specs_can_be_created_again(api: PodServer) -> None:
    async with YottaClient(KEY, base_url=api.url, clock=make_clock("auto")) as yotta:
        report = await fail(api, yotta)
        assert [item.spec for item in report.failed] == [spec()] * 3
        api.birth = lambda _: "RUNNING"
        again = await yotta.pods.create_many(item.spec for item in report.failed if item.spec)
        assert len(again.succeeded) == 3
    variables = [pod["environmentVars"][0] for pod in api.pods.values()]
    assert variables == [{"key": "PASSWORD", "value": SECRET}] * 3


async def test_pickled_error_has_no_secret_and_its_specs_are_refused(api: PodServer) -> None:
    async with YottaClient(KEY, base_url=api.url, clock=make_clock("auto")) as yotta:
        report = await fail(api, yotta)
        error = report.error("why: ")
        pickled = pickle.dumps(error)
        assert SECRET.encode() not in pickled
        loaded = pickle.loads(pickled)
        assert str(loaded) == str(error)
        specs = [item.spec for item in loaded.report.failed]
        assert [each.environment_vars[0].key for each in specs] == ["PASSWORD"] * 3
        before = api.requests.count("create")
        for call in (
            yotta.pods.create_many(specs),
            yotta.pods.create(specs[0]),
            yotta.pods.create(specs[0], gpu_count=2),
        ):
            with pytest.raises(InvalidRequestError, match="redacted copy"):
                await call
        with pytest.raises(InvalidRequestError, match="redacted copy"):
            yotta.pods.ephemeral(specs[0])
        assert api.requests.count("create") == before
        assert error.report is not None
        assert error.report.failed[0].spec == spec(), "pickling changes nothing"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copied_error_keeps_its_report(copied: Any) -> None:
    report = FanOutReport((FanOutItem(spec=spec(), pod_id="7", error=ValueError("x")),))
    error = report.error()
    error.add_note("and a note")
    made = copied(error)
    assert (type(made), made.report, made.args, made.__notes__) == (FanOutError, report, error.args, ["and a note"])


def test_redacted_report_masks_specs_and_pods() -> None:
    pod = Pod(id="7", environment_vars=(EnvironmentVariable("PASSWORD", SECRET),), extra={"new": SECRET})
    report = FanOutReport((FanOutItem(spec=spec(), pod=pod, pod_id="7"), FanOutItem(pod_id="8")))
    assert SECRET.encode() in pickle.dumps(report), "a report is a result, and no text for a log"
    assert SECRET not in repr(report)
    assert SECRET.encode() not in pickle.dumps(report.redacted())
    assert [item.pod_id for item in report.redacted().items] == ["7", "8"]


async def test_a_report_counts_and_iterates_over_its_items() -> None:
    async with Emulator(clock="auto") as emulator, emulator.client() as yotta:
        created = await yotta.pods.create_many([spec(), spec(), spec()])
        called = await yotta.pods.pause_many([item.pod_id for item in created if item.pod_id] + ["999"])
        waited = await yotta.pods.wait_many([item.pod_id for item in created if item.pod_id])
    for report, count in ((created, 3), (called, 4), (waited, 3)):
        assert len(report) == count
        assert list(report) == list(report.items)
        assert [item.index for item in report] == list(range(count))
