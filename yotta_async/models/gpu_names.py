"""Names of GPU types. The two versions of the API name some types differently; `gpus.json` has both names.

A name that the file does not have is no mistake: the vendor may add types at any time.
"""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec

# "NVIDIA_RTX_409O_24G" has a similarity of 0.95 to its type, and "NVIDIA_V100_16G" one of 0.8 to the nearest.
_MIN_SIMILARITY = 0.85
_MAX_LENGTH = 128


class KnownGpu(msgspec.Struct, frozen=True):
    """A GPU type of gpus.json: its name in each version of the API, its name for people, and its memory in GB."""

    v1: str
    v2: str
    display_name: str
    vram: int

    def name_in(self, version: str) -> str:
        """Return the name in a version of the API, "v1" or "v2"."""
        return self.v1 if version == "v1" else self.v2


class _Catalogue(msgspec.Struct, frozen=True):
    gpu_types: tuple[KnownGpu, ...]


@functools.cache  # read on first use
def _known_gpus() -> dict[str, KnownGpu]:
    content = (Path(__file__).parents[1] / "gpus.json").read_bytes()
    catalogue = msgspec.json.decode(content, type=_Catalogue)
    return {name: gpu for gpu in catalogue.gpu_types for name in (gpu.v1, gpu.v2)}


def find_gpu(name: str) -> KnownGpu | None:
    """Return the GPU type that has this name in one of the versions, or None."""
    return _known_gpus().get(name)


def gpu_key(name: str) -> str:
    """Return a text that is the same for all names of a GPU type."""
    return gpu_type_in("v1", name)


def gpu_type_in(version: str, name: str) -> str:
    """Return the name of a GPU type in a version of the API; a name that is not known stays as it is."""
    gpu = find_gpu(name)
    return name if gpu is None else gpu.name_in(version)


def suggest_gpu_type(version: str, name: str) -> str | None:
    """Return the known GPU type that an unknown name resembles, or None if it is known or resembles none."""
    import difflib  # only errors need it

    if find_gpu(name) is not None:
        return None
    known = {_fold(form): gpu for gpu in _known_gpus().values() for form in (gpu.display_name, gpu.v1, gpu.v2)}
    folded = _fold(name[:_MAX_LENGTH])
    short = folded.removeprefix("nvidia_")  # people write H100 and RTX 4090
    similar = [short] if short in known else difflib.get_close_matches(folded, known, n=1, cutoff=_MIN_SIMILARITY)
    return known[similar[0]].name_in(version) if similar else None


def _fold(name: str) -> str:
    return name.casefold().replace(" ", "_")
