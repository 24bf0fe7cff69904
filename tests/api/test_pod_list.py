"""Lists of pods: split exactly, ids and statuses first, and pods in batches with the event loop free in between."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fixed import POD
from tests.models.test_models import GUIDE
from yotta_async import Pod
from yotta_async.api.pod_list import PodList, PodListSnapshot, parse_pods, parse_snapshot
from yotta_async.api.requests import build_list_request
from yotta_async.api.responses import UnreadableLog
from yotta_async.api.versions import V1, V2, ApiVersion
from yotta_async.support.secrets import Secret
from yotta_async.transport.messages import Response

LIST = build_list_request((), ())


def response_of(data: Any, **options: Any) -> Response:
    body = json.dumps({"message": "success", "code": 10000, "data": data}, **options).encode()
    half = len(body) // 2
    return Response(200, {}, [body[:half], body[half:]], Secret("key"))


def list_of(data: Any, **options: Any) -> PodList:
    return asyncio.run(parse_pods(LIST, response_of(data, **options), UnreadableLog()))


def snapshot_of(data: Any, **options: Any) -> PodListSnapshot:
    return parse_snapshot(LIST, response_of(data, **options), UnreadableLog())


texts = st.sampled_from(["}", '},{"id":"7"}', '"id":"3"', "},", "[{}],", "plain", "\\", "\u2028", '"data":[5]', ""])
items = st.one_of(
    st.builds(lambda text, status: {"podName": text, "status": status, "expose": [{"protocol": text}]}, texts, st.sampled_from(["RUNNING", "ODD", None, 1, {}])),
    st.builds(lambda text: {"new": {"a": [text]}, "gpuCount": "many"}, texts),
    st.just({"environmentVars": [{"key": "YOTTA_CLIENT_TOKEN", "value": "1"}]}),
    st.just({"environmentVars": {"key": "YOTTA_CLIENT_TOKEN", "value": 1}}),
    st.just(None),
)  # fmt: skip


@given(
    st.lists(st.tuples(items, st.booleans()), max_size=250),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]),
)
def test_list_and_snapshot_show_the_same_pods(pods: list[tuple[Any, bool]], separators: tuple[str, str]) -> None:
    data = [
        item if item is None else {"id": str(number), **item} if id_first else {**item, "id": number}
        for number, (item, id_first) in enumerate(pods)
    ]
    missing = sum(item is None for item in data)
    listed = list_of(data, separators=separators)
    snapshot = snapshot_of(data, separators=separators)
    assert [pod.id for pod in listed.pods] == [str(item["id"]) for item in data if item is not None]
    assert listed.unreadable_items == snapshot.unreadable_items == missing
    built = [snapshot.pod(index) for index, summary in enumerate(snapshot.summaries) if summary is not None]
    assert built == listed.pods
    assert [(each.id, each.status) for each in snapshot.summaries if each] == [
        (pod.id, pod.status) for pod in listed.pods
    ]
    found = snapshot.find_tokens()
    assert found == [("1", index) for index, item in enumerate(data) if item and "environmentVars" in item]


@pytest.mark.parametrize("odd", [{"id": ""}, {"id": None}, {"id": -1}, {"id": []}, {}, None, 7, "7"])
def test_item_without_an_id_is_no_pod_in_lists_and_snapshots(odd: Any) -> None:
    listed, snapshot = list_of([{"id": "1"}, odd]), snapshot_of([{"id": "1"}, odd])
    assert (listed.pods, listed.unreadable_items) == ([Pod(id="1")], 1)
    assert [each and each.id for each in snapshot.summaries] == ["1", None]
    assert snapshot.unreadable_items == 1
    assert snapshot.pod(1) is None


def test_snapshot_of_an_item_that_is_not_json_has_its_id_and_status() -> None:
    body = b'{"code":10000,"data":[{"id":"1","status":"RUNNING","podName":"\xff"},{"id":"2"}]}'
    snapshot = parse_snapshot(LIST, Response(200, {}, [body], Secret("key")), UnreadableLog())
    assert [(each.id, each.status) for each in snapshot.summaries if each] == [("1", "RUNNING"), ("2", None)]
    assert [snapshot.pod(0), snapshot.pod(1)] == [None, Pod(id="2")]


def test_other_tasks_run_while_a_list_is_read() -> None:
    response = response_of([GUIDE] * 5000)

    async def count_turns() -> int:
        reading = asyncio.create_task(parse_pods(LIST, response, UnreadableLog()))
        count = 0
        while not reading.done():
            await asyncio.sleep(0)
            count += 1
        assert len((await reading).pods) == 5000
        return count

    assert asyncio.run(count_turns()) >= 5000 / 100
    assert gc.isenabled()


@pytest.mark.parametrize(("version", "name"), [(V1, "podName"), (V2, "name"), (V2, "podName")])
def test_poll_of_a_list_builds_no_pod_and_splits_nothing(version: ApiVersion, name: str) -> None:
    pods = [POD | {"id": str(number)} for number in range(100)]
    pods += [{"id": "100", name: f"yotta-async-{'a' * 32}"}]
    snapshot = parse_snapshot(LIST, response_of(pods), UnreadableLog(), version)
    assert len(snapshot.summaries) == 101
    assert snapshot.find_tokens() == [("a" * 32, 100)]
    assert "raws" not in vars(snapshot)


@pytest.mark.parametrize("odd", [{}, {"gpuCount": "1"}, {"environmentVars": {}}])
def test_drawn_name_is_found_under_either_name_of_the_field(odd: dict[str, Any]) -> None:
    drawn = {"id": "7", "name": None, "podName": f"yotta-async-{'a' * 32}"}
    snapshot = parse_snapshot(LIST, response_of([drawn | odd]), UnreadableLog(), V2)
    pod = snapshot.pod(0)
    assert pod is not None
    assert snapshot.find_tokens() == [(pod.client_token, 0)] == [("a" * 32, 0)]
    assert (snapshot.may_hide_tokens, snapshot.may_hide_names) == (False, False)


def variable(key: str, value: str | None) -> dict[str, Any]:
    return {"environmentVars": [{"key": key, "value": value}]}


@pytest.mark.parametrize(
    ("item", "token_may_be_hidden", "name_may_be_hidden"),
    [
        ({"name": "mine"}, True, False),
        ({"name": None}, True, True),
        ({"name": "mine", **variable("YOTTA_CLIENT_TOKEN", "***")}, True, False),
        ({"name": f"yotta-async-{'a' * 32}"}, False, False),
        ({"name": "mine", **variable("A", "1")}, False, False),
        ({"name": None, **variable("YOTTA_CLIENT_TOKEN", "1")}, False, False),
        ({"name": "mine", "status": "TERMINATING"}, False, False),
        ({"name": None, "status": "TERMINATED"}, False, False),
        ({"name": "mine", "id": {}}, True, False),
        ({"name": "mine", "environmentVars": {}}, True, False),
    ],
)
def test_what_a_list_of_v2_may_hide(item: dict[str, Any], token_may_be_hidden: bool, name_may_be_hidden: bool) -> None:
    snapshot = parse_snapshot(LIST, response_of([{"id": 7, **item}]), UnreadableLog(), V2)
    assert (snapshot.may_hide_tokens, snapshot.may_hide_names) == (token_may_be_hidden, name_may_be_hidden)
    of_v1 = parse_snapshot(LIST, response_of([{"id": 7, **item}]), UnreadableLog(), V1)
    assert (of_v1.may_hide_tokens, of_v1.may_hide_names) == (False, False)


@pytest.mark.slow
def test_list_of_a_very_large_account() -> None:
    """An account that creates and deletes 50,000 pods a day lists them all: deleted pods stay for a day."""
    count = 60_000
    listed = list_of([POD | {"id": str(number), "status": "TERMINATED"} for number in range(count)])
    assert (len(listed.pods), listed.unreadable_items) == (count, 0)
    assert len(json.dumps(POD)) * count > 2**26, "more than the bound of before"
