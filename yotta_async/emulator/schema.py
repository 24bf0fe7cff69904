"""The API's bodies as its OpenAPI document has them, how requests are checked by them, and that document.

msgspec validates creates and encodes responses by these structs. They are written from the API's own document and share
nothing with the client's models: a shared model would hide its own mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Struct

from yotta_async._version import __version__
from yotta_async.emulator.statuses import STATUS_NAMES, STATUS_NUMBERS

T = TypeVar("T")

# The ranges that the vendor's servers can store: Java's int and long.
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
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


class Create(Struct, kw_only=True, rename="camel"):
    """The body of a create. Unknown fields are ignored, as by the API."""

    image: Annotated[str, Meta(min_length=1, max_length=255)]
    gpu_type: Text
    # The guide also allows OFFICIAL and CUSTOM here; in the OpenAPI document these are image sources only.
    image_public_type: Literal["PUBLIC", "PRIVATE", "OFFICIAL", "CUSTOM"] | None = None
    resource_type: Literal["GPU", "CPU"] | None = None
    # Undocumented, but the vendor's own client sends these two.
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


_decoder = msgspec.json.Decoder(Create)


def parse_create(body: bytes) -> Create:
    """Decode and check the body of a create. Raises InvalidRequestError, which names the wrong field."""
    try:
        create = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(name_field(error)) from None
    except (ValueError, RecursionError):  # msgspec's errors of syntax and of UTF-8 are ValueErrors
        raise InvalidRequestError("the body must be JSON") from None
    problem = _find_problem(create)
    if problem:
        raise InvalidRequestError(problem)
    return create


def name_field(error: msgspec.ValidationError) -> str:
    """Return the message of a msgspec error with the field first."""
    problem, _, path = str(error).partition(" - at `$.")
    missing = re.search(r"required field `(.*)`", problem)
    names = [path.rstrip("`"), missing[1] if missing else ""]
    return f"{'.'.join(filter(None, names)) or 'the body'}: {'must not be null' if missing else problem}"


def _find_problem(create: Create) -> str | None:
    """Return what is wrong with a combination of fields, or beyond what a type expresses."""
    count = create.gpu_count or 1
    if count & (count - 1):
        return "gpuCount: must be a power of two"  # the vendor's clients require it
    if len(set(create.region_list or ())) < len(create.region_list or ()):
        return "regionList: must hold unique items"
    for name, text in (("image", create.image), ("gpuType", create.gpu_type)):
        if not text.strip():
            return f"{name}: must not be blank"
    if create.persistent_volume_in_gb and not (create.persistent_mount_path or "").strip():
        return "persistentMountPath: must not be blank with persistentVolumeInGb"  # the vendor's clients require it
    if create.image_public_type == "PRIVATE" and not create.credential_id:
        if not create.image_registry_username:
            return "imageRegistryUsername: must not be blank when imagePublicType is PRIVATE"
        if not create.image_registry_token:
            return "imageRegistryToken: must not be blank when imagePublicType is PRIVATE"
    return None


def parse_status_list(values: Iterable[str]) -> set[str]:
    """Return the status names of a `statusList` query. Raises InvalidRequestError for anything else.

    The schema has integers, the guide's example names, and clients send both, also joined by commas: all are accepted.
    """
    statuses = set()
    for part in (part.strip() for value in values for part in value.split(",") if part.strip()):
        number = int(part) if part.isascii() and part.isdigit() and len(part) < 9 else None
        name = part.upper() if number is None else STATUS_NUMBERS.get(number, "")
        if name not in STATUS_NAMES:
            raise InvalidRequestError("statusList: must hold status codes (0 to 4, 6) or names")
        statuses.add(name)
    return statuses


class Route(NamedTuple):
    """A route of the API; `data` is the type of the envelope's data on success."""

    method: str
    path: str
    name: str
    summary: str
    data: Any


_ERROR_STATUSES = {
    400: "The request is wrong (10001); the message names the field",
    401: "The API key is missing or wrong",
    403: "The request comes from a web page or another machine",
}
_POD_ID_PARAMETER = {
    "name": "podId",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**63 - 1},
}


def _build_filter(name: str, items: dict[str, Any], description: str) -> dict[str, Any]:
    schema = {"type": "array", "items": items}
    return {"name": name, "in": "query", "schema": schema, "description": f"{description}; also joined by commas"}


_LIST_PARAMETERS = [
    _build_filter("regionList", {"type": "string"}, "Any of these regions"),
    _build_filter(
        "statusList",
        {"anyOf": [{"type": "integer", "enum": [*STATUS_NUMBERS]}, {"enum": [*STATUS_NAMES]}]},
        "Any of these statuses, as numbers or names",
    ),
]


def build_openapi_document(routes: Iterable[Route]) -> bytes:
    """Return the OpenAPI document of these routes, as JSON."""
    routes = tuple(routes)
    types = [Create, Envelope[None], *(_wrap(route.data) for route in routes)]
    (create, failure, *successes), components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    errors = {str(status): _build_response(text, failure) for status, text in _ERROR_STATUSES.items()}
    paths: dict[str, dict[str, Any]] = {}
    for route, success in zip(routes, successes, strict=True):
        description = "Success (10000), or an error with another code"
        operation: dict[str, Any] = {
            "operationId": route.name,
            "summary": route.summary,
            "responses": {"200": _build_response(description, {"anyOf": [success, failure]}), **errors},
        }
        if "{podId}" in route.path:
            operation["parameters"] = [_POD_ID_PARAMETER]
        if route.name == "list":
            operation["parameters"] = _LIST_PARAMETERS
        if route.name == "create":
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": create}}}
            operation["responses"]["413"] = _build_response("The body is larger than 1 MiB", failure)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Yotta Labs pods, emulated", "version": __version__},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
        },
    }
    return msgspec.json.encode(document)


def _wrap(data: Any) -> Any:
    return Envelope[data]


def _build_response(description: str, schema: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
