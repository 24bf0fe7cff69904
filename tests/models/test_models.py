"""What the API answers with, in every form that the sources allow."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

import yotta_async
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
from yotta_async.api.converter import StructureError, structure, wire_name
from yotta_async.models.ids import pod_id_of
from yotta_async.models.pod import Id
from yotta_async.models.status import can_reach

SCHEMAS = json.loads((Path(__file__).parent.parent / "data/pods-v1.openapi.json").read_text())["components"]["schemas"]


def structure_pod(value: object) -> Pod:
    pod: Pod = structure(value, Pod)
    return pod


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
    ours = {wire_name(field.name) for field in attrs.fields(model)} - {"extra", "unreadable", "needBackup"}  # API v2's
    assert ours == set(SCHEMAS[schema]["properties"])


def test_the_guides_example_is_read() -> None:
    pod = structure_pod(GUIDE)
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
    assert hash(pod) == hash(structure_pod(GUIDE))


@pytest.mark.parametrize("empty", [None, "missing"])
def test_every_field_but_the_id_may_be_null_or_missing(empty: str | None) -> None:
    names = set(SCHEMAS["OpenapiPodListDetailResponse"]["properties"])
    pod = structure_pod({"id": 7} if empty else dict.fromkeys(names) | {"id": 7})
    assert pod == Pod(id="7")
    assert pod.hourly_price is None
    assert pod.port(22) is None


def test_parts_may_be_null_or_missing_too() -> None:
    pod = structure_pod({"id": "7", "expose": [{}], "environmentVars": [{"key": "A"}], "persistentVolumes": [{}]})
    assert pod.expose == (ExposedPort(),)
    assert pod.environment_vars == (EnvironmentVariable("A", ""),)
    assert pod.persistent_volumes == (PersistentVolume(),)


@pytest.fixture
def local_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the machine's time be five hours behind UTC."""
    read_zone = getattr(time, "tzset", lambda: None)  # Windows has its own zone alone
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "EST+5")
        read_zone()
        yield
    read_zone()


@pytest.mark.usefixtures("local_zone")
@pytest.mark.parametrize(
    "form",
    [
        "2025-07-04T10:29:56Z",
        "2025-07-04T12:29:56.000+02:00",
        "2025-07-04 10:29:56",
        "2025-07-04T10:29:56",
        "2025-07-04 10:29:56.000",
        1751624996,
        1751624996.0,
        1751624996000,
        "1751624996",
        "1751624996000",
    ],
)
def test_every_form_of_a_time_is_aware_and_in_utc(form: object) -> None:
    pod = structure_pod({"id": "7", "createdAt": form})
    assert pod.created_at == datetime(2025, 7, 4, 10, 29, 56, tzinfo=UTC)
    assert pod.created_at is not None
    assert pod.created_at.tzinfo is UTC


@pytest.mark.parametrize(
    "wrong", ["soon", True, 1e300, -1e300, [], "9" * 400, "²", "nan", "1_000", "2025-13-01", {"seconds": 1}]
)
def test_unreadable_time_is_none_and_kept_in_extra(wrong: object) -> None:
    pod = structure_pod({"id": "7", "createdAt": wrong})
    assert (pod.created_at, pod.unreadable, pod.extra) == (None, ("createdAt",), {"createdAt": wrong})


def test_ids_are_text_whatever_comes() -> None:
    assert structure_pod({"id": 10**64 - 1}).id == "9" * 64
    assert structure_pod({"id": 0}).id == "0"
    pod = structure_pod({"id": 2**63 - 1, "orgId": "5", "imageId": 6, "persistentVolumes": [{"id": 9}]})
    assert (pod.id, pod.org_id, pod.image_id, pod.persistent_volumes[0].id) == (str(2**63 - 1), "5", "6", "9")


def test_unknown_fields_are_kept_and_shown_by_name_only() -> None:
    unknown = {"newField": {"token": "hunter2"}, "extra": 1, "unreadable": ["status"]}
    pod = structure_pod({"id": "7", **unknown, "expose": [{"port": 1, "new": 2}]})
    assert (pod.extra, pod.unreadable) == (unknown, ())
    assert pod.expose[0].extra == {"new": 2}
    assert "newField" in repr(pod)
    assert "hunter2" not in repr(pod)


def test_unknown_values_of_enumerations_are_kept_as_text() -> None:
    pod = structure_pod({"id": "7", "status": "MIGRATING", "cloudType": "ORBITAL"})
    assert pod.status == "MIGRATING"
    assert isinstance(pod.status, PodStatus)
    assert not pod.status.is_terminal
    assert pod.cloud_type == "ORBITAL"
    assert pickle.loads(pickle.dumps(pod.status)) == "MIGRATING"
    assert f"{pod.status}" == "MIGRATING"
    assert "MIGRATING" not in PodStatus.__members__


READABLE: list[tuple[str, Any, str, Any]] = [
    ("gpuCount", "1", "gpu_count", 1),
    ("gpuCount", 1.0, "gpu_count", 1),
    ("gpuCount", "2.0", "gpu_count", 2),
    ("gpuCount", "1e2", "gpu_count", 100),
    ("gpuCount", "12345678901234567890", "gpu_count", 12345678901234567890),
    ("gpuCount", "", "gpu_count", None),
    ("singleCardPrice", "0.6", "single_card_price", 0.6),
    ("singleCardPrice", "1e-2", "single_card_price", 0.01),
    ("singleCardPrice", 2, "single_card_price", 2.0),
    ("singleCardPrice", "", "single_card_price", None),
    ("podName", 123, "pod_name", "123"),
    ("podName", 0.5, "pod_name", "0.5"),
    ("podName", "", "pod_name", None),
    ("orgId", 2**63 - 1, "org_id", str(2**63 - 1)),
    ("orgId", "", "org_id", None),
    ("createdAt", "", "created_at", None),
    ("createdAt", "2025-07-04T10:29:56.123456789Z", "created_at", datetime(2025, 7, 4, 10, 29, 56, 123456, UTC)),
    ("createdAt", "2025-07-04T10:29:56.000+0800", "created_at", datetime(2025, 7, 4, 2, 29, 56, tzinfo=UTC)),
    ("createdAt", 99_999_999_999, "created_at", datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC)),
    ("createdAt", 100_000_000_000, "created_at", datetime(1973, 3, 3, 9, 46, 40, tzinfo=UTC)),
    ("createdAt", "1751624996.5", "created_at", datetime(2025, 7, 4, 10, 29, 56, 500000, UTC)),
    ("status", "running", "status", PodStatus.RUNNING),
    ("status", 1, "status", PodStatus.RUNNING),
    ("status", "6", "status", PodStatus.FAILED),
    ("status", "", "status", None),
    ("status", "MIGRATING", "status", "MIGRATING"),
    ("cloudType", "", "cloud_type", None),
    ("expose", "", "expose", ()),
    ("expose", {}, "expose", ()),
    ("expose", None, "expose", ()),
    ("expose", [None], "expose", ()),
    ("expose", {"port": "22", "healthy": 1}, "expose", (ExposedPort(port=22, healthy=True),)),
    ("expose", [None, "", {"port": 22, "healthy": "false"}], "expose", (ExposedPort(port=22, healthy=False),)),
    ("expose", [{"healthy": "True", "proxyPort": ""}], "expose", (ExposedPort(healthy=True),)),
    ("expose", [{"healthy": ""}], "expose", (ExposedPort(),)),
    ("expose", [{"port": 22, "protocol": ""}], "expose", (ExposedPort(port=22),)),
    ("expose", [{"healthy": None}], "expose", (ExposedPort(),)),
    ("expose", [{"healthy": 0}, {"healthy": "1"}], "expose", (ExposedPort(healthy=False), ExposedPort(healthy=True))),
    ("environmentVars", {}, "environment_vars", ()),
    ("environmentVars", {"key": "A", "value": 1}, "environment_vars", (EnvironmentVariable("A", "1"),)),
    ("environmentVars", [{"key": "A", "value": None}], "environment_vars", (EnvironmentVariable("A", ""),)),
    ("environmentVars", [{"key": None, "value": "1"}], "environment_vars", (EnvironmentVariable("", "1"),)),
    (
        "persistentVolumes",
        [{"id": 5, "volumeSize": "10", "volumePrice": "0.1"}],
        "persistent_volumes",
        (PersistentVolume(id="5", volume_size=10, volume_price=0.1),),
    ),
]


@pytest.mark.parametrize(("wire", "value", "name", "expected"), READABLE)
def test_every_form_of_a_value_is_read(wire: str, value: Any, name: str, expected: Any) -> None:
    pod = structure_pod(GUIDE | {wire: value})
    assert getattr(pod, name) == expected
    assert type(getattr(pod, name)) is type(expected) or isinstance(expected, str)
    assert (pod.unreadable, dict(pod.extra)) == ((), {})


UNREADABLE: list[tuple[str, Any, str, Any]] = [
    ("gpuCount", "many", "gpu_count", None),
    ("gpuCount", True, "gpu_count", None),
    ("gpuCount", 1.5, "gpu_count", None),
    ("gpuCount", "0x10", "gpu_count", None),
    ("singleCardPrice", "nan", "single_card_price", None),
    ("singleCardPrice", "inf", "single_card_price", None),
    ("singleCardPrice", "1_0", "single_card_price", None),
    ("singleCardPrice", "1e999", "single_card_price", None),
    ("singleCardPrice", 10**400, "single_card_price", None),
    ("singleCardPrice", [0.6], "single_card_price", None),
    ("podName", True, "pod_name", None),
    ("podName", {"a": 1}, "pod_name", None),
    ("orgId", 1.5, "org_id", None),
    ("orgId", -1, "org_id", None),
    ("status", 5, "status", None),
    ("status", True, "status", None),
    ("status", {}, "status", None),
    ("cloudType", 1, "cloud_type", None),
    ("expose", "22", "expose", ()),
    ("expose", [5, {"port": 22}], "expose", (ExposedPort(port=22),)),
    ("expose", [{"port": 22, "healthy": 2}], "expose", (ExposedPort(port=22, extra={"healthy": 2}),)),
    ("environmentVars", {"A": "1"}, "environment_vars", ()),
    ("environmentVars", [{"key": "A", "value": []}, {"key": "B"}], "environment_vars", (EnvironmentVariable("B", ""),)),
    (
        "persistentVolumes",
        [{"volumeSize": "big", "iops": 1}],
        "persistent_volumes",
        (PersistentVolume(extra={"volumeSize": "big", "iops": 1}),),
    ),
]


@pytest.mark.parametrize(("wire", "value", "name", "expected"), UNREADABLE)
def test_unreadable_value_is_named_and_kept_in_extra(wire: str, value: Any, name: str, expected: Any) -> None:
    pod = structure_pod(GUIDE | {wire: value})
    assert getattr(pod, name) == expected
    assert (pod.unreadable, dict(pod.extra)) == ((wire,), {wire: value})
    assert attrs.evolve(pod, extra={}, unreadable=(), **{name: getattr(structure_pod(GUIDE), name)}) == structure_pod(
        GUIDE
    )


def test_unreadable_fields_are_named_in_the_order_of_fields() -> None:
    odd = {"updatedAt": [], "podName": [], "expose": 5, "newField": 1}
    pod = structure_pod(GUIDE | odd)
    assert pod.unreadable == ("podName", "expose", "updatedAt")
    assert pod.extra == odd


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (None, "an object, got NoneType"),
        (5, "an object, got int"),
        ("7", "an object, got str"),
        ([], "an object, got list"),
        ({}, "an id, got NoneType"),
        ({"id": None}, "an id, got NoneType"),
        ({"id": ""}, "an id, got empty text"),
        ({"id": -1}, "an id, got int"),
        ({"id": 1.5}, "an id, got float"),
        ({"id": 10**64}, "an id, got int"),
        ({"id": {}}, "an id, got dict"),
    ],
)
def test_item_without_a_readable_id_is_no_pod(item: object, problem: str) -> None:
    with pytest.raises(StructureError, match=f"^expected {problem}$"):
        structure_pod(item)


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (str | None, {}, "text, got dict"),
        (PodStatus | None, [], "text, got list"),
        (float | None, "many", "a number, got str"),
        (int | None, 1.5, "a whole number, got float"),
        (bool | None, "maybe", "true or false, got str"),
        (datetime | None, True, "a time, got bool"),
        (Id, -1, "an id, got int"),
        (EnvironmentVariable, {"value": "hunter2"}, "an object with a key, got dict"),
        (tuple[ExposedPort, ...], 5, "a list, got int"),
        (tuple[ExposedPort, ...], [5], "a list of documented items, got list"),
        (ExposedPort, {"port": "many"}, "documented fields, got dict"),
    ],
)
def test_value_that_cannot_be_read_is_described_by_its_type(kind: Any, value: object, problem: str) -> None:
    with pytest.raises(StructureError, match=f"^expected {problem}$"):
        structure(value, kind)


def test_a_price_that_is_not_known_is_none_and_not_zero() -> None:
    assert Pod(id="1").hourly_price is None
    assert Pod(id="1", single_card_price=2.0).hourly_price is None
    assert Pod(id="1", single_card_price=2.0, gpu_count=4).hourly_price == 8.0
    assert Pod(id="1", single_card_price=2.0, gpu_count=1, container_volume_in_gb=10).hourly_price is None
    volume = Pod(id="1", single_card_price=2.0, gpu_count=1, persistent_volume_in_gb=10, persistent_volume_price=0.1)
    assert volume.hourly_price == pytest.approx(3.0)


@pytest.mark.parametrize("wire", ["singleCardPrice", "gpuCount", "containerVolumeInGb", "containerVolumePrice"])
def test_hourly_price_is_unknown_when_a_part_of_it_is_unreadable(wire: str) -> None:
    assert structure_pod(GUIDE).hourly_price is not None
    assert structure_pod(GUIDE | {wire: "?"}).hourly_price is None
    assert structure_pod(GUIDE | {"persistentVolumePrice": "?"}).hourly_price is not None, "it has no such volume"


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
    variables = (EnvironmentVariable("A", "1"), EnvironmentVariable("YOTTA_CLIENT_TOKEN", "t"))
    assert (Pod(id="7", environment_vars=variables).client_token, Pod(id="7").client_token) == ("t", None)


def test_deleted_statuses_are_being_deleted() -> None:
    assert {status for status in PodStatus if status.is_being_deleted} == {"TERMINATING", "TERMINATED"}
    assert Pod(id="7", status=PodStatus.TERMINATING).is_being_deleted
    assert not any(Pod(id="7", status=status).is_being_deleted for status in (None, PodStatus("MIGRATING")))


def test_a_field_that_the_api_adds_takes_one_line_in_one_file(tmp_path: Path) -> None:
    document = json.loads((Path(__file__).parent.parent / "data/pods-v1.openapi.json").read_text())
    schema = document["components"]["schemas"]["OpenapiPodListDetailResponse"]
    schema["properties"]["gpuPowerLimitWatts"] = {"type": "integer", "format": "int32"}
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    shutil.copytree(Path(yotta_async.__file__).parent, tmp_path / "yotta_async")
    model = tmp_path / "yotta_async/models/pod.py"
    source = model.read_text()
    before = "    internal_ip: str | None = None\n"
    assert source.count(before) == 1
    model.write_text(source.replace(before, f"{before}    gpu_power_limit_watts: int | None = None\n"))
    (tmp_path / "check.py").write_text(
        """
import json, attrs
from yotta_async.api.converter import parse_pod_json, structure, wire_name
from yotta_async import Pod
schema = json.load(open("openapi.json"))["components"]["schemas"]["OpenapiPodListDetailResponse"]
assert {wire_name(field.name) for field in attrs.fields(Pod)} - {"extra", "unreadable"} == set(schema["properties"])
for value in (300, "300", 300.0):
    new = {"id": "7", "gpuPowerLimitWatts": value}
    for pod in (parse_pod_json(json.dumps(new).encode()), structure(new, Pod)):
        assert pod == Pod(id="7", gpu_power_limit_watts=300) and "gpu_power_limit_watts=300" in repr(pod)
"""
    )
    done = subprocess.run(
        [sys.executable, "check.py"], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
