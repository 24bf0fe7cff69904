"""One emulated pod: its fields on the wire, its history, and the faults that act on it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Literal, TypeAlias

import msgspec

from yotta_async.emulator.catalogue import CATALOGUE
from yotta_async.emulator.faults import Fault
from yotta_async.emulator.schema import Create, ExposedPort, Id, Pod, PortRequest, Volume

IdForm: TypeAlias = Literal["wire", "text", "number"]
"""Pod ids as the API has them (text in responses, a number from create in v1), or as text or numbers everywhere."""
PodEncoder: TypeAlias = Callable[[Pod, float, float], bytes]
"""Returns a pod as JSON, given the times of its creation and of its last change, in seconds since 1970."""

_ORG_ID = 217_646_376_996_249_600
_APPLICANT_ID = 217_646_376_987_860_992
_FIRST_IMAGE_ID = 219_419_172_892_971_011

_encode = msgspec.json.Encoder().encode


def encode_pod(wire: Pod, created_at: float, updated_at: float) -> bytes:  # noqa: ARG001  # v1 has them as text
    """Return a pod as v1 has it."""
    return _encode(wire)


class EmulatedPod:
    """A pod. Times are seconds since 1970.

    `last_change` is the time of the last status change and its number among all changes, `next_transition` the time and
    status of the next one, and `status_history` has the time, the status and the wire's `updatedAt` of each.
    """

    def __init__(self, wire: Pod) -> None:
        self.wire = wire
        self.id = str(wire.id)
        self.ssh_user = "user"
        self.last_change = (0.0, 0)
        self.next_transition: tuple[float, str] | None = None
        self.status_history: list[tuple[float, str, str]] = []
        self.faults: tuple[Fault, ...] = ()
        self._json: dict[PodEncoder, bytes] = {}

    @property
    def status(self) -> str:
        """The real status; an `unknown_status` fault may hide it."""
        return self.wire.status

    @property
    def visible_status(self) -> str:
        """The status in responses."""
        return self._mask_status(self.status)

    @property
    def hourly_price(self) -> float:
        """The price of running, in US dollars per hour, by the formula of the vendor's documents."""
        wire = self.wire
        volumes = (
            wire.container_volume_price * wire.container_volume_in_gb
            + wire.persistent_volume_price * wire.persistent_volume_in_gb
        )
        return wire.single_card_price * wire.gpu_count + volumes

    @property
    def holds_gpus(self) -> bool:
        """Whether GPUs are allocated: to pods that run or are about to."""
        will_fail = self.next_transition is not None and self.next_transition[1] == "FAILED"
        return self.status in ("INITIALIZE", "RUNNING") and not will_fail

    def find_fault(self, kind: str, status: str | None = None) -> Fault | None:
        """Return the active fault of this kind (that applies in this status) or None."""
        for fault in self.faults:
            if fault.is_active and fault.kind == kind and status in (None, fault.state):
                return fault
        return None

    def set_status(self, status: str, now: float, change_number: int) -> None:
        """Enter a status, with all ports unhealthy."""
        self.wire.status = status
        self.wire.updated_at = format_time(now)
        self.last_change = (now, change_number)
        self.status_history.append((now, status, self.wire.updated_at))
        self.set_unhealthy()

    def set_unhealthy(self) -> None:
        """Mark all ports as unhealthy."""
        for exposed in self.wire.expose:
            exposed.healthy = False
        self.invalidate_json()

    def set_proxy_port(self, exposed: ExposedPort, proxy_port: int) -> None:
        """Change the public address of an exposed port."""
        previous_url = exposed.ingress_url
        exposed.proxy_port = proxy_port
        exposed.ingress_url = _format_ingress(exposed.protocol, exposed.host, proxy_port, self.ssh_user)
        if self.wire.ssh_cmd == previous_url:
            self.wire.ssh_cmd = exposed.ingress_url
        self.invalidate_json()

    def invalidate_json(self) -> None:
        """Discard the cached JSON after a change to `wire`."""
        self._json.clear()

    def to_json(self, encode: PodEncoder = encode_pod) -> bytes:
        """Return the pod as JSON, cached because large accounts are listed often."""
        created_at, updated_at = self.status_history[0][0], self.last_change[0]
        if self.faults:
            shown = msgspec.structs.replace(self.wire, status=self.visible_status)
            return encode(shown, created_at, updated_at)
        if encode not in self._json:
            self._json[encode] = encode(self.wire, created_at, updated_at)
        return self._json[encode]

    def to_json_at(self, when: float, statuses: Collection[str], encode: PodEncoder) -> bytes | None:
        """Return the pod as it was at a time; None if it did not exist or was in none of `statuses` (empty: any)."""
        for since, status, updated_at in reversed(self.status_history):
            if since <= when:
                visible = self._mask_status(status)
                expose = [
                    msgspec.structs.replace(port, healthy=port.healthy and status == "RUNNING")
                    for port in self.wire.expose
                ]
                then = msgspec.structs.replace(self.wire, status=visible, updated_at=updated_at, expose=expose)
                created_at = self.status_history[0][0]
                return encode(then, created_at, since) if not statuses or visible in statuses else None
        return None

    def _mask_status(self, status: str) -> str:
        fault = self.find_fault("unknown_status", status)
        return fault.status if fault else status


def format_time(now: float) -> str:
    """Format a time like the guide's examples: UTC without a zone."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S")


def build_pod(
    pod_id: int,
    create: Create,
    region: str,
    now: float,
    *,
    host: str,
    ports: Iterator[int],
    random: Random,
    ids: IdForm,
) -> EmulatedPod:
    """Return a new pod with every documented field, from its create and the catalogue."""

    def format_id(number: int) -> Id:
        return number if ids == "number" else str(number)

    gpu = CATALOGUE.describe_gpu_type(create.gpu_type)
    is_official = create.image.startswith("yottalabsai/") or create.image_public_type == "OFFICIAL"
    wire = Pod(
        id=format_id(pod_id),
        org_id=format_id(_ORG_ID),
        applicant_id=format_id(_APPLICANT_ID),
        pod_name=create.pod_name or f"pod-{str(pod_id)[-6:]}",
        image_id=format_id(_FIRST_IMAGE_ID + len(create.image)),
        official_image=create.official_image or ("OFFICIAL" if is_official else "CUSTOM"),
        # The guide's OFFICIAL and CUSTOM become what the document allows in responses.
        image_public_type="PRIVATE" if create.image_public_type == "PRIVATE" else "PUBLIC",
        image=create.image,
        image_registry=create.image_registry or "https://index.docker.io/v1/",
        image_registry_username=create.image_registry_username,
        resource_type=create.resource_type or "GPU",
        gpu_type=gpu.v1,
        gpu_display_name=gpu.display_name,
        gpu_count=create.gpu_count or 1,
        shm_in_gb=create.shm_in_gb,
        single_card_vram_in_gb=gpu.vram,
        # The vendor's own example requests 50 GB for a GPU that comes with 10: the minimum is granted.
        single_card_ram_in_gb=max(gpu.ram, create.min_single_card_ram_in_gb or 0),
        single_card_vcpu=max(gpu.vcpu, create.min_single_card_vcpu or 0),
        location=CATALOGUE.describe_region(region).location,
        region=region,
        cloud_type=create.cloud_type or "SECURE",
        container_volume_in_gb=create.container_volume_in_gb or CATALOGUE.container_volume_gb,
        persistent_volume_in_gb=create.persistent_volume_in_gb or 0,
        persistent_mount_path=create.persistent_mount_path,
        network_upload_mbps=1258.2912,
        network_download_mbps=1761.60768,
        disk_read_speed_mbps=2516.5824,
        disk_write_speed_mbps=5872.0256,
        single_card_price=gpu.price,
        persistent_volume_price=CATALOGUE.volume_price,
        container_volume_price=CATALOGUE.volume_price,
        initialization_command=create.initialization_command or "",
        environment_vars=create.environment_vars or [],
        expose=[_build_exposed_port(port, host, next(ports)) for port in create.expose or ()],
        ssh_cmd="",
        status="INITIALIZE",
        created_at=format_time(now),
        updated_at=format_time(now),
        persistent_volumes=[
            msgspec.convert(volume, Volume, from_attributes=True) for volume in create.persistent_volumes or ()
        ],
        internal_ip=".".join(["10", *(str(random.randrange(256)) for _ in range(3))]),
    )
    for volume in wire.persistent_volumes:
        volume.id = None if volume.id is None else format_id(int(volume.id))
    ssh = next((port for port in wire.expose if port.protocol.upper() == "SSH"), None)
    wire.ssh_cmd = ssh.ingress_url if ssh else ""
    return EmulatedPod(wire)


def _format_ingress(protocol: str, host: str, proxy_port: int, ssh_user: str = "user") -> str:
    urls = {
        "SSH": f"ssh {ssh_user}@{host} -p {proxy_port} -i <private key file>",
        "HTTP": f"http://{host}:{proxy_port}",
    }
    return urls.get(protocol.upper(), f"{host}:{proxy_port}")


def _build_exposed_port(request: PortRequest, host: str, proxy_port: int) -> ExposedPort:
    protocol = request.protocol or "TCP"
    return ExposedPort(
        port=request.port,
        proxy_port=proxy_port,
        protocol=protocol,
        host=host,
        healthy=False,
        ingress_url=_format_ingress(protocol, host, proxy_port),
        service_name=f"{protocol} Port",
    )
