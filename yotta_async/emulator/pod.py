"""One emulated pod: what the wire shows of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Literal, TypeAlias

import msgspec

from yotta_async.emulator.catalogue import CATALOGUE
from yotta_async.emulator.faults import Fault
from yotta_async.emulator.schema import Create, ExposedPort, Id, Pod, PortRequest, Volume, VolumeRequest

IdForm: TypeAlias = Literal["wire", "text", "number"]
"""Ids as v1 has them (text in answers, a number from create), or as text or numbers everywhere."""

_encode = msgspec.json.Encoder().encode


class EmulatedPod:
    """One pod as the wire shows it, and what becomes of it next."""

    def __init__(self, wire: Pod) -> None:
        self.wire = wire
        self.id = str(wire.id)
        self.changed = (0.0, 0)  # when, and which of all changes that was
        self.next: tuple[float, str] | None = None
        self.past: list[tuple[float, str, str]] = []  # since when which status, and how `updatedAt` says it
        self.faults: tuple[Fault, ...] = ()
        self._json: bytes | None = None

    @property
    def status(self) -> str:
        """The pod's state by name."""
        return self.wire.status

    @property
    def shown(self) -> str:
        """The state that the wire shows."""
        fault = self.fault("unknown_status", self.status)
        return fault.status if fault else self.status

    @property
    def hourly_price(self) -> float:
        """What it costs per hour while it runs, in US dollars: the formula of the vendor's documents."""
        wire = self.wire
        volumes = (
            wire.container_volume_price * wire.container_volume_in_gb
            + wire.persistent_volume_price * wire.persistent_volume_in_gb
        )
        return wire.single_card_price * wire.gpu_count + volumes

    def fault(self, kind: str, state: str | None = None) -> Fault | None:
        """Return the fault of this kind, in this state, that the pod has, or None."""
        for fault in self.faults:
            if fault.is_active and fault.kind == kind and state in (None, fault.state):
                return fault
        return None

    def become(self, status: str, now: float, order: int) -> None:
        """Enter a state."""
        self.wire.status = status
        self.wire.updated_at = wire_time(now)
        self.changed = (now, order)
        self.past.append((now, status, self.wire.updated_at))
        self.heal(is_healthy=False)

    def heal(self, *, is_healthy: bool) -> None:
        """Say of all ports whether they can be reached."""
        for exposed in self.wire.expose:
            exposed.healthy = is_healthy
        self.touch()

    def reached_at(self, exposed: ExposedPort, proxy_port: int) -> None:
        """Note from where one of its ports is reached now."""
        had = exposed.ingress_url
        exposed.proxy_port = proxy_port
        exposed.ingress_url = _ingress(exposed.protocol, exposed.host, proxy_port)
        if self.wire.ssh_cmd == had:
            self.wire.ssh_cmd = exposed.ingress_url
        self.touch()

    def touch(self) -> None:
        """Note that what the wire shows has changed."""
        self._json = None

    def json(self) -> bytes:
        """Return the pod as JSON; made once for each state, as lists of many pods are asked for often."""
        if self.faults:
            return _encode(msgspec.structs.replace(self.wire, status=self.shown))
        if self._json is None:
            self._json = _encode(self.wire)
        return self._json

    def json_of(self, when: float, statuses: Collection[str]) -> bytes | None:
        """Return the pod as it was then, or None when there was none, or none in these statuses (none: any)."""
        for since, status, updated_at in reversed(self.past):
            if since <= when:
                fault = self.fault("unknown_status", status)
                shown = fault.status if fault else status
                expose = [
                    msgspec.structs.replace(port, healthy=port.healthy and status == "RUNNING")
                    for port in self.wire.expose
                ]
                then = msgspec.structs.replace(self.wire, status=shown, updated_at=updated_at, expose=expose)
                return _encode(then) if not statuses or shown in statuses else None
        return None


def wire_time(now: float) -> str:
    """Write a time as the guide's examples do: UTC without saying so."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S")


def new_pod(
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
    """Return a new pod with every documented field, filled from its create and the catalogue."""

    def written(number: int) -> Id:
        return number if ids == "number" else str(number)

    gpu = CATALOGUE.gpu_type(create.gpu_type)
    is_official = create.image.startswith("yottalabsai/") or create.image_public_type == "OFFICIAL"
    official = create.official_image or ("OFFICIAL" if is_official else "CUSTOM")
    wire = Pod(
        id=written(pod_id),
        org_id=written(217_646_376_996_249_600),
        applicant_id=written(217_646_376_987_860_992),
        pod_name=create.pod_name or f"pod-{str(pod_id)[-6:]}",
        image_id=written(219_419_172_892_971_011 + len(create.image)),
        official_image=official,
        # Of OFFICIAL and CUSTOM, which the guide takes here, answers say what the document has for it.
        image_public_type="PRIVATE" if create.image_public_type == "PRIVATE" else "PUBLIC",
        image=create.image,
        image_registry=create.image_registry or "https://index.docker.io/v1/",
        image_registry_username=create.image_registry_username,
        resource_type=create.resource_type or "GPU",
        gpu_type=create.gpu_type,
        gpu_display_name=gpu.display_name,
        gpu_count=create.gpu_count or 1,
        shm_in_gb=create.shm_in_gb,
        single_card_vram_in_gb=gpu.vram,
        # The vendor's own example asks for 50 GB beside a GPU that comes with 10: the least is met.
        single_card_ram_in_gb=max(gpu.ram, create.min_single_card_ram_in_gb or 0),
        single_card_vcpu=max(gpu.vcpu, create.min_single_card_vcpu or 0),
        location=CATALOGUE.regions.get(region, "US"),
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
        expose=[_exposed(port, host, next(ports)) for port in create.expose or ()],
        ssh_cmd="",
        status="INITIALIZE",
        created_at=wire_time(now),
        updated_at=wire_time(now),
        persistent_volumes=[
            _mounted(volume, None if volume.id is None else written(volume.id))
            for volume in create.persistent_volumes or ()
        ],
        internal_ip=".".join(["10", *(str(random.randrange(256)) for _ in range(3))]),
    )
    ssh = next((port for port in wire.expose if port.protocol.upper() == "SSH"), None)
    wire.ssh_cmd = ssh.ingress_url if ssh else ""
    return EmulatedPod(wire)


def _ingress(protocol: str, host: str, proxy_port: int) -> str:
    """Return how the API says that a port is reached."""
    urls = {
        "SSH": f"ssh user@{host} -p {proxy_port} -i <private key file>",
        "HTTP": f"http://{host}:{proxy_port}",
    }
    return urls.get(protocol.upper(), f"{host}:{proxy_port}")


def _exposed(port: PortRequest, host: str, proxy_port: int) -> ExposedPort:
    protocol = port.protocol or "TCP"
    return ExposedPort(
        port=port.port,
        proxy_port=proxy_port,
        protocol=protocol,
        host=host,
        healthy=False,
        ingress_url=_ingress(protocol, host, proxy_port),
        service_name=f"{protocol} Port",
    )


def _mounted(volume: VolumeRequest, volume_id: Id | None) -> Volume:
    return Volume(
        id=volume_id,
        name=volume.name,
        volume_type=volume.volume_type,
        volume_size=volume.volume_size,
        volume_price=volume.volume_price,
        mount_path=volume.mount_path,
        cloud_storage_type=volume.cloud_storage_type,
        system_volume_type=volume.system_volume_type,
    )
