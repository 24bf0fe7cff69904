"""The API's bodies as its documents have them, in both versions, and how requests are checked by them.

The account works with those of v1 (`Create`, `Pod`); `versions.py` says which version has which. msgspec validates
creates and encodes responses by these structs. They are written from the API's own documents and share nothing with the
client's models: a shared model would hide its own mistakes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from yotta_async.emulator.statuses import STATUS_NAMES, STATUS_NUMBERS

T = TypeVar("T")

MAX_SHOWN_TEXT = 200

# The ranges that the vendor's servers can store: Java's int and long.
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
PositiveInt32 = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Text = Annotated[str, Meta(min_length=1)]
Size = Annotated[int, Meta(ge=0, le=1536)]
PortNumber = Annotated[int, Meta(ge=0, le=65535)]
Id = str | int
"""64 bits. The document says integer, the guide shows text; `Emulator(ids=)` selects the form."""

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


class VolumeRequest(Volume, kw_only=True, rename="camel"):
    """A volume to mount."""

    id: Int64 | None = None
    mount_mode: str | None = None
    system_volume_type_enum: Literal["LOCAL", "CEPH"] | None = None


class _CreateFields(Struct, kw_only=True, rename="camel"):
    """The fields that creates of both versions have."""

    image: Annotated[str, Meta(min_length=1, max_length=255)]
    gpu_type: Text
    resource_type: Literal["GPU", "CPU"] | None = None
    image_registry: str | None = None
    image_registry_username: str | None = None
    shm_in_gb: PositiveInt32 | None = None
    min_single_card_ram_in_gb: Size | None = None
    min_single_card_vram_in_gb: Size | None = None
    min_single_card_vcpu: Count | None = None
    container_volume_in_gb: Count | None = None
    persistent_volume_in_gb: Count | None = None
    persistent_mount_path: str | None = None
    initialization_command: str | None = None
    environment_vars: list[Variable] | None = None
    expose: list[PortRequest] | None = None


class Create(_CreateFields, kw_only=True, rename="camel"):
    """The body of a create in v1. Unknown fields are ignored, as by the API."""

    # The guide also allows OFFICIAL and CUSTOM here; in the OpenAPI document these are image sources only.
    image_public_type: Literal["PUBLIC", "PRIVATE", "OFFICIAL", "CUSTOM"] | None = None
    # Undocumented, but the vendor's own client sends these two.
    cloud_type: Literal["SECURE", "COMMUNITY"] | None = None
    official_image: Literal["OFFICIAL", "CUSTOM"] | None = None
    region: str | None = None
    region_list: Regions | None = None
    pod_name: str | None = None
    credential_id: Int64 | None = None
    image_registry_token: str | None = None
    gpu_count: PowerOfTwo | None = None
    persistent_volumes: list[VolumeRequest] | None = None


class VolumeRequestV2(Struct, kw_only=True, rename="camel"):
    """A volume to mount in v2, where a volume is made before."""

    volume_id: Int64
    mount_path: Text
    need_backup: bool | None = None


_NAMES_V2 = {
    "image_public_type": "imagePublicType",
    "region_list": "regions",
    "pod_name": "name",
    "credential_id": "containerRegistryAuthId",
    "image_registry_token": "imageRegistryPassword",
    "gpu_count": "gpuCount",
    "persistent_volumes": "persistentVolumes",
}


class CreateV2(_CreateFields, kw_only=True, rename=_NAMES_V2):
    """The body of a create in v2. Unknown fields are ignored, as in v1."""

    pod_name: Annotated[str, Meta(min_length=1, max_length=255)]
    gpu_count: PowerOfTwo
    image_public_type: Literal["PUBLIC", "PRIVATE"] | None = None
    region_list: Regions | None = None
    credential_id: Int64 | None = None
    image_registry_token: str | None = None
    persistent_volumes: list[VolumeRequestV2] | None = None


class ExposedPort(Struct, kw_only=True, rename="camel"):
    """A port of a pod, and its public address."""

    port: PortNumber
    proxy_port: int
    protocol: str
    host: str
    healthy: bool
    ingress_url: str
    service_name: str


class Pod(Struct, kw_only=True, rename="camel"):
    """A pod in responses, with the fields in the order of the guide's example."""

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


class PodV2(Struct, kw_only=True, rename="camel"):
    """A pod in responses of v2. Times are in milliseconds since 1970, the price is text."""

    id: Id
    name: str
    image: str
    image_registry: str
    resource_type: Literal["GPU", "CPU"]
    gpu_type: str
    gpu_display_name: str
    gpu_count: int
    single_card_vram_in_gb: int
    single_card_ram_in_gb: int
    single_card_vcpu: int
    single_card_price: str
    shm_in_gb: int | None
    container_volume_in_gb: int
    region: str
    cloud_type: Literal["SECURE", "COMMUNITY"]
    initialization_command: str
    environment_vars: list[Variable] | UnsetType = UNSET
    expose: list[ExposedPort]
    ssh_cmd: str
    internal_ip: str
    status: str
    created_at: int
    updated_at: int


class VmRegion(Struct, kw_only=True, rename="camel"):
    """Whether a GPU type is available in a region."""

    region: str
    region_name: str
    available: bool
    vm_type_id: int


class VmType(Struct, kw_only=True, rename="camel"):
    """A GPU type and its regions."""

    gpu_type: str
    regions: list[VmRegion]


class Envelope(Struct, Generic[T]):
    """The wrapper of every response: code 10000 is success, any other code an error even with HTTP 200."""

    message: str
    code: int
    data: T | None


class ErrorResponse(Exception):  # noqa: N818  # a response, not a failure of the emulator
    """A request that is answered with an error: the HTTP status and the code of the envelope."""

    http_status = 200
    code = 10001


class InvalidRequestError(ErrorResponse):
    """A field of the request is wrong; the message names it."""

    http_status = 400


AnyCreate: TypeAlias = Create | CreateV2


def parse_body(body: bytes, form: type[T]) -> T:
    """Decode and check a body. Raises InvalidRequestError, which names the wrong field."""
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(name_field(error)) from None
    except (ValueError, RecursionError):  # msgspec's errors of syntax and of UTF-8 are ValueErrors
        raise InvalidRequestError("the body must be JSON") from None


def parse_create(body: bytes, form: type[AnyCreate], *, is_strict: bool = False) -> Create:
    """Decode and check the body of a create in one of the versions, and return it in the form of v1.

    Raises:
        InvalidRequestError: a field is wrong, or unknown although `is_strict`; the message names it.

    """
    create = parse_body(body, form)
    check_create(create)
    unknown = _find_unknown_field(msgspec.json.decode(body), _list_names(form).values()) if is_strict else None
    if unknown:
        raise InvalidRequestError(unknown)
    return create if isinstance(create, Create) else _convert_to_v1(create)


def _convert_to_v1(create: CreateV2) -> Create:
    fields = msgspec.structs.asdict(create)
    volumes = [
        # v2 mounts volumes that exist, whose type the request does not repeat.
        VolumeRequest(id=volume.volume_id, mount_path=volume.mount_path, volume_type="Ceph")
        for volume in create.persistent_volumes or ()
    ]
    return Create(**fields | {"persistent_volumes": volumes or None})


def name_field(error: msgspec.ValidationError) -> str:
    """Return the message of a msgspec error with the field first."""
    problem, _, path = str(error).partition(" - at `$.")
    missing = re.search(r"required field `(.*)`", problem)
    names = [path.rstrip("`"), missing[1] if missing else ""]
    return f"{'.'.join(filter(None, names)) or 'the body'}: {'must not be null' if missing else problem}"


def check_create(create: AnyCreate) -> None:
    """Raise InvalidRequestError for a wrong combination of fields, or what is wrong beyond what a type expresses."""
    problem = _find_problem(create, _list_names(type(create)))
    if problem:
        raise InvalidRequestError(problem)


def _list_names(form: type[AnyCreate]) -> dict[str, str]:
    """Return the names on the wire of a form's fields."""
    return {field.name: field.encode_name for field in msgspec.structs.fields(form)}


def _find_problem(create: AnyCreate, names: Mapping[str, str]) -> str | None:
    count = create.gpu_count or 1
    if count & (count - 1):
        return f"{names['gpu_count']}: must be a power of two"  # the vendor's clients require it
    if len(set(create.region_list or ())) < len(create.region_list or ()):
        return f"{names['region_list']}: must hold unique items"
    for name, text in (("image", create.image), ("gpu_type", create.gpu_type)):
        if not text.strip():
            return f"{names[name]}: must not be blank"
    if create.persistent_volume_in_gb and not (create.persistent_mount_path or "").strip():
        # The vendor's clients require it.
        return f"{names['persistent_mount_path']}: must not be blank with {names['persistent_volume_in_gb']}"
    if create.image_public_type == "PRIVATE" and not create.credential_id:
        for name in ("image_registry_username", "image_registry_token"):
            if not getattr(create, name):
                return f"{names[name]}: must not be blank when imagePublicType is PRIVATE"
    return None


def _find_unknown_field(body: Mapping[str, Any], names: Collection[str]) -> str | None:
    for name in body:
        if name not in names:
            similar = ", ".join(difflib.get_close_matches(name, names))
            hint = f". Similar: {similar}" if similar else ""
            return f"{name[:MAX_SHOWN_TEXT]}: is not a field of a create{hint}"
    return None


def parse_status_list(values: Iterable[str], other_names: Mapping[str, str]) -> set[str]:
    """Return the status names of a `statusList` query. Raises InvalidRequestError for anything else.

    The schema has integers, the guide's example names, and clients send both, also joined by commas: all are accepted.
    `other_names` are names that a version has beside those of v1.
    """
    statuses = set()
    for part in (part.strip() for value in values for part in value.split(",") if part.strip()):
        number = int(part) if part.isascii() and part.isdigit() and len(part) < 9 else None
        name = part.upper() if number is None else STATUS_NUMBERS.get(number, "")
        name = other_names.get(name, name)
        if name not in STATUS_NAMES:
            raise InvalidRequestError("statusList: must hold status codes (0 to 4, 6) or names")
        statuses.add(name)
    return statuses
