"""What the API refuses, and how: each refusal of a request is a sentence that names the field."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from yotta_async.emulator.schema import Create

STATUS_NUMBERS = {0: "INITIALIZE", 1: "RUNNING", 2: "PAUSING", 3: "PAUSED", 4: "TERMINATING", 6: "FAILED"}
STATUS_NAMES = (*STATUS_NUMBERS.values(), "TERMINATED", "PENDING", "PREPARING")

_decoder = msgspec.json.Decoder(Create)


class InvalidError(Exception):
    """The request is refused (10001), and the message says why."""


class PodMissingError(Exception):
    """There is no such pod (13000)."""


class StateError(Exception):
    """The pod's status does not allow it (12001)."""


class ScarcityError(Exception):
    """There is no GPU of that type left, or no money; the message says which."""


def read_create(body: bytes) -> Create:
    """Return what a create asks for. Raises InvalidError, which names the wrong field."""
    try:
        create = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidError(_named(str(error))) from None
    except (ValueError, RecursionError):  # msgspec's errors of form and of UTF-8 are ValueErrors
        raise InvalidError("the body must be JSON") from None
    problem = _problem(create)
    if problem:
        raise InvalidError(problem)
    return create


def _named(problem: str) -> str:
    """Put the field first in one of msgspec's sentences."""
    what, _, path = problem.partition(" - at `$.")
    missing = re.search(r"required field `(.*)`", what)
    names = [path.rstrip("`"), missing[1] if missing else ""]
    return f"{'.'.join(filter(None, names)) or 'the body'}: {'must not be null' if missing else what}"


def _problem(create: Create) -> str | None:
    """Return what is wrong between fields, or what a type cannot say."""
    count = create.gpu_count or 1
    if count & (count - 1):
        return "gpuCount: must be a power of two"  # as the vendor's clients insist
    if len(set(create.region_list or ())) < len(create.region_list or ()):
        return "regionList: must hold unique items"
    for name in ("image", "gpu_type"):
        if not getattr(create, name).strip():
            return f"{'gpuType' if name == 'gpu_type' else name}: must not be blank"
    if create.persistent_volume_in_gb and not (create.persistent_mount_path or "").strip():
        return "persistentMountPath: must not be blank with persistentVolumeInGb"  # likewise
    if create.image_public_type == "PRIVATE" and not create.credential_id:
        if not create.image_registry_username:
            return "imageRegistryUsername: must not be blank when imagePublicType is PRIVATE"
        if not create.image_registry_token:
            return "imageRegistryToken: must not be blank when imagePublicType is PRIVATE"
    return None


def statuses_of(values: Iterable[str]) -> set[str]:
    """Return the names of `statusList`. Raises InvalidError when a part is no status.

    The schema has integers, the guide's example names, and clients send both, also joined by commas: all are taken.
    """
    wanted = set()
    for part in (part.strip() for value in values for part in value.split(",") if part.strip()):
        number = int(part) if part.isascii() and part.isdigit() and len(part) < 9 else None
        name = part.upper() if number is None else STATUS_NUMBERS.get(number, "")
        if name not in STATUS_NAMES:
            raise InvalidError("statusList: must hold status codes (0 to 4, 6) or names")
        wanted.add(name)
    return wanted
