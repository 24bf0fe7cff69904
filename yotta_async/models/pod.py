"""What the API answers with: the pod and its parts.

Source of every field: `OpenapiPodListDetailResponse` and its parts in the OpenAPI document of API v1. v2 has fewer. Any
of them may be null or missing in an answer, so all but the id may be None. Ids are text: they pass 2^53, where JSON
readers round. A field's line here is all that makes it a typed field: its name is the wire's in snake_case (or what the
version's table in `api/versions.py` says), and `api/converter.py` has a rule for each type. `metadata=SECRET` masks it
everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import attrs

from yotta_async.errors import InvalidRequestError, ProtocolError
from yotta_async.models.client_tokens import read_tokens
from yotta_async.models.enums import CloudType, ImagePublicType, ImageSource, ResourceType
from yotta_async.models.redaction import SECRET, UNDOCUMENTED, Redactable
from yotta_async.models.ssh import SSH_PORT, SshAddress, is_host, is_http_url, parse_ssh_command
from yotta_async.models.status import PodStatus

Id: TypeAlias = Annotated[str, "id"]
"""An id: text for us, and a number or text on the wire."""


@attrs.frozen(repr=False, weakref_slot=False)
class EnvironmentVariable(Redactable):
    """A variable in the pod's environment.

    Attributes:
        key: Its name.
        value: Its value. Secret: no repr shows it. Null in a response is read as empty text.
    """

    key: str
    value: str = attrs.field(metadata=SECRET)


@attrs.frozen(repr=False, kw_only=True, weakref_slot=False)
class ExposedPort(Redactable):
    """A port of the pod as the outside reaches it: `host`:`proxy_port` leads to `port` in the container.

    Attributes:
        port: The port in the container.
        proxy_port: The port on `host` that leads to it.
        protocol: SSH, HTTP, TCP or the like.
        host: Name or address of the host that forwards the port.
        healthy: Whether the API reaches the port; None if it does not say.
        ingress_url: URL of an HTTP port, if it has one.
        service_name: The API's name for the service behind the port.
        extra: Fields that this version does not know, by their wire names, as JSON gives them.
    """

    port: int | None = None
    proxy_port: int | None = None
    protocol: str | None = None
    host: str | None = None
    healthy: bool | None = None
    ingress_url: str | None = None
    service_name: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False, metadata=UNDOCUMENTED)

    @property
    def ingress(self) -> str | None:
        """The URL of an HTTP port, for a browser or an HTTP client; None for other ports or without an address.

        It is `ingress_url` if that is an http or https URL without user and password, else made of `host` and
        `proxy_port`.
        """
        if self.ingress_url and is_http_url(self.ingress_url):
            return self.ingress_url
        scheme = (self.protocol or "").lower()
        if scheme not in ("http", "https") or not self.host or not self.proxy_port or not is_host(self.host):
            return None
        return f"{scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.proxy_port}"


@attrs.frozen(repr=False, kw_only=True, weakref_slot=False)
class PersistentVolume(Redactable):
    """A volume that outlives the pod.

    Attributes:
        id: Id of the volume.
        name: Its name.
        volume_type: Ceph, CloudStorage or the like.
        volume_size: Size in GB.
        volume_price: Price as the API names it; its unit is not documented.
        mount_path: Where it is mounted in the container.
        cloud_storage_type: S3 is what the API knows for CloudStorage.
        system_volume_type: Local or Ceph.
        extra: Fields that this version does not know, by their wire names, as JSON gives them.
    """

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
        id: The pod's id.
        org_id: Id of the organization that pays.
        applicant_id: Id of the user who created the pod.
        pod_name: The name that its creator chose.
        image_id: The API's id of the image.
        official_image: OFFICIAL for an image of the vendor, else CUSTOM.
        image_public_type: PUBLIC, or PRIVATE for an image that needs credentials.
        image: Name and tag of the container image.
        image_registry: URL of the image's registry.
        image_registry_username: User name at the registry.
        resource_type: GPU or CPU.
        gpu_type: GPU type by the API's name, such as NVIDIA_L4_24G.
        gpu_display_name: Its name for people, such as L4.
        gpu_count: How many GPUs.
        shm_in_gb: Shared memory in GB.
        single_card_vram_in_gb: Memory of each GPU in GB.
        single_card_ram_in_gb: Main memory for each GPU in GB.
        single_card_vcpu: Virtual CPUs for each GPU.
        location: Where the region is, such as a country or state.
        region: The region that runs the pod.
        cloud_type: SECURE or COMMUNITY.
        container_volume_in_gb: Size of the container's disk in GB.
        persistent_volume_in_gb: Size in GB of the volume that survives a pause.
        persistent_mount_path: Where that volume is mounted.
        network_upload_mbps: Upload rate in megabits per second.
        network_download_mbps: Download rate in megabits per second.
        disk_read_speed_mbps: Read rate of the disk, in the API's unit (by its name, Mbps).
        disk_write_speed_mbps: Write rate of the disk, in the same unit.
        single_card_price: Price of one GPU in USD per hour.
        persistent_volume_price: Price of the persistent volume in USD per GB and hour.
        container_volume_price: Price of the container's disk in USD per GB and hour.
        initialization_command: Command that the container runs at its start. Secret: no repr shows it.
        environment_vars: Variables of the container's environment.
        expose: The ports that can be reached from outside.
        ssh_cmd: The vendor's text of an ssh command into the pod. It is for reading, and not to be run as it is.
        status: What the pod does; None when the API does not say.
        created_at: When it was created.
        updated_at: When it last changed.
        persistent_volumes: The volumes that are mounted.
        internal_ip: Its address in the vendor's network.
        extra: the fields that this version does not know, and those in `unreadable`, by their wire names, as JSON
            gives them. Parts (ports, volumes) have their own. `extra["status"]` is the API's own word for the status
            where PodStatus has another, as for INITIALIZING and STOPPED.
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
        """The token of the create that made this pod, or None.

        It is the value of `YOTTA_CLIENT_TOKEN` in the pod's environment. Where the API shows no environment, or masks
        the value, it is the token in the name that the client drew.
        """
        return next(iter(read_tokens(self.environment_vars, self.pod_name)), None)

    @property
    def is_being_deleted(self) -> bool:
        """True when the status is TERMINATING or TERMINATED; an unknown or missing status is neither."""
        return self.status is not None and self.status.is_being_deleted

    @property
    def ssh(self) -> SshAddress | None:
        """Where ssh reaches the pod, from `ssh_cmd` or else from the exposed SSH port; None if there is neither.

        Raises:
            ProtocolError: What the API says of it cannot be an address: a host or user begins with `-` or has odd
                characters, or there are options other than a port, a user and a key file.

        Example:
            ```python
            address = pod.ssh
            if address is not None:
                print(address.host, address.port, address.user)
            ```
        """
        exposed = self.ssh_port
        try:
            if self.ssh_cmd and self.ssh_cmd.strip():
                return parse_ssh_command(self.ssh_cmd)
            if exposed is None:
                return None
            if exposed.ingress_url and exposed.ingress_url.startswith("ssh "):
                return parse_ssh_command(exposed.ingress_url)
            if exposed.host and exposed.proxy_port:
                return SshAddress(host=exposed.host, port=exposed.proxy_port)
        except InvalidRequestError as error:
            raise ProtocolError(
                f"the ssh address that the API gives for pod {self.id} is refused: {error}. Nothing was run; "
                "compare it with what the console shows"
            ) from None
        return None

    @property
    def ssh_port(self) -> ExposedPort | None:
        """The exposed port for ssh: 22, or else the first one that is exposed as SSH; None if there is none."""
        by_protocol = (exposed for exposed in self.expose if (exposed.protocol or "").upper() == "SSH")
        return self.port(SSH_PORT) or next(by_protocol, None)

    def port(self, number: int) -> ExposedPort | None:
        """Find how a port of the container is reached from outside.

        Args:
            number: The port in the container.

        Returns:
            The exposed port; None if the pod does not expose it.
        """
        return next((exposed for exposed in self.expose if exposed.port == number), None)
