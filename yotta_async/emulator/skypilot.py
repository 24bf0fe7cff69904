"""The routes that SkyPilot's provisioner for Yotta calls: clusters, whose nodes are pods of the same account.

No document describes them; they are read from the provisioner of SkyPilot 0.14 (sky/provision/yotta). What it does not
show is a guess: a cluster is RUNNING at once, a key for any organization is valid, and clusters are not in the `state`
file, though their pods are. Fault injection takes the create of a node as "create", and the other routes as "any".
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import attrs
import msgspec
from aiohttp import web
from msgspec import Struct

from yotta_async.emulator.account import Account, WrongStatusError
from yotta_async.emulator.bodies import build_envelope, read_body
from yotta_async.emulator.clock import EmulatorClock
from yotta_async.emulator.faults import get_fired
from yotta_async.emulator.openapi import Route
from yotta_async.emulator.pod import EmulatedPod
from yotta_async.emulator.schema import (
    Count,
    Create,
    ErrorResponse,
    Id,
    InvalidRequestError,
    Pod,
    PortRequest,
    PositiveInt32,
    Text,
    check_create,
    parse_body,
)
from yotta_async.emulator.statuses import DELETABLE

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]

VERSION_NAME = "skypilot"
_ROOT = "/openapi/v1/skypilot/cluster"
_FIRST_CLUSTER_ID = 441_864_222_263_676_928
# A name in SkyPilot's catalogue: the GPUs, vCPUs and GB of memory of a node, the GPU type and the cloud type.
_INSTANCE_TYPE = re.compile(r"(\d{1,4})x(\d{1,4})v(\d{1,5})g_(.+)_(SECURE|COMMUNITY)")


class ClusterNotFoundError(ErrorResponse):
    """The cluster does not exist."""

    code = 44003


class ClusterCreate(Struct, kw_only=True, rename="camel"):
    """The body of a create of a cluster."""

    cluster_name: Text
    instance_type: Text
    region: Text
    image_name: Text
    node_num: PositiveInt32
    expose: list[PortRequest] | None = None
    public_key: str | None = None
    ssh_user: str | None = None
    cluster_type: int | None = None
    source: int | None = None
    container_volume_in_gb: Count | None = None


class NodeCreate(Struct, kw_only=True, rename="camel"):
    """The body of a create of a node."""

    name: Text
    image: Text
    cluster_id: Text
    cluster_name: Text
    image_public_type: str | None = None
    image_registry_username: str | None = None
    image_registry_token: str | None = None
    expose: list[PortRequest] | None = None
    initialization_command: str | None = None


class ClusterSelection(Struct, kw_only=True, rename="camel"):
    """The body of the other requests."""

    cluster_name: Text
    source: int | None = None


class ClusterId(Struct, rename="camel"):
    """The answer to a create of a cluster."""

    cluster_id: str


class ClusterStatus(Struct):
    """The answer to a request for the status of a cluster."""

    status: str


class Node(Pod, kw_only=True, rename="camel"):
    """A node: a pod as in v1, with its name twice."""

    name: str


@attrs.define
class _Cluster:
    id: str
    request: ClusterCreate
    pod_ids: set[str] = attrs.field(factory=set)
    is_released: bool = False


class SkyPilot:
    """The clusters of one account."""

    def __init__(self, account: Account, clock: EmulatorClock) -> None:
        self._account = account
        self._clock = clock
        self._clusters: list[_Cluster] = []

    def list_routes(self) -> Iterator[tuple[Route, Handler]]:
        """Return the routes and their handlers."""
        routes: tuple[tuple[str, str, str, str, Any, Any, Handler], ...] = (
            ("GET", "/openapi/key/check", "check_key", "Check the API key", bool, None, self._check_key),
            ("POST", f"{_ROOT}/create", "create_cluster", "Create a cluster", ClusterId, ClusterCreate, self._create),
            ("GET", f"{_ROOT}/status/{{clusterId}}", "get_cluster", "Get its status", ClusterStatus, None, self._get),
            ("POST", f"{_ROOT}/create/pod", "create", "Create a node", Id, NodeCreate, self._create_node),
            ("POST", f"{_ROOT}/pods/list", "list_nodes", "List the nodes", list[Node], ClusterSelection, self._list),
            ("POST", f"{_ROOT}/release", "release_cluster", "Delete a cluster", None, ClusterSelection, self._release),
        )
        for method, path, endpoint, summary, data, body, handler in routes:
            yield Route(method, path, VERSION_NAME, endpoint, summary, data, body), handler

    def clear(self) -> None:
        """Forget all clusters."""
        self._clusters.clear()

    async def parse_pod_name(self, request: web.Request) -> str:
        """Return the name of the node in the body of its create. Raises InvalidRequestError or another error of it."""
        return (await self._parse_node(request))[1].pod_name or ""

    async def _check_key(self, request: web.Request) -> web.Response:
        if not request.query.get("orgId", "").strip():
            raise InvalidRequestError("orgId: must not be blank")
        return build_envelope(b"true")

    async def _create(self, request: web.Request) -> web.Response:
        body = parse_body(await read_body(request), ClusterCreate)
        _build_create(body, NodeCreate(name="-", image=body.image_name, cluster_id="-", cluster_name="-"))
        cluster = self._find(body.cluster_name)
        if cluster is None or cluster.is_released:
            cluster = _Cluster(str(_FIRST_CLUSTER_ID + len(self._clusters)), body)
            self._clusters.append(cluster)
        return build_envelope(msgspec.json.encode(ClusterId(cluster.id)))

    async def _get(self, request: web.Request) -> web.Response:
        cluster = self._get_by_id(request.match_info["clusterId"])
        status = "RUNNING"
        if cluster.is_released:
            is_terminated = all(pod.status == "TERMINATED" for pod in self._list_pods(cluster))
            status = "TERMINATED" if is_terminated else "TERMINATING"
        return build_envelope(msgspec.json.encode(ClusterStatus(status)))

    async def _create_node(self, request: web.Request) -> web.Response:
        cluster, create = await self._parse_node(request)
        if cluster.is_released:
            raise WrongStatusError("the cluster is released")
        pod = self._account.create(create, self._clock.now(), get_fired(request))
        cluster.pod_ids.add(pod.id)
        return build_envelope(msgspec.json.encode(pod.wire.id))

    async def _parse_node(self, request: web.Request) -> tuple[_Cluster, Create]:
        body = parse_body(await read_body(request), NodeCreate)
        cluster = self._get_by_id(body.cluster_id)
        return cluster, _build_create(cluster.request, body)

    async def _list(self, request: web.Request) -> web.Response:
        cluster = await self._select(request)
        nodes = [pod.to_json(_encode_node) for pod in self._list_pods(cluster)]
        return build_envelope(b"[" + b",".join(nodes) + b"]")

    async def _release(self, request: web.Request) -> web.Response:
        cluster = await self._select(request)
        cluster.is_released = True
        for pod in self._list_pods(cluster):
            if pod.status in DELETABLE:
                self._account.delete(pod.id, self._clock.now())
        return build_envelope()

    async def _select(self, request: web.Request) -> _Cluster:
        """Return the cluster that a body names. Raises ClusterNotFoundError."""
        name = parse_body(await read_body(request), ClusterSelection).cluster_name
        cluster = self._find(name)
        if cluster is None:
            raise ClusterNotFoundError("cluster not found")
        return cluster

    def _find(self, name: str) -> _Cluster | None:
        """Return the newest cluster of a name, or None."""
        return next((each for each in reversed(self._clusters) if each.request.cluster_name == name), None)

    def _get_by_id(self, cluster_id: str) -> _Cluster:
        for cluster in self._clusters:
            if cluster.id == cluster_id:
                return cluster
        raise ClusterNotFoundError("cluster not found")

    def _list_pods(self, cluster: _Cluster) -> list[EmulatedPod]:
        return [pod for pod in self._account.list((), (), self._clock.now()) if pod.id in cluster.pod_ids]


def _build_create(cluster: ClusterCreate, node: NodeCreate) -> Create:
    """Return the create of a node. Raises InvalidRequestError."""
    parts = _INSTANCE_TYPE.fullmatch(cluster.instance_type)
    if parts is None or int(parts[1]) == 0:
        raise InvalidRequestError(
            "instanceType: must be a name of SkyPilot's catalogue, such as 1x14v119g_NVIDIA_GeForce_RTX_5090_32G_SECURE"
        )
    count = int(parts[1])
    create = Create(
        image=node.image,
        gpu_type=parts[4],
        gpu_count=count,
        min_single_card_vcpu=int(parts[2]) // count,
        min_single_card_ram_in_gb=int(parts[3]) // count,
        cloud_type="SECURE" if parts[5] == "SECURE" else "COMMUNITY",
        region=cluster.region,
        pod_name=node.name,
        image_public_type="PRIVATE" if node.image_public_type == "PRIVATE" else "PUBLIC",
        image_registry_username=node.image_registry_username,
        image_registry_token=node.image_registry_token,
        container_volume_in_gb=cluster.container_volume_in_gb,
        expose=node.expose,
        initialization_command=node.initialization_command,
    )
    check_create(create)
    return create


def _encode_node(pod: Pod, _: float, __: float) -> bytes:
    return msgspec.json.encode(Node(**msgspec.structs.asdict(pod), name=pod.pod_name))
