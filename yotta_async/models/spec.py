"""What a pod is asked for with: `PodSpec`, checked against the schema before anything is sent.

Source of every field and limit: `OpenapiPodCreateRequest` and its parts in the API's OpenAPI document; where the
vendor's own clients are stricter, it says so. The names are those of v1; `api/versions.py` says what v2 calls them.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypedDict, cast

import attrs

from yotta_async.errors import InvalidRequestError
from yotta_async.models.enums import ImagePublicType, ResourceType
from yotta_async.models.pod import EnvironmentVariable
from yotta_async.models.redaction import SECRET, Redactable, is_redacted
from yotta_async.models.validators import (
    Field,
    build_refusal,
    enum_text,
    finite_number,
    flag,
    int64_text,
    integer,
    is_unicode,
    power_of_two,
    refuses_clearly,
    string,
)
from yotta_async.support.secrets import strip_traceback_frames

REDACTED_SPEC = (
    "this PodSpec is a redacted copy: its secrets are masked, and a pod would get the masks. Create from the spec as "
    "it was given, or set environment_vars, image_registry_token and initialization_command again"
)


def _convert_id(value: int | str | None) -> str | None:
    # Ids are text for us, whatever a caller holds; a wrong one stays as it is for the validator to refuse.
    return str(value) if type(value) is int and 0 <= value < 2**63 else value  # type: ignore[return-value]  # see above


@refuses_clearly
@attrs.frozen(kw_only=True, repr=False)
class PortRequest(Redactable):
    """A port to expose.

    Args:
        port: Number of the port in the container, 0 to 65535.
        protocol: SSH, HTTP, TCP or the like; None leaves it to the API.

    Raises:
        InvalidRequestError: A value is of another type, or not in its range.
    """

    port: int = attrs.field(validator=integer(0, 65535, optional=False))
    protocol: str | None = attrs.field(default=None, validator=string(1))


@refuses_clearly
@attrs.frozen(kw_only=True, repr=False)
class PersistentVolumeRequest(Redactable):
    """A persistent volume to mount.

    API v2 mounts volumes that exist: it needs `id`, takes `need_backup`, and is sent no other field but `mount_path`.

    Args:
        mount_path: Where it is mounted in the container.
        volume_type: NFS, CloudStorage or System. API v2 is not sent it.
        id: Id of a volume that exists.
        name: Name of the volume.
        mount_mode: How it is mounted, in the API's words.
        volume_size: Size in GB.
        volume_price: Price as the API names it; its unit is not documented.
        cloud_storage_type: S3 is what the API knows for CloudStorage.
        system_volume_type: Local or Ceph; required when `volume_type` is System.
        system_volume_type_enum: LOCAL or CEPH.
        need_backup: Whether the volume is backed up. Only API v2 knows it.

    Raises:
        InvalidRequestError: A value is of another type or not allowed, or one that is required is missing.
    """

    mount_path: str = attrs.field(validator=string(1, optional=False))
    volume_type: str = attrs.field(validator=string(1, optional=False))
    id: str | None = attrs.field(default=None, converter=_convert_id, validator=int64_text)
    name: str | None = attrs.field(default=None, validator=string())
    mount_mode: str | None = attrs.field(default=None, validator=string())
    volume_size: int | None = attrs.field(default=None, validator=integer(0))
    volume_price: float | None = attrs.field(default=None, validator=finite_number)
    cloud_storage_type: str | None = attrs.field(default=None, validator=string())
    system_volume_type: str | None = attrs.field(default=None, validator=string())
    system_volume_type_enum: str | None = attrs.field(default=None, validator=string())
    need_backup: bool | None = attrs.field(default=None, validator=flag)

    @system_volume_type_enum.validator
    def _validate_system_volume_type_enum(self, field: Field, value: object) -> None:
        if value not in (None, "LOCAL", "CEPH"):
            raise build_refusal(self, field, "must be LOCAL or CEPH")

    @system_volume_type.validator
    def _validate_system_volume_type(self, field: Field, value: object) -> None:
        if self.volume_type == "System" and not value:
            raise build_refusal(self, field, "is required when volume_type is System: Local or Ceph")


Variables: TypeAlias = Mapping[str, str] | Iterable[EnvironmentVariable | tuple[str, str] | Mapping[str, str]]
Ports: TypeAlias = (
    Mapping[int, str | None]
    | Mapping[str, Any]
    | Iterable[int | tuple[int, str | None] | PortRequest | Mapping[str, Any]]
)
Volumes: TypeAlias = Mapping[str, Any] | Iterable[PersistentVolumeRequest | Mapping[str, Any]]


def _list_items(name: str, value: object, what: str) -> list[Any]:
    """Return the items of a list that a caller gave, or nothing for None."""
    if value is None:
        return []
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidRequestError(f"PodSpec.{name} must be a list of {what}, not {type(value).__name__}")
    return list(value)


def _split_pair(item: object, first: str, second: str, where: str) -> tuple[Any, Any]:
    """Split a (key, value) or a (port, protocol), also in the wire's own form of an object with the two names."""
    if isinstance(item, Mapping) and first in item and item.keys() <= {first, second}:
        return item[first], item.get(second)
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise InvalidRequestError(f"PodSpec.{where} must be a ({first}, {second}) pair, not {type(item).__name__}")


def _convert_variables(value: Variables | None) -> tuple[EnvironmentVariable, ...]:
    items = list(value.items()) if isinstance(value, Mapping) else _list_items("environment_vars", value, "pairs")
    converted = []
    for index, item in enumerate(items):
        where = f"environment_vars[{index}]"
        is_variable = isinstance(item, EnvironmentVariable)
        variable = item if is_variable else EnvironmentVariable(*_split_pair(item, "key", "value", where))
        named = f" (variable {variable.key[:80]!r})" if isinstance(variable.key, str) and variable.key else ""
        for part in ("key", "value"):
            content = getattr(variable, part)
            if not isinstance(content, str):
                raise InvalidRequestError(f"PodSpec.{where}.{part} must be text, not {type(content).__name__}{named}")
            if not content:
                raise InvalidRequestError(f"PodSpec.{where}.{part} must not be empty{named}")
            if not is_unicode(content):
                raise InvalidRequestError(f"PodSpec.{where}.{part} holds half of a surrogate pair{named}")
        converted.append(variable)
    return tuple(converted)


def _convert_ports(value: Ports | None) -> tuple[PortRequest, ...]:
    items: list[Any]
    if isinstance(value, Mapping):
        # {port: protocol}; a JSON object has its ports as text. One object of the wire is a list of one.
        items = [value] if "port" in value else [(_to_number(port), protocol) for port, protocol in value.items()]
    else:
        items = _list_items("expose", value, "ports")
    converted = []
    for index, item in enumerate(items):
        where = f"expose[{index}]"
        if isinstance(item, PortRequest):
            converted.append(item)
            continue
        port, protocol = (item, None) if isinstance(item, int) else _split_pair(item, "port", "protocol", where)
        try:
            converted.append(PortRequest(port=port, protocol=protocol))
        except InvalidRequestError as error:
            raise InvalidRequestError(f"PodSpec.{where}: {error}") from None
    return tuple(converted)


def _to_number(port: object) -> object:
    return int(port) if isinstance(port, str) and port.isascii() and port.isdigit() and len(port) < 6 else port


def _convert_volumes(value: Volumes | None) -> tuple[PersistentVolumeRequest, ...]:
    converted = []
    for index, item in enumerate(
        [value] if isinstance(value, Mapping) else _list_items("persistent_volumes", value, "volumes")
    ):
        where = f"persistent_volumes[{index}]"
        if isinstance(item, PersistentVolumeRequest):
            converted.append(item)
            continue
        if not isinstance(item, Mapping):
            raise InvalidRequestError(
                f"PodSpec.{where} must be a PersistentVolumeRequest, or a mapping, not {type(item).__name__}"
            )
        try:
            converted.append(PersistentVolumeRequest(**{_to_snake_case(name): part for name, part in item.items()}))
        except InvalidRequestError as error:
            raise InvalidRequestError(f"PodSpec.{where}: {error}") from None
    return tuple(converted)


def _to_snake_case(name: object) -> str:
    """Return a field's name as the models have it, whether it is given so or in the wire's camelCase."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", str(name)).lower()


def _convert_regions(value: Iterable[str] | None) -> tuple[str, ...]:
    converted = tuple(_list_items("region_list", value, "regions"))
    for index, item in enumerate(converted):
        if not isinstance(item, str) or not item or not is_unicode(item):
            raise InvalidRequestError(f"PodSpec.region_list[{index}] must be text of at least 1 character")
        if item in converted[:index]:
            raise InvalidRequestError(f"PodSpec.region_list[{index}] is there twice; the items must be unique")
    return converted


def _convert_publicity(value: ImagePublicType | str | None) -> ImagePublicType | None:
    return ImagePublicType(value) if isinstance(value, str) and value else value  # type: ignore[return-value]  # else refused


def _convert_resource(value: ResourceType | str | None) -> ResourceType | None:
    return ResourceType(value) if isinstance(value, str) and value else value  # type: ignore[return-value]  # else refused


class PodFields(TypedDict, total=False):
    """The keyword arguments of `pods.create` and `pods.ephemeral`: the fields of `PodSpec`, which documents them."""

    image: str
    gpu_type: str
    gpu_count: int | None
    pod_name: str | None
    resource_type: ResourceType | str | None
    region: str | None
    region_list: Iterable[str] | None
    image_public_type: ImagePublicType | str | None
    image_registry: str | None
    credential_id: int | str | None
    image_registry_username: str | None
    image_registry_token: str | None
    shm_in_gb: int | None
    min_single_card_ram_in_gb: int | None
    min_single_card_vram_in_gb: int | None
    min_single_card_vcpu: int | None
    container_volume_in_gb: int | None
    persistent_volume_in_gb: int | None
    persistent_mount_path: str | None
    initialization_command: str | None
    environment_vars: Variables | None
    expose: Ports | None
    persistent_volumes: Volumes | None


@refuses_clearly
@attrs.frozen(kw_only=True, repr=False)
class PodSpec(Redactable):
    """What to create a pod with; None leaves a field to the API. Sizes are in GB.

    The repr masks the values of environment variables, the registry token and the start-up command. `redacted()` gives
    a copy with masked values, from which no pod can be created.

    Args:
        image: Name and tag of the container image, at most 255 characters.
        gpu_type: A GPU type by the API's name, such as NVIDIA_L4_24G.
        gpu_count: How many GPUs; a power of two, as the vendor's own clients insist.
        pod_name: A name of your choice. The API does not need it to be unique. API v2 requires one, so there the client
            draws one if you give none; by it, it also finds the pod of a lost create.
        resource_type: GPU or CPU.
        region: Where to run the pod.
        region_list: Regions of which one is to run the pod.
        image_public_type: PUBLIC, or PRIVATE for an image that needs credentials.
        image_registry: URL of the image's registry.
        credential_id: Id of registry credentials that the account has stored.
        image_registry_username: User name at the registry.
        image_registry_token: Token or password at the registry. Secret: it is never shown.
        shm_in_gb: Shared memory in GB, at least 1.
        min_single_card_ram_in_gb: The least main memory for each GPU in GB, at most 1536.
        min_single_card_vram_in_gb: The least memory of each GPU in GB, at most 1536.
        min_single_card_vcpu: The least number of virtual CPUs for each GPU.
        container_volume_in_gb: Size of the container's disk in GB. It costs by the hour.
        persistent_volume_in_gb: Size of a volume in GB that survives a pause. It costs by the hour.
        persistent_mount_path: Where that volume is mounted.
        initialization_command: Command that the container runs at its start. Secret, as many hold tokens.
        environment_vars: A mapping, or a list of EnvironmentVariable, (key, value) pairs or the wire's objects. The
            values are secret.
        expose: Ports as a mapping {port: protocol}, or a list of ints, (port, protocol) pairs, PortRequest or the
            wire's objects.
        persistent_volumes: A list of PersistentVolumeRequest, or of mappings with its fields in snake_case or by the
            wire's names.

    Raises:
        InvalidRequestError: the API's schema would refuse it (the text names the field and its limit), `gpu_count` is
            not a power of two, or the image is PRIVATE and there is neither `credential_id` nor registry user name and
            token.

    Source: POST /openapi/v1/pods/create.
    """

    image: str = attrs.field(validator=string(1, 255, optional=False))
    gpu_type: str = attrs.field(validator=string(1, optional=False))
    gpu_count: int | None = attrs.field(default=None, validator=power_of_two)
    pod_name: str | None = attrs.field(default=None, validator=string())
    resource_type: ResourceType | None = attrs.field(default=None, converter=_convert_resource, validator=enum_text)
    region: str | None = attrs.field(default=None, validator=string())
    region_list: tuple[str, ...] = attrs.field(default=(), converter=_convert_regions)
    image_public_type: ImagePublicType | None = attrs.field(
        default=None, converter=_convert_publicity, validator=enum_text
    )
    image_registry: str | None = attrs.field(default=None, validator=string())
    credential_id: str | None = attrs.field(default=None, converter=_convert_id, validator=int64_text)
    image_registry_username: str | None = attrs.field(default=None, validator=string())
    image_registry_token: str | None = attrs.field(default=None, validator=string(), metadata=SECRET)
    shm_in_gb: int | None = attrs.field(default=None, validator=integer(1))
    min_single_card_ram_in_gb: int | None = attrs.field(default=None, validator=integer(0, 1536))
    min_single_card_vram_in_gb: int | None = attrs.field(default=None, validator=integer(0, 1536))
    min_single_card_vcpu: int | None = attrs.field(default=None, validator=integer(0))
    container_volume_in_gb: int | None = attrs.field(default=None, validator=integer(0))
    persistent_volume_in_gb: int | None = attrs.field(default=None, validator=integer(0))
    persistent_mount_path: str | None = attrs.field(default=None, validator=string())
    initialization_command: str | None = attrs.field(default=None, validator=string(), metadata=SECRET)
    environment_vars: tuple[EnvironmentVariable, ...] = attrs.field(default=(), converter=_convert_variables)
    expose: tuple[PortRequest, ...] = attrs.field(default=(), converter=_convert_ports)
    persistent_volumes: tuple[PersistentVolumeRequest, ...] = attrs.field(default=(), converter=_convert_volumes)

    def __attrs_post_init__(self) -> None:
        logs_in = self.image_registry_username and self.image_registry_token
        if self.image_public_type == ImagePublicType.PRIVATE and not (self.credential_id or logs_in):
            raise InvalidRequestError(
                "PodSpec.image_public_type PRIVATE needs credentials: credential_id, or both image_registry_username "
                "and image_registry_token"
            )


Alternatives: TypeAlias = tuple[PodSpec, ...]
"""What is tried in turn for one pod."""


def spec_from(spec: PodSpec | None, fields: PodFields) -> PodSpec:
    """Return the spec that a caller means by a PodSpec, by fields, or by a PodSpec with some fields changed.

    `fields` is empty afterwards: it holds tokens and values, and a traceback can show a frame's variables.

    Raises:
        InvalidRequestError: it cannot be sent, or is a redacted copy.
    """
    refused = merged = None
    try:
        merged = _merge(spec, fields)
    except Exception as error:  # noqa: BLE001  # a caller's mapping may raise anything
        refused = error.with_traceback(None)
    cast("dict[str, object]", fields).clear()
    if merged is None:
        raise cast("Exception", refused)
    return merged


@strip_traceback_frames
def _merge(spec: PodSpec | None, fields: PodFields) -> PodSpec:
    if spec is not None and not isinstance(spec, PodSpec):
        raise InvalidRequestError(f"create takes a PodSpec, or its fields by name, not a {type(spec).__name__}")
    given = {} if spec is None else {field.name: getattr(spec, field.name) for field in attrs.fields(PodSpec)}
    merged = PodSpec(**{**given, **fields})
    if is_redacted(merged):
        raise InvalidRequestError(REDACTED_SPEC)
    return merged
