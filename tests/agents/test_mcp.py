"""The MCP server: in this process, over stdio and over HTTP, on the emulator, with faults."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no type hints
import pytest
from aiohttp import ClientSession
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, ElicitRequestParams, ElicitResult, TextResourceContents

from tests.conftest import SPEC
from yotta_async import ConfigurationError
from yotta_async.agents.mcp_http import serve_http
from yotta_async.agents.mcp_server import server_for
from yotta_async.emulator import Emulator, Timings

SECRET = "secret-value"
CONFIRMED = {**SPEC, "confirm": True}


def text_of(result: CallToolResult) -> str:
    return " ".join(block.text for block in result.content if block.type == "text")


async def call(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, text_of(result)
    structured: dict[str, Any] | None = result.structured_content
    assert structured is not None
    return structured


async def call_refused(client: Client, name: str, **arguments: Any) -> str:
    result = await client.call_tool(name, arguments)
    assert result.is_error, text_of(result)
    return text_of(result)


def answering(answer: ElicitResult, questions: list[str]) -> Any:
    async def callback(_: Any, params: ElicitRequestParams) -> ElicitResult:
        questions.append(params.message)
        return answer

    return callback


async def test_create_pause_resume_and_delete(emulator: Emulator) -> None:
    async with Client(server_for(emulator.client)) as client:
        pod_id = (await call(client, "pod_create", **CONFIRMED, environment_vars={"TOKEN": SECRET}, expose=[22]))[
            "pod_id"
        ]
        assert isinstance(pod_id, str)
        waited = await call(client, "pod_wait", pod_id=pod_id)
        assert (waited["reached"], waited["pod"]["status"]) == (True, "RUNNING")
        assert (await call(client, "pod_pause", pod_id=pod_id))["done"] == "pausing"
        assert (await call(client, "pod_wait", pod_id=pod_id, status="PAUSED"))["reached"]
        await call(client, "pod_resume", pod_id=pod_id)
        await call(client, "pod_wait", pod_id=pod_id)
        pod = (await call(client, "pod_get", pod_id=pod_id))["pod"]
        assert pod["environment_vars"][0] == "TOKEN"
        assert pod["ports"][0]["proxy_port"] is not None
        assert (await call(client, "spend_summary"))["created_here"] == [pod_id]
        assert (await call(client, "pod_list", status="RUNNING"))["count"] == 1
        assert SECRET not in str(await client.call_tool("pod_list", {}))
        assert SECRET not in str(await client.read_resource(f"yotta://pods/{pod_id}"))
        await call(client, "pod_delete", pod_id=pod_id, confirm=True)
        async with emulator.client() as yotta:
            assert await yotta.pods.list(statuses=["RUNNING"]) == []


async def test_every_tool_has_schemas_and_annotations(emulator: Emulator) -> None:
    async with Client(server_for(emulator.client)) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert len(tools) == 11
        reads = {name for name, tool in tools.items() if tool.annotations and tool.annotations.read_only_hint}
        assert reads == {"pod_get", "pod_list", "pod_wait", "pod_resolve", "spend_summary", "gpu_list"}
        assert tools["pod_delete"].annotations is not None
        assert tools["pod_delete"].annotations.destructive_hint
        assert tools["pod_delete"].annotations.idempotent_hint
        for tool in tools.values():
            assert tool.output_schema is not None
            assert tool.description
            assert "Args" not in tool.description
            for name, schema in tool.input_schema.get("properties", {}).items():
                assert schema["description"], f"{tool.name}.{name}"
        assert tools["pod_get"].input_schema["properties"]["pod_id"]["type"] == "string"
        assert tools["pod_wait"].input_schema["properties"]["timeout_s"]["maximum"] == 600
        created = await call(client, "pod_create_many", **CONFIRMED, count=2)
        for name, arguments in {
            "pod_list": {}, "pod_get": {"pod_id": created["pod_ids"][0]}, "pod_wait": {"pod_id": created["pod_ids"][0]},
            "spend_summary": {}, "gpu_list": {}, "pod_resolve": {"client_token": "unknown"},
        }.items():  # fmt: skip
            jsonschema.validate(await call(client, name, **arguments), tools[name].output_schema)


async def test_expensive_creates_and_deletes_need_confirmation(emulator: Emulator) -> None:
    async with Client(server_for(emulator.client)) as client:
        text = await call_refused(client, "pod_create", **SPEC)
        assert "confirm=true" in text
        assert "unknown price" in text
        assert not [request for request in emulator.requests if request.method == "POST"]
        pod_id = (await call(client, "pod_create", **CONFIRMED))["pod_id"]
        await call(client, "pod_wait", pod_id=pod_id)
        await call(client, "pod_create", **SPEC)  # now a pod shows its price, and that is below 5 USD an hour
        assert "4.8 USD" not in await call_refused(client, "pod_create_many", **SPEC, count=9)
        assert "confirm" in await call_refused(client, "pod_delete", pod_id=pod_id)
        assert (await call(client, "pod_get", pod_id=pod_id))["pod"]["status"] == "RUNNING"
    async with Client(server_for(emulator.client, prices={"NVIDIA_L4_24G": 2.0}, confirm_above=3.0)) as client:
        await call(client, "pod_create", **SPEC)
        assert "4 USD an hour" in await call_refused(client, "pod_create", **SPEC, gpu_count=2)


@pytest.mark.parametrize(
    ("answer", "is_done"),
    [
        (ElicitResult(action="accept", content={"confirm": True}), True),
        (ElicitResult(action="accept", content={"confirm": False}), False),
        (ElicitResult(action="decline"), False),
        (ElicitResult(action="cancel"), False),
    ],
)
async def test_person_is_asked_if_the_client_supports_it(
    emulator: Emulator, answer: ElicitResult, is_done: bool
) -> None:
    questions: list[str] = []
    async with Client(server_for(emulator.client), elicitation_callback=answering(answer, questions)) as client:
        # The model's own word is not enough where a person can be asked.
        result = await client.call_tool("pod_create", {**CONFIRMED, "gpu_count": 2})
        assert result.is_error is not is_done
        assert "confirm=true" not in text_of(result)
        assert questions == ["Create a pod with 2 x NVIDIA_L4_24G, at an unknown price?"]
        async with emulator.client() as yotta:
            assert len(await yotta.pods.list()) == is_done
            handle = await yotta.pods.create(**SPEC)
            result = await client.call_tool("pod_delete", {"pod_id": handle.id, "confirm": True})
            assert result.is_error is not is_done
            assert "Delete pod" in questions[-1]


@pytest.mark.parametrize(
    ("limits", "name"),
    [({"max_pods": 1}, "max_pods"), ({"max_hourly": 0.7}, "max_hourly"), ({"read_only": True}, "read_only")],
)
async def test_limits_refuse_changes(emulator: Emulator, limits: dict[str, Any], name: str) -> None:
    async with emulator.client() as yotta:
        handle = await yotta.pods.create(**SPEC)
        await handle.wait_until()
        async with Client(server_for(emulator.client, **limits)) as client:
            for tool, more in (("pod_create", {}), ("pod_create_many", {"count": 2})):
                assert name in await call_refused(client, tool, **CONFIRMED, **more)
            if name == "read_only":
                for tool in ("pod_pause", "pod_resume"):
                    assert name in await call_refused(client, tool, pod_id=handle.id)
                assert name in await call_refused(client, "pod_delete", pod_id=handle.id, confirm=True)
        assert [pod.id for pod in await yotta.pods.list()] == [handle.id]


async def test_wait_reports_progress_and_returns_the_pod_at_its_timeout() -> None:
    messages: list[str | None] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        messages.append(message)

    async with Emulator(timings=Timings(initialize=3600)) as emulator, Client(server_for(emulator.client)) as client:
        pod_id = (await call(client, "pod_create", **CONFIRMED))["pod_id"]
        result = await client.call_tool("pod_wait", {"pod_id": pod_id, "timeout_s": 2.2}, progress_callback=progress)
        assert not result.is_error
        assert result.structured_content is not None
        assert not result.structured_content["reached"]
        assert result.structured_content["pod"]["status"] == "INITIALIZE"
        assert "pod_wait again" in result.structured_content["hint"]
        assert messages == [f"pod {pod_id}: not RUNNING yet"]


async def test_invalid_arguments_are_named_without_their_values(emulator: Emulator) -> None:
    async with Client(server_for(emulator.client)) as client:
        for arguments, named in [
            ({"image": "a"}, "gpu_type"),
            ({**CONFIRMED, "gpu_cout": 8}, "did you mean gpu_count"),
            ({**CONFIRMED, "gpu_count": 3}, "gpu_count"),
            ({**CONFIRMED, "environment_vars": {"A": [SECRET]}}, "environment_vars"),
            ({**CONFIRMED, "expose": [{"port": 22, "protokol": "SSH"}]}, "protokol"),
            ({**CONFIRMED, "gpu_count": "2"}, "gpu_count"),
            ({**SPEC, "confirm": "yes"}, "confirm"),
            ({**CONFIRMED, "environment_vars": {"A": SECRET}, "shm_in_gb": 0}, "shm_in_gb"),
            ({**CONFIRMED, "image_registry_token": SECRET, "image_public_type": "PRIVATE"}, "image_registry_username"),
        ]:
            text = await call_refused(client, "pod_create", **arguments)
            assert named in text
            assert SECRET not in text
        assert "pod_id" in await call_refused(client, "pod_get", pod_id=331864222267218690)
        assert "pod_id" in await call_refused(client, "pod_get", pod_id="../x")
        assert "pod not found" in await call_refused(client, "pod_get", pod_id="12")
        assert "no such pod" in await call_refused(client, "pod_wait", pod_id="12")
        assert "status" in await call_refused(client, "pod_list", status="NOPE")
        assert not [request for request in emulator.requests if request.method == "POST"]


async def test_volume_prices_count_for_limits(emulator: Emulator) -> None:
    large = SPEC | {"persistent_volume_in_gb": 1_000_000, "persistent_mount_path": "/data"}
    async with Client(server_for(emulator.client, prices={"NVIDIA_L4_24G": 0.6}, max_hourly=50)) as client:
        for confirm in (False, True):
            text = await call_refused(client, "pod_create", **large, confirm=confirm)
            assert "unknown" in text
            assert "max_hourly" in text
        await call(client, "pod_create", **SPEC)
        assert "max_hourly" in await call_refused(client, "pod_create", **large, confirm=True)
        assert [request.path for request in emulator.requests].count("/openapi/v1/pods/create") == 1


async def test_wait_names_the_call_that_has_to_come_first(emulator: Emulator) -> None:
    async with Client(server_for(emulator.client)) as client:
        pod_id = (await call(client, "pod_create", **CONFIRMED))["pod_id"]
        await call(client, "pod_wait", pod_id=pod_id)
        assert (
            "pod_pause first" in (await call(client, "pod_wait", pod_id=pod_id, status="PAUSED", timeout_s=5))["hint"]
        )
        await call(client, "pod_delete", pod_id=pod_id, confirm=True)
        await call(client, "pod_delete", pod_id=pod_id, confirm=True)


async def test_wait_ends_at_its_timeout_while_the_api_fails(emulator: Emulator) -> None:
    async with Client(server_for(emulator.client)) as client:
        pod_id = (await call(client, "pod_create", **CONFIRMED))["pod_id"]
        emulator.faults.add(kind="status")
        answer = await call(client, "pod_wait", pod_id=pod_id, timeout_s=20)
        assert (answer["reached"], answer["pod"]) == (False, None)
        assert "HTTP 500" in answer["hint"]
        emulator.faults.clear()
        emulator.faults.add(kind="status", on="create", http_status=400, code=10001, message="image unknown")
        assert "None of 2" in await call_refused(client, "pod_create_many", **CONFIRMED, count=2)


async def test_unknown_create_is_resolved_at_the_end_and_reported_or_deleted(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    for delete in (False, True):
        async with Client(server_for(lambda: emulator.client(settle_timeout=5.0), delete_on_exit=delete)) as client:
            emulator.faults.add(kind="answer_lost_after_commit", on="create")
            emulator.faults.add(kind="list_lag", on="list", seconds=3600.0)
            assert "pod_resolve" in await call_refused(client, "pod_create", **CONFIRMED)
            emulator.faults.clear()
        text = capsys.readouterr().err
        assert ("Deleted pods" if delete else "may still cost money") in text


async def test_unknown_create_returns_its_token_for_pod_resolve(emulator: Emulator) -> None:
    def make() -> Any:
        return emulator.client(settle_timeout=5.0)

    async with Client(server_for(make)) as client:
        emulator.faults.add(kind="answer_lost_after_commit", on="create")
        emulator.faults.add(kind="list_lag", on="list", seconds=3600.0)
        text = await call_refused(client, "pod_create", **CONFIRMED, environment_vars={"TOKEN": SECRET})
        token = text.split("client_token='")[1].split("'")[0]
        assert "pod_resolve" in text
        assert (await call(client, "pod_resolve", client_token=token)).get("pod_id") is None
        emulator.faults.clear()
        pod_id = (await call(client, "pod_resolve", client_token=token))["pod_id"]
        assert (await call(client, "spend_summary"))["created_here"] == [pod_id]


async def test_resource_of_gpu_types(emulator: Emulator) -> None:
    async with Client(server_for(emulator.client)) as client:
        resource = (await client.read_resource("yotta://gpus")).contents[0]
        assert isinstance(resource, TextResourceContents)
        assert json.loads(resource.text) == await call(client, "gpu_list")
        emulator.faults.add(kind="status", on="gpus", http_status=403)
        with pytest.raises(MCPError, match="vms/types"):
            await client.read_resource("yotta://gpus")


class Stdio:
    """An MCP client over stdio: lines of JSON-RPC."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._number = 0

    async def send(self, method: str, **params: Any) -> int:
        self._number += 1
        notifies = method.startswith("notifications/")
        message = {"jsonrpc": "2.0", "method": method, "params": params} | ({} if notifies else {"id": self._number})
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        await self.process.stdin.drain()
        return self._number

    async def ask(self, method: str, **params: Any) -> Any:
        number = await self.send(method, **params)
        assert self.process.stdout is not None
        while True:
            answer = json.loads(await self.process.stdout.readline())
            if answer.get("id") == number:
                return answer["result"]

    async def call(self, name: str, **arguments: Any) -> Any:
        return await self.ask("tools/call", name=name, arguments=arguments)


@asynccontextmanager
async def stdio(emulator: Emulator, *options: str) -> AsyncIterator[Stdio]:
    environment = {**os.environ, "YOTTA_BASE_URL": emulator.url, "YOTTA_API_KEY": emulator.api_key}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from yotta_async.cli import main; main()", "mcp", *options, env=environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    client = Stdio(process)
    try:
        text = await client.ask(
            "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "test", "version": "1"}
        )
        assert text["protocolVersion"] == "2025-06-18"
        await client.send("notifications/initialized")
        yield client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize(("end", "deletes"), [("eof", False), ("term", True)])
async def test_stdio_server_ends_with_its_host(end: str, deletes: bool) -> None:
    async with Emulator(timings=Timings(initialize=0.0)) as emulator:
        async with stdio(emulator, *(["--delete-on-exit"] if deletes else [])) as client:
            assert len((await client.ask("tools/list"))["tools"]) == 11
            created = await client.call("pod_create", **CONFIRMED, environment_vars=[{"key": "A", "value": SECRET}])
            pod_id = created["structuredContent"]["pod_id"]
            assert (await client.call("pod_wait", pod_id=pod_id))["structuredContent"]["reached"]
            assert SECRET not in str(await client.call("pod_list"))
            assert (await client.call("pod_delete", pod_id=pod_id))["isError"]
            assert client.process.stdin is not None
            assert client.process.stderr is not None
            if end == "eof":
                client.process.stdin.close()
            else:
                client.process.send_signal(signal.SIGTERM)
            text = (await client.process.stderr.read()).decode()
            assert await client.process.wait() == (0 if end == "eof" else 143)
        async with emulator.client() as yotta:
            gone = (await yotta.pods.get(pod_id)).status in ("TERMINATING", "TERMINATED")
        assert gone is deletes
        assert ("Deleted pods" if deletes else pod_id) in text


async def test_stdio_server_ends_quietly_when_stdout_is_closed_and_stdin_stays_open() -> None:
    async with Emulator() as emulator, stdio(emulator) as client:
        process: Any = client.process
        process._transport.get_pipe_transport(1).close()
        await client.send("tools/call", name="pod_list", arguments={})
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert await process.stderr.read() == b""


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@asynccontextmanager
async def http(emulator: Emulator, *options: str, **environment: str) -> AsyncIterator[tuple[str, str, Any]]:
    """Run the HTTP server on a free port; yield its URL, the token that it printed, and the process."""
    environment = {**os.environ, "YOTTA_BASE_URL": emulator.url, "YOTTA_API_KEY": emulator.api_key, **environment}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from yotta_async.cli import main; main()", "mcp", "--http", "127.0.0.1:0", *options,
        env=environment, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        url = (await process.stderr.readline()).decode().split()[-1]
        is_given = "--token" in options or "YOTTA_MCP_TOKEN" in environment
        token = "" if is_given else (await process.stderr.readline()).decode().split("Bearer ")[1].strip()
        yield url, token, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def post(session: ClientSession, url: str, authorization: str | None, **headers: str) -> int:
    headers |= ACCEPT | ({} if authorization is None else {"Authorization": authorization})
    async with session.post(url, json=INITIALIZE, headers=headers) as response:
        return response.status


async def test_http_server_requires_its_token_and_its_origin(emulator: Emulator) -> None:
    async with http(emulator) as (url, token, _), ClientSession() as session:
        assert len(token) >= 40
        for wrong in (
            None,
            "",
            token,
            f"Basic {token}",
            "Bearer",
            "Bearer ",
            f"Bearer {token}x",
            f"Bearer {token[:-1]}",
            "Bearer t\u00f6ken",
        ):
            assert await post(session, url, wrong) == 401
        assert await post(session, url.removesuffix("mcp"), None) == 401
        async with session.options(url) as response:
            assert response.status == 401
        assert await post(session, url, f"Bearer {token}") == 200
        assert await post(session, url, f"bearer {token}", Origin=url.removesuffix("/mcp")) == 200
        for origin in ("null", "http://127.0.0.1:1", "http://localhost:8000", "https://example.com"):
            assert await post(session, url, f"Bearer {token}", Origin=origin) == 403
        assert await post(session, url, f"Bearer {token}", Host="example.com") == 421


@pytest.mark.parametrize("way", ["option", "variable"])
async def test_http_token_can_be_given(emulator: Emulator, way: str) -> None:
    options = ["--token", "my-token"] if way == "option" else []
    environment = {"YOTTA_MCP_TOKEN": "my-token"} if way == "variable" else {}
    async with http(emulator, *options, **environment) as (url, _, process), ClientSession() as session:
        assert await post(session, url, None) == 401
        assert await post(session, url, "Bearer my-token") == 200
        process.terminate()
        assert b"my-token" not in await process.stderr.read()


async def test_http_server_with_an_open_stream_ends_and_deletes_its_pods() -> None:
    async with (
        Emulator(timings=Timings(initialize=0.0)) as emulator,
        http(emulator, "--delete-on-exit") as (url, token, process),
        ClientSession(headers=ACCEPT | {"Authorization": f"Bearer {token}"}) as session,
    ):
        async with session.post(url, json=INITIALIZE) as response:
            headers = {"Mcp-Session-Id": response.headers["Mcp-Session-Id"]}
        create = {"name": "pod_create", "arguments": CONFIRMED}
        message = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": create}
        async with session.post(url, json=message, headers=headers) as response:
            assert '"pod_id"' in await response.text()
        async with session.get(url, headers=headers):
            process.terminate()
            await asyncio.wait_for(process.wait(), 30)
        assert b"Deleted pods that this session created: 1." in await process.stderr.read()
        async with emulator.client() as yotta:
            assert [pod.status for pod in await yotta.pods.list()] in (["TERMINATING"], ["TERMINATED"])


async def test_http_serves_loopback_hosts_with_a_valid_token_only(emulator: Emulator) -> None:
    server = server_for(emulator.client)
    with pytest.raises(ConfigurationError, match="this machine only"):
        await serve_http(server, "0.0.0.0", 0)
    for token in ("", "two words", "t\u00f6ken"):
        with pytest.raises(ConfigurationError, match="printable ASCII"):
            await serve_http(server, "127.0.0.1", 0, token)
