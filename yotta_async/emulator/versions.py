"""The versions of the API, one table each: its paths, its names on the wire, and the form of its responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

import attrs
import msgspec

from yotta_async.emulator.catalogue import CATALOGUE
from yotta_async.emulator.openapi import Route
from yotta_async.emulator.pod import EmulatedPod, IdForm, PodEncoder, encode_pod
from yotta_async.emulator.schema import AnyCreate, Create, CreateV2, Pod, PodV2, VmType
from yotta_async.emulator.statuses import STATUS_NAMES

EnvironmentForm: TypeAlias = Literal["hidden", "shown"]
"""Whether pods in v2 show their environment variables. No document of v2 has them in a pod."""
StatusForm: TypeAlias = Literal["reference", "guide"]
"""The names of statuses in v2: INITIALIZE and PAUSED as in v1, or INITIALIZING and STOPPED."""

_GUIDE_STATUSES = {"INITIALIZE": "INITIALIZING", "PAUSED": "STOPPED"}


@attrs.frozen(kw_only=True)
class ApiVersion:
    """One version of the API.

    `paths` are the method and path by endpoint. `done` is the JSON in answers to pause, resume and delete.
    `status_names` are names of statuses beside those of v1, with their meaning; a filter takes both.
    """

    name: str
    paths: Mapping[str, tuple[str, str]]
    create_form: type[AnyCreate]
    pod_form: type[Pod | PodV2]
    encode_pod: PodEncoder
    created_form: Any
    encode_created: Callable[[EmulatedPod], bytes]
    done_form: Any
    done: bytes
    status_names: Mapping[str, str] = {}

    def build_routes(self) -> list[Route]:
        """Return the version's routes."""
        details: Mapping[str, tuple[str, Any, Any]] = {
            "create": ("Create a pod", self.created_form, self.create_form),
            "list": ("List the pods", list[self.pod_form], None),  # type: ignore[name-defined]  # a type at run time
            "get": ("Get a pod", self.pod_form, None),
            "pause": ("Pause a pod", self.done_form, None),
            "resume": ("Resume a pod", self.done_form, None),
            "delete": ("Delete a pod", self.done_form, None),
            "gpus": ("List the GPU types, and where they are available", list[VmType], None),
        }
        return [
            Route(
                *(method, path, self.name, endpoint, *details[endpoint]),
                has_filters=endpoint == "list",
                status_names=(*STATUS_NAMES, *self.status_names),
            )
            for endpoint, (method, path) in self.paths.items()
        ]


def build_v1(ids: IdForm) -> ApiVersion:
    """Return version 1."""
    # A create answers an integer, though ids are text everywhere else: v1 does that.
    is_text = ids == "text"
    return ApiVersion(
        name="v1",
        paths={
            "create": ("POST", "/openapi/v1/pods/create"),
            "list": ("GET", "/openapi/v1/pods/list"),
            "pause": ("POST", "/openapi/v1/pods/pause/{podId}"),
            "resume": ("POST", "/openapi/v1/pods/resume/{podId}"),
            "get": ("GET", "/openapi/v1/pods/{podId}"),
            "delete": ("DELETE", "/openapi/v1/pods/{podId}"),
        },
        create_form=Create,
        pod_form=Pod,
        encode_pod=encode_pod,
        created_form=str if is_text else int,
        encode_created=lambda pod: f'"{pod.id}"'.encode() if is_text else pod.id.encode(),
        done_form=None,
        done=b"null",
    )


def build_v2(environment_vars: EnvironmentForm, statuses: StatusForm) -> ApiVersion:
    """Return version 2."""
    status_names = _GUIDE_STATUSES if statuses == "guide" else {}

    def encode(pod: Pod, created_at: float, updated_at: float) -> bytes:
        fields = {name: getattr(pod, name) for name in _COMMON_FIELDS}
        shown = PodV2(
            **fields,
            name=pod.pod_name,
            gpu_type=CATALOGUE.describe_gpu_type(pod.gpu_type).v2,
            single_card_price=str(pod.single_card_price),
            environment_vars=pod.environment_vars if environment_vars == "shown" else msgspec.UNSET,
            status=status_names.get(pod.status, pod.status),
            created_at=round(created_at * 1000),
            updated_at=round(updated_at * 1000),
        )
        return msgspec.json.encode(shown)

    return ApiVersion(
        name="v2",
        paths={
            "create": ("POST", "/v2/pods"),
            "list": ("GET", "/v2/pods"),
            "get": ("GET", "/v2/pods/{podId}"),
            "delete": ("DELETE", "/v2/pods/{podId}"),
            "pause": ("POST", "/v2/pods/{podId}/pause"),
            "resume": ("POST", "/v2/pods/{podId}/resume"),
            "gpus": ("GET", "/v2/vms/types"),
        },
        create_form=CreateV2,
        pod_form=PodV2,
        encode_pod=encode,
        created_form=PodV2,
        encode_created=lambda pod: pod.to_json(encode),
        # As in the OpenAPI document of the vendor's client; msgspec takes Literal[True] only since 0.22.
        done_form=Annotated[bool, msgspec.Meta(extra_json_schema={"enum": [True]})],
        done=b"true",
        status_names={shown: name for name, shown in _GUIDE_STATUSES.items()},
    )


_OWN_FIELDS = {"name", "gpu_type", "single_card_price", "environment_vars", "status", "created_at", "updated_at"}
_COMMON_FIELDS = [field.name for field in msgspec.structs.fields(PodV2) if field.name not in _OWN_FIELDS]
