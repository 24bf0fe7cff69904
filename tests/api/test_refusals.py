"""What a refusal means by its words: a lack of capacity, or of funds, or another refusal."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from tests.conftest import KEY, SPEC
from tests.raw_server import RawServer, envelope
from yotta_async import (
    APIError,
    BadRequestError,
    CapacityError,
    InvalidStateError,
    NotFoundError,
    PermissionDeniedError,
    PodSpec,
    RetryPolicy,
    YottaClient,
)
from yotta_async.emulator.clock import make_clock

NO_CAPACITY = [
    "insufficient capacity for NVIDIA_L4_24G", "Insufficient resources", "insufficient GPU resources", "No available GPU",
    "no available resource in region us-east-2", "Not enough GPUs available", "GPU not enough", "out of stock",
    "The GPU is sold out", "Resource is insufficient, please try later", "No GPUs of this type", "stock exhausted",
    "The requested GPU is currently unavailable.", "no matching machine", "All machines are fully rented",
    "We ran out of cards of this type",
]  # fmt: skip
# Words that one pattern alone knows.
OTHER_WORDS_FOR_NO_CAPACITY = [
    "GPUs: no enough", "lack of resources", "The region lacks of GPUs", "lacking of capacity", "shortage of GPUs",
    "GPU is not available", "GPUs are not currently available", "cards: none available", "GPUs: none free", "Of such nodes none left",
    "instances: no idle", "GPUs: no matching free", "Machines: no one remaining", "The supply has run out", "inventory exhausted",
    "Not enough instances", "insufficient node", "sold-out", "fully booked", "fully allocated", "fully occupied", "NO GPU", "Out of cards",
    "no spare machine", "no supply", "no node", "lacks of stock", "no enough resource", "SOLD OUT", "cards are unavailable", "GPUs: no available",
    "The capacity is insufficient", "no capacity", "no free card", "no instance",
]  # fmt: skip
NO_FUNDS = [
    "insufficient balance", "Insufficient balance to rent this GPU", "Not enough credits", "Your account is in arrears",
    "insufficient funds for the resources requested", "Please top up", "payment required",
    "NO FUNDS", "no credit", "a bill is overdue", "top-up needed", "topup needed", "please recharge", "fund the account",
]  # fmt: skip
OTHER = [
    "image: must not be empty", "invalid gpuType", "quota exceeded", "insufficient quota for GPUs", "a pod of this name exists",
    "insufficient permissions for this resource", "resourceType is required", "unknown region", "name is not available", "",
    "containerVolumeInGb exceeds the capacity", "load balancer error", "name is not available. Choose a GPU", "not enough; choose a GPU",
    "layout of cards", "not enough discards", f"insufficient {'x' * 50} gpu", f"gpu {'x' * 50} insufficient", "no gpuType", "unsold out",
    "GPU limit: not enough", "insufficient GPU permission", "insufficient privilege for GPUs", "not enough resource parameters",
    "not enough resource fields", "GPUs unavailable: INVALID type", "no GPU: it must be named", "no GPU: type missing", "no GPU: it is required",
    "no GPU type specified", "no GPU: unsupported type", "no GPU: type not supported", "insufficient fundamentals", "joyfully booked",
    "GPU limits: not enough", "not enough GPU permissions", "insufficient GPU privileges", "no GPU for this parameter", "no GPU for this field",
    "check out offers: GPUs", "not enough cardinality", "discards are unavailable", "cardinality: insufficient", "cards and layout of names",
    "cards to check out offers", "casino machines", "no cardinality", "rebalance pending",
]  # fmt: skip


async def refuse(server: RawServer, **answer: Any) -> APIError:
    """Return the error of a create that is refused."""
    server.answers(envelope(**answer))
    async with YottaClient(KEY, base_url=server.url, clock=make_clock("auto")) as yotta:
        with pytest.raises(APIError) as caught:
            await yotta.pods.create(**SPEC)
    return caught.value


@pytest.mark.parametrize("message", NO_CAPACITY)
async def test_words_of_a_lack_of_capacity(server: RawServer, message: str) -> None:
    for answer in ({"code": 10001}, {"code": 10001, "status": 400}, {"code": 409, "status": 409}, {"code": 15001}):
        error = await refuse(server, message=message, **answer)
        assert type(error) is CapacityError
        assert isinstance(error, BadRequestError)
        assert "fallbacks" in str(error)


@pytest.mark.parametrize("message", OTHER_WORDS_FOR_NO_CAPACITY)
async def test_other_words_of_a_lack_of_capacity(server: RawServer, message: str) -> None:
    assert type(await refuse(server, message=message, code=10001)) is CapacityError


@pytest.mark.parametrize("message", NO_FUNDS)
async def test_words_of_a_lack_of_funds(server: RawServer, message: str) -> None:
    error = await refuse(server, message=message, code=10001)
    assert type(error) is BadRequestError
    assert "Add funds" in str(error)
    assert "Add funds" in str(pickle.loads(pickle.dumps(error)))


@pytest.mark.parametrize(
    ("status", "is_about_funds"), [(402, True), (403, True), (409, True), (401, False), (429, False), (500, False)]
)
async def test_which_errors_may_be_about_funds(server: RawServer, status: int, is_about_funds: bool) -> None:
    server.answers(envelope(message="insufficient balance", code=status, status=status))
    async with YottaClient(KEY, base_url=server.url, retry=RetryPolicy(max_attempts=1)) as yotta:
        with pytest.raises(APIError) as caught:
            await yotta.pods.resume(7)
    assert ("Add funds" in str(caught.value)) == is_about_funds


@pytest.mark.parametrize("message", OTHER)
async def test_other_words_are_neither(server: RawServer, message: str) -> None:
    error = await refuse(server, message=message, code=10001)
    assert type(error) is BadRequestError
    assert "Correct the field" in str(error)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"code": 404, "status": 404}, NotFoundError),
        ({"code": 10007, "message": "record not found"}, NotFoundError),
        ({"code": 409, "status": 409, "message": "name is taken"}, InvalidStateError),
        ({"code": 12001}, InvalidStateError),
        ({"code": 403, "status": 403, "message": "not enough GPUs"}, PermissionDeniedError),
    ],
)
async def test_refusal_is_no_lack_of_capacity_by_elimination(
    server: RawServer, answer: dict[str, Any], kind: type[APIError]
) -> None:
    assert type(await refuse(server, **answer)) is kind
    server.answers(envelope(**answer))
    async with YottaClient(KEY, base_url=server.url, clock=make_clock("auto")) as yotta:
        report = await yotta.pods.create_many([PodSpec(**SPEC)], fallbacks=[{"gpu_type": "other"}])
        assert [item.attempts for item in report.items] == [1]
        with pytest.raises(kind):
            async with yotta.pods.ephemeral(**SPEC, fallbacks=[{"gpu_type": "other"}]):
                pytest.fail("it was refused")
    assert [request.method for request in server.received] == ["POST"] * 2


async def test_other_calls_do_not_lack_capacity(server: RawServer) -> None:
    server.answers(envelope(code=10001, message="insufficient capacity"))
    async with YottaClient(KEY, base_url=server.url, clock=make_clock("auto")) as yotta:
        with pytest.raises(BadRequestError) as caught:
            await yotta.pods.resume(7)
        assert type(caught.value) is BadRequestError
