"""What the API refuses: each check of a request returns the sentence of the refusal, which names the field.

Written from the API's OpenAPI document, and not with the client's models: a shared model would hide its own mistakes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

Problem: TypeAlias = str | None
Check: TypeAlias = Callable[[str, Any], Problem]

STATUS_NAMES = {0: "INITIALIZE", 1: "RUNNING", 2: "PAUSING", 3: "PAUSED", 4: "TERMINATING", 6: "FAILED"}
ALL_STATUSES = {*STATUS_NAMES.values(), "TERMINATED", "PENDING", "PREPARING"}


def _text(low: int = 0, high: int | None = None) -> Check:
    def check(name: str, value: Any) -> Problem:
        if not isinstance(value, str):
            return f"{name} must be a string"
        if len(value) < low:
            return f"{name} must not be blank"
        if high is not None and len(value) > high:
            return f"{name} size must be between {low} and {high}"
        return None

    return check


def _integer(low: int | None = None, high: int = 2**31 - 1) -> Check:
    def check(name: str, value: Any) -> Problem:
        if isinstance(value, bool) or not isinstance(value, int):
            return f"{name} must be an integer"
        if low is not None and value < low:
            return f"{name} must be greater than or equal to {low}"
        if value > high or value < -(2**63):
            return f"{name} must be less than or equal to {high}"
        return None

    return check


def _number(name: str, value: Any) -> Problem:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return None if is_number else f"{name} must be a number"


def _one_of(*names: str) -> Check:
    def check(name: str, value: Any) -> Problem:
        return None if value in names else f"{name} must be one of {', '.join(names)}"

    return check


def _gpu_count(name: str, value: Any) -> Problem:
    problem = _integer(1)(name, value)
    return problem or (f"{name} must be a power of two" if value & (value - 1) else None)


def _each(item: Check) -> Check:
    def check(name: str, value: Any) -> Problem:
        if not isinstance(value, list):
            return f"{name} must be an array"
        return next((problem for i, part in enumerate(value) if (problem := item(f"{name}[{i}]", part))), None)

    return check


def _unique_texts(name: str, value: Any) -> Problem:
    problem = _each(_text())(name, value)
    return problem or (f"{name} must hold unique items" if len(set(value)) < len(value) else None)


def _object(fields: dict[str, Check], required: Iterable[str]) -> Check:
    def check(name: str, value: Any) -> Problem:
        if not isinstance(value, dict):
            return f"{name or 'the body'} must be an object"
        prefix = f"{name}." if name else ""
        for field in required:
            if value.get(field) is None:
                return f"{prefix}{field} must not be null"
        for field, content in value.items():
            problem = fields[field](prefix + field, content) if field in fields and content is not None else None
            if problem:
                return problem
        return None

    return check


_int64 = _integer(0, 2**63 - 1)
_variable = _object({"key": _text(1), "value": _text(1)}, ("key", "value"))
_port = _object({"port": _integer(0, 65535), "protocol": _text()}, ("port",))
_volume = _object(
    {
        "id": _int64,
        "name": _text(),
        "volumeType": _text(),
        "mountMode": _text(),
        "volumeSize": _integer(),
        "volumePrice": _number,
        "mountPath": _text(1),
        "cloudStorageType": _text(),
        "systemVolumeType": _text(),
        "systemVolumeTypeEnum": _one_of("LOCAL", "CEPH"),
    },
    ("mountPath", "volumeType"),
)
_create = _object(
    {
        # The guide names OFFICIAL and CUSTOM here too, which the OpenAPI document knows only as image sources.
        "imagePublicType": _one_of("PUBLIC", "PRIVATE", "OFFICIAL", "CUSTOM"),
        "resourceType": _one_of("GPU", "CPU"),
        "region": _text(),
        "regionList": _unique_texts,
        "podName": _text(),
        "image": _text(1, 255),
        "imageRegistry": _text(),
        "credentialId": _int64,
        "imageRegistryUsername": _text(),
        "imageRegistryToken": _text(),
        "gpuType": _text(1),
        "gpuCount": _gpu_count,
        "shmInGb": _integer(1),
        "minSingleCardRamInGb": _integer(0, 1536),
        "minSingleCardVramInGb": _integer(0, 1536),
        "minSingleCardVcpu": _integer(0),
        "containerVolumeInGb": _integer(0),
        "persistentVolumeInGb": _integer(0),
        "persistentMountPath": _text(),
        "initializationCommand": _text(),
        "environmentVars": _each(_variable),
        "expose": _each(_port),
        "persistentVolumes": _each(_volume),
    },
    ("image", "gpuType"),
)


def create_problem(body: Any) -> Problem:
    """Return why the body of a create is refused, or None."""
    problem = _create("", body)
    if problem or body.get("imagePublicType") != "PRIVATE" or body.get("credentialId"):
        return problem
    for field in ("imageRegistryUsername", "imageRegistryToken"):
        if not body.get(field):
            return f"{field} must not be blank when imagePublicType is PRIVATE"
    return None


def statuses_of(values: Iterable[str]) -> set[str] | None:
    """Return the names of `statusList`, or None when a part is no status.

    The schema has integers, the guide's example names, and clients send both, also joined by commas: all are taken.
    """
    wanted = set()
    for part in (part.strip() for value in values for part in value.split(",") if part.strip()):
        name = STATUS_NAMES.get(int(part), "") if part.isascii() and part.isdigit() and len(part) < 9 else part.upper()
        if name not in ALL_STATUSES:
            return None
        wanted.add(name)
    return wanted
