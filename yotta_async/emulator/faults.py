"""Faults on order: what goes wrong, on which call, for which pod, and how often.

`emulator.faults.add(on="create", nth=2, kind="answer_lost_after_commit")`. The kinds, with the parameters of each:

- "status": answered with `http_status` (500), `code` (10002) and `message` in the API's envelope; nothing is done.
- "html_502": a proxy's HTML page with status 502; nothing is done.
- "rate_limited": status 429 with Retry-After: `seconds` (1); nothing is done.
- "redirect": status 307 to `location`, another host; nothing is done.
- "delay": the answer takes `seconds` (60) of the emulator's clock longer; then all is as usual.
- "reset_before_commit": the connection is reset; nothing is done.
- "answer_lost_after_commit": it is done, and the connection is reset instead of an answer.
- "cut_body", "bad_json", "endless_body": it is done, and the answer ends in its midst, is no JSON, or never ends.
- "list_lag": a list shows the pods as they were `seconds` (60) ago; on lists.
- "missing_from_list": a list leaves out the pods that `pod_name` means; on lists.
- "stuck": the pod that is created does not leave `state` (INITIALIZE; PAUSING, TERMINATING) by itself.
- "failed": the pod that is created turns FAILED instead of RUNNING.
- "unhealthy_port": the pod that is created runs, and none of its ports is healthy or accepts.
- "unknown_status": the pod that is created shows `status` (REBUILDING) while it is in `state` (INITIALIZE).

The last four fire on creates and stay with the pod until the fault is removed; what they held back goes on then. Of
several faults that fire on one call, the first that answers instead of doing anything is what the caller gets.
"""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

import msgspec

from yotta_async.emulator.validation import STATUS_NAMES

FaultKind: TypeAlias = Literal[
    "status",
    "html_502",
    "rate_limited",
    "redirect",
    "delay",
    "reset_before_commit",
    "answer_lost_after_commit",
    "cut_body",
    "bad_json",
    "endless_body",
    "list_lag",
    "missing_from_list",
    "stuck",
    "failed",
    "unhealthy_port",
    "unknown_status",
]
FaultTarget: TypeAlias = Literal["create", "list", "get", "pause", "resume", "delete", "any"]

_OF_LISTS = ("list_lag", "missing_from_list")
_OF_PODS = ("stuck", "failed", "unhealthy_port", "unknown_status")
_SECONDS = {"rate_limited": 1.0, "delay": 60.0, "list_lag": 60.0}
# Which parameters mean something to which kinds; one that means nothing is a mistake that nobody would notice.
_PARAMETERS = {
    "http_status": ("status",),
    "code": ("status",),
    "message": ("status",),
    "seconds": tuple(_SECONDS),
    "location": ("redirect",),
    "state": ("stuck", "unknown_status"),
    "status": ("unknown_status",),
}
_LEFT_BY_ITSELF = ("INITIALIZE", "PAUSING", "TERMINATING")
# Statuses of HTTP that have no body to put the envelope into.
_WITHOUT_BODY = (204, 205, 304)


class FaultOptions(TypedDict, total=False):
    """The arguments of `Faults.add`, which say what they mean; the same names over HTTP and in the pytest marker."""

    kind: FaultKind
    on: FaultTarget
    nth: int | Sequence[int]
    probability: float
    times: int
    pod_name: str
    http_status: int
    code: int
    message: str
    seconds: float
    location: str
    state: str
    status: str


class Fault(msgspec.Struct, kw_only=True, eq=False, forbid_unknown_fields=True):
    """One rule, and what became of it: `calls` that it was asked about, and how many times it has `fired`."""

    kind: FaultKind
    on: FaultTarget = "any"
    nth: int | tuple[int, ...] | None = None
    probability: float | None = None
    times: int | None = None
    pod_name: str = "*"
    http_status: int = 500
    code: int = 10002
    message: str = "system error"
    seconds: float = 0.0
    location: str = "https://elsewhere.example.com/"
    state: str = "INITIALIZE"
    status: str = "REBUILDING"
    id: int = 0
    calls: int = 0
    fired: int = 0
    is_active: bool = True

    def means(self, pod_name: str) -> bool:
        """Say whether the rule is about a pod of this name."""
        return fnmatch.fnmatchcase(pod_name, self.pod_name)


class Faults:
    """The rules in force, the oldest first: `for fault in emulator.faults`."""

    def __init__(self, faults: Iterable[FaultOptions] = (), seed: int = 0) -> None:
        if isinstance(faults, str | Mapping) or not isinstance(faults, Iterable):
            raise TypeError("faults must be a list of faults, such as [{'kind': 'stuck', 'nth': 1}]")
        self.on_removal: Callable[[Fault], None] = _deactivate
        self._rules: list[Fault] = []
        self._random = random.Random(seed)  # noqa: S311  # repeats on purpose
        self._last_id = 0
        for options in faults:
            self.order(options)

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._rules))

    def __len__(self) -> int:
        return len(self._rules)

    def add(self, **options: Unpack[FaultOptions]) -> Fault:
        """Order a fault, and return it, to be removed again.

        Args:
            options: `kind`: see this module. `on`: the endpoint; by default creates for the kinds that stay with a pod,
                lists for those of lists, and any endpoint for the others. `nth`: which of the calls it is about, one
                number or several; 1 is the first from now on. `probability`: how likely each of them is hit; it repeats
                with the emulator's seed. Without either, every one is. `times`: at most so many. `pod_name`: only pods
                of this name, in which * and ? stand for anything. The others are the kind's own.

        Raises ValueError for what is no fault, and names it.

        """
        return self.order(options)

    def order(self, options: Any) -> Fault:
        """Order a fault by its options as JSON has them. Raises ValueError as `add` does."""
        try:
            fault = msgspec.convert(options, Fault)
        except msgspec.ValidationError as error:
            raise ValueError(f"this is no fault: {error}") from None
        given = set(options)
        _check(fault, given)
        if "on" not in given:
            fault.on = "list" if fault.kind in _OF_LISTS else "create" if fault.kind in _OF_PODS else "any"
        if "seconds" not in given:
            fault.seconds = _SECONDS.get(fault.kind, 0.0)
        self._last_id += 1
        fault.id = self._last_id
        self._rules.append(fault)
        return fault

    def remove(self, fault: Fault | int) -> None:
        """End a fault, given itself or its id; what it did to pods ends too. ValueError when there is no such one."""
        for rule in self._rules:
            if rule is fault or (type(fault) is int and rule.id == fault):
                self.on_removal(rule)
                self._rules.remove(rule)
                return
        raise ValueError("there is no such fault")

    def clear(self) -> None:
        """End them all."""
        for rule in tuple(self._rules):
            self.remove(rule)

    def fire(self, endpoint: str, pod_name: str | None, *, is_refused: bool = False) -> tuple[Fault, ...]:
        """Return what is to go wrong with a call to an endpoint, about a pod of this name or about none.

        `is_refused`: a create that will make no pod, and so needs no fault to stay with one.
        """
        rules = [rule for rule in self._rules if not (is_refused and rule.kind in _OF_PODS)]
        return tuple(rule for rule in rules if self._fires(rule, endpoint, pod_name))

    def _fires(self, rule: Fault, endpoint: str, pod_name: str | None) -> bool:
        if rule.on not in ("any", endpoint):
            return False
        if rule.kind != "missing_from_list" and rule.pod_name != "*" and not rule.means(pod_name or ""):
            return False
        rule.calls += 1
        if rule.times is not None and rule.fired >= rule.times:
            return False
        if rule.nth is not None and rule.calls not in (rule.nth if isinstance(rule.nth, tuple) else (rule.nth,)):
            return False
        if rule.probability is not None and self._random.random() >= rule.probability:
            return False
        rule.fired += 1
        return True


def _deactivate(fault: Fault) -> None:
    fault.is_active = False


def _check(fault: Fault, given: set[str]) -> None:
    for name in ("id", "calls", "fired", "is_active"):
        if name in given:
            raise ValueError(f"{name} is the emulator's to count, not a fault's to say")
    for name, kinds in _PARAMETERS.items():
        if name in given and fault.kind not in kinds:
            raise ValueError(f"{name} means nothing to the kind {fault.kind!r}, only to {', '.join(kinds)}")
    for kinds, endpoint in ((_OF_LISTS, "list"), (_OF_PODS, "create")):
        if fault.kind in kinds and "on" in given and fault.on != endpoint:
            raise ValueError(f"the kind {fault.kind!r} happens on {endpoint!r} only, not on {fault.on!r}")
    if fault.state not in (_LEFT_BY_ITSELF if fault.kind == "stuck" else STATUS_NAMES):
        raise ValueError(f"state {fault.state!r} is none that a pod can be {fault.kind!r} in")
    if fault.kind == "list_lag" and "pod_name" in given:
        raise ValueError("a list lags for all pods: leave pod_name out")
    if not fault.status or not (fault.message + fault.status).isprintable():
        raise ValueError("status and message must be text that can be printed, and status not empty")
    if not (fault.location.isascii() and fault.location.isprintable()) or " " in fault.location or not fault.location:
        raise ValueError("location must be a URL in ASCII, without spaces")
    if not -(2**31) <= fault.code < 2**31:
        raise ValueError("code must be a whole number of 32 bits")
    numbers = fault.nth if isinstance(fault.nth, tuple) else () if fault.nth is None else (fault.nth,)
    if fault.nth == ():
        raise ValueError("nth is empty, so it would never happen")
    if any(number < 1 for number in numbers) or (fault.times is not None and fault.times < 1):
        raise ValueError("nth and times count from 1")
    if fault.nth is not None and fault.probability is not None:
        raise ValueError("a fault has an nth or a probability, not both")
    if fault.probability is not None and not 0 <= fault.probability <= 1:
        raise ValueError("probability must be between 0 and 1")
    if not 0 <= fault.seconds < float("inf"):
        raise ValueError("seconds must be a finite number and not negative")
    if not 200 <= fault.http_status <= 599 or fault.http_status in _WITHOUT_BODY:
        raise ValueError("http_status must be between 200 and 599, and one that has a body")
