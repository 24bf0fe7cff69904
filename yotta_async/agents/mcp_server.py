"""The tools for agents as an MCP server (extra `mcp`): the same functions, with schemas, hints and confirmations.

Where a client can ask its user (its capabilities say so), a person confirms what costs much or deletes; else the tool's
answer asks for `confirm=true`. What a tool raises reaches the model as its text, and nothing else does.
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
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError, UnexpectedToolError
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, Field, PrivateAttr, ValidationError

from yotta_async._version import __version__
from yotta_async.agents.create_tools import MOST_AT_ONCE
from yotta_async.agents.results import PodAnswer, ToolFailedError, in_short
from yotta_async.agents.tools import LONGEST_WAIT, MOST_SHOWN, TELL, Toolbox
from yotta_async.client import YottaClient
from yotta_async.emulator.catalogue import CATALOGUE
from yotta_async.errors import YottaError
from yotta_async.models.spec import PodFields

_LAST_LOOK = 15.0  # seconds that the end of a session waits for each pod whose create is in doubt
INSTRUCTIONS = (
    "Rent GPU pods from Yotta Labs. A pod costs money from its creation until it is paused or deleted: delete what is "
    "not needed any more, and look at spend_summary when in doubt. Ids are text. Create, then pod_wait until RUNNING."
)
# The limits of arguments, as the API's document and the tools have them.
_BOUNDS: dict[str, dict[str, Any]] = {
    "count": {"ge": 1, "le": MOST_AT_ONCE, "strict": True},
    "limit": {"ge": 1, "le": MOST_SHOWN, "strict": True},
    "timeout_s": {"gt": 0, "le": LONGEST_WAIT},
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
_READS = ToolAnnotations(read_only_hint=True, open_world_hint=True)
_CREATES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
_CHANGES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
_DELETES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True)
_HINTS = {
    "pod_create": _CREATES,
    "pod_create_many": _CREATES,
    "pod_pause": _CHANGES,
    "pod_resume": _CHANGES,
    "pod_delete": _DELETES,
}


class Consent(BaseModel):
    """What a person answers."""

    confirm: bool = Field(default=True, description="Yes, do it.")
    _asked: bool = PrivateAttr(default=True)

    @property
    def asked(self) -> bool:
        """Whether a person gave this answer."""
        return self._asked

    @classmethod
    def of_the_model(cls, *, confirm: bool) -> Consent:
        """Return what the model says, where nobody can be asked."""
        consent = cls(confirm=confirm)
        consent._asked = False
        return consent


class Server(MCPServer[None]):
    """An MCP server whose refusals of arguments name the argument, and quote no value: it may be a secret."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        """Call a tool, after a look at the names of its arguments: one that is ignored may be one that costs."""
        tools = [tool for tool in await self.list_tools() if tool.name == name]
        known = [key for tool in tools for key in tool.input_schema.get("properties") or ()]
        for argument in arguments if tools else ():
            if argument not in known:
                near = difflib.get_close_matches(argument, known, 1)
                meant = f": did you mean {near[0]}?" if near else f"; it takes {', '.join(known) or 'none'}."
                raise ToolError(f"{name} has no argument {argument[:64]!r}{meant} Nothing was done.")
        try:
            result = await super().call_tool(name, arguments, context)
            if isinstance(result, CallToolResult) and result.structured_content is not None:
                # The same in few words: a model reads either.
                result.content = [TextContent(type="text", text=in_short(result.structured_content))]
            return result
        except UnexpectedToolError:
            raise
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                text = str(error).removeprefix(f"Error executing tool {name}: ")
                if text.startswith("Resolver"):
                    text = "The answer to the question for a confirmation could not be read: nothing was done."
                raise ToolError(text) from None
            found = error.__cause__.errors(include_url=False, include_context=False, include_input=False)
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)
        raise ToolError(f"{name}: {problems}. Mend that and call again: nothing was done.")


def server_for(
    make_client: Callable[[], YottaClient],
    *,
    delete_on_exit: bool = False,
    on_end: Callable[[], object] = lambda: None,
    **limits: Any,
) -> Server:
    """Return the server. Its client is made on its own event loop; `limits` are those of `Toolbox`.

    Pods created in a session are told of on stderr at its end, or deleted then; after that `on_end` is called.
    """
    Toolbox(make_client(), **limits)  # what is wrong with key, host or limits is told now, and not to a model
    toolbox: list[Toolbox] = []  # one while the server runs

    @asynccontextmanager
    async def session(_: Any) -> AsyncIterator[None]:
        try:
            async with make_client() as yotta:
                toolbox[:] = [Toolbox(yotta, **limits)]
                try:
                    yield None
                finally:
                    with CancelScope(shield=True):  # a server that is told to end does not leave what it should delete
                        await _end(toolbox[0], delete=delete_on_exit)
        finally:
            on_end()

    server = Server(
        "yotta",
        title="Yotta Labs GPU pods",
        instructions=INSTRUCTIONS,
        version=__version__,
        lifespan=session,
        log_level="WARNING",
    )

    async def ask_to_create(
        ctx: Context,
        gpu_type: str,
        gpu_count: int,
        container_volume_in_gb: int | None,
        persistent_volume_in_gb: int | None,
        confirm: bool,  # noqa: FBT001  # the tool's own argument
    ) -> Consent | Elicit[Consent]:
        fields = PodFields(gpu_type=gpu_type, gpu_count=gpu_count)
        fields["container_volume_in_gb"] = container_volume_in_gb
        fields["persistent_volume_in_gb"] = persistent_volume_in_gb
        return await ask(ctx, lambda: toolbox[0].question(**fields), confirm=confirm)

    async def ask_to_create_many(
        ctx: Context,
        gpu_type: str,
        gpu_count: int,
        count: int,
        confirm: bool,  # noqa: FBT001  # likewise
    ) -> Consent | Elicit[Consent]:
        tools = toolbox[0]
        return await ask(ctx, lambda: tools.question(count, gpu_type=gpu_type, gpu_count=gpu_count), confirm=confirm)

    async def ask_to_delete(ctx: Context, pod_id: str, confirm: bool) -> Consent | Elicit[Consent]:  # noqa: FBT001  # likewise
        return await ask(ctx, lambda: toolbox[0].delete_question(pod_id), confirm=confirm)

    async def ask(
        ctx: Context, question: Callable[[], Awaitable[str | None]], *, confirm: bool
    ) -> Consent | Elicit[Consent]:
        capabilities = ctx.client_capabilities
        can = capabilities.elicitation if capabilities is not None else None
        if can is None or (can.form is None and can.url is not None):
            return Consent.of_the_model(confirm=confirm)  # nobody can be asked: the tool itself asks for `confirm`
        try:
            text = await question()
        except YottaError as error:
            raise ToolError(str(error)) from None
        return Consent() if text is None else Elicit(text, Consent)

    consents: dict[str, Callable[..., Any]] = {
        "pod_create": ask_to_create,
        "pod_create_many": ask_to_create_many,
        "pod_delete": ask_to_delete,
    }
    for name in Toolbox.NAMES:
        server.add_tool(
            _exposed(name, lambda name=name: getattr(toolbox[0], name), consents.get(name)),  # type: ignore[misc]  # bound now
            name=name,
            annotations=_HINTS.get(name, _READS),
            structured_output=True,
        )

    @server.resource("yotta://gpus", name="gpus", mime_type="application/json")
    def gpu_catalogue() -> dict[str, Any]:
        """List GPU types by the name that pod_create takes, and regions; the API itself tells none."""
        gpus = {
            name: {"display_name": gpu.display_name, "vram_in_gb": gpu.vram, "ram_in_gb": gpu.ram, "vcpu": gpu.vcpu}
            for name, gpu in CATALOGUE.gpu_types.items()
        }
        return {"gpu_types": gpus, "regions": CATALOGUE.regions}

    @server.resource("yotta://pods/{pod_id}", name="pod", mime_type="application/json")
    async def pod(pod_id: str) -> PodAnswer:
        """One pod as it is now."""
        try:
            return await toolbox[0].pod_get(pod_id)
        except ToolFailedError as error:
            raise ResourceNotFoundError(str(error)) from None

    @server.prompt(name="launch_and_wait")
    def launch_and_wait(image: str, gpu_type: str = "NVIDIA_L4_24G") -> str:
        """Launch a pod, wait until it is ready, and hand over ssh."""
        return (
            f"Create a pod with pod_create: image {image}, gpu_type {gpu_type}, expose [22]. Should it ask for a "
            "confirmation, ask me and name the cost. Then call pod_wait with its pod_id until it says that RUNNING is "
            "reached; should it fail, tell me why and delete it. In the end give me its ssh_cmd, its pod_id and what "
            "it costs an hour, and remind me to delete it."
        )

    return server


def _exposed(
    name: str, tool: Callable[[], Callable[..., Awaitable[Any]]], consent: Callable[..., Any] | None
) -> Callable[..., Awaitable[Any]]:
    """Return a tool as the MCP package wants it: with bounds and descriptions in its annotations."""
    method = getattr(Toolbox, name)
    text, _, arguments = inspect.getdoc(method).partition("\n\nArgs:\n")  # type: ignore[union-attr]  # a test sees to it
    told = dict(line.strip().split(": ", 1) for line in arguments.splitlines())
    hints = get_type_hints(method)
    parameters = [
        parameter.replace(
            annotation=Annotated[hints[key], Field(description=told[key], **_BOUNDS.get(key, {}))],
            kind=inspect.Parameter.KEYWORD_ONLY,
        )
        for key, parameter in list(inspect.signature(method).parameters.items())[1:]
    ]

    async def call(ctx: Context, agreed: ElicitationResult[Consent] | None = None, **given: Any) -> Any:
        if agreed is not None:
            if isinstance(agreed, CancelledElicitation):
                raise ToolError("The user put the question aside: nothing was done. Ask what they want.")
            if not isinstance(agreed, AcceptedElicitation) or (agreed.data.asked and not agreed.data.confirm):
                raise ToolError("The user said no: nothing was done. Do not ask for it again without a reason.")
            given["confirm"] = agreed.data.confirm
        TELL.set(ctx.report_progress)
        try:
            return await tool()(**given)
        except YottaError as error:
            raise ToolError(str(error)) from None

    extra: dict[str, Any] = {"ctx": Context}
    if consent is not None:
        extra["agreed"] = Annotated[ElicitationResult[Consent], Resolve(consent)]
    only = inspect.Parameter.KEYWORD_ONLY
    extras = [inspect.Parameter(key, only, annotation=annotation) for key, annotation in extra.items()]
    call.__name__ = name
    call.__doc__ = text
    call.__signature__ = inspect.Signature([*extras, *parameters], return_annotation=hints["return"])  # type: ignore[attr-defined]  # what inspect reads
    call.__annotations__ = {each.name: each.annotation for each in [*extras, *parameters]} | {"return": hints["return"]}
    return call


async def _end(toolbox: Toolbox, *, delete: bool) -> None:
    """Tell of what was created and is still there, or delete it; and of creates whose outcome is unknown."""
    for token in list(toolbox.unknown):
        with suppress(YottaError, TimeoutError):
            await asyncio.wait_for(toolbox.pod_resolve(token), _LAST_LOOK)
    ids = list(toolbox.created)
    if ids and delete:
        left = await toolbox.delete_created()
        _say(f"Deleted pods that this session created: {len(ids) - len(left)}.")
        ids = left
    if ids:
        _say(f"Pods that this session created and that may still cost money: {', '.join(ids)}")
    if toolbox.unknown:
        tokens = ", ".join(toolbox.unknown)
        _say(f"Creates whose outcome is unknown: look for pods with a YOTTA_CLIENT_TOKEN of {tokens}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # stdout is the protocol's
