"""The tools as a server of the Model Context Protocol (extra `mcp`): with schemas, annotations and confirmations.

If the client can ask its user (its capabilities say so), a person confirms expensive creates and all deletes. If it
cannot, the result of the tool asks for `confirm=true`. Of an error only its text reaches the model.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, get_type_hints

from anyio import CancelScope
from mcp.server import MCPServer
from mcp.server.elicitation import AcceptedElicitation, CancelledElicitation
from mcp.server.mcpserver import Context, Elicit, ElicitationResult, Resolve
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError, UnexpectedToolError
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, Field, ValidationError

from yotta_async import PodSpec, YottaClient, YottaError, __version__
from yotta_async.agents.create_tools import MAX_PODS_PER_CALL
from yotta_async.agents.failures import ToolFailedError, explain_error
from yotta_async.agents.policy import ToolPolicy, ToolSession
from yotta_async.agents.results import GpuListResult, PodResult, summarize
from yotta_async.agents.tools import MAX_PODS_SHOWN, MAX_WAIT_S, PROGRESS, Tool, build_tools

RESOLVE_TIMEOUT_AT_END_S = 15.0
INSTRUCTIONS = (
    "Rent GPU pods from Yotta Labs. A pod costs money from its creation until it is paused or deleted: delete the "
    "pods that are not needed any more, and call spend_summary to see the costs. Ids are text. Call gpu_list to see "
    "which GPUs are available, then pod_create, then pod_wait until the pod is RUNNING."
)
# The limits of arguments; those of a spec are from the API's OpenAPI document.
_ARGUMENT_LIMITS: dict[str, dict[str, Any]] = {
    "count": {"ge": 1, "le": MAX_PODS_PER_CALL, "strict": True},
    "limit": {"ge": 1, "le": MAX_PODS_SHOWN, "strict": True},
    "timeout_s": {"gt": 0, "le": MAX_WAIT_S},
    "pod_id": {"min_length": 1, "max_length": 64, "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*$"},
    "client_token": {"min_length": 1, "max_length": 200},
    "image": {"min_length": 1, "max_length": 255},
    "gpu_type": {"min_length": 1},
    "gpu_count": {"ge": 1, "strict": True},
    "confirm": {"strict": True},
    "shm_in_gb": {"ge": 1},
    "min_single_card_ram_in_gb": {"ge": 0, "le": 1536},
    "min_single_card_vram_in_gb": {"ge": 0, "le": 1536},
    "min_single_card_vcpu": {"ge": 0},
    "container_volume_in_gb": {"ge": 0},
    "persistent_volume_in_gb": {"ge": 0},
}
_READ = ToolAnnotations(read_only_hint=True, open_world_hint=True)
_CHANGE = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
_DELETE = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True)
_ANNOTATIONS = {"pod_delete": _DELETE} | dict.fromkeys(
    ("pod_create", "pod_create_many", "pod_pause", "pod_resume"), _CHANGE
)


class Consent(BaseModel):
    """The answer of a person to a question for a confirmation."""

    confirm: bool = Field(default=True, description="Yes, do it.")


class NotAsked(Consent):
    """The client cannot ask a person, so the argument `confirm` of the model counts."""


class ToolServer(MCPServer[None]):
    """An MCP server whose errors about arguments name the argument and quote no value: it may be a secret."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        """Call a tool. Raises ToolError for an unknown argument too: to ignore it may be expensive."""
        tools = [tool for tool in await self.list_tools() if tool.name == name]
        known = [key for tool in tools for key in tool.input_schema.get("properties") or ()]
        for argument in arguments if tools else ():
            if argument not in known:
                similar = difflib.get_close_matches(argument, known, 1)
                advice = f": did you mean {similar[0]}?" if similar else f"; it takes {', '.join(known) or 'none'}."
                raise ToolError(f"{name} has no argument {argument[:64]!r}{advice} Nothing was done.")
        try:
            result = await super().call_tool(name, arguments, context)
        except UnexpectedToolError:
            raise
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                text = str(error).removeprefix(f"Error executing tool {name}: ")
                if text.startswith("Resolver"):
                    text = "The answer to the question for a confirmation could not be read: nothing was done."
                raise ToolError(text) from None
            problems = error.__cause__.errors(include_url=False, include_context=False, include_input=False)
        else:
            if isinstance(result, CallToolResult) and result.structured_content is not None:
                result.content = [TextContent(type="text", text=summarize(result.structured_content))]
            return result
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems)
        raise ToolError(f"{name}: {text}. Correct that and call again: nothing was done.")


class RunningSession:
    """The session of a running server, and the questions for confirmations about it."""

    def __init__(
        self,
        make_client: Callable[[], YottaClient],
        policy: ToolPolicy,
        *,
        delete_on_exit: bool,
        on_end: Callable[[], object],
    ) -> None:
        self._make_client = make_client
        self._policy = policy
        self._delete_on_exit = delete_on_exit
        self._on_end = on_end
        self.session = ToolSession(make_client(), policy)  # until the server runs, for the signatures of the tools
        self.tools = build_tools(self.session)

    @asynccontextmanager
    async def run(self, _: Any) -> AsyncIterator[None]:
        """Open a client on the running event loop for the block; at its end report or delete what was created."""
        try:
            async with self._make_client() as yotta:
                self.session = ToolSession(yotta, self._policy)
                self.tools = build_tools(self.session)
                try:
                    yield None
                finally:
                    with CancelScope(shield=True):  # a cancel of the server must not leave pods
                        await _end_session(self.session, delete=self._delete_on_exit)
        finally:
            self._on_end()

    async def ask_to_create(
        self,
        ctx: Context,
        gpu_type: str,
        gpu_count: int,
        container_volume_in_gb: int | None,
        persistent_volume_in_gb: int | None,
    ) -> Consent | Elicit[Consent]:
        """Ask for a confirmation of pod_create if one is needed."""

        def build_question() -> Awaitable[str | None]:
            spec = PodSpec(
                image="-",
                gpu_type=gpu_type,
                gpu_count=gpu_count,
                container_volume_in_gb=container_volume_in_gb,
                persistent_volume_in_gb=persistent_volume_in_gb,
            )
            return self.session.build_create_question(spec)

        return await _ask(ctx, build_question)

    async def ask_to_create_many(
        self, ctx: Context, gpu_type: str, gpu_count: int, count: int
    ) -> Consent | Elicit[Consent]:
        """Ask for a confirmation of pod_create_many if one is needed."""

        def build_question() -> Awaitable[str | None]:
            return self.session.build_create_question(PodSpec(image="-", gpu_type=gpu_type, gpu_count=gpu_count), count)

        return await _ask(ctx, build_question)

    async def ask_to_delete(self, ctx: Context, pod_id: str) -> Consent | Elicit[Consent]:
        """Ask for a confirmation of a delete."""
        return await _ask(ctx, lambda: self.session.build_delete_question(pod_id))


async def _ask(ctx: Context, build_question: Callable[[], Awaitable[str | None]]) -> Consent | Elicit[Consent]:
    capabilities = ctx.client_capabilities
    elicitation = capabilities.elicitation if capabilities is not None else None
    if elicitation is None or (elicitation.form is None and elicitation.url is not None):
        return NotAsked()
    try:
        question = await build_question()
    except YottaError as error:
        raise ToolError(str(explain_error(error))) from None
    return Consent() if question is None else Elicit(question, Consent)


def server_for(
    make_client: Callable[[], YottaClient],
    *,
    delete_on_exit: bool = False,
    on_end: Callable[[], object] = lambda: None,
    **policy: Any,
) -> ToolServer:
    """Return the server. At the end of its session it reports on stderr which pods it created and did not delete.

    Args:
        make_client: Makes the client; called on the event loop of the server, and once before.
        delete_on_exit: Delete the pods that the session created when it ends.
        on_end: Called after that.
        **policy: The fields of ToolPolicy.

    Raises:
        ConfigurationError: The client or the policy makes no sense.
    """
    running = RunningSession(make_client, ToolPolicy(**policy), delete_on_exit=delete_on_exit, on_end=on_end)
    server = ToolServer(
        "yotta",
        title="Yotta Labs GPU pods",
        instructions=INSTRUCTIONS,
        version=__version__,
        lifespan=running.run,
        log_level="WARNING",
    )
    questions: dict[str, Callable[..., Any]] = {
        "pod_create": running.ask_to_create,
        "pod_create_many": running.ask_to_create_many,
        "pod_delete": running.ask_to_delete,
    }
    for name in running.tools:
        server.add_tool(
            _build_mcp_tool(running, name, questions.get(name)),
            name=name,
            annotations=_ANNOTATIONS.get(name, _READ),
            structured_output=True,
        )

    @server.resource("yotta://gpus", name="gpus", mime_type="application/json")
    async def gpus() -> GpuListResult:
        """List the GPU types that can be rented, and in which regions they are available now."""
        try:
            result: GpuListResult = await running.tools["gpu_list"]()
        except ToolFailedError as error:
            raise ResourceError(str(error)) from None
        return result

    @server.resource("yotta://pods/{pod_id}", name="pod", mime_type="application/json")
    async def pod(pod_id: str) -> PodResult:
        """Get one pod as it is now."""
        try:
            result: PodResult = await running.tools["pod_get"](pod_id)
        except ToolFailedError as error:
            raise ResourceNotFoundError(str(error)) from None
        return result

    @server.prompt(name="launch_and_wait")
    def launch_and_wait(image: str, gpu_type: str = "NVIDIA_L4_24G") -> str:
        """Create a pod, wait until it runs, and return its ssh command."""
        return (
            f"Create a pod with pod_create: image {image}, gpu_type {gpu_type}, expose [22]. If it needs a "
            "confirmation, ask me and name the cost. Then call pod_wait with its pod_id until it has reached RUNNING. "
            "If it fails, tell me why and delete it. At the end give me its ssh_cmd, its pod_id and what it costs an "
            "hour, and remind me to delete it."
        )

    return server


def _build_mcp_tool(running: RunningSession, name: str, question: Callable[..., Any] | None) -> Tool:
    """Return a tool in the form of the MCP package: limits and descriptions of arguments are in its annotations."""
    tool = running.tools[name]
    description, _, arguments = (inspect.getdoc(tool) or "").partition("\n\nArgs:\n")
    descriptions = dict(line.strip().split(": ", 1) for line in arguments.splitlines())
    hints = get_type_hints(tool)

    async def call(ctx: Context, answer: ElicitationResult[Consent] | None = None, **given: Any) -> Any:
        if isinstance(answer, CancelledElicitation):
            raise ToolError("The user dismissed the question: nothing was done. Ask them what they want.")
        if answer is not None:
            if not isinstance(answer, AcceptedElicitation) or not answer.data.confirm:
                raise ToolError("The user said no: nothing was done. Do not ask for it again without a reason.")
            if not isinstance(answer.data, NotAsked):
                given["confirm"] = True
        PROGRESS.set(ctx.report_progress)
        try:
            return await running.tools[name](**given)
        except YottaError as error:
            raise ToolError(str(error)) from None

    annotations: dict[str, Any] = {"ctx": Context}
    if question is not None:
        annotations["answer"] = Annotated[ElicitationResult[Consent], Resolve(question)]
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(key, keyword_only, annotation=each) for key, each in annotations.items()]
    for key, parameter in inspect.signature(tool).parameters.items():
        limits = Field(description=descriptions[key], **_ARGUMENT_LIMITS.get(key, {}))
        annotations[key] = Annotated[hints[key], limits]
        parameters.append(parameter.replace(annotation=annotations[key], kind=keyword_only))
    call.__name__ = name
    call.__doc__ = description
    call.__signature__ = inspect.Signature(parameters, return_annotation=hints["return"])  # type: ignore[attr-defined]  # what inspect reads
    call.__annotations__ = annotations | {"return": hints["return"]}
    return call


async def _end_session(session: ToolSession, *, delete: bool) -> None:
    """Resolve creates whose outcome is unknown, and delete or report the pods that the session created."""
    tools = build_tools(session)
    for token in list(session.unknown):
        with suppress(YottaError, TimeoutError):
            await asyncio.wait_for(tools["pod_resolve"](token), RESOLVE_TIMEOUT_AT_END_S)
    if session.created and delete:
        _report(f"Deleted pods that this session created: {await session.delete_created()}.")
    if session.created:
        _report(f"Pods that this session created and that may still cost money: {', '.join(session.created)}")
    if session.unknown:
        _report(
            "Creates whose outcome is unknown: look for pods with one of these values of YOTTA_CLIENT_TOKEN: "
            f"{', '.join(session.unknown)}"
        )


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # stdout carries the protocol
