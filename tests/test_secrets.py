"""A key, an environment value or a registry token stands in no repr, log line, error or traceback with locals."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import pickle
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
import pytest
from rich.console import Console
from rich.pretty import Pretty
from rich.traceback import Traceback

from tests.raw_server import RawServer, envelope, http, reset, silence, silence_on
from yotta_async import (
    ConfigurationError,
    EnvironmentVariable,
    ExposedPort,
    FanOutItem,
    FanOutReport,
    InvalidRequestError,
    PersistentVolume,
    PersistentVolumeRequest,
    Pod,
    PodSpec,
    RetryPolicy,
    YottaClient,
    YottaError,
)
from yotta_async.emulator.clock import make_clock
from yotta_async.models.redaction import SECRET, Redactable, is_redacted, secret_texts
from yotta_async.support.secrets import Secret, redact

# In a list, so that no frame of a test has them as variables of their own.
SECRETS = ["sk-the-key-itself", "hunter2-the-value", "dckr_pat_the_token", "curl -H secret-in-command"]
Make = Callable[..., Awaitable[YottaClient]]


def fields(**more: Any) -> dict[str, Any]:
    return {
        "image": "me/private",
        "gpu_type": "L4",
        "image_public_type": "PRIVATE",
        "image_registry_username": "me",
        "image_registry_token": SECRETS[2],
        "environment_vars": {"PASSWORD": SECRETS[1]},
        "initialization_command": SECRETS[3],
        **more,
    }


def assert_clean(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text


def shown(error: BaseException) -> str:
    """Everything that can be printed of an error: itself, its causes, and the variables of every frame."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(report.format()) + repr(error) + str(error) + repr(vars(error)) + str(pickle.dumps(error))


async def failure_of(call: Awaitable[Any]) -> BaseException:
    """Await what must fail. The caller's frame, which is not ours to clean, is not in the traceback."""
    try:
        await call
    except BaseException as error:  # noqa: BLE001  # a cancel is one of them
        return error
    raise AssertionError("it did not fail")


def test_reprs_are_masked() -> None:
    spec = PodSpec(**fields())
    pod = Pod(
        id="7",
        environment_vars=(EnvironmentVariable("PASSWORD", SECRETS[1]),),
        initialization_command=SECRETS[3],
        extra={"imageRegistryToken": SECRETS[2]},
    )
    client = YottaClient(SECRETS[0])
    for thing in (spec, pod, spec.environment_vars, pod.environment_vars[0], client, vars(client), client.pods):
        for text in (repr(thing), str(thing), f"{thing}"):
            assert_clean(text)
    assert "PASSWORD" in repr(pod)
    assert repr(Secret(SECRETS[0])) == "Secret('***')"
    assert vars(client)["_transport"] is not None


@pytest.fixture
async def client(server: RawServer) -> AsyncIterator[YottaClient]:
    async with YottaClient(
        SECRETS[0], base_url=server.url, retry=RetryPolicy(max_attempts=2, backoff_base=0), settle_timeout=0.05
    ) as client:
        yield client


def answers(*echoed: str) -> list[Any]:
    echo = " ".join(echoed)
    pod = {"id": 7, "environmentVars": [{"key": "PASSWORD", "value": SECRETS[1]}], "gpuCount": "many"}
    return [
        reset,
        envelope(message=echo, code=10001, status=400),
        envelope(message=echo, code=10002),
        envelope(message=echo, code=1, status=401),
        http(echo.encode(), 502),
        http(echo.encode() + b'{"code"'),
        envelope({"id": echo}),
        envelope(pod),
        envelope([pod]),
        envelope({"id": 8, **pod} | {"gpuCount": 1, "id": 8}),
        http(b"", 302, {"Location": f"http://127.0.0.1:1/{SECRETS[0]}"}),
    ]


@pytest.mark.parametrize("number", range(len(answers())))
async def test_no_failure_shows_a_secret(
    server: RawServer, client: YottaClient, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers(answers(*SECRETS)[number])
    assert_clean(shown(await failure_of(client.pods.create(**fields()))))
    assert_clean(shown(await failure_of(client.pods.create(PodSpec(**fields())))))
    # What a create once said, a get does not know; the key it does.
    server.answers(answers(SECRETS[0])[number])
    assert_clean(shown(await failure_of(client.pods.get(9))))
    if number != 8:
        assert_clean(shown(await failure_of(client.pods.list())))
        assert_clean(shown(await failure_of(client.gpus.list())))
    if number not in (6, 7, 8, 9):  # for a pause these are success
        assert_clean(shown(await failure_of(client.pods.pause(9))))
    assert_clean(shown(await failure_of(client.pods.wait_until(9, timeout=0.01, poll_interval=0.001))))
    assert_clean(caplog.text)


async def test_a_timeout_and_a_cancel_show_no_secret(server: RawServer) -> None:
    clock = make_clock("auto")
    server.answers(silence_on(clock))
    async with YottaClient(
        SECRETS[0], base_url=server.url, timeout=45, retry=RetryPolicy(max_attempts=1), clock=clock
    ) as client:
        assert_clean(shown(await failure_of(client.pods.get(7))))
        assert_clean(shown(await failure_of(client.pods.create(**fields()))))
    server.answers(silence)
    async with YottaClient(SECRETS[0], base_url=server.url) as client:
        call = asyncio.create_task(client.pods.get(7))
        count = len(server.received)
        while len(server.received) == count:
            await asyncio.sleep(0)
        call.cancel()
        assert_clean(shown(await failure_of(call)))


@pytest.mark.parametrize(
    "more",
    [{"image": ""}, {"gpu_count": 3}, {"gpu_typ": "x"}, {"expose": [-1]}, {"environment_vars": {"PASSWORD": ""}},
     {"environment_vars": [EnvironmentVariable("PASSWORD", "x" * 10), "A=" + "hunter2-the-value"]},
     {"image_registry_username": None}, {"shm_in_gb": "hunter2-the-value"}, {"region_list": "hunter2-the-value"}],
)  # fmt: skip
async def test_no_refusal_shows_a_secret(client: YottaClient, more: dict[str, Any]) -> None:
    async def make() -> None:
        PodSpec(**fields(**more))

    for call in (make(), client.pods.create(**fields(**more)), client.pods.create(PodSpec(**fields()), **more)):
        error = await failure_of(call)
        assert isinstance(error, InvalidRequestError)
        # The frame of `make` above has `more`, as a caller's frame would; ours begin below it.
        first = error.__traceback__
        while first is not None and "yotta_async" not in first.tb_frame.f_code.co_filename:
            first = first.tb_next
        assert first is not None
        assert_clean(shown(error.with_traceback(first)))


def test_a_volume_shows_no_secret() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        PersistentVolumeRequest(mount_path="", volume_type="NFS", name=SECRETS[1])
    assert caught.value.__traceback__ is not None
    assert_clean(shown(caught.value.with_traceback(caught.value.__traceback__.tb_next)))


@pytest.mark.parametrize(
    "options",
    [{"base_url": "http://example.com"}, {"base_url": "https://me:hunter2-the-value@example.com"}, {"timeout": 0},
     {"base_url": "https://example.com?key=sk-the-key-itself"}, {"retry": None}, {"session_pool": 5}, {"poll_interval": -1},
     {"client_token": "hunter2-the-value"}],
)  # fmt: skip
def test_no_wrong_setting_shows_the_key(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        YottaClient(SECRETS[0], **options)
    report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    for frame in list(report.stack)[1:]:
        assert SECRETS[0] not in str(frame.locals)
    assert_clean(str(caught.value))


@pytest.mark.parametrize("key", ["sk-the-key-itself\n", "sk-the-key-itself ä", "sk-the-key-itself x"])
def test_no_wrong_key_is_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for given in (key, None):
        monkeypatch.setenv("YOTTA_API_KEY", key)
        with pytest.raises(ConfigurationError) as caught:
            YottaClient(given)
        report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        for frame in list(report.stack)[1:]:
            assert SECRETS[0] not in str(frame.locals)
        assert_clean(str(caught.value))


async def test_an_error_of_a_retried_call_shows_no_secret(server: RawServer, client: YottaClient) -> None:
    server.answers(http(b"", 429))
    error = await failure_of(client.pods.create(**fields()))
    assert isinstance(error, YottaError)
    assert len(server.received) == 2
    assert_clean(shown(error))


def test_what_overlaps_or_stands_in_json_is_scrubbed_too() -> None:
    secrets = [Secret("admin"), Secret("admin:hunter2@db"), Secret('a"b\nc'), Secret("ab")]
    said = f"bad value admin:hunter2@db near {json.dumps('a' + chr(34) + 'b' + chr(10) + 'c')} and ab"
    assert redact(said, secrets) == 'bad value *** near "***" and ab'


async def test_neither_a_header_nor_an_id_shows_a_secret(
    server: RawServer, client: YottaClient, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers(http(b"<html>", 502, {"Content-Type": f"text/html; k={SECRETS[0]}"}))
    assert_clean(shown(await failure_of(client.pods.get(7))))
    server.answers(envelope([{"id": {"x": SECRETS[1]}}]))
    assert await client.pods.list() == []
    assert "items left out of the list: 1" in caplog.text
    assert_clean(caplog.text)


def test_an_error_keeps_nothing_of_what_it_does_not_know() -> None:
    port = ExposedPort(port=1, extra={"a": SECRETS[1]})
    volume = PersistentVolume(extra={"a": SECRETS[1]})
    pod = Pod(id="7", expose=(port,), persistent_volumes=(volume,), extra={"a": SECRETS[1]})
    assert_clean(str(pickle.dumps(pod.redacted())))


async def test_what_a_callers_mapping_raises_shows_no_secret(client: YottaClient) -> None:
    class Broken(dict[str, str]):
        def items(self) -> Any:
            raise LookupError("mine")

    error = await failure_of(client.pods.create(**fields(environment_vars=Broken(A=SECRETS[1]))))
    assert isinstance(error, LookupError)
    first = error.__traceback__
    while first is not None and "yotta_async" not in first.tb_frame.f_code.co_filename:
        first = first.tb_next
    assert_clean(shown(error.with_traceback(first)))


def rich_text_of(thing: object, *, is_traceback: bool = False) -> str:
    """Everything that rich prints of a thing, or of an error's traceback with the variables of its frames."""
    console = Console(width=1000, file=io.StringIO(), color_system=None)
    if is_traceback:
        assert isinstance(thing, BaseException)
        shown = Traceback.from_exception(
            type(thing), thing, thing.__traceback__, show_locals=True, locals_max_string=10_000
        )
        console.print(shown)
    else:
        console.print(Pretty(thing))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_rich_masks_what_repr_masks() -> None:
    spec = PodSpec(**fields())
    pod = Pod(
        id="7",
        environment_vars=(EnvironmentVariable("PASSWORD", SECRETS[1]),),
        initialization_command=SECRETS[3],
        expose=(ExposedPort(port=22, extra={"new": SECRETS[2]}),),
        extra={"imageRegistryToken": SECRETS[2]},
    )
    for thing in (
        spec,
        pod,
        [spec, pod],
        spec.redacted(),
        pod.redacted(),
        FanOutReport((FanOutItem(spec=spec, pod=pod),)),
    ):
        assert_clean(rich_text_of(thing))
    assert "PASSWORD" in rich_text_of(spec)
    assert "imageRegistryToken" in rich_text_of(pod)

    def fail(spec: PodSpec, pod: Pod) -> None:
        raise RuntimeError("with variables that hold secrets")

    with pytest.raises(RuntimeError) as caught:
        fail(spec, pod)
    assert_clean(rich_text_of(caught.value, is_traceback=True))


@pytest.mark.parametrize("number", [1, 6, 7, 8])
async def test_no_failure_shows_a_secret_in_richs_tracebacks(
    server: RawServer, client: YottaClient, number: int
) -> None:
    server.answers(answers(*SECRETS)[number])
    for call in (client.pods.create(**fields()), client.pods.create(PodSpec(**fields()))):
        assert_clean(rich_text_of(await failure_of(call), is_traceback=True))


def test_a_field_is_masked_by_its_metadata_alone() -> None:
    """A model with a secret of its own, which no other line names, is masked everywhere."""

    @attrs.frozen(repr=False, kw_only=True)
    class Part(Redactable):
        name: str
        password: str | None = attrs.field(default=None, metadata=SECRET)

    @attrs.frozen(repr=False, kw_only=True)
    class Whole(Redactable):
        token: str = attrs.field(metadata=SECRET)
        parts: tuple[Part, ...] = ()

    whole = Whole(token=SECRETS[2], parts=(Part(name="a", password=SECRETS[1]), Part(name="b", password="")))
    assert repr(whole) == "Whole(token='***', parts=(Part(name='a', password='***'), Part(name='b', password='')))"
    assert_clean(rich_text_of(whole) + repr(whole.redacted()) + str(attrs.asdict(whole.redacted())))
    assert list(secret_texts(whole)) == [SECRETS[2], SECRETS[1]]
    assert (is_redacted(whole), is_redacted(whole.redacted())) == (False, True)
    assert is_redacted(attrs.evolve(whole.redacted(), token="new")), "a part is still masked"


def test_an_empty_secret_is_shown_as_empty() -> None:
    spec = PodSpec(image="a", gpu_type="b", initialization_command="")
    assert "initialization_command=''" in repr(spec)
    assert spec.redacted() == spec
    assert "value=''" in repr(EnvironmentVariable("A", ""))
