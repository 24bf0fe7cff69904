"""What lists of pods, pods and reports look like in a terminal and in a notebook."""

from __future__ import annotations

import html
import pickle
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from yotta_async import FanOutReport, Pod, PodSpec, YottaClient
from yotta_async.emulator import Emulator

SPEC = PodSpec(image="ubuntu:24.04", gpu_type="NVIDIA_L4_24G", pod_name="<b>one</b>\n", environment_vars={"A": "hush"})


@pytest.fixture
async def yotta() -> AsyncIterator[YottaClient]:
    async with Emulator(clock="auto") as emulator, emulator.client() as client:
        yield client


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", page))


async def test_a_list_of_pods_has_a_line_for_each_pod(yotta: YottaClient) -> None:
    handle = await yotta.pods.create(SPEC)
    await yotta.pods.pause((await handle.wait_until()).id)
    pods = await yotta.pods.list()
    first, line = repr(pods).split("\n")
    assert first == "<1 pod: 1 PAUSING>"
    assert line.split()[:3] == [handle.id, "<b>one</b>?", "PAUSING"]
    assert "1x L4" in line
    assert pods == [pods[0]]
    assert pickle.loads(pickle.dumps(pods)) == pods


async def test_a_long_list_is_cut(yotta: YottaClient) -> None:
    await yotta.pods.create_many([SPEC] * 23)
    assert repr(await yotta.pods.list()).split("\n")[-1].strip() == "… and 3 more"
    assert repr(await yotta.pods.list(statuses=["FAILED"])) == "<0 pods>"


async def test_notebooks_show_tables_without_secrets_and_escaped(yotta: YottaClient) -> None:
    report = await yotta.pods.create_many([SPEC, SPEC], until="RUNNING")
    pods = await yotta.pods.list()
    shown: Any
    for shown in (pods, pods[0], report, SPEC):
        page = shown._repr_html_()  # the name that notebooks call
        assert page.startswith("<table>")
        assert page.endswith("</table>")
        assert "<b>" not in page
        assert "hush" not in page
        assert "<b>one</b>" in text_of(page)


async def test_a_report_in_a_notebook_names_each_error(yotta: YottaClient) -> None:
    running = await yotta.pods.create(SPEC)
    report = await yotta.pods.delete_many([running, "999"])
    assert isinstance(report, FanOutReport)
    text = text_of(report._repr_html_())
    assert "1 succeeded, 1 failed" in text
    assert "NotFoundError" in text


def test_a_pod_with_little_known_is_shown() -> None:
    text = text_of(Pod(id="7")._repr_html_())
    assert text.split() == ["Pod", "id", "7"]
