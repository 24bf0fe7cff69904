"""The tools as plain functions, for frameworks that take functions."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import pytest

from tests.conftest import KEY, SPEC
from tests.pod_server import PodServer
from yotta_async import ConfigurationError, Pod, PodStatus, YottaClient
from yotta_async.agents import ToolFailedError, tools_for
from yotta_async.agents.results import build_pod_view, is_deleted, may_be_running, summarize, total_price
from yotta_async.emulator import Emulator


def test_each_tool_is_a_typed_and_documented_coroutine_function(yotta: YottaClient) -> None:
    tools = {tool.__name__: tool for tool in tools_for(yotta)}
    assert list(tools) == [
        "pod_create", "pod_create_many", "pod_get", "pod_list", "pod_wait", "pod_pause", "pod_resume", "pod_delete",
        "pod_resolve", "spend_summary", "gpu_list",
    ]  # fmt: skip
    for tool in tools.values():
        assert inspect.iscoroutinefunction(tool)
        hints = typing.get_type_hints(tool)
        parameters = inspect.signature(tool).parameters
        assert {*parameters, "return"} == set(hints)
        doc = inspect.getdoc(tool) or ""
        for name in parameters:
            assert f"\n    {name}: " in doc, f"{tool.__name__}.{name}"


async def test_tools_create_wait_and_refuse(yotta: YottaClient) -> None:
    tools = {tool.__name__: tool for tool in tools_for(yotta, max_pods=2)}
    with pytest.raises(ToolFailedError, match="confirm=true"):
        await tools["pod_create"](**SPEC)
    created = await tools["pod_create_many"](count=2, **SPEC, pod_name="worker", confirm=True)
    assert [pod.pod_name for pod in reversed(await yotta.pods.list())] == ["worker-1", "worker-2"]
    with pytest.raises(ToolFailedError, match="max_pods"):
        await tools["pod_create"](**SPEC, confirm=True)
    answer = await tools["pod_wait"](created["pod_ids"][0])
    assert "RUNNING" in summarize(answer)
    for wrong in ({"timeout_s": 0}, {"timeout_s": 601}, {"timeout_s": True}):
        with pytest.raises(ToolFailedError, match="timeout_s"):
            await tools["pod_wait"](created["pod_ids"][0], **wrong)
    with pytest.raises(ToolFailedError, match="limit"):
        await tools["pod_list"](limit=0)
    with pytest.raises(ToolFailedError, match="count"):
        await tools["pod_create_many"](count=101, **SPEC, confirm=True)


async def test_agent_is_not_told_to_create_again_what_lists_may_hide(api: PodServer) -> None:
    api.fault = lambda what: "reset after" if what == "create" else "none"
    async with YottaClient(KEY, base_url=api.url, api_version="v2", settle_timeout=0.01) as yotta:
        tools = {tool.__name__: tool for tool in tools_for(yotta)}
        with pytest.raises(ToolFailedError, match="pod_resolve") as caught:
            await tools["pod_create"](**SPEC, pod_name="mine", confirm=True)
        [token] = api.posts
        assert token in str(caught.value)
        [pod_id] = api.alive
        answer = await tools["pod_resolve"](token)
        assert answer["pod_id"] is None
        assert pod_id in answer["hint"]
        assert "ask the user before you create it again" in answer["hint"]
        await yotta.pods.delete(pod_id)
        assert "if there is still none, create it again" in (await tools["pod_resolve"](token))["hint"]


async def test_secrets_of_a_pod_are_not_returned(yotta: YottaClient) -> None:
    handle = await yotta.pods.create(
        **SPEC, environment_vars={"TOKEN": "secret-value"}, initialization_command="secret-command"
    )
    assert "secret-" not in str(build_pod_view(await yotta.pods.get(handle)))


@pytest.mark.parametrize(
    "limits", [{"confirm_above": -1}, {"confirm_above": "5"}, {"max_pods": -1}, {"prices": {"a": "b"}}]
)
def test_invalid_limits_raise_configuration_error(yotta: YottaClient, limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        tools_for(yotta, **limits)


async def test_unknown_prices_and_statuses_count(api: PodServer) -> None:
    async with YottaClient(KEY, base_url=api.url) as yotta:
        await yotta.pods.create(**SPEC)  # this server names no price
        tools = {tool.__name__: tool for tool in tools_for(yotta, max_hourly=100)}
        summary = await tools["spend_summary"]()
        assert (summary["pods"], summary["hourly_price"]) == (1, None)
        with pytest.raises(ToolFailedError, match="unknown"):
            await tools["pod_create"](**SPEC, confirm=True)


def test_a_pod_of_unknown_status_counts_as_running() -> None:
    price: dict[str, Any] = {"gpu_count": 1, "single_card_price": 0.5}
    statuses = [PodStatus.RUNNING, None, PodStatus("REBOOTING"), PodStatus.PAUSED, PodStatus.TERMINATED]
    pods = [Pod(id=str(number), status=status, **price) for number, status in enumerate(statuses)]
    assert [may_be_running(pod) for pod in pods] == [True, True, True, False, False]
    assert [is_deleted(pod) for pod in pods] == [False, False, False, False, True]
    assert total_price(pods) == 2.5
    assert total_price([*pods, Pod(id="7", gpu_count=1)]) is None


async def test_create_with_unknown_outcome_and_no_token_does_not_name_one(emulator: Emulator) -> None:
    async with emulator.client(client_token=False) as yotta:
        tools = {tool.__name__: tool for tool in tools_for(yotta)}
        emulator.faults.add(kind="answer_lost_after_commit", on="create")
        with pytest.raises(ToolFailedError, match="call pod_list"):
            await tools["pod_create"](**SPEC, confirm=True)
        result = await tools["pod_create_many"](count=2, **SPEC, confirm=True)
        assert [failure["client_token"] for failure in result["unknown"]] == [None, None]


async def test_gpu_list_says_what_is_available_where() -> None:
    capacity = {"NVIDIA_L4_24G": {"us-east-1": 4}}
    async with Emulator(clock="auto", capacity=capacity) as emulator, emulator.client() as yotta:
        tools = {tool.__name__: tool for tool in tools_for(yotta, read_only=True)}
        result = await tools["gpu_list"]()
        l4 = next(gpu for gpu in result["gpus"] if gpu["gpu_type"] == "NVIDIA_L4_24G")
        assert (l4["display_name"], l4["vram_in_gb"], l4["hourly_price"]) == ("L4", 24, None)
        assert l4["available_in"] == ["us-east-1"]
        assert "us-west-1" in l4["other_regions"]
        await yotta.pods.create(**SPEC)
        text = summarize(await tools["gpu_list"]("us-east-1"))
        assert "NVIDIA_L4_24G, 24 GB, 0.6 USD an hour: available in us-east-1" in text
        assert await tools["gpu_list"]("") == await tools["gpu_list"]()
        elsewhere = await tools["gpu_list"]("nowhere")
        assert (elsewhere["gpus"], "without region" in elsewhere["hint"]) == ([], True)
