"""What the API answers with: the pod and its parts.

Source of every field: `OpenapiPodListDetailResponse` and its parts in the API's OpenAPI document. Any of them may be
null or missing in an answer, so all but the id may be None. Ids are text: they pass 2^53, where JSON readers round.
A field's line here is all that makes it a typed field: its name is the wire's in snake_case, and `api/converter.py` has
a rule for each type. `metadata=SECRET` masks it everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import attrs

from yotta_async.models.enums import CloudType, ImagePublicType, ImageSource, ResourceType
from yotta_async.models.redaction import SECRET, UNDOCUMENTED, Redactable
from yotta_async.models.status import PodStatus

CLIENT_TOKEN_VARIABLE = "YOTTA_CLIENT_TOKEN"  # noqa: S105  # the name of a variable; its value is no secret either

Id: TypeAlias = Annotated[str, "id"]
"""An id: text for us, and a number or text on the wire."""


@attrs.frozen(repr=False, weakref_slot=False)
class EnvironmentVariable(Redactable):
    """A variable in the pod's environment; its repr masks the value. Null in a response is read as empty text."""

    key: str
    value: str = attrs.field(metadata=SECRET)


@attrs.frozen(repr=False, kw_only=True, weakref_slot=False)
class ExposedPort(Redactable):
    """A port of the pod as the outside reaches it: `host`:`proxy_port` leads to `port` in the container."""

    port: int | None = None
    proxy_port: int | None = None
    protocol: str | None = None
    host: str | None = None
    healthy: bool | None = None
    ingress_url: str | None = None
    service_name: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False, metadata=UNDOCUMENTED)


@attrs.frozen(repr=False, kw_only=True, weakref_slot=False)
class PersistentVolume(Redactable):
    """A volume that outlives the pod. `volume_size` is in GB."""

    id: Id | None = None
    name: str | None = None
    volume_type: str | None = None
    volume_size: int | None = None
    volume_price: float | None = None
    mount_path: str | None = None
    cloud_storage_type: str | None = None
    system_volume_type: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False, metadata=UNDOCUMENTED)


@attrs.frozen(repr=False, kw_only=True, weakref_slot=False)
class Pod(Redactable):
    """A pod as the API last described it. Prices are in USD per hour, times are aware and in UTC.

    Attributes:
        extra: the fields that this version does not know, and those in `unreadable`, by their wire names, as JSON
            gives them. Parts (ports, volumes) have their own.
        unreadable: wire names of documented fields whose value is of a type that cannot be read: their attribute is
            None, or for a list holds the items that could be read. A list is named here too when a field of one of its
            items could not be read.
    """

    id: Id
    org_id: Id | None = None
    applicant_id: Id | None = None
    pod_name: str | None = None
    image_id: Id | None = None
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
    # Start-up commands often hold tokens of registries and hubs.
    initialization_command: str | None = attrs.field(default=None, metadata=SECRET)
    environment_vars: tuple[EnvironmentVariable, ...] = ()
    expose: tuple[ExposedPort, ...] = ()
    ssh_cmd: str | None = None
    status: PodStatus | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    persistent_volumes: tuple[PersistentVolume, ...] = ()
    internal_ip: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False, metadata=UNDOCUMENTED)
    unreadable: tuple[str, ...] = ()

    @property
    def hourly_price(self) -> float | None:
        """The cost of an hour of RUNNING in USD, or None when a price that counts is missing or cannot be read.

        GPUs and both volumes count. A volume that the pod does not have costs nothing, whatever its price.
        """
        if not {"containerVolumeInGb", "persistentVolumeInGb"}.isdisjoint(self.unreadable):
            return None  # the pod may have a volume that costs
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

    @property
    def is_being_deleted(self) -> bool:
        """True when the status is TERMINATING or TERMINATED; an unknown or missing status is neither."""
        return self.status is not None and self.status.is_being_deleted

    def port(self, number: int) -> ExposedPort | None:
        """Return how the container's port `number` is reached from outside, or None when it is not exposed."""
        return next((exposed for exposed in self.expose if exposed.port == number), None)
