"""What a pod may be asked for with, and how it goes out."""

from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
from typing import Any, cast

import attrs
import pytest

from tests.conftest import SPEC
from yotta_async import (
    EnvironmentVariable,
    InvalidRequestError,
    PersistentVolumeRequest,
    PodSpec,
    PortRequest,
    YottaError,
)
from yotta_async.api.converter import unstructure_spec
from yotta_async.api.requests import build_create_request
from yotta_async.models.spec import PodFields, spec_from

VOLUME: dict[str, Any] = {"mount_path": "/data", "volume_type": "NFS"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"image": ""}, "PodSpec.image must be at least 1 character"),
    ({"image": "x" * 256}, "PodSpec.image must be at most 255 characters long, not 256"),
    ({"image": None}, "PodSpec.image must be text, not None"),
    ({"image": "\ud800"}, "PodSpec.image holds half of a surrogate pair"),
    ({"gpu_type": ""}, "PodSpec.gpu_type must be at least 1 character"),
    ({"gpu_count": 0}, "PodSpec.gpu_count must be between 1 and"),
    ({"gpu_count": 3}, "PodSpec.gpu_count must be a power of two"),
    ({"gpu_count": True}, "PodSpec.gpu_count must be a whole number, not bool"),
    ({"gpu_count": "1"}, "PodSpec.gpu_count must be a whole number, not str"),
    ({"gpu_count": 2**31}, "PodSpec.gpu_count must be between 1 and 2147483647"),
    ({"shm_in_gb": 0}, "PodSpec.shm_in_gb must be between 1 and"),
    ({"min_single_card_ram_in_gb": 1537}, "PodSpec.min_single_card_ram_in_gb must be between 0 and 1536, not 1537"),
    ({"min_single_card_vram_in_gb": -1}, "PodSpec.min_single_card_vram_in_gb must be between 0 and 1536, not -1"),
    ({"min_single_card_vcpu": -1}, "PodSpec.min_single_card_vcpu must be between 0"),
    ({"container_volume_in_gb": 10**5000}, "not a larger one"),
    ({"credential_id": "abc"}, "PodSpec.credential_id must be an id"),
    ({"credential_id": 2**63}, "PodSpec.credential_id must be an id"),
    ({"credential_id": True}, "PodSpec.credential_id must be an id"),
    ({"resource_type": ""}, "PodSpec.resource_type must be one of"),
    ({"region_list": "us"}, "PodSpec.region_list must be a list"),
    ({"region_list": ["a", "a"]}, r"PodSpec.region_list\[1\] is there twice"),
    ({"region_list": [""]}, r"PodSpec.region_list\[0\] must be text"),
    ({"environment_vars": {"A": ""}}, r"PodSpec.environment_vars\[0\].value must not be empty \(variable 'A'\)"),
    ({"environment_vars": {"": "x"}}, r"PodSpec.environment_vars\[0\].key must not be empty"),
    ({"environment_vars": {"A": 5}}, r"PodSpec.environment_vars\[0\].value must be text, not int"),
    ({"environment_vars": "A=B"}, "PodSpec.environment_vars must be a list"),
    ({"environment_vars": ["A=B"]}, r"PodSpec.environment_vars\[0\] must be a \(key, value\) pair"),
    (
        {"environment_vars": [{"key": "A", "secret": "B"}]},
        r"PodSpec.environment_vars\[0\] must be a \(key, value\) pair",
    ),
    ({"expose": 22}, "PodSpec.expose must be a list of ports"),
    ({"expose": [70000]}, r"PodSpec.expose\[0\]: PortRequest.port must be between 0 and 65535, not 70000"),
    ({"expose": [True]}, r"PodSpec.expose\[0\]: PortRequest.port must be a whole number"),
    ({"expose": [(22, "")]}, r"PodSpec.expose\[0\]: PortRequest.protocol must be at least 1 character"),
    ({"expose": ["22"]}, r"PodSpec.expose\[0\] must be a \(port, protocol\) pair"),
    ({"expose": {22: ""}}, r"PodSpec.expose\[0\]: PortRequest.protocol must be at least 1 character"),
    ({"expose": {"ssh": 22}}, r"PodSpec.expose\[0\]: PortRequest.port must be a whole number, not str"),
    (
        {"persistent_volumes": [{}]},
        r"persistent_volumes\[0\]: PersistentVolumeRequest needs mount_path and volume_type",
    ),
    ({"persistent_volumes": [VOLUME | {"x": 1}]}, r"persistent_volumes\[0\]: PersistentVolumeRequest has no field 'x'"),
    ({"persistent_volumes": ["/data"]}, r"PodSpec.persistent_volumes\[0\] must be a PersistentVolumeRequest, or a"),
    ({"image_public_type": "PRIVATE"}, "PRIVATE needs credentials"),
    ({"image_public_type": "PRIVATE", "image_registry_username": "me"}, "PRIVATE needs credentials"),
    ({"gpu_typ": "x"}, "PodSpec has no field 'gpu_typ'; did you mean gpu_type?"),
    ({"wholly_other": "x"}, "its fields are image, gpu_type"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[row[1][:50] for row in REFUSED])
def test_a_spec_that_cannot_be_is_refused_by_field_and_limit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        PodSpec(**(SPEC | change))
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, YottaError)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mount_path": ""}, "mount_path must be at least 1"),
        ({"volume_type": None}, "volume_type must be text"),
        ({"volume_type": "System"}, "system_volume_type is required when volume_type is System"),
        ({"system_volume_type_enum": "TAPE"}, "system_volume_type_enum must be LOCAL or CEPH"),
        ({"volume_price": float("nan")}, "volume_price must be a finite number"),
        ({"volume_size": -1}, "volume_size must be between 0"),
    ],
)
def test_a_volume_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        PersistentVolumeRequest(**(VOLUME | change))


def test_the_required_fields_are_named() -> None:
    with pytest.raises(InvalidRequestError, match="PodSpec needs image and gpu_type"):
        spec_from(None, {})
    with pytest.raises(InvalidRequestError, match="takes its fields by name"):
        PodSpec("ubuntu")  # type: ignore[call-arg]  # that is the point


def test_every_field_goes_out_by_its_name_and_nothing_else() -> None:
    volume = PersistentVolumeRequest(**VOLUME, id=2**60, volume_size=5, system_volume_type_enum="CEPH")
    spec = PodSpec(
        **SPEC,
        gpu_count=8,
        pod_name="räksmörgås",
        credential_id=331864222263676928,
        image_public_type="private",
        region_list=["a", "b"],
        environment_vars={"A": "1"},
        expose=[22, (80, "HTTP"), PortRequest(port=1), {"port": 2, "protocol": "TCP"}],
        persistent_volumes=[volume],
        min_single_card_vcpu=0,
    )
    assert unstructure_spec(spec) == {
        "image": "ubuntu:24.04",
        "gpuType": "NVIDIA_L4_24G",
        "gpuCount": 8,
        "podName": "räksmörgås",
        "credentialId": 331864222263676928,
        "imagePublicType": "PRIVATE",
        "regionList": ["a", "b"],
        "environmentVars": [{"key": "A", "value": "1"}],
        "expose": [{"port": 22}, {"port": 80, "protocol": "HTTP"}, {"port": 1}, {"port": 2, "protocol": "TCP"}],
        "persistentVolumes": [
            {"mountPath": "/data", "volumeType": "NFS", "id": 2**60, "volumeSize": 5, "systemVolumeTypeEnum": "CEPH"}
        ],
        "minSingleCardVcpu": 0,
    }
    assert unstructure_spec(PodSpec(**SPEC)) == {"image": "ubuntu:24.04", "gpuType": "NVIDIA_L4_24G"}


@pytest.mark.parametrize(
    "given", [{"A": "1"}, [("A", "1")], [EnvironmentVariable("A", "1")], [{"key": "A", "value": "1"}]]
)
def test_environment_variables_are_taken_in_every_form(given: Any) -> None:
    assert PodSpec(**SPEC, environment_vars=given).environment_vars == (EnvironmentVariable("A", "1"),)


@pytest.mark.parametrize(
    "given",
    [
        {22: "SSH", 80: None},
        {"22": "SSH", "80": None},
        [(22, "SSH"), 80],
        [{"port": 22, "protocol": "SSH"}, {"port": 80}],
    ],
)
def test_ports_are_taken_in_every_form(given: Any) -> None:
    assert PodSpec(**SPEC, expose=given).expose == (PortRequest(port=22, protocol="SSH"), PortRequest(port=80))
    assert PodSpec(**SPEC, expose={"port": 22, "protocol": "SSH"}).expose == (PortRequest(port=22, protocol="SSH"),)


@pytest.mark.parametrize(
    "given",
    [
        [PersistentVolumeRequest(**VOLUME, id=5)],
        [{**VOLUME, "id": 5}],
        [{"mountPath": "/data", "volumeType": "NFS", "id": "5"}],
        {"mountPath": "/data", "volumeType": "NFS", "id": 5},
    ],
)
def test_volumes_are_taken_in_every_form(given: Any) -> None:
    assert PodSpec(**SPEC, persistent_volumes=given).persistent_volumes == (PersistentVolumeRequest(**VOLUME, id="5"),)


@pytest.mark.parametrize("cls", [PodSpec, PortRequest, PersistentVolumeRequest])
def test_constructor_keeps_its_signature(cls: type[Any]) -> None:
    parameters = inspect.signature(cls).parameters
    assert list(parameters) == [field.name for field in attrs.fields(cls)]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert "image" in pydoc.plain(pydoc.render_doc(PodSpec))


def test_redacted_spec_is_refused_until_its_secrets_are_set_again() -> None:
    secrets: dict[str, Any] = {
        "environment_vars": {"A": "hunter2"},
        "image_registry_token": "t",
        "initialization_command": "c",
    }
    for name, value in secrets.items():
        redacted = pickle.loads(pickle.dumps(PodSpec(**SPEC, **{name: value}).redacted()))
        for copied in (redacted, copy.deepcopy(redacted), attrs.evolve(redacted, gpu_count=2)):
            with pytest.raises(InvalidRequestError, match="redacted copy"):
                spec_from(copied, {})
        assert spec_from(redacted, cast("PodFields", {name: value})) == PodSpec(**SPEC, **{name: value})
    assert spec_from(PodSpec(**SPEC, environment_vars={"A": "***"}), {}).environment_vars[0].value == "***"
    assert spec_from(PodSpec(**SPEC).redacted(), {}) == PodSpec(**SPEC), "nothing was masked"


def test_a_spec_can_be_a_template() -> None:
    template = PodSpec(**SPEC, expose=[22], environment_vars={"A": "1"})
    changed = spec_from(template, PodFields(pod_name="x", expose=[80]))
    assert changed == attrs.evolve(template, pod_name="x", expose=[80])
    assert template.pod_name is None


def test_a_token_left_in_a_copied_spec_is_replaced() -> None:
    spec = PodSpec(**SPEC, environment_vars={"YOTTA_CLIENT_TOKEN": "old", "A": "1"})
    body = build_create_request(spec, "new").body
    assert body is not None
    assert b'[{"key":"A","value":"1"},{"key":"YOTTA_CLIENT_TOKEN","value":"new"}]' in body.reveal()
