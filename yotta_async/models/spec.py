"""What a pod is asked for with: `PodSpec`, checked against the schema before anything is sent.

Source of every field and limit: `OpenapiPodCreateRequest` and its parts in the API's OpenAPI document; where the
vendor's own clients are stricter, it says so.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Self, TypeAlias, TypedDict, cast

import attrs

from yotta_async.errors import InvalidRequestError
from yotta_async.models.pod import SECRET, EnvironmentVariable, ImagePublicType, ResourceType, masked_repr
from yotta_async.models.validators import (
    Field,
    filled,
    is_unicode,
    number,
    power_of_two,
    refusal,
    refuses_clearly,
    text,
    whole,
    whole_text,
)
from yotta_async.support.secrets import strip_traceback_frames


def _id_text(value: int | str | None) -> str | None:
    # Ids are text for us, whatever a caller holds; a wrong one stays as it is for the validator to refuse.
    return str(value) if type(value) is int and 0 <= value < 2**63 else value  # type: ignore[return-value]  # see above


@refuses_clearly
@attrs.frozen(kw_only=True, repr=False)
class PortRequest:
    """A port to expose: `port` 0 to 65535; `protocol` such as SSH, HTTP or TCP (None: the API's default)."""

    port: int = attrs.field(validator=whole(0, 65535, optional=False))
    protocol: str | None = attrs.field(default=None, validator=text(1))

    __repr__ = masked_repr


@refuses_clearly
@attrs.frozen(kw_only=True, repr=False)
class PersistentVolumeRequest:
    """A persistent volume to mount. `volume_size` is in GB.

    `volume_type` is NFS, CloudStorage or System; System wants `system_volume_type` too, Local or Ceph.
    """

    mount_path: str = attrs.field(validator=text(1, optional=False))
    volume_type: str = attrs.field(validator=text(1, optional=False))
    id: str | None = attrs.field(default=None, converter=_id_text, validator=whole_text)
    name: str | None = attrs.field(default=None, validator=text())
    mount_mode: str | None = attrs.field(default=None, validator=text())
    volume_size: int | None = attrs.field(default=None, validator=whole(0))
    volume_price: float | None = attrs.field(default=None, validator=number)
    cloud_storage_type: str | None = attrs.field(default=None, validator=text())
    system_volume_type: str | None = attrs.field(default=None, validator=text())
    system_volume_type_enum: str | None = attrs.field(default=None, validator=text())

    __repr__ = masked_repr

    @system_volume_type_enum.validator
    def _known(self, field: Field, value: object) -> None:
        if value not in (None, "LOCAL", "CEPH"):
            raise refusal(self, field, "must be LOCAL or CEPH")

    @system_volume_type.validator
    def _told(self, field: Field, value: object) -> None:
        if self.volume_type == "System" and not value:
            raise refusal(self, field, "is required when volume_type is System: Local or Ceph")


Variables: TypeAlias = Mapping[str, str] | Iterable[EnvironmentVariable | tuple[str, str] | Mapping[str, str]]
Ports: TypeAlias = Iterable[int | tuple[int, str | None] | PortRequest | Mapping[str, Any]]


def _items(name: str, value: object, what: str) -> list[Any]:
    """Return the items of a list that a caller gave, or nothing for None."""
    if value is None:
        return []
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidRequestError(f"PodSpec.{name} must be a list of {what}, not {type(value).__name__}")
    return list(value)


def _pair(item: object, first: str, second: str, where: str) -> tuple[Any, Any]:
    """Take a (key, value) or a (port, protocol) apart, also in the wire's own form of an object with the two names."""
    if isinstance(item, Mapping) and first in item and item.keys() <= {first, second}:
        return item[first], item.get(second)
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise InvalidRequestError(f"PodSpec.{where} must be a ({first}, {second}) pair, not {type(item).__name__}")


def _variables(value: Variables | None) -> tuple[EnvironmentVariable, ...]:
    given = list(value.items()) if isinstance(value, Mapping) else _items("environment_vars", value, "pairs")
    made = []
    for index, item in enumerate(given):
        where = f"environment_vars[{index}]"
        is_made = isinstance(item, EnvironmentVariable)
        variable = item if is_made else EnvironmentVariable(*_pair(item, "key", "value", where))
        named = f" (variable {variable.key[:80]!r})" if isinstance(variable.key, str) and variable.key else ""
        for part in ("key", "value"):
            content = getattr(variable, part)
            if not isinstance(content, str):
                raise InvalidRequestError(f"PodSpec.{where}.{part} must be text, not {type(content).__name__}{named}")
            if not content:
                raise InvalidRequestError(f"PodSpec.{where}.{part} must not be empty{named}")
            if not is_unicode(content):
                raise InvalidRequestError(f"PodSpec.{where}.{part} holds half of a surrogate pair{named}")
        made.append(variable)
    return tuple(made)


def _ports(value: Ports | None) -> tuple[PortRequest, ...]:
    made = []
    for index, item in enumerate(_items("expose", value, "ports")):
        where = f"expose[{index}]"
        if isinstance(item, PortRequest):
            made.append(item)
            continue
        port, protocol = (item, None) if isinstance(item, int) else _pair(item, "port", "protocol", where)
        try:
            made.append(PortRequest(port=port, protocol=protocol))
        except InvalidRequestError as error:
            raise InvalidRequestError(f"PodSpec.{where}: {error}") from None
    return tuple(made)


def _volumes(value: Iterable[PersistentVolumeRequest] | None) -> tuple[PersistentVolumeRequest, ...]:
    made = tuple(_items("persistent_volumes", value, "PersistentVolumeRequest"))
    for index, item in enumerate(made):
        if not isinstance(item, PersistentVolumeRequest):
            raise InvalidRequestError(f"PodSpec.persistent_volumes[{index}] must be a PersistentVolumeRequest")
    return made


def _regions(value: Iterable[str] | None) -> tuple[str, ...]:
    made = tuple(_items("region_list", value, "regions"))
    for index, item in enumerate(made):
        if not isinstance(item, str) or not item or not is_unicode(item):
            raise InvalidRequestError(f"PodSpec.region_list[{index}] must be text of at least 1 character")
        if item in made[:index]:
            raise InvalidRequestError(f"PodSpec.region_list[{index}] is there twice; the items must be unique")
    return made


def _publicity(value: ImagePublicType | str | None) -> ImagePublicType | None:
    return ImagePublicType(value) if isinstance(value, str) and value else value  # type: ignore[return-value]  # else refused


def _resource_type(value: ResourceType | str | None) -> ResourceType | None:
    return ResourceType(value) if isinstance(value, str) and value else value  # type: ignore[return-value]  # else refused


class PodFields(TypedDict, total=False):
    """The fields of a `PodSpec`, for the keyword arguments of `pods.create`."""

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
    persistent_volumes: Iterable[PersistentVolumeRequest] | None


@refuses_clearly
@attrs.frozen(kw_only=True, repr=False)
class PodSpec:
    """What to create a pod with; None leaves a field to the API. Sizes are in GB.

    `environment_vars` takes a mapping, or a list of EnvironmentVariable, (key, value) pairs or the wire's objects;
    `expose` takes ports as ints, (port, protocol) pairs, PortRequest or the wire's objects. The repr masks the values
    of environment variables, the registry token and the start-up command.

    Raises InvalidRequestError, naming the field and its limit, for whatever the API's schema refuses, a `gpu_count`
    that is not a power of two, and a PRIVATE image with neither `credential_id` nor registry user name and token.
    Source: POST /openapi/v1/pods/create.
    """

    image: str = attrs.field(validator=text(1, 255, optional=False))
    gpu_type: str = attrs.field(validator=text(1, optional=False))
    gpu_count: int | None = attrs.field(default=None, validator=power_of_two)
    pod_name: str | None = attrs.field(default=None, validator=text())
    resource_type: ResourceType | None = attrs.field(default=None, converter=_resource_type, validator=filled)
    region: str | None = attrs.field(default=None, validator=text())
    region_list: tuple[str, ...] = attrs.field(default=(), converter=_regions)
    image_public_type: ImagePublicType | None = attrs.field(default=None, converter=_publicity, validator=filled)
    image_registry: str | None = attrs.field(default=None, validator=text())
    credential_id: str | None = attrs.field(default=None, converter=_id_text, validator=whole_text)
    image_registry_username: str | None = attrs.field(default=None, validator=text())
    image_registry_token: str | None = attrs.field(default=None, validator=text(), metadata=SECRET)
    shm_in_gb: int | None = attrs.field(default=None, validator=whole(1))
    min_single_card_ram_in_gb: int | None = attrs.field(default=None, validator=whole(0, 1536))
    min_single_card_vram_in_gb: int | None = attrs.field(default=None, validator=whole(0, 1536))
    min_single_card_vcpu: int | None = attrs.field(default=None, validator=whole(0))
    container_volume_in_gb: int | None = attrs.field(default=None, validator=whole(0))
    persistent_volume_in_gb: int | None = attrs.field(default=None, validator=whole(0))
    persistent_mount_path: str | None = attrs.field(default=None, validator=text())
    initialization_command: str | None = attrs.field(default=None, validator=text(), metadata=SECRET)
    environment_vars: tuple[EnvironmentVariable, ...] = attrs.field(default=(), converter=_variables)
    expose: tuple[PortRequest, ...] = attrs.field(default=(), converter=_ports)
    persistent_volumes: tuple[PersistentVolumeRequest, ...] = attrs.field(default=(), converter=_volumes)

    __repr__ = masked_repr

    def __attrs_post_init__(self) -> None:
        logs_in = self.image_registry_username and self.image_registry_token
        if self.image_public_type == ImagePublicType.PRIVATE and not (self.credential_id or logs_in):
            raise InvalidRequestError(
                "PodSpec.image_public_type PRIVATE needs credentials: credential_id, or both image_registry_username "
                "and image_registry_token"
            )

    def redacted(self) -> Self:
        """Return a copy without environment values, registry token and start-up command, fit for an error."""
        masked = tuple(attrs.evolve(variable, value="***") for variable in self.environment_vars)
        return attrs.evolve(
            self,
            environment_vars=masked,
            image_registry_token="***" if self.image_registry_token else None,  # what stands for it
            initialization_command="***" if self.initialization_command else None,
        )


Candidates: TypeAlias = tuple[PodSpec, ...]
"""What is tried in turn for one pod."""


def spec_from(spec: PodSpec | None, fields: PodFields) -> PodSpec:
    """Return the spec that a caller means by a PodSpec, by fields, or by a PodSpec with some fields changed.

    `fields` is empty afterwards: it holds tokens and values, and a traceback can show a frame's variables.
    """
    refused = made = None
    try:
        made = _merged(spec, fields)
    except Exception as error:  # noqa: BLE001  # of a mapping of the caller's, any
        refused = error.with_traceback(None)
    cast("dict[str, object]", fields).clear()
    if made is None:
        raise cast("Exception", refused)
    return made


@strip_traceback_frames
def _merged(spec: PodSpec | None, fields: PodFields) -> PodSpec:
    if spec is None:
        return PodSpec(**fields)
    if not isinstance(spec, PodSpec):
        raise InvalidRequestError(f"create takes a PodSpec, or its fields by name, not a {type(spec).__name__}")
    same = {field.name: getattr(spec, field.name) for field in attrs.fields(PodSpec)}
    return PodSpec(**{**same, **fields})
