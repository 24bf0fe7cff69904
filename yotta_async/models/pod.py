"""What the API answers with: the pod and its parts, and the ways to name one.

Source of every field: `OpenapiPodListDetailResponse` and its parts in the API's OpenAPI document. Any of them may be
null or missing in an answer, so all but the id may be None. Ids are text: they pass 2^53, where JSON readers round.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol, TypeAlias

import attrs

from yotta_async.errors import InvalidRequestError
from yotta_async.models.status import OpenStrEnum, PodStatus

CLIENT_TOKEN_VARIABLE = "YOTTA_CLIENT_TOKEN"  # noqa: S105  # the name of a variable; its value is no secret either
SECRET = {"secret": True}
"""Marks an attrs field whose value is never shown."""


class ResourceType(OpenStrEnum):
    """What a pod runs on."""

    GPU = "GPU"
    CPU = "CPU"


class ImagePublicType(OpenStrEnum):
    """Who may pull the image. PRIVATE wants registry credentials."""

    PUBLIC = "PUBLIC"
    PRIVATE = "PRIVATE"
    # The guide names these two here, the OpenAPI document only as values of `officialImage`: both are accepted.
    OFFICIAL = "OFFICIAL"
    CUSTOM = "CUSTOM"


class ImageSource(OpenStrEnum):
    """Whether the image is one of the vendor's (the wire's `officialImage`)."""

    OFFICIAL = "OFFICIAL"
    CUSTOM = "CUSTOM"


class CloudType(OpenStrEnum):
    """Whose machines the pod runs on."""

    SECURE = "SECURE"
    COMMUNITY = "COMMUNITY"


def masked_repr(self: Any) -> str:
    """Show the fields that say something, with the secret ones masked and of `extra` only the names."""
    shown = []
    for field in attrs.fields(type(self)):
        value = getattr(self, field.name, None)  # a repr must not fail on what is half made
        if value is None or value in ((), {}):
            continue
        if field.metadata.get("secret"):
            value_text = "'***'"
        elif field.name == "extra":
            value_text = "{" + ", ".join(f"{name!r}: ..." for name in value) + "}"
        elif isinstance(value, OpenStrEnum):
            value_text = repr(str(value))
        else:
            value_text = repr(value)
        shown.append(f"{field.name}={value_text}")
    return f"{type(self).__name__}({', '.join(shown)})"


@attrs.frozen(repr=False, weakref_slot=False)
class EnvironmentVariable:
    """A variable in the pod's environment; its repr masks the value. Null in an answer is read as empty text."""

    key: str
    value: str = attrs.field(metadata=SECRET)

    __repr__ = masked_repr


@attrs.frozen(repr=False, kw_only=True, weakref_slot=False)
class ExposedPort:
    """A port of the pod as the outside reaches it: `host`:`proxy_port` leads to `port` in the container."""

    port: int | None = None
    proxy_port: int | None = None
    protocol: str | None = None
    host: str | None = None
    healthy: bool | None = None
    ingress_url: str | None = None
    service_name: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    __repr__ = masked_repr


@attrs.frozen(repr=False, kw_only=True, weakref_slot=False)
class PersistentVolume:
    """A volume that outlives the pod. `volume_size` is in GB."""

    id: str | None = None
    name: str | None = None
    volume_type: str | None = None
    volume_size: int | None = None
    volume_price: float | None = None
    mount_path: str | None = None
    cloud_storage_type: str | None = None
    system_volume_type: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    __repr__ = masked_repr


@attrs.frozen(repr=False, kw_only=True, weakref_slot=False)
class Pod:
    """A pod as the API last described it. Prices are per hour, times are aware and in UTC.

    `extra` holds the fields that this version does not know, as JSON gives them.
    """

    id: str
    org_id: str | None = None
    applicant_id: str | None = None
    pod_name: str | None = None
    image_id: str | None = None
    official_image: ImageSource | None = None
    image_public_type: ImagePublicType | None = None
    image: str | None = None
    image_registry: str | None = None
    image_registry_username: str | None = None
    resource_type: ResourceType | None = None
    gpu_type: str | None = None
    gpu_display_name: str | None = None
    gpu_count: int | None = None
    shm_in_gb: int | None = None
    single_card_vram_in_gb: int | None = None
    single_card_ram_in_gb: int | None = None
    single_card_vcpu: int | None = None
    location: str | None = None
    region: str | None = None
    cloud_type: CloudType | None = None
    container_volume_in_gb: int | None = None
    persistent_volume_in_gb: int | None = None
    persistent_mount_path: str | None = None
    network_upload_mbps: float | None = None
    network_download_mbps: float | None = None
    disk_read_speed_mbps: float | None = None
    disk_write_speed_mbps: float | None = None
    single_card_price: float | None = None
    persistent_volume_price: float | None = None
    container_volume_price: float | None = None
    # Start-up commands log in to registries and hubs, so what they hold is nobody else's business.
    initialization_command: str | None = attrs.field(default=None, metadata=SECRET)
    environment_vars: tuple[EnvironmentVariable, ...] = ()
    expose: tuple[ExposedPort, ...] = ()
    ssh_cmd: str | None = None
    status: PodStatus | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    persistent_volumes: tuple[PersistentVolume, ...] = ()
    internal_ip: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    __repr__ = masked_repr

    @property
    def hourly_price(self) -> float | None:
        """What the pod costs for an hour of RUNNING, or None when the API did not tell a price that counts.

        GPUs and both volumes; a volume that the pod does not have costs nothing, whatever its price.
        """
        parts = (
            (self.single_card_price, self.gpu_count),
            (self.container_volume_price, self.container_volume_in_gb or 0),
            (self.persistent_volume_price, self.persistent_volume_in_gb or 0),
        )
        total = 0.0
        for price, amount in parts:
            if amount == 0:
                continue
            if price is None or amount is None:
                return None
            total += price * amount
        return total

    @property
    def client_token(self) -> str | None:
        """The token of the create that made this pod (`YOTTA_CLIENT_TOKEN` in its environment), or None."""
        return next((item.value for item in self.environment_vars if item.key == CLIENT_TOKEN_VARIABLE), None)

    def port(self, number: int) -> ExposedPort | None:
        """How the container's port `number` is reached from outside, or None when it is not exposed."""
        return next((exposed for exposed in self.expose if exposed.port == number), None)

    def redacted(self) -> Pod:
        """Return a copy without environment values, start-up command and unknown fields, fit for an error."""
        masked = tuple(attrs.evolve(variable, value="***") for variable in self.environment_vars)
        command = "***" if self.initialization_command else self.initialization_command
        return attrs.evolve(
            self,
            environment_vars=masked,
            initialization_command=command,
            expose=tuple(attrs.evolve(port, extra={}) for port in self.expose),
            persistent_volumes=tuple(attrs.evolve(volume, extra={}) for volume in self.persistent_volumes),
            extra={},
        )


class HasPodId(Protocol):
    """A Pod, a PodHandle, or anything else that carries a pod's id."""

    @property
    def id(self) -> str:
        """The pod's id."""
        ...


PodId: TypeAlias = str | int | HasPodId
"""What every method that takes a pod takes: its id as text or as a number, a Pod, or a PodHandle."""

_POD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def pod_id_of(pod: PodId) -> str:
    """Return the id of `pod` as text, fit to stand in a path. Raises InvalidRequestError when it is not an id."""
    if type(pod) is str and _POD_ID.fullmatch(pod):
        return pod
    value = pod if isinstance(pod, str | int) else getattr(pod, "id", pod)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**64:
        return str(value)
    if isinstance(value, str) and _POD_ID.fullmatch(value):
        return str(value)
    what = repr(value[:80]) if isinstance(value, str) else f"a value of type {type(value).__name__}"
    raise InvalidRequestError(
        f"{what} is not a pod id: an id is a non-negative number of up to 64 digits, or 1 to 64 letters, digits, '_' "
        "and '-' that begin with a letter or a digit"
    )
