"""The versions of the API: one table for each says what it has of its own.

Nothing else in the package asks which version is spoken: requests, responses and the converter read the table. A name
that is not in a table is the camelCase of ours in both versions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import attrs

from yotta_async.errors import ConfigurationError

GPU_TYPES_PATH: Final = "/v2/vms/types"
"""GET: what GPUs there are, and in which regions. Only v2 has it, and clients of both versions call it."""


@attrs.frozen(eq=False, kw_only=True)
class ApiVersion:
    """What one version of the API has of its own.

    Attributes:
        name: what `YottaClient(api_version=…)` calls it.
        create_path: POST.
        list_path: GET.
        pod_path: GET and DELETE; `{}` is the pod's id, here and below.
        pause_path: POST.
        resume_path: POST.
        names: wire names of fields of a pod, and of a create, that are not the camelCase of ours.
        volume_names: likewise, of the fields of a persistent volume in a create.
        omitted_volume_fields: fields of such a volume that are not sent, as the version has no place for them.
        refused_volume_fields: fields that a caller cannot want in vain, so that giving one is an error.
        required_volume_fields: fields that such a volume must have.
        numbers_as_text: fields of a pod that hold a number and are documented or shown as text.
        merges_region: whether a create has a list of regions only, and no single `region`.
        joins_query: whether a filter of several values goes out as `a,b`, and not with its key repeated.
        requires_name: whether a create must have a name and a GPU count. The client sends a drawn name that carries
            the client token, and 1, where the caller gives none.
        create_returns_pod: whether a create is answered with the pod, and not only with its id.
        documents_variables: whether the documents show environment variables in a pod.
    """

    name: str
    create_path: str
    list_path: str
    pod_path: str
    pause_path: str
    resume_path: str
    names: Mapping[str, str] = {}
    volume_names: Mapping[str, str] = {}
    omitted_volume_fields: frozenset[str] = frozenset()
    refused_volume_fields: frozenset[str] = frozenset()
    required_volume_fields: frozenset[str] = frozenset()
    numbers_as_text: frozenset[str] = frozenset()
    merges_region: bool = False
    joins_query: bool = False
    requires_name: bool = False
    create_returns_pod: bool = False
    documents_variables: bool = True


# Source: `pods-v1` OpenAPI document and guide of the API.
V1: Final = ApiVersion(
    name="v1",
    create_path="/openapi/v1/pods/create",
    list_path="/openapi/v1/pods/list",
    pod_path="/openapi/v1/pods/{}",
    pause_path="/openapi/v1/pods/pause/{}",
    resume_path="/openapi/v1/pods/resume/{}",
    refused_volume_fields=frozenset({"need_backup"}),
)

# Source: the vendor's OpenAPI document of v2, and its own client (yottaml 0.2.0).
V2: Final = ApiVersion(
    name="v2",
    create_path="/v2/pods",
    list_path="/v2/pods",
    pod_path="/v2/pods/{}",
    pause_path="/v2/pods/{}/pause",
    resume_path="/v2/pods/{}/resume",
    names={
        "pod_name": "name",
        "region_list": "regions",
        "image_registry_token": "imageRegistryPassword",
        "credential_id": "containerRegistryAuthId",
    },
    # A create of v2 mounts volumes that exist, and these have a kind, a size and a price of their own.
    volume_names={"id": "volumeId"},
    omitted_volume_fields=frozenset(
        {
            "cloud_storage_type",
            "mount_mode",
            "name",
            "system_volume_type",
            "system_volume_type_enum",
            "volume_price",
            "volume_size",
            "volume_type",
        }
    ),
    required_volume_fields=frozenset({"id"}),
    numbers_as_text=frozenset({"single_card_price"}),
    merges_region=True,
    joins_query=True,
    requires_name=True,
    create_returns_pod=True,
    documents_variables=False,
)

VERSIONS: Final = {version.name: version for version in (V1, V2)}
DEFAULT_VERSION: Final = V1


def read_api_version(given: object) -> ApiVersion:
    """Return the version of a name, for None that of $YOTTA_API_VERSION, or else v1. Raises ConfigurationError."""
    source, name = "api_version", given
    if given is None:
        source, name = "$YOTTA_API_VERSION", os.environ.get("YOTTA_API_VERSION") or DEFAULT_VERSION.name
    if not isinstance(name, str):
        raise ConfigurationError(f"{source} must be {_NAMES}, not a value of type {type(name).__name__}")
    if name not in VERSIONS:
        raise ConfigurationError(f"{source} must be {_NAMES}, not {name[:40]!r}")
    return VERSIONS[name]


_NAMES = " or ".join(repr(name) for name in VERSIONS)
