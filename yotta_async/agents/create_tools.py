"""The tools that create pods, and the one that finds the pod of a create whose outcome is unknown."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias

import attrs
from typing_extensions import TypedDict  # as in results

from yotta_async import CreateOutcomeUnknownError, Pod, PodSpec, YottaError
from yotta_async.agents.failures import ToolFailedError, explain_error, explain_errors
from yotta_async.agents.policy import ToolSession
from yotta_async.agents.results import CreatedManyResult, CreatedResult, FailureView, ResolvedResult, is_deleted

MAX_PODS_PER_CALL = 100
_MAX_SHOWN = 10


class VariableArgument(TypedDict):
    """An environment variable in the form of the API."""

    key: str
    value: str


class PortArgument(TypedDict):
    """A port to expose in the form of the API; `protocol` is such as SSH, HTTP or TCP."""

    port: int
    protocol: NotRequired[str]


# pydantic would drop an unknown key without an error.
for _argument in (VariableArgument, PortArgument):
    setattr(_argument, "__pydantic_config__", {"extra": "forbid"})  # noqa: B010  # unknown to type checkers

Variables: TypeAlias = dict[str, str] | list[VariableArgument]
Ports: TypeAlias = list[int | PortArgument]


class CreateTools:
    """The tools that create, for one session."""

    def __init__(self, session: ToolSession) -> None:
        self._session = session

    @explain_errors
    async def pod_create(
        self,
        image: str,
        gpu_type: str,
        gpu_count: int = 1,
        pod_name: str | None = None,
        region: str | None = None,
        environment_vars: Variables | None = None,
        expose: Ports | None = None,
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
    ) -> CreatedResult:
        """Create a GPU pod. It costs money until it is paused or deleted. Returns its id at once, while it starts.

        Args:
            image: Container image, such as yottalabsai/pytorch:2.8.0-py3.11-cuda12.8.1-cudnn-devel-ubuntu22.04.
            gpu_type: GPU type, such as NVIDIA_L4_24G; gpu_list shows them.
            gpu_count: Number of GPUs; a power of two.
            pod_name: A name for people to read.
            region: Region, such as us-east-3; without it, any.
            environment_vars: Environment variables of the container, by name. No tool ever returns their values.
            expose: Ports to reach from outside, such as 22 or 8888.
            initialization_command: Command that the container runs when it starts.
            container_volume_in_gb: Size of the container's own volume, in GB.
            persistent_volume_in_gb: Size of a volume that is kept while the pod is paused, in GB.
            persistent_mount_path: Path at which that volume is mounted.
            shm_in_gb: Shared memory, in GB.
            image_public_type: PUBLIC or PRIVATE; a PRIVATE image needs credential_id, or user name and token.
            image_registry: Registry of the image.
            credential_id: Id of the credential for a private image, as text.
            image_registry_username: User name at the registry.
            image_registry_token: Token for the registry. No tool ever returns it.
            resource_type: GPU or CPU.
            region_list: Acceptable regions.
            min_single_card_vram_in_gb: Minimum video memory of a GPU, in GB.
            min_single_card_ram_in_gb: Minimum memory for each GPU, in GB.
            min_single_card_vcpu: Minimum number of virtual CPUs for each GPU.
            confirm: True once the user has agreed to the cost; needed only if a call asked for it.
        """
        spec = _build_spec(locals())
        session = self._session
        await session.require_create_confirmation(spec, confirm=confirm)
        try:
            handle = await session.pods.create(spec, spend_limit=session.policy.spend_limit)
        except CreateOutcomeUnknownError as error:
            session.record_unknown(error)
            raise
        session.created[handle.id] = None
        return CreatedResult(pod_id=handle.id, hint="It is starting: call pod_wait with this pod_id.")

    @explain_errors
    async def pod_create_many(
        self,
        count: int,
        image: str,
        gpu_type: str,
        gpu_count: int = 1,
        pod_name: str | None = None,
        region: str | None = None,
        environment_vars: Variables | None = None,
        expose: Ports | None = None,
        initialization_command: str | None = None,
        confirm: bool = False,  # noqa: FBT001, FBT002  # models call by name
    ) -> CreatedManyResult:
        """Create several GPU pods with the same settings. They cost money until they are paused or deleted.

        Args:
            count: Number of pods, at most 100.
            image: Container image of all of them.
            gpu_type: GPU type, such as NVIDIA_L4_24G; gpu_list shows them.
            gpu_count: Number of GPUs of each pod; a power of two.
            pod_name: Their name; a number is added to it.
            region: Region, such as us-east-3; without it, any.
            environment_vars: Environment variables of the containers, by name. No tool ever returns their values.
            expose: Ports to reach from outside, such as 22 or 8888.
            initialization_command: Command that each container runs when it starts.
            confirm: True once the user has agreed to the cost; needed only if a call asked for it.
        """
        if type(count) is not int or not 1 <= count <= MAX_PODS_PER_CALL:
            raise ToolFailedError(f"count must be a whole number from 1 to {MAX_PODS_PER_CALL}; nothing was created.")
        spec = _build_spec(locals())
        session = self._session
        await session.require_create_confirmation(spec, count, confirm=confirm)
        names = [f"{pod_name}-{number}" if pod_name else None for number in range(1, count + 1)]
        report = await session.pods.create_many(
            [attrs.evolve(spec, pod_name=name) for name in names], spend_limit=session.policy.spend_limit
        )
        pod_ids = [item.pod_id for item in report.succeeded if item.pod_id is not None]
        session.created |= dict.fromkeys(pod_ids)
        failed: list[FailureView] = []
        unknown: list[FailureView] = []
        for index, item in enumerate(report.items):
            if isinstance(item.error, CreateOutcomeUnknownError):
                session.record_unknown(item.error)
                unknown.append(_describe_failure(index, item.error))
            elif item.error is not None:
                failed.append(_describe_failure(index, item.error))
        if not pod_ids and not unknown:
            raise ToolFailedError(f"None of {count} pods was created. The first error: {failed[0]['error']}")
        hint = f"{len(pod_ids)} of {count} are starting: call pod_wait with each pod_id."
        if unknown:
            hint += " Call pod_resolve with each client_token in `unknown` before you create those again."
        return CreatedManyResult(pod_ids=pod_ids, failed=failed, unknown=unknown, hint=hint)

    @explain_errors
    async def pod_resolve(self, client_token: str) -> ResolvedResult:
        """Find the pod of a create whose outcome was unknown, by the client_token that the error named.

        Args:
            client_token: The token from the error.
        """
        if not client_token:
            raise ToolFailedError("client_token must be the text that the error of the create named.")
        pods = [pod for pod in await self._session.pods.list() if not is_deleted(pod)]
        for pod in pods:
            if pod.client_token == client_token:
                self._session.created[pod.id] = None
                self._session.unknown.pop(client_token, None)
                return ResolvedResult(pod_id=pod.id, hint="The create made this pod: use it.")
        hint = "No pod has this token. Call again in a minute; if there is still none, create it again."
        # API v2 need not show the environment, and then no token of a pod that has a name of the caller's.
        candidates = [pod.id for pod in pods if _may_hide_token(pod) and pod.id not in self._session.created]
        if candidates:
            hint = (
                f"No pod shows this token, but these do not show all of theirs: {', '.join(candidates[:_MAX_SHOWN])}. "
                "Call pod_get: one with the pod_name, image and gpu_type that you asked for may be the pod; ask the "
                "user before you create it again."
            )
        return ResolvedResult(pod_id=None, hint=hint)


def _may_hide_token(pod: Pod) -> bool:
    """Whether the pod may have a client token that the API does not show: it shows no environment, or masks it."""
    keys = {variable.key for variable in pod.environment_vars}
    return pod.client_token is None and (not keys or "YOTTA_CLIENT_TOKEN" in keys)


def _build_spec(arguments: dict[str, Any]) -> PodSpec:
    """Return the spec that the arguments of a tool describe; those that are no fields of a spec do not count."""
    fields = attrs.fields_dict(PodSpec)
    return PodSpec(**{name: value for name, value in arguments.items() if name in fields})


def _describe_failure(index: int, error: Exception) -> FailureView:
    text = str(explain_error(error) if isinstance(error, YottaError) else error)
    token = error.client_token if isinstance(error, CreateOutcomeUnknownError) else None
    return FailureView(index=index, error=text, client_token=token)
