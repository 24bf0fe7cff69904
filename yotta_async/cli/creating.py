"""`yotta-async pods create`: one pod or many, by options or from a file."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import click

from yotta_async import FanOutError, FanOutReport, PodSpec, PodStatus, SpendLimit, YottaClient, YottaError
from yotta_async.cli.exits import DONE, code_of, line_of
from yotta_async.cli.follow import Follower
from yotta_async.cli.output import say
from yotta_async.cli.reap import default_journal
from yotta_async.cli.settings import Settings, client
from yotta_async.cli.show import several, show_pod, show_report
from yotta_async.cli.specs import fallbacks_of, prices_of, specs_of
from yotta_async.timeline import check_ending

_WAIT = 900.0
_LAST_LOOK = 10.0
GOING = (PodStatus.TERMINATING, PodStatus.TERMINATED)


async def create(settings: Settings, options: dict[str, Any]) -> int:
    """Create, wait if that is wanted, and print what came of it."""
    path, count, waits = options.pop("path"), options.pop("count"), options.pop("wait")
    policy, fallback, max_hourly = options.pop("policy"), options.pop("fallback"), options.pop("max_hourly")
    timeline, show_secrets = options.pop("timeline"), options.pop("show_secrets")
    concurrency, volume_price = options.pop("concurrency"), options.pop("volume_price")
    prices = prices_of(options.pop("price"))
    if timeline is not None:
        check_ending(timeline)
    needed, changes = _policy(policy), fallbacks_of(fallback)
    if path is None and not (options["image"] and options["gpu_type"]):
        raise click.UsageError("--image and --gpu-type say what to create, or --from a file")
    specs = [PodSpec(**fields) for fields in specs_of(path, options, count)]
    is_one = count is None and len(specs) == 1
    follower = Follower(settings, len(specs), timeline, show_secrets=show_secrets)
    limit = None
    if max_hourly is not None:
        limit = SpendLimit(max_hourly=max_hourly, prices=prices, volume_price=volume_price)
    async with client(settings, waits=waits, journal=default_journal()) as yotta:
        try:
            async with follower.following(yotta):
                report = await yotta.pods.create_many(
                    specs,
                    until=PodStatus.RUNNING if waits else None,
                    timeout=(settings.timeout if waits else None) or _WAIT,
                    policy=needed,
                    fallbacks=changes,
                    concurrency=concurrency,
                    spend_limit=limit,
                    on_event=follower.item,
                )
                follower.finish(report)
        except FanOutError as error:
            say("The policy was not met.")
            await _tell_left(yotta, follower)
            if error.report is None:
                raise
            return show_report(settings, error.report, follower, is_one=is_one, show_secrets=show_secrets)
        except asyncio.CancelledError:
            await _tell_left(yotta, follower)
            raise
        if is_one:
            return await _show_one(settings, report, follower, yotta, show_secrets=show_secrets)
    return show_report(settings, report, follower, is_one=False, show_secrets=show_secrets)


def _policy(text: str) -> Literal["best_effort", "all_or_nothing"] | int:
    if text == "best_effort":
        return "best_effort"
    if text == "all_or_nothing":
        return "all_or_nothing"
    if text.isascii() and text.isdigit() and len(text) < 9 and int(text) > 0:
        return int(text)
    raise click.BadParameter(f"{text!r} is not best_effort, all_or_nothing or a number", param_hint="--policy")


async def _tell_left(yotta: YottaClient, follower: Follower) -> None:
    """Say which of the pods that were started are still there, now that they should be gone."""
    if not follower.rows:
        return
    try:
        async with asyncio.timeout(_LAST_LOOK):
            there = {pod.id for pod in await yotta.pods.list() if pod.status not in GOING}
    except (YottaError, TimeoutError):
        say("It cannot be seen which pods are left: `yotta-async reap` finds them.")
        return
    left = [pod_id for pod_id in follower.rows if pod_id in there]
    if left:
        say(f"Still there, and may bill: {', '.join(left)}. `yotta-async pods delete` ends them.")
    else:
        say(f"{several(len(follower.rows))} had been started; none is left.")


async def _show_one(
    settings: Settings, report: FanOutReport, follower: Follower, yotta: YottaClient, *, show_secrets: bool
) -> int:
    (item,) = report.items
    if item.error is not None:
        if item.pod_id:
            say(f"Pod {item.pod_id} is there, and may bill: `yotta-async pods delete {item.pod_id}` ends it.")
        say(f"Error: {line_of(item.error)}")
        return code_of(item.error, settings)
    pod = item.pod
    if pod is None and item.pod_id:
        try:
            pod = await yotta.pods.get(item.pod_id)
        except YottaError:
            pod = follower.rows[item.pod_id].pod  # it is made: that it cannot be seen yet is no failure
    if pod is not None:
        show_pod(settings, pod, show_secrets=show_secrets)
    return DONE
