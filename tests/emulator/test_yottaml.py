"""The vendor's client for version 2, unmodified: the library yottaml, and its command line `yotta`."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from yotta_async.emulator import Emulator, Timings

pytest.importorskip("yottaml", reason="the vendor's client for v2 is not installed: pip install yottaml==0.2.0")

from yottaml.error import ClientError  # type: ignore[import-untyped]  # the vendor's
from yottaml.gpu import GpuApi  # type: ignore[import-untyped]  # likewise
from yottaml.pod import PodApi  # type: ignore[import-untyped]  # likewise

COMMAND = Path(sysconfig.get_path("scripts"), "yotta")
QUICK = Timings(initialize=0.0, pausing=0.0, terminating=0.0)
SPEC: dict[str, Any] = {"name": "trainer", "image": "ubuntu:24.04", "gpu_type": "NVIDIA_RTX_4090_24G", "gpu_count": 1}
DONE = {"message": "success", "code": 10000, "data": True}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(timings=QUICK) as emulator:
        yield emulator


@pytest.fixture
def vendor(emulator: Emulator) -> Iterator[PodApi]:
    client = PodApi(emulator.api_key, base_url=emulator.url)
    yield client
    client.session.close()


def test_library_through_the_life_of_a_pod(vendor: PodApi) -> None:
    created = vendor.new_pod(
        **SPEC,
        regions=["us-east-2", "us-west-1"],
        image_public_type="PRIVATE",
        image_registry_username="user",
        image_registry_password="secret",
        environment_vars=[{"key": "A", "value": "1"}],
        expose=[{"port": 22, "protocol": "SSH"}],
        min_single_card_ram_in_gb=100,
        persistent_volumes=[{"volumeId": 7, "mountPath": "/mnt/volume", "needBackup": False}],
    )
    assert (created["code"], created["message"]) == (10000, "success")
    pod_id = created["data"]["id"]
    pod = vendor.get_pod(pod_id)["data"]
    assert (pod["name"], pod["status"], pod["region"]) == ("trainer", "RUNNING", "us-east-2")
    assert (pod["gpuType"], pod["singleCardPrice"], pod["singleCardRamInGb"]) == ("NVIDIA_RTX_4090_24G", "0.65", 100)
    assert pod["sshCmd"] == pod["expose"][0]["ingressUrl"]
    for call, status in (
        (vendor.pause_pod, "PAUSED"),
        (vendor.resume_pod, "RUNNING"),
        (vendor.delete_pod, "TERMINATED"),
    ):
        assert call(pod_id) == DONE
        assert vendor.get_pod(pod_id)["data"]["status"] == status
    assert vendor.pause_pod(pod_id)["code"] == 12001
    assert vendor.get_pod(1)["code"] == 13000


def test_library_filters(vendor: PodApi) -> None:
    for region in ("us-east-2", "us-west-1", "us-west-1"):
        vendor.new_pod(**SPEC, regions=[region])
    vendor.pause_pod(vendor.get_pods()["data"][0]["id"])
    for filters, count in (
        ({}, 3), ({"status_list": [1]}, 2), ({"status_list": [1, 3]}, 3), ({"region_list": ["us-west-1"]}, 2),
        ({"region_list": ["us-east-2", "us-west-1"], "status_list": [3]}, 1), ({"region_list": ["elsewhere"]}, 0),
    ):  # fmt: skip
        assert len(vendor.get_pods(**filters)["data"]) == count


def test_library_errors(vendor: PodApi, emulator: Emulator) -> None:
    with pytest.raises(ClientError) as refused:
        vendor.new_pod(**SPEC | {"name": None})  # the library leaves it out, though the API requires it
    assert (refused.value.status_code, refused.value.error_code) == (400, 10001)
    assert "name" in refused.value.error_message
    stranger = PodApi("wrong", base_url=emulator.url)
    with pytest.raises(ClientError) as refused:
        stranger.get_pods()
    assert refused.value.status_code == 401
    stranger.session.close()


def test_library_lists_gpus(emulator: Emulator) -> None:
    client = GpuApi(emulator.api_key, base_url=emulator.url)
    types = {gpu["gpuType"]: gpu for gpu in client.get_gpus()["data"]}
    client.session.close()
    assert {"NVIDIA_RTX_4090_24G", "NVIDIA_RTX_5090_32G", "NVIDIA_H100_80G", "NVIDIA_A100_PCIe_80G"} <= set(types)
    assert types["NVIDIA_H100_80G"]["regions"][0]["available"] is True


class CommandLine:
    """The vendor's command `yotta`."""

    def __init__(self, emulator: Emulator) -> None:
        self._environment = {"YOTTA_API_KEY": emulator.api_key, "YOTTA_BASE_URL": emulator.url}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments], capture_output=True, text=True, timeout=30, env=self._environment, check=False
        )

    def read(self, *arguments: str) -> Any:
        """Run a command that succeeds, and return the data of the API's response."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["code"] == 10000
        return answer["data"]


@pytest.mark.skipif(not COMMAND.exists(), reason="the command yotta of yottaml is not installed beside this Python")
def test_command_line_through_the_life_of_a_pod(emulator: Emulator) -> None:
    yotta = CommandLine(emulator)
    assert yotta.read("pods", "list") == []
    options = ["--image", SPEC["image"], "--gpu-type", SPEC["gpu_type"], "--env", "A=1", "--region", "us-east-2"]
    options += ["--expose", '[{"port": 8080, "protocol": "http"}]']
    pod_id = yotta.read("pods", "create", "--name", "trainer", *options)["id"]
    assert yotta.read("pods", "get", pod_id)["expose"][0]["port"] == 8080
    for command, status in (("pause", "PAUSED"), ("resume", "RUNNING"), ("delete", "TERMINATED")):
        assert yotta.read("pods", command, pod_id) is True
        assert yotta.read("pods", "get", pod_id)["status"] == status
    yotta.read("pods", "create", "--name", "other", "--gpu-count", "2", *options)
    running = yotta.read("pods", "list", "--region", "us-east-2", "--status", "1", "--status", "3")
    assert [(pod["name"], pod["gpuCount"]) for pod in running] == [("other", 2)]
    assert len(yotta.read("gpus", "list")) >= 16
    failed = yotta.run("pods", "create", *options)  # without a name, which the command does not require
    assert (failed.returncode, failed.stdout) == (1, "")
