"""The quick way to read a pod and the thorough one agree, on whatever a server may send."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.test_models import GUIDE
from yotta_async import Pod, ProtocolError
from yotta_async.api import decode, pieces, pod_list, strict_json
from yotta_async.api.converter import StructureError, pod_from
from yotta_async.api.decode import pod_from_json, pods_in
from yotta_async.api.pieces import parse_pods
from yotta_async.api.pod_list import parse_snapshot
from yotta_async.api.wire import list_request
from yotta_async.support.secrets import Secret
from yotta_async.transport.messages import Response

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5), st.sampled_from(["RUNNING", "2025-07-04 10:29:56", "2025-07-04T10:29:56Z", ":", '"', "1751624996"]),
)  # fmt: skip
names = st.sampled_from(["id", "key", "value", "port", "proxyPort", "status", "newField", "mountPath", "extra"])
values = st.recursive(
    leaves, lambda part: st.lists(part, max_size=2) | st.dictionaries(names, part, max_size=3), max_leaves=4
)
changes = st.dictionaries(st.sampled_from([*GUIDE, "orgId", "persistentVolumes", "new"]), values, max_size=4)
parts = st.dictionaries(names, leaves, max_size=3)


def outcome(read: Any, *arguments: Any) -> Pod | None:
    try:
        pod: Pod = read(*arguments)
    except (StructureError, ValueError):
        return None
    return pod


@settings(max_examples=600, deadline=None)
@given(changes, st.lists(parts, max_size=2), st.lists(parts, max_size=2), st.booleans())
def test_both_ways_agree(change: dict[str, Any], ports: list[Any], variables: list[Any], spaced: bool) -> None:
    pod = GUIDE | {"expose": ports, "environmentVars": variables} | change
    raw = json.dumps(pod, separators=(" , ", " : ") if spaced else (",", ":"), ensure_ascii=spaced).encode()
    assert outcome(pod_from_json, raw, "data") == outcome(lambda: pod_from(strict_json.loads(raw), "data"))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"id": "1", "id": "2"}',
        b'{"id":"1","status":"RUNNING","status":"PAUSED"}',
        b'{"id":"1","podName":"a:b","podName":"c"}',
        b'{"id":"1","podName":"\\u003a","podName":"c"}',
        b'{"id":"1","expose":[{"port":1,"port":2}]}',
        b'{"id":"1","environmentVars":[{"key":"A","value":"1","value":"2"}]}',
        b'{"id":-1}',
        b'{"id":"1","orgId":-1}',
        b'{"id":"1","singleCardPrice":1e999}',
        b'{"id":"1","podName":"\xff"}',
        b'{"id":"1"} x',
        b"",
        b"[]",
        b"null",
    ],
)
def test_what_has_two_readings_or_none_is_refused_both_ways(raw: bytes) -> None:
    assert outcome(pod_from_json, raw, "data") is None
    assert outcome(lambda: pod_from(strict_json.loads(raw), "data")) is None


def pods_of(body: bytes, size: int = 2**20) -> list[str]:
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    pods = asyncio.run(parse_pods(list_request((), ()), Response(200, {}, chunks, Secret("key"))))
    return [pod.id for pod in pods]


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (b'{"message":"success","code":10000,"data":[{"id":"1"},{"id":2}]}', ["1", "2"]),
        (b'{"data" : [ {"id":"1"} ] , "code" : 10000}', ["1"]),
        (b'{"data":[{"id":"1"}],"code":10000,"more":[5]}', ["1"]),
        (b'{"page":{"data":[{"id":"9"}]},"code":10000}', []),
        (b'{"page":{"data":[{"id":"9"}]},"code":10000,"data":null}', []),
        (b'{"page":{"data":[{"id":"9"}]},"code":10000,"data":[{"id":"1"}]}', ["1"]),
        (b'{"message":"\\"data\\":[5]","code":10000,"data":[{"id":"1"}]}', ["1"]),
        (b'{"code":10000,"data":[]}', []),
        (b'{"code":10000,"data":null}', []),
        (b'{"code":10000}', []),
    ],
)
def test_a_list_is_found_wherever_it_stands(body: bytes, ids: list[str]) -> None:
    assert pods_of(body) == ids


@pytest.mark.parametrize(
    "body",
    [
        b'{"code":10000,"data":{}}',
        b'{"code":10000,"data":"[]"}',
        b'{"code":10000,"data":[{"id":"1"}],"data":[]}',
        b'{"code":10002,"code":10000,"data":[]}',
        b'{"code":10000,"data":[{"id":"1"}]',
        b'{"code":10000,"data":[{"id":"1"},]}',
        b'[{"id":"1"}]',
    ],
)
def test_what_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        pods_of(body)


NASTY = st.sampled_from(["}", '},{"id":"7"}', '"id":"3"', "},", "[{}],", "plain", "\\", "\u2028", '"3"'])


@given(
    st.lists(st.tuples(NASTY, st.booleans(), st.booleans(), st.integers(0, 19)), min_size=60, max_size=90),
    st.sets(st.integers(0, 59), min_size=1),
    st.integers(1, 20),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]),
)
def test_pods_that_are_made_together_are_those_of_the_list(
    pods: list[tuple[str, bool, bool, int]], indices: set[int], at_a_time: int, separators: tuple[str, str]
) -> None:
    data = []
    for number, (name, id_first, nested, luck) in enumerate(pods):
        named: dict[str, Any] = {"podName": name, "expose": [{"protocol": name}, {"protocol": name}] if nested else []}
        named |= {"brandNew": {"a": [name]}} if luck == 0 else {"gpuCount": "many"} if luck == 1 else {}
        data.append({"id": str(number), **named} if id_first else {**named, "id": str(number)})
    body = json.dumps({"code": 10000, "data": data}, separators=separators).encode()
    listing = parse_snapshot(list_request((), ()), Response(200, {}, [body], Secret("key")))
    wanted = sorted(indices)
    for first in range(0, len(wanted), at_a_time):
        some = wanted[first : first + at_a_time]
        listing.prepare(some)
        for index in some:
            pod = listing.pod(index)
            if pods[index][3] == 1:
                assert pod is None
            else:
                assert pod is not None
                assert (pod.id, pod.pod_name) == (str(index), pods[index][0])
                assert pod == listing.pod(index), "asked for again, it is read again"


def test_pods_that_moved_are_made_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made together is not split first; a few pods far apart are not worth making all between them."""
    body = json.dumps({"code": 10000, "data": [GUIDE | {"id": str(number)} for number in range(1000)]}).encode()
    listing = parse_snapshot(list_request((), ()), Response(200, {}, [body], Secret("key")))
    monkeypatch.setattr(pod_list, "raws_in", lambda _: pytest.fail("the list was split"))
    listing.prepare([*range(0, 60, 3), 99])
    assert [pod.id for index in (0, 57, 99) if (pod := listing.pod(index))] == ["0", "57", "99"]
    listing.prepare([100, 101])
    assert [pod.id for index in (100, 101) if (pod := listing.pod(index))] == ["100", "101"]
    listing.prepare([500, 999])
    assert not listing._made


@given(
    st.lists(st.tuples(NASTY, st.booleans(), st.integers(0, 3), st.integers(0, 9)), max_size=40),
    st.integers(1, 3000),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]),
)
def test_a_list_read_in_pieces_is_the_list(
    pods: list[tuple[str, bool, int, int]], size: int, separators: tuple[str, str]
) -> None:
    data = []
    for number, (name, id_first, volumes, luck) in enumerate(pods):
        # Volumes begin as pods do: an end of a piece among them must not be taken for one between pods.
        named: dict[str, Any] = {"podName": name, "persistentVolumes": [{"id": "7", "name": name}] * volumes}
        named |= {"brandNew": {"a": [name]}} if luck == 0 else {"gpuCount": "many"} if luck == 1 else {}
        data.append({"id": str(number), **named} if id_first else {**named, "id": str(number)})
    body = json.dumps({"code": 10000, "data": data}, separators=separators).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_PIECE", 500)
        assert pods_of(body, size) == [str(number) for number, pod in enumerate(pods) if pod[3] != 1]
        broken = body[: len(body) // 2] + b"\x00" + body[len(body) // 2 :]
        if pods:
            with pytest.raises(ProtocolError):
                pods_of(broken, size)


def test_the_loop_gets_its_turns_while_a_list_is_read() -> None:
    body = json.dumps({"code": 10000, "data": [GUIDE] * 5000}).encode()

    async def turns() -> int:
        reading = asyncio.create_task(parse_pods(list_request((), ()), Response(200, {}, [body], Secret("key"))))
        count = 0
        while not reading.done():
            await asyncio.sleep(0)
            count += 1
        assert len(await reading) == 5000
        return count

    assert asyncio.run(turns()) > 3
    assert gc.isenabled()


def test_a_field_that_the_api_adds_is_kept_and_does_not_slow_anything() -> None:
    new = GUIDE | {
        "id": "5", "newest-field": {"a": 10**30}, "expose": [{"port": 22, "tls": True}], "persistentVolumes": [{"iops": 5}]
    }  # fmt: skip
    raw = json.dumps(new).encode()
    slowly = pod_from_json(raw, "data")
    assert slowly.extra == {"newest-field": {"a": 10**30}}
    assert (slowly.expose[0].extra, slowly.persistent_volumes[0].extra) == ({"tls": True}, {"iops": 5})
    assert pods_in(b"[%b, %b]" % (raw, json.dumps(GUIDE).encode())) == [slowly, pod_from(GUIDE, "data")]
    twice = raw.replace(b'{"a": 1', b'{"a": 2, "a": 1')
    assert pods_in(b"[%b]" % twice) is None
    with pytest.raises(StructureError, match="a key twice"):
        pod_from_json(twice, "data")


def test_a_server_that_makes_fields_up_does_not_fill_the_memory() -> None:
    for number in range(300):
        made_up = {"id": "5", f"field{number}": number, "x" * 100: 1, "two\nlines": 2}
        assert pod_from_json(json.dumps(made_up).encode(), "data").extra == {
            f"field{number}": number, "x" * 100: 1, "two\nlines": 2
        }  # fmt: skip
    ways = decode._current
    assert ways is not None
    assert sum(map(len, ways.learned)) <= 64
    assert pods_in(json.dumps([GUIDE]).encode()) == [pod_from(GUIDE, "data")]


def test_a_pod_without_end_is_copied_a_few_times_and_not_for_every_chunk() -> None:
    chunks = [b'{"podName":"', *([b"x" * 1000] * 2000), b'","id":"1"}']
    joins: list[int] = []
    read = pieces._Pieces(chunks[::-1], "/list")
    cut = read._cut

    def counted(text: bytes, at: int, start: bytes) -> Any:
        joins.append(len(text))
        return cut(text, at, start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "_cut", counted)
        assert [pod.id for some in read._read for pod in some] == ["1"]
    assert len(joins) <= 12, "it is looked through again only when it has doubled"


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins with the documented fields alone."""
    monkeypatch.setattr(decode, "_current", None)
