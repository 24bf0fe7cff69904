"""Clients other than the SDK: the vendor's own, the unchanged examples of the guide, and a fuzz by the OpenAPI document."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from yotta.error import ClientError  # type: ignore[import-untyped]  # the vendor's
from yotta.pod import PodApi  # type: ignore[import-untyped]  # likewise

from yotta_async.emulator import Emulator, Timings

GUIDE = (Path(__file__).parent.parent / "data/pods-v1.guide.txt").read_text()
CURL = re.findall(r"^curl .*?'(?=\n\n)", GUIDE, re.DOTALL | re.MULTILINE)
PYTHON = re.findall(r"^import requests\n.*?^print\(resp\.json\(\)\)$", GUIDE, re.DOTALL | re.MULTILINE)
QUICK = Timings(initialize=0.0, pausing=0.0, terminating=0.0)
SPEC: dict[str, Any] = {"image": "ubuntu:24.04", "gpu_type": "NVIDIA_L4_24G", "gpu_count": 1}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(timings=QUICK) as emulator:
        yield emulator


@pytest.fixture
def vendor(emulator: Emulator) -> Iterator[PodApi]:
    client = PodApi(emulator.api_key, base_url=emulator.url)
    yield client
    client.session.close()


def test_vendor_client_through_the_life_of_a_pod(vendor: PodApi) -> None:
    created = vendor.new_pod(
        **SPEC,
        region="us-east-2",
        cloud_type="COMMUNITY",
        pod_name="Test_from_SDK",
        official_image="OFFICIAL",
        min_single_card_ram_in_gb=50,
        environment_vars=[{"key": "A", "value": "1"}],
        expose=[{"port": 22, "protocol": "SSH"}],
    )
    assert (created["code"], created["message"], type(created["data"])) == (10000, "success", int)
    pod_id = created["data"]
    pod = vendor.get_pod(pod_id)["data"]
    assert (pod["id"], pod["status"], pod["cloudType"], pod["officialImage"]) == (
        str(pod_id), "RUNNING", "COMMUNITY", "OFFICIAL")  # fmt: skip
    assert pod["singleCardRamInGb"] == 50
    assert pod["sshCmd"] == pod["expose"][0]["ingressUrl"]
    for call, status in (
        (vendor.pause_pod, "PAUSED"),
        (vendor.resume_pod, "RUNNING"),
        (vendor.delete_pod, "TERMINATED"),
    ):
        assert call(pod_id) == {"message": "success", "code": 10000, "data": None}
        assert vendor.get_pod(pod_id)["data"]["status"] == status
    assert vendor.pause_pod(pod_id)["code"] == 12001
    assert vendor.get_pod(1)["code"] == 13000


def test_vendor_client_filters(vendor: PodApi) -> None:
    for region in ("us-east-2", "us-west-1", "us-west-1"):
        vendor.new_pod(**SPEC, region=region)
    pods = vendor.get_pods()["data"]
    vendor.pause_pod(pods[0]["id"])
    for filters, count in (
        ({}, 3), ({"status_list": [1]}, 2), ({"status_list": [1, 3]}, 3), ({"region_list": ["us-west-1"]}, 2),
        ({"region_list": ["us-west-1", "us-east-2"], "status_list": [3]}, 1), ({"regionList": ["us-east-2", "x"]}, 1),
        ({"statusList": [0, 6]}, 0),
    ):  # fmt: skip
        assert len(vendor.get_pods(**filters)["data"]) == count


def test_vendor_client_errors(vendor: PodApi, emulator: Emulator) -> None:
    with pytest.raises(ClientError) as refused:
        vendor.new_pod(**{**SPEC, "image": "x" * 256})
    assert (refused.value.status_code, refused.value.error_code) == (400, 10001)
    assert "image" in refused.value.error_message
    stranger = PodApi("wrong", base_url=emulator.url)
    with pytest.raises(ClientError) as refused:
        stranger.get_pods()
    assert refused.value.status_code == 401
    stranger.session.close()


def fill_in(text: str, emulator: Emulator, pod_id: int) -> str:
    """Replace host, key and pod id in an example, and nothing else."""
    for old, new in (
        ("https://api.yottalabs.ai", emulator.url), ("<YOUR_API_KEY>", emulator.api_key), ("331864222263676928", str(pod_id)),
    ):  # fmt: skip
        text = text.replace(old, new)
    return text


def create_pod_for(example: str, vendor: PodApi) -> int:
    pod_id: int = vendor.new_pod(**SPEC)["data"]
    if "/resume/" in example:
        vendor.get_pod(pod_id)
        vendor.pause_pod(pod_id)
    return pod_id


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("example", CURL, ids=range(len(CURL)))
def test_curl_examples_of_the_guide(example: str, emulator: Emulator, vendor: PodApi) -> None:
    command = fill_in(example, emulator, create_pod_for(example, vendor))
    output = subprocess.run(["sh", "-c", f"{command} --silent"], capture_output=True, text=True, check=True).stdout
    assert json.loads(output)["code"] == 10000


@pytest.mark.parametrize("example", PYTHON, ids=range(len(PYTHON)))
def test_python_examples_of_the_guide(example: str, emulator: Emulator, vendor: PodApi) -> None:
    script = fill_in(example, emulator, create_pod_for(example, vendor))
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "'code': 10000" in output


def test_guide_has_an_example_of_each_endpoint() -> None:
    assert (len(CURL), len(PYTHON)) == (6, 6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of the fuzzer
@pytest.mark.parametrize(("prefix", "count"), [("v1", 6), ("v2", 7), ("skypilot", 6)])
def test_fuzz_by_the_openapi_document(emulator: Emulator, prefix: str, count: int) -> None:
    import schemathesis  # takes seconds
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    checked = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    document = requests.get(f"{emulator.url}/openapi.json", timeout=5).json()
    schema: Any = schemathesis.openapi.from_dict(document)
    operations = [result.ok() for result in schema.get_all_operations()]
    fuzzed = [each for each in operations if each.definition.raw["operationId"].startswith(f"{prefix}.")]
    with requests.Session() as session:
        for operation, mode in itertools.product(fuzzed, schemathesis.GenerationMode):
            for case in generate_cases(operation, mode):
                response = case.call(base_url=emulator.url, session=session, headers={"x-api-key": emulator.api_key})
                case.validate_response(response, checks=checked)
    assert (len(fuzzed), len(operations)) == (count, 19)


def generate_cases(operation: Any, mode: object) -> list[Any]:
    """Return cases that the document allows or cases that it does not, by the mode; the seed is fixed."""
    found: list[Any] = []

    @seed(7)
    @settings(max_examples=25, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def collect(case: Any) -> None:
        found.append(case)

    collect()
    return found
