"""The tools of an agent that create pods, and what keeps them from spending a fortune by mistake."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import (
    Literal,
    NotRequired,  # cattrs brings it; see _agent_views
    ParamSpec,
    TypeAlias,
    TypeVar,
)

from typing_extensions import TypedDict

from yotta_async.agents.policy import Bounded
from yotta_async.agents.results import (
    CreatedAnswer,
    CreatedManyAnswer,
    FailureView,
    ResolvedAnswer,
    ToolFailedError,
    failure,
)
from yotta_async.api.wire import CLIENT_TOKEN
from yotta_async.errors import CreateOutcomeUnknownError, YottaError
from yotta_async.models.spec import spec_from
from yotta_async.models.status import ENDING

P = ParamSpec("P")
R = TypeVar("R")

MOST_AT_ONCE = 100


class VariableArgument(TypedDict):
    """An environment variable, as the API has it."""

    key: str
    value: str


class PortArgument(TypedDict):
    """A port to expose, as the API has it; `protocol` is such as SSH, HTTP or TCP."""

    port: int
    protocol: NotRequired[str]


# For pydantic, where a framework uses it: a name that is not known is a mistake, and nothing to drop.
for _argument in (VariableArgument, PortArgument):
    setattr(_argument, "__pydantic_config__", {"extra": "forbid"})  # noqa: B010  # no attribute that a type checker knows

Variables: TypeAlias = dict[str, str] | list[VariableArgument]


def for_agents(tool: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Let a tool fail with a text that says what to try."""

    @functools.wraps(tool)
    async def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await tool(*args, **kwargs)
        except YottaError as error:
            failed = failure(error)
        # The arguments may hold environment values, and a traceback can show a frame's variables.
        kwargs.clear()
        raise failed

    return called


class Creating(Bounded):
    """The tools that create."""

    @for_agents
    async def pod_create(
        self,
        image: str,
        gpu_type: str,
        gpu_count: int = 1,
        pod_name: str | None = None,
        region: str | None = None,
        environment_vars: Variables | None = None,
        expose: list[int | PortArgument] | None = None,
        initialization_command: str | None = None,
        container_volume_in_gb: int | None = None,
        persistent_volume_in_gb: int | None = None,
        persistent_mount_path: str | None = None,
        shm_in_gb: int | None = None,
        image_public_type: Literal["PUBLIC", "PRIVATE"] | None = None,
        image_registry: str | None = None,
        credential_id: str | None = None,
        image_registry_username: str | None = None,
        image_registry_token: str | None = None,
        resource_type: str | None = None,
        region_list: list[str] | None = None,
        min_single_card_vram_in_gb: int | None = None,
        min_single_card_ram_in_gb: int | None = None,
        min_single_card_vcpu: int | None = None,
        confirm: bool = False,  # noqa: FBT001, FBT002  # models call by name
    ) -> CreatedAnswer:
        """Rent a GPU pod. It costs money until it is paused or deleted. Returns at once with its id, while it starts.

        Args:
            image: Container image, such as yottalabsai/pytorch:2.8.0-py3.11-cuda12.8.1-cudnn-devel-ubuntu22.04.
            gpu_type: GPU type, such as NVIDIA_L4_24G.
            gpu_count: How many GPUs; a power of two.
            pod_name: A name for people.
            region: Region, such as us-east-3; without it, any.
            environment_vars: Environment variables of the container, by name. Values are never shown again.
            expose: Ports to reach from outside, such as 22 or 8888.
            initialization_command: Command that the container runs at its start.
            container_volume_in_gb: Size of the container's own volume, in GB.
            persistent_volume_in_gb: Size of a volume that outlives pauses, in GB.
            persistent_mount_path: Where that volume is mounted.
            shm_in_gb: Shared memory, in GB.
            image_public_type: PUBLIC or PRIVATE; a PRIVATE image wants credential_id, or user name and token.
            image_registry: Registry of the image.
            credential_id: Id of the credential for a private image, as text.
            image_registry_username: User name at the registry.
            image_registry_token: Token for the registry. Never shown again.
            resource_type: GPU or CPU.
            region_list: Regions of which any will do.
            min_single_card_vram_in_gb: Least video memory of a GPU, in GB.
            min_single_card_ram_in_gb: Least memory for each GPU, in GB.
            min_single_card_vcpu: Least virtual CPUs for each GPU.
            confirm: True once the user has agreed to the cost; only needed when a call asked for it.
        """
        spec = spec_from(
            None,
            {
                "image": image,
                "gpu_type": gpu_type,
                "gpu_count": gpu_count,
                "pod_name": pod_name,
                "region": region,
                "environment_vars": environment_vars,  # type: ignore[typeddict-item]  # TypedDicts are mappings
                "expose": expose,
                "initialization_command": initialization_command,
                "container_volume_in_gb": container_volume_in_gb,
                "persistent_volume_in_gb": persistent_volume_in_gb,
                "persistent_mount_path": persistent_mount_path,
                "shm_in_gb": shm_in_gb,
                "image_public_type": image_public_type,
                "image_registry": image_registry,
                "credential_id": credential_id,
                "image_registry_username": image_registry_username,
                "image_registry_token": image_registry_token,
                "resource_type": resource_type,
                "region_list": region_list,
                "min_single_card_vram_in_gb": min_single_card_vram_in_gb,
                "min_single_card_ram_in_gb": min_single_card_ram_in_gb,
                "min_single_card_vcpu": min_single_card_vcpu,
            },
        )
        await self._agree(spec, confirm=confirm)
        try:
            handle = await self._pods.create(spec, spend_limit=self._limit if self._bounded else None)
        except CreateOutcomeUnknownError as error:
            self._note_unknown(error)
            raise
        self.created[handle.id] = None
        return CreatedAnswer(pod_id=handle.id, hint="It is starting: call pod_wait with this pod_id.")

    @for_agents
    async def pod_create_many(
        self,
        count: int,
        image: str,
        gpu_type: str,
        gpu_count: int = 1,
        pod_name: str | None = None,
        region: str | None = None,
        environment_vars: Variables | None = None,
        expose: list[int | PortArgument] | None = None,
        initialization_command: str | None = None,
        confirm: bool = False,  # noqa: FBT001, FBT002  # models call by name
    ) -> CreatedManyAnswer:
        """Rent several GPU pods that are the same. They cost money until they are paused or deleted.

        Args:
            count: How many pods, at most 100.
            image: Container image of all of them.
            gpu_type: GPU type, such as NVIDIA_L4_24G.
            gpu_count: How many GPUs each of them has; a power of two.
            pod_name: Their name; a number is added to it.
            region: Region, such as us-east-3; without it, any.
            environment_vars: Environment variables of the containers, by name. Values are never shown again.
            expose: Ports to reach from outside, such as 22 or 8888.
            initialization_command: Command that each container runs at its start.
            confirm: True once the user has agreed to the cost; only needed when a call asked for it.
        """
        if type(count) is not int or not 1 <= count <= MOST_AT_ONCE:
            raise ToolFailedError(f"count must be a whole number between 1 and {MOST_AT_ONCE}; nothing was created.")
        spec = spec_from(
            None,
            {
                "image": image,
                "gpu_type": gpu_type,
                "gpu_count": gpu_count,
                "region": region,
                "environment_vars": environment_vars,  # type: ignore[typeddict-item]  # TypedDicts are mappings
                "expose": expose,
                "initialization_command": initialization_command,
            },
        )
        numbers = range(1, count + 1)
        specs = [spec_from(spec, {"pod_name": f"{pod_name}-{number}"} if pod_name else {}) for number in numbers]
        await self._agree(spec, count, confirm=confirm)
        report = await self._pods.create_many(specs, spend_limit=self._limit if self._bounded else None)
        pod_ids = [item.pod_id for item in report.succeeded if item.pod_id is not None]
        self.created |= dict.fromkeys(pod_ids)
        failed: list[FailureView] = []
        unknown: list[FailureView] = []
        for index, item in enumerate(report.items):
            token = item.error.client_token if isinstance(item.error, CreateOutcomeUnknownError) else None
            said = failure(item.error) if isinstance(item.error, YottaError) else item.error
            view = FailureView(index=index, error=str(said), client_token=token)
            if isinstance(item.error, CreateOutcomeUnknownError):
                self._note_unknown(item.error)
                unknown.append(view)
            elif item.error is not None:
                failed.append(view)
        if not pod_ids and not unknown:
            raise ToolFailedError(f"None of {count} pods was created. The first said: {failed[0]['error']}")
        hint = f"{len(pod_ids)} of {count} are starting: call pod_wait with each pod_id."
        if unknown:
            hint += " Call pod_resolve with each client_token in `unknown` before you create those again."
        return CreatedManyAnswer(pod_ids=pod_ids, failed=failed, unknown=unknown, hint=hint)

    @for_agents
    async def pod_resolve(self, client_token: str) -> ResolvedAnswer:
        """Find the pod of a create whose outcome was unknown, by the client_token that the error named.

        Args:
            client_token: The token from the error.
        """
        if not client_token:
            raise ToolFailedError("client_token must be the text that the error of the create named.")
        for pod in await self._pods.list():
            if pod.status not in ENDING and (CLIENT_TOKEN, client_token) in (
                (variable.key, variable.value) for variable in pod.environment_vars
            ):
                self.created[pod.id] = None
                self.unknown.pop(client_token, None)
                return ResolvedAnswer(pod_id=pod.id, hint="The create made this pod: go on with it.")
        return ResolvedAnswer(
            pod_id=None, hint="No pod bears it. Look again in a minute; if there is still none, create it again."
        )
