"""What the API answers with, in every form that the sources allow."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from yotta_async import (
    EnvironmentVariable,
    ExposedPort,
    InvalidRequestError,
    PersistentVolume,
    PersistentVolumeRequest,
    Pod,
    PodSpec,
    PodStatus,
    PortRequest,
)
from yotta_async.api.converter import StructureError, pod_from, wire_name
from yotta_async.models.pod import pod_id_of
from yotta_async.models.status import can_reach

SCHEMAS = json.loads((Path(__file__).parent.parent / "data/pods-v1.openapi.json").read_text())["components"]["schemas"]

# The guide's own example.
GUIDE: dict[str, Any] = {
    "id": "331864222263676928",
    "podName": "Test_from_SDK",
    "officialImage": "CUSTOM",
    "imageRegistryUsername": None,
    "gpuCount": 1,
    "singleCardPrice": 0.6,
    "containerVolumeInGb": 252,
    "containerVolumePrice": 0.00005,
    "persistentVolumeInGb": 0,
    "persistentVolumePrice": 0.00005,
    "environmentVars": [{"key": "JUPYTER_PASSWORD", "value": "9f2375dc-277b"}],
    "expose": [{"port": 22, "proxyPort": 32002, "protocol": "SSH", "host": "34.19.26.12", "healthy": True}],
    "status": "TERMINATED",
    "createdAt": "2025-07-04 10:29:56",
    "updatedAt": "2025-07-04 10:48:13",
}


@pytest.mark.parametrize(
    ("model", "schema"),
    [
        (Pod, "OpenapiPodListDetailResponse"),
        (ExposedPort, "OpenapiPodExposePortResponse"),
        (PersistentVolume, "PersistentVolumesResponse"),
        (EnvironmentVariable, "KeyValuePairDTO"),
        (PodSpec, "OpenapiPodCreateRequest"),
        (PortRequest, "OpenapiPodExposePortRequest"),
        (PersistentVolumeRequest, "PersistentVolumesRequest"),
    ],
)
def test_a_model_has_every_field_of_its_schema_and_no_other(model: type[Any], schema: str) -> None:
    ours = {wire_name(field.name) for field in attrs.fields(model)} - {"extra"}
    assert ours == set(SCHEMAS[schema]["properties"])


def test_the_guides_example_is_read() -> None:
    pod = pod_from(GUIDE, "data")
    assert pod.id == "331864222263676928"
    assert pod.status is PodStatus.TERMINATED
    assert pod.status.is_terminal
    assert pod.created_at == datetime(2025, 7, 4, 10, 29, 56, tzinfo=UTC)
    assert pod.hourly_price == pytest.approx(0.6126)
    assert pod.environment_vars == (EnvironmentVariable("JUPYTER_PASSWORD", "9f2375dc-277b"),)
    port = pod.port(22)
    assert port is not None
    assert (port.host, port.proxy_port, port.healthy) == ("34.19.26.12", 32002, True)
    assert pod.port(80) is None
    assert pickle.loads(pickle.dumps(pod)) == pod
    assert hash(pod) == hash(pod_from(GUIDE, "data"))


@pytest.mark.parametrize("empty", [None, "missing"])
def test_every_field_but_the_id_may_be_null_or_missing(empty: str | None) -> None:
    names = set(SCHEMAS["OpenapiPodListDetailResponse"]["properties"])
    pod = pod_from({"id": 7} if empty else dict.fromkeys(names) | {"id": 7}, "data")
    assert pod == Pod(id="7")
    assert pod.hourly_price is None
    assert pod.port(22) is None


def test_parts_may_be_null_or_missing_too() -> None:
    pod = pod_from({"id": "7", "expose": [{}], "environmentVars": [{"key": "A"}], "persistentVolumes": [{}]}, "data")
    assert pod.expose == (ExposedPort(),)
    assert pod.environment_vars == (EnvironmentVariable("A", ""),)
    assert pod.persistent_volumes == (PersistentVolume(),)


@pytest.mark.parametrize(
    "form",
    [
        "2025-07-04T10:29:56Z",
        "2025-07-04T12:29:56.000+02:00",
        "2025-07-04 10:29:56",
        1751624996,
        1751624996.0,
        1751624996000,
        "1751624996",
        "1751624996000",
    ],
)
def test_every_form_of_a_time_is_aware_and_in_utc(form: object) -> None:
    pod = pod_from({"id": "7", "createdAt": form}, "data")
    assert pod.created_at == datetime(2025, 7, 4, 10, 29, 56, tzinfo=UTC)
    assert pod.created_at is not None
    assert pod.created_at.tzinfo is UTC


@pytest.mark.parametrize("wrong", ["soon", True, 1e300, -1e300, [], "9" * 400, "²"])
def test_what_is_no_time_is_malformed(wrong: object) -> None:
    with pytest.raises(StructureError, match=r"^data\.createdAt: expected a time"):
        pod_from({"id": "7", "createdAt": wrong}, "data")


def test_ids_are_text_whatever_comes() -> None:
    pod = pod_from({"id": 2**63 - 1, "orgId": "5", "imageId": 6, "persistentVolumes": [{"id": 9}]}, "data")
    assert (pod.id, pod.org_id, pod.image_id, pod.persistent_volumes[0].id) == (str(2**63 - 1), "5", "6", "9")


def test_unknown_fields_are_kept_and_shown_by_name_only() -> None:
    pod = pod_from({"id": "7", "newField": {"token": "hunter2"}, "extra": 1, "expose": [{"port": 1, "new": 2}]}, "data")
    assert pod.extra == {"newField": {"token": "hunter2"}, "extra": 1}
    assert pod.expose[0].extra == {"new": 2}
    assert "newField" in repr(pod)
    assert "hunter2" not in repr(pod)


def test_unknown_values_of_enumerations_are_kept_as_text() -> None:
    pod = pod_from({"id": "7", "status": "MIGRATING", "cloudType": "ORBITAL"}, "data")
    assert pod.status == "MIGRATING"
    assert isinstance(pod.status, PodStatus)
    assert not pod.status.is_terminal
    assert pod.cloud_type == "ORBITAL"
    assert pickle.loads(pickle.dumps(pod.status)) == "MIGRATING"
    assert f"{pod.status}" == "MIGRATING"
    assert "MIGRATING" not in PodStatus.__members__


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"gpuCount": "many"}, "data[3].gpuCount: expected a whole number, got text"),
        ({"gpuCount": True}, "data[3].gpuCount: expected a whole number, got true or false"),
        ({"gpuCount": 1.5}, "data[3].gpuCount: expected a whole number, got a number"),
        ({"podName": 5}, "data[3].podName: expected text, got a number"),
        ({"singleCardPrice": "0.6"}, "data[3].singleCardPrice: expected a number, got text"),
        ({"status": 1}, "data[3].status: expected text, got a number"),
        ({"id": None}, "data[3].id: expected an id, got null"),
        ({"id": ""}, "data[3].id: expected an id, got empty text"),
        ({"orgId": 1.5}, "data[3].orgId: expected an id, got a number"),
        (
            {"expose": [{"port": 1}, {"proxyPort": "x"}]},
            "data[3].expose[1].proxyPort: expected a whole number, got text",
        ),
        ({"expose": {}}, "data[3].expose: expected a list, got an object"),
        ({"expose": [5]}, "data[3].expose[0]: expected an object, got a number"),
        ({"environmentVars": ["A=hunter2"]}, "data[3].environmentVars[0]: expected an object, got text"),
        ({"environmentVars": [{"value": 5}]}, "data[3].environmentVars[0]: expected text, got a number"),
    ],
)
def test_a_wrong_type_is_named_with_its_path_and_without_its_value(change: dict[str, Any], path: str) -> None:
    with pytest.raises(StructureError) as caught:
        pod_from(GUIDE | change, "data[3]")
    assert str(caught.value) == path
    assert caught.value.__context__ is None


def test_a_price_that_is_not_known_is_none_and_not_zero() -> None:
    assert Pod(id="1").hourly_price is None
    assert Pod(id="1", single_card_price=2.0).hourly_price is None
    assert Pod(id="1", single_card_price=2.0, gpu_count=4).hourly_price == 8.0
    assert Pod(id="1", single_card_price=2.0, gpu_count=1, container_volume_in_gb=10).hourly_price is None
    volume = Pod(id="1", single_card_price=2.0, gpu_count=1, persistent_volume_in_gb=10, persistent_volume_price=0.1)
    assert volume.hourly_price == pytest.approx(3.0)


@pytest.mark.parametrize("pod_id", [0, 7, 2**63, "331864222263676928", "a", "A_b-9", "x" * 64, Pod(id="7")])
def test_an_id_is_taken_in_every_form(pod_id: Any) -> None:
    assert pod_id_of(pod_id) == str(getattr(pod_id, "id", pod_id))


@pytest.mark.parametrize(
    "pod_id",
    ["", " 7", "7 ", "7\n", "-7", "_7", "../7", "7/..", "7?x", "7#x", "%37", "ü", "x" * 65, -1, True, 1.5, None, b"7", [],
     10**64, pytest.param(10**5000, id="many digits"), Pod(id="../../x")],
)  # fmt: skip
def test_what_is_no_id_is_refused(pod_id: Any) -> None:
    with pytest.raises(InvalidRequestError, match="is not a pod id"):
        pod_id_of(pod_id)


@pytest.mark.parametrize(
    ("now", "target", "possible"),
    [
        ("INITIALIZE", "RUNNING", True),
        ("INITIALIZE", "PAUSED", True),
        ("PAUSED", "RUNNING", True),
        ("RUNNING", "INITIALIZE", True),
        ("FAILED", "RUNNING", False),
        ("FAILED", "TERMINATED", True),
        ("FAILED", "FAILED", True),
        ("TERMINATING", "RUNNING", False),
        ("TERMINATING", "TERMINATED", True),
        ("TERMINATED", "TERMINATING", False),
        ("TERMINATED", "PAUSED", False),
        ("MIGRATING", "RUNNING", True),
        ("RUNNING", "MIGRATING", True),
    ],
)
def test_which_state_can_follow_which(now: str, target: str, possible: bool) -> None:
    assert can_reach(PodStatus(now), PodStatus(target)) is possible


def test_pod_names_the_token_of_its_create() -> None:
    marked = Pod(
        id="7", environment_vars=(EnvironmentVariable("A", "1"), EnvironmentVariable("YOTTA_CLIENT_TOKEN", "t"))
    )
    assert (marked.client_token, Pod(id="7").client_token) == ("t", None)


def test_deleted_statuses_are_being_deleted() -> None:
    assert {status for status in PodStatus if status.is_being_deleted} == {"TERMINATING", "TERMINATED"}
