"""The tools as plain functions, for frameworks that take functions."""

from __future__ import annotations

import inspect
import typing

import pytest

from tests.conftest import SPEC
from yotta_async import ConfigurationError, YottaClient
from yotta_async.agents.results import ToolFailedError, in_short, pod_view
from yotta_async.agents.tools import Toolbox, tools_for


def test_each_is_a_typed_and_documented_coroutine_function(yotta: YottaClient) -> None:
    tools = {tool.__name__: tool for tool in tools_for(yotta)}
    assert tuple(tools) == Toolbox.NAMES
    for tool in tools.values():
        assert inspect.iscoroutinefunction(tool)
        hints = typing.get_type_hints(tool)
        parameters = inspect.signature(tool).parameters
        assert {*parameters, "return"} == set(hints)
        doc = inspect.getdoc(tool) or ""
        for name in parameters:
            assert f"\n    {name}: " in doc, f"{tool.__name__}.{name}"


async def test_they_do_what_the_server_does(yotta: YottaClient) -> None:
    tools = {tool.__name__: tool for tool in tools_for(yotta, max_pods=2)}
    with pytest.raises(ToolFailedError, match="confirm=true"):
        await tools["pod_create"](**SPEC)
    created = await tools["pod_create_many"](count=2, **SPEC, pod_name="worker", confirm=True)
    assert [pod.pod_name for pod in reversed(await yotta.pods.list())] == ["worker-1", "worker-2"]
    with pytest.raises(ToolFailedError, match="max_pods"):
        await tools["pod_create"](**SPEC, confirm=True)
    answer = await tools["pod_wait"](created["pod_ids"][0])
    assert "RUNNING" in in_short(answer)
    for wrong in ({"timeout_s": 0}, {"timeout_s": 601}, {"timeout_s": True}):
        with pytest.raises(ToolFailedError, match="timeout_s"):
            await tools["pod_wait"](created["pod_ids"][0], **wrong)
    with pytest.raises(ToolFailedError, match="limit"):
        await tools["pod_list"](limit=0)
    with pytest.raises(ToolFailedError, match="count"):
        await tools["pod_create_many"](count=101, **SPEC, confirm=True)


async def test_what_a_pod_holds_is_not_shown(yotta: YottaClient) -> None:
    handle = await yotta.pods.create(
        **SPEC, environment_vars={"TOKEN": "hidden-value"}, initialization_command="hidden!"
    )
    assert "hidden" not in str(pod_view(await yotta.pods.get(handle)))


@pytest.mark.parametrize(
    "limits", [{"confirm_above": -1}, {"confirm_above": "5"}, {"max_pods": -1}, {"prices": {"a": "b"}}]
)
def test_a_limit_that_makes_no_sense_is_refused(yotta: YottaClient, limits: dict[str, typing.Any]) -> None:
    with pytest.raises(ConfigurationError):
        tools_for(yotta, **limits)
