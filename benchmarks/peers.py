"""The clients that are compared: each gets one pod and lists all, typed as far as its kind goes.

`raw` is aiohttp's `get` and `read` and nothing else: what any client on aiohttp can at best come near to.
"""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import aiohttp
import httpx
import openai
import pydantic
from yotta.pod import PodApi  # type: ignore[import-untyped]  # the vendor's

from yotta_async import YottaClient
from yotta_async.models.pod import EnvironmentVariable, ExposedPort, PersistentVolume, Pod

ONE, ALL = "/openapi/v1/pods/{}", "/openapi/v1/pods/list"
BASE = "aiohttp + pydantic"
Get = Callable[[str], Awaitable[Any]]
List = Callable[[], Awaitable[Any]]


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _model(cls: type[Any], base: type[pydantic.BaseModel], **parts: type[Any]) -> Any:
    """Return a pydantic model with the same fields as ours; states and kinds are plain text, which is quicker."""
    plain = (str | None, int | None, float | None, bool | None, datetime | None)
    fields: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(cls).items():
        kind: Any = hint if hint in plain else list[parts[name]] | None if name in parts else str | None
        if name not in ("extra", "unreadable"):
            fields[_camel(name)] = (kind, None)
    return pydantic.create_model(cls.__name__, __base__=base, **fields)


def answers(base: type[pydantic.BaseModel]) -> tuple[Any, Any]:
    """Return the models of an answer with one pod, and of one with a list."""
    pod = _model(
        Pod,
        base,
        environment_vars=_model(EnvironmentVariable, base),
        expose=_model(ExposedPort, base),
        persistent_volumes=_model(PersistentVolume, base),
    )
    envelope: dict[str, Any] = {"message": (str | None, None), "code": (int, ...)}
    one = pydantic.create_model("One", __base__=base, **envelope, data=(pod, ...))
    many = pydantic.create_model("Many", __base__=base, **envelope, data=(list[pod], ...))
    return one, many


class Peers:
    """All of them, for one server: `async with Peers(url) as peers`."""

    NAMES = ("raw", "yotta_async", BASE, "httpx + pydantic", "openai's base client", "vendor's in threads")

    def __init__(self, url: str, key: str = "sk-benchmark") -> None:
        self._url, self._key = url, key
        self._open = AsyncExitStack()
        self.yotta: YottaClient
        self.get: dict[str, Get] = {}
        self.list: dict[str, List] = {}

    async def __aenter__(self) -> Peers:
        url, key, (one, many) = self._url, self._key, answers(pydantic.BaseModel)
        session = await self._open.enter_async_context(aiohttp.ClientSession(headers={"x-api-key": key}))
        yotta = await self._open.enter_async_context(YottaClient(key, base_url=url))
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        web = await self._open.enter_async_context(httpx.AsyncClient(headers={"x-api-key": key}, limits=limits))
        styled = await self._open.enter_async_context(
            openai.AsyncOpenAI(api_key=key, base_url=url, default_headers={"x-api-key": key})
        )
        styled_one, styled_many = answers(openai.BaseModel)
        vendor = PodApi(key, base_url=url)
        self._open.callback(vendor.session.close)

        async def read(path: str) -> bytes:
            async with session.get(url + path) as answer:
                return await answer.read()

        self.yotta = yotta
        self.get["raw"] = lambda pod_id: read(ONE.format(pod_id))
        self.get["yotta_async"] = yotta.pods.get
        self.list["yotta_async"] = yotta.pods.list

        async def aiohttp_get(pod_id: str) -> Any:
            return one.model_validate_json(await read(ONE.format(pod_id))).data

        async def aiohttp_list() -> Any:
            return many.model_validate_json(await read(ALL)).data

        self.get["aiohttp + pydantic"], self.list["aiohttp + pydantic"] = aiohttp_get, aiohttp_list

        async def httpx_get(pod_id: str) -> Any:
            return one.model_validate_json((await web.get(url + ONE.format(pod_id))).content).data

        async def httpx_list() -> Any:
            return many.model_validate_json((await web.get(url + ALL)).content).data

        self.get["httpx + pydantic"], self.list["httpx + pydantic"] = httpx_get, httpx_list

        async def openai_get(pod_id: str) -> Any:
            return (await styled.get(ONE.format(pod_id), cast_to=styled_one)).data

        async def openai_list() -> Any:
            return (await styled.get(ALL, cast_to=styled_many)).data

        self.get["openai's base client"], self.list["openai's base client"] = openai_get, openai_list
        self.get["vendor's in threads"] = lambda pod_id: asyncio.to_thread(vendor.get_pod, pod_id)
        self.list["vendor's in threads"] = lambda: asyncio.to_thread(vendor.get_pods)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()
