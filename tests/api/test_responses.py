"""Envelopes, and the two ways from JSON to a pod: they agree on whatever a server may send."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.test_models import GUIDE, READABLE, UNREADABLE
from yotta_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    InvalidStateError,
    PermissionDeniedError,
    Pod,
    ProtocolError,
    RateLimitError,
    ServerError,
    YottaError,
)
from yotta_async.api.converter import DECODE_ERRORS, StructureError, parse_pod_json, pod_reader, structure
from yotta_async.api.pod_list import parse_pods, parse_snapshot
from yotta_async.api.requests import build_get_request, build_list_request
from yotta_async.api.responses import UnreadableLog, parse_created, parse_empty, parse_pod
from yotta_async.support.secrets import Secret
from yotta_async.transport.messages import Request, Response

GET, LIST, CREATE = build_get_request("7"), build_list_request((), ()), Request("POST", "/create")


def structure_pod(value: object) -> Pod:
    pod: Pod = structure(value, Pod)
    return pod


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5), st.sampled_from(["RUNNING", "2025-07-04 10:29:56", "2025-07-04T10:29:56Z", "", '"', "1751624996", "0.6"]),
)  # fmt: skip
names = st.sampled_from(["id", "key", "value", "port", "proxyPort", "status", "newField", "mountPath", "extra"])
values = st.recursive(
    leaves, lambda part: st.lists(part, max_size=2) | st.dictionaries(names, part, max_size=3), max_leaves=4
)
changes = st.dictionaries(
    st.sampled_from([*GUIDE, "orgId", "persistentVolumes", "cloudType", "new", "unreadable"]), values, max_size=4
)
parts = st.dictionaries(names, leaves, max_size=3)


def response_of(body: bytes, status: int = 200) -> Response:
    return Response(status, {}, [body], Secret("key"))


def pod_or_none(read: Any, *arguments: Any) -> Pod | None:
    try:
        pod: Pod = read(*arguments)
    except StructureError:
        return None
    return pod


@settings(max_examples=600)
@given(changes, st.lists(parts, max_size=2), st.lists(parts, max_size=2), st.booleans())
def test_struct_and_converter_agree(
    change: dict[str, Any], ports: list[Any], variables: list[Any], spaced: bool
) -> None:
    pod = GUIDE | {"expose": ports, "environmentVars": variables} | change
    raw = json.dumps(pod, separators=(" , ", " : ") if spaced else (",", ":"), ensure_ascii=spaced).encode()
    assert pod_or_none(parse_pod_json, raw) == pod_or_none(structure_pod, json.loads(raw))


@pytest.mark.parametrize(("wire", "value"), [row[:2] for row in READABLE + UNREADABLE])
def test_struct_and_converter_agree_on_every_documented_form(wire: str, value: Any) -> None:
    assert parse_pod_json(json.dumps(GUIDE | {wire: value}).encode()) == structure_pod(GUIDE | {wire: value})


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"id": "1", "id": "2"}', Pod(id="2")),
        (b'{"id":"1","podName":"a","podName":"b"}', Pod(id="1", pod_name="b")),
        (b'{"id":"1","new":1,"new":2,"podName":5,"podName":"b"}', Pod(id="1", pod_name="b", extra={"new": 2})),
    ],
)
def test_last_of_two_equal_keys_counts(raw: bytes, expected: Pod) -> None:
    assert parse_pod_json(raw) == expected == structure_pod(json.loads(raw))
    body = b'{"code":10002,"code":10000,"data":%b}' % raw
    assert parse_pod(GET, response_of(body), expected.id, UnreadableLog()) == expected


HOSTILE: dict[str, tuple[bytes, str]] = {
    "deep": (b'{"id":"7","podName":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    "not a number": (b'{"id":"7","gpuCount":NaN}', "cannot be read"),
    "infinite": (b'{"id":"7","singleCardPrice":Infinity}', "cannot be read"),
    "too large for a float": (b'{"id":"7","singleCardPrice":1e999}', "cannot be read"),
    "5,000 digits": (b'{"id":"7","gpuCount":' + b"9" * 5000 + b"}", "cannot be read"),
    "5,000 digits in an unknown field": (b'{"id":"7","new":' + b"9" * 5000 + b"}", "cannot be read"),
    "not UTF-8": (b'{"id":"7","podName":"\xff"}', "not UTF-8"),
    "not UTF-8 in an unknown field": (b'{"id":"7","new":"\xff"}', "not UTF-8"),
    "half of a surrogate pair": (rb'{"id":"7","podName":"\ud83d and more"}', "cannot be read"),
    "not JSON": (b'{"id":"7"} x', "cannot be read"),
}


@pytest.mark.parametrize(("raw", "problem"), HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_json_is_a_protocol_error(raw: bytes, problem: str) -> None:
    with pytest.raises(DECODE_ERRORS):
        parse_pod_json(raw)
    with pytest.raises(ProtocolError, match=problem) as caught:
        parse_pod(GET, response_of(b'{"code":10000,"data":%b}' % raw), "7", UnreadableLog())
    assert caught.value.__context__ is None
    listed = response_of(b'{"code":10000,"data":[{"id":"1"},%b]}' % raw)
    with pytest.raises(ProtocolError, match=problem) as caught:
        asyncio.run(parse_pods(LIST, listed, UnreadableLog()))
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"null", "cannot be read"),
        (b'{"data":[]}', "no whole number as code"),
        (b'{"code":true,"data":[]}', "no whole number as code"),
        (b'{"code":"10000","data":[]}', "no whole number as code"),
        (b'{"code":10000.0,"data":[]}', "no whole number as code"),
        (b'{"code":10000,"message":5,"data":[]}', "message is not text"),
        (b'{"code":10000,"data":[{"id":"1"}]', "cannot be read"),
        (b'{"code":10000,"data":[{"id":"1"},]}', "cannot be read"),
        (b'{"code":10000,"data":[]} {}', "cannot be read"),
        (b'{"code":' + b"9" * 5000 + b',"data":[]}', "cannot be read"),
        (b'{"code":10000,"message":"\xff","data":[]}', "not UTF-8"),
        (b'{"code":10000,"message":' + b"[" * 100_000, "nested too deeply"),
        (b'\xef\xbb\xbf{"code":10000,"data":[]}', "cannot be read"),
        (b'{"code":10000,"data":{}}', "data is not a list"),
        (b'{"code":10000,"data":"[]"}', "data is not a list"),
        (b'{"code":10000,"data":null}', "data is not a list"),
        (b'{"code":10000}', "data is not a list"),
    ],
)
def test_list_in_no_documented_envelope_is_a_protocol_error(body: bytes, problem: str) -> None:
    for parse in (parse_snapshot, lambda *given: asyncio.run(parse_pods(*given))):
        with pytest.raises(ProtocolError, match=problem) as caught:
            parse(LIST, response_of(body), UnreadableLog())
        assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "body", [b"", b"no", b'{"code":"10001","message":"no"}', b'{"code":10001,"message":5}', b'{"code":10001,"message":"no"}']
)  # fmt: skip
@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthenticationError), (403, PermissionDeniedError), (429, RateLimitError)]
)
def test_word_of_a_gateway_counts_in_any_body(status: int, kind: type[APIError], body: bytes) -> None:
    with pytest.raises(kind) as caught:
        parse_empty(GET, response_of(body, status))
    assert caught.value.http_status == status
    is_envelope = body == b'{"code":10001,"message":"no"}'
    assert (caught.value.code, caught.value.message) == ((10001, "no") if is_envelope else (None, ""))


def test_error_without_a_message_has_an_empty_one() -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_empty(GET, response_of(b'{"code":10001}'))
    assert (caught.value.code, caught.value.message) == (10001, "")


@pytest.mark.parametrize("start", [0, 1998, 5000])
def test_message_of_an_error_is_bounded_and_shows_no_part_of_the_key(start: int) -> None:
    response = Response(
        400, {}, [json.dumps({"code": 1, "message": "x" * start + "secret-key"}).encode()], Secret("secret-key")
    )
    with pytest.raises(BadRequestError) as caught:
        parse_empty(GET, response)
    assert caught.value.message == ("x" * start + "***")[:2000]


def test_content_type_of_an_error_is_bounded_and_shows_no_part_of_the_key() -> None:
    response = Response(502, {"Content-Type": "x" * 78 + "secret-key"}, [b"<html>"], Secret("secret-key"))
    with pytest.raises(ProtocolError, match=f"'{'x' * 78}[*][*]', 6 bytes"):
        parse_empty(GET, response)
    with pytest.raises(ProtocolError, match=r"HTTP 502, 'no content type', 6 bytes\)"):
        parse_empty(GET, response_of(b"<html>", 502))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, None), (201, None), (299, None), (199, APIError), (300, ProtocolError), (304, ProtocolError),
     (399, ProtocolError), (400, BadRequestError), (418, APIError), (500, ServerError)],
)  # fmt: skip
def test_success_counts_with_a_2xx_only(status: int, kind: type[YottaError] | None) -> None:
    problem = "it is a redirect" if 300 <= status < 400 else None
    for parse, data in (
        (lambda response: parse_pod(GET, response, "7", UnreadableLog()), b'{"id":"7"}'),
        (lambda response: parse_snapshot(LIST, response, UnreadableLog()).raws, b'[{"id":"7"}]'),
        (lambda response: asyncio.run(parse_pods(LIST, response, UnreadableLog())), b'[{"id":"7"}]'),
        (lambda response: parse_created(CREATE, response), b"7"),
        (lambda response: parse_empty(CREATE, response), b"null"),
    ):
        response = response_of(b'{"code":10000,"data":%b}' % data, status)
        if kind is None:
            parse(response)
        else:
            with pytest.raises(kind, match=problem) as caught:
                parse(response)
            assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "data: expected an object, got NoneType"),
        (b',"data":null', "data: expected an object, got NoneType"),
        (b',"data":[]', "data: expected an object, got list"),
        (b',"data":{"id":"8"}', "about another pod"),
        (b',"data":{"id":8,"new":1}', "about another pod"),
        (b',"data":{"id":{}}', "data: expected an id, got dict"),
    ],
)
def test_response_without_the_pod_that_was_asked_for_is_a_protocol_error(data: bytes, problem: str) -> None:
    with pytest.raises(ProtocolError, match=f"^GET /openapi/v1/pods/7: .*{problem}"):
        parse_pod(GET, response_of(b'{"code":10000%b}' % data), "7", UnreadableLog())


def test_error_code_of_a_list_counts_whatever_its_data_is() -> None:
    for data in (b"null", b"{}", b"[5]", b'"x"', b'[{"id":"1"}]'):
        with pytest.raises(InvalidStateError):
            parse_snapshot(LIST, response_of(b'{"code":12001,"data":%b}' % data), UnreadableLog())


@pytest.mark.parametrize(
    "body",
    [
        b'{"code":10000,"data":1,"data":2}',
        b'{"code":13000,"code":10000,"data":1}',
        b'{"code":10000,"data":1,"code":13000}',
        b'{"code":10000,"data":1,"more":{"a":1,"a":1}}',
    ],
)
def test_create_whose_envelope_has_two_meanings_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="a key twice"):
        parse_created(CREATE, response_of(body))
    with pytest.raises(RateLimitError):
        parse_created(CREATE, response_of(body, 429))


def test_create_is_read_as_number_and_as_text() -> None:
    assert parse_created(CREATE, response_of(b'{"code":10000,"data":331864222263676928}')).id == "331864222263676928"
    assert parse_created(CREATE, response_of(b'{"code":10000,"data":"7"}')).id == "7"
    assert parse_created(CREATE, response_of(b'{"code":10000,"data":0}')).id == "0"
    assert parse_created(CREATE, response_of(b'{"code":10000,"data":%b}' % (b"9" * 64))).id == "9" * 64
    for data in (b"null", b'""', b"1.5", b"-1", b"true", b"{}", b'{"id":7}', b'"a/b"', b"1" + b"0" * 64):
        with pytest.raises(ProtocolError, match="not the id of the new pod"):
            parse_created(CREATE, response_of(b'{"code":10000,"data":%b}' % data))
    with pytest.raises(ProtocolError):
        parse_created(CREATE, response_of(b'{"code":10000,"data":%b}' % (b"9" * 5000)))
    parse_empty(CREATE, response_of(b'{"code":10000,"data":["anything"]}'))


def test_msgspec_is_not_asked_to_guess() -> None:
    """The struct takes documented types alone: whatever it would convert, the converter's rules have to."""
    reader = msgspec.json.Decoder(pod_reader().struct)
    for odd in (
        '{"id":7}',
        '{"id":""}',
        '{"id":"7","gpuCount":"1"}',
        '{"id":"7","gpuCount":1.0}',
        '{"id":"7","new":1}',
    ):
        with pytest.raises(msgspec.ValidationError):
            reader.decode(odd)
