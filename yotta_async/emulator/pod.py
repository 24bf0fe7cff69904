"""One emulated pod: what the wire shows of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

from yotta_async.emulator import catalogue


class EmulatedPod:
    """One pod as the wire shows it, and what becomes of it next."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.changed = (0.0, 0)
        self.next: tuple[float, str] | None = None
        self._json: bytes | None = None

    @property
    def status(self) -> str:
        """The pod's state by name."""
        return str(self.fields["status"])

    def become(self, status: str, now: float, order: int) -> None:
        """Enter a state."""
        self.fields["status"] = status
        self.fields["updatedAt"] = wire_time(now)
        self.changed = (now, order)
        for port in self.fields["expose"]:
            port["healthy"] = status == "RUNNING"
        self._json = None

    def json(self) -> bytes:
        """Return the pod as JSON; made once for each state, as lists of many pods are asked for often."""
        if self._json is None:
            self._json = json.dumps(self.fields, separators=(",", ":")).encode()
        return self._json


def wire_time(now: float) -> str:
    """Write a time as the guide's examples do: UTC without saying so."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S")


def new_fields(
    pod_id: str, body: dict[str, Any], now: float, *, host: str, ports: Iterator[int], random: Random
) -> dict[str, Any]:
    """Return every documented field of a new pod, filled from the body of its create and the catalogue."""
    gpu = catalogue.gpu_type_of(body["gpuType"])
    region = body.get("region") or next(iter(body.get("regionList") or ()), catalogue.DEFAULT_REGION)
    official = body["image"].startswith("yottalabsai/")
    return {
        "id": pod_id,
        "orgId": "217646376996249600",
        "applicantId": "217646376987860992",
        "podName": body.get("podName") or f"pod-{pod_id[-6:]}",
        "imageId": str(219_419_172_892_971_011 + len(body["image"])),
        "officialImage": "OFFICIAL" if official else "CUSTOM",
        "imagePublicType": body.get("imagePublicType") or "PUBLIC",
        "image": body["image"],
        "imageRegistry": body.get("imageRegistry") or "https://index.docker.io/v1/",
        "imageRegistryUsername": body.get("imageRegistryUsername"),
        "resourceType": body.get("resourceType") or "GPU",
        "gpuType": body["gpuType"],
        "gpuDisplayName": gpu.display_name,
        "gpuCount": body.get("gpuCount") or 1,
        "shmInGb": body.get("shmInGb"),
        "singleCardVramInGb": gpu.vram,
        "singleCardRamInGb": gpu.ram,
        "singleCardVcpu": gpu.vcpu,
        "location": catalogue.REGIONS.get(region, "US"),
        "region": region,
        "cloudType": "SECURE",
        "containerVolumeInGb": body.get("containerVolumeInGb") or catalogue.CONTAINER_VOLUME_GB,
        "persistentVolumeInGb": body.get("persistentVolumeInGb") or 0,
        "persistentMountPath": body.get("persistentMountPath"),
        "networkUploadMbps": 1258.2912,
        "networkDownloadMbps": 1761.60768,
        "diskReadSpeedMbps": 2516.5824,
        "diskWriteSpeedMbps": 5872.0256,
        "singleCardPrice": gpu.price,
        "persistentVolumePrice": catalogue.VOLUME_PRICE,
        "containerVolumePrice": catalogue.VOLUME_PRICE,
        "initializationCommand": body.get("initializationCommand") or "",
        "environmentVars": [{"key": item["key"], "value": item["value"]} for item in body.get("environmentVars") or ()],
        "expose": [_exposed(port, host, next(ports)) for port in body.get("expose") or ()],
        "sshCmd": "",
        "status": "INITIALIZE",
        "createdAt": wire_time(now),
        "updatedAt": wire_time(now),
        "persistentVolumes": [_mounted(volume) for volume in body.get("persistentVolumes") or ()],
        "internalIp": ".".join(["10", *(str(random.randrange(256)) for _ in range(3))]),
    }


def _exposed(port: dict[str, Any], host: str, proxy_port: int) -> dict[str, Any]:
    protocol = port.get("protocol") or "TCP"
    urls = {
        "SSH": f"ssh user@{host} -p {proxy_port} -i <private key file>",
        "HTTP": f"http://{host}:{proxy_port}",
    }
    return {
        "port": port["port"],
        "proxyPort": proxy_port,
        "protocol": protocol,
        "host": host,
        "healthy": False,
        "ingressUrl": urls.get(protocol.upper(), f"{host}:{proxy_port}"),
        "serviceName": f"{protocol} Port",
    }


def _mounted(volume: dict[str, Any]) -> dict[str, Any]:
    names = ("name", "volumeType", "volumeSize", "volumePrice", "mountPath", "cloudStorageType", "systemVolumeType")
    volume_id = volume.get("id")
    return {"id": None if volume_id is None else str(volume_id)} | {name: volume.get(name) for name in names}
