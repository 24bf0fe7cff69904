"""The API's bodies, as its OpenAPI document has them: what a create may hold, and what an answer shows of a pod.

msgspec checks creates by these and writes answers from them, and `/openapi.json` is made of them. They are written from
the API's own document, and not with the client's models: a shared model would hide its own mistakes.
"""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from msgspec import Meta, Struct

T = TypeVar("T")

# Kept as the vendor's servers would: Java's int and long.
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Text = Annotated[str, Meta(min_length=1)]
Size = Annotated[int, Meta(ge=0, le=1536)]
PortNumber = Annotated[int, Meta(ge=0, le=65535)]
Id = str | int
"""64 bits. The document says integer, the guide shows text; the emulator's `ids` chooses."""

PowerOfTwo = Annotated[int, Meta(ge=1, le=2**30, extra_json_schema={"enum": [2**n for n in range(31)]})]
Regions = Annotated[list[Text], Meta(extra_json_schema={"uniqueItems": True})]


class Variable(Struct):
    """An environment variable."""

    key: Text
    value: Text


class PortRequest(Struct):
    """A port to expose."""

    port: PortNumber
    protocol: str | None = None


class VolumeRequest(Struct, kw_only=True, rename="camel"):
    """A volume to mount."""

    mount_path: Text
    volume_type: str
    id: Int64 | None = None
    name: str | None = None
    mount_mode: str | None = None
    volume_size: Int32 | None = None
    volume_price: float | None = None
    cloud_storage_type: str | None = None
    system_volume_type: str | None = None
    system_volume_type_enum: Literal["LOCAL", "CEPH"] | None = None


class Create(Struct, kw_only=True, rename="camel"):
    """The body of a create. What is not known is ignored, as the API does."""

    image: Annotated[str, Meta(min_length=1, max_length=255)]
    gpu_type: Text
    # The guide names OFFICIAL and CUSTOM here too, which the OpenAPI document knows only as image sources.
    image_public_type: Literal["PUBLIC", "PRIVATE", "OFFICIAL", "CUSTOM"] | None = None
    resource_type: Literal["GPU", "CPU"] | None = None
    # In no document, but the vendor's own client sends these two.
    cloud_type: Literal["SECURE", "COMMUNITY"] | None = None
    official_image: Literal["OFFICIAL", "CUSTOM"] | None = None
    region: str | None = None
    region_list: Regions | None = None
    pod_name: str | None = None
    image_registry: str | None = None
    credential_id: Int64 | None = None
    image_registry_username: str | None = None
    image_registry_token: str | None = None
    gpu_count: PowerOfTwo | None = None
    shm_in_gb: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    min_single_card_ram_in_gb: Size | None = None
    min_single_card_vram_in_gb: Size | None = None
    min_single_card_vcpu: Count | None = None
    container_volume_in_gb: Count | None = None
    persistent_volume_in_gb: Count | None = None
    persistent_mount_path: str | None = None
    initialization_command: str | None = None
    environment_vars: list[Variable] | None = None
    expose: list[PortRequest] | None = None
    persistent_volumes: list[VolumeRequest] | None = None


class ExposedPort(Struct, kw_only=True, rename="camel"):
    """A port, and how it is reached."""

    port: PortNumber
    proxy_port: int
    protocol: str
    host: str
    healthy: bool
    ingress_url: str
    service_name: str


class Volume(Struct, kw_only=True, rename="camel"):
    """A mounted volume."""

    mount_path: Text
    volume_type: str
    id: Id | None = None
    name: str | None = None
    volume_size: Int32 | None = None
    volume_price: float | None = None
    cloud_storage_type: str | None = None
    system_volume_type: str | None = None


class Pod(Struct, kw_only=True, rename="camel"):
    """A pod as answers show it, in the order of the guide's example."""

    id: Id
    org_id: Id
    applicant_id: Id
    pod_name: str
    image_id: Id
    official_image: Literal["OFFICIAL", "CUSTOM"]
    image_public_type: Literal["PUBLIC", "PRIVATE"]
    image: str
    image_registry: str
    image_registry_username: str | None
    resource_type: Literal["GPU", "CPU"]
    gpu_type: str
    gpu_display_name: str
    gpu_count: int
    shm_in_gb: int | None
    single_card_vram_in_gb: int
    single_card_ram_in_gb: int
    single_card_vcpu: int
    location: str
    region: str
    cloud_type: Literal["SECURE", "COMMUNITY"]
    container_volume_in_gb: int
    persistent_volume_in_gb: int
    persistent_mount_path: str | None
    network_upload_mbps: float
    network_download_mbps: float
    disk_read_speed_mbps: float
    disk_write_speed_mbps: float
    single_card_price: float
    persistent_volume_price: float
    container_volume_price: float
    initialization_command: str
    environment_vars: list[Variable]
    expose: list[ExposedPort]
    ssh_cmd: str
    status: str
    created_at: str
    updated_at: str
    persistent_volumes: list[Volume]
    internal_ip: str


class Envelope(Struct, Generic[T]):
    """What every answer is wrapped in: 10000 is success, and HTTP 200 with another code is not."""

    message: str
    code: int
    data: T | None
