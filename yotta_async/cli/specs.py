"""From options and files to what pods are asked for with. Options are the API's words, files have its fields."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = [
    click.option("--image", help="The container's image, such as yottalabsai/pytorch:2.8.0."),
    click.option("--gpu-type", help="Such as NVIDIA_L4_24G."),
    click.option("--gpu-count", type=int, help="A power of two."),
    click.option("--name", help="The pod's name; of several each gets a number."),
    click.option("--region", multiple=True, help="Where it may be; may be repeated."),
    click.option(
        "--env", multiple=True, metavar="KEY=VALUE", help="An environment variable; KEY alone takes it from here."
    ),
    click.option("--env-file", type=click.Path(exists=True, dir_okay=False), help="Variables, a KEY=VALUE to a line."),
    click.option("--expose", multiple=True, metavar="PORT[:PROTOCOL]", help="A port to expose, such as 22:SSH."),
    click.option("--init-command", help="What the pod runs when it starts."),
    click.option("--shm-gb", type=int, help="Shared memory, in GB."),
    click.option("--container-volume-gb", type=int, help="The container's volume, in GB."),
    click.option("--persistent-volume-gb", type=int, help="A persistent volume, in GB; wants --persistent-mount-path."),
    click.option("--persistent-mount-path", help="Where it is mounted."),
    click.option("--image-public-type", help="PUBLIC, or PRIVATE for a registry that wants credentials."),
    click.option("--registry-username", help="Of a private registry."),
    click.option(
        "--registry-token", help="Of a private registry. Better: $YOTTA_REGISTRY_TOKEN.", envvar="YOTTA_REGISTRY_TOKEN"
    ),
    click.option("--credential-id", help="Of credentials that the account keeps."),
]
# The fields of PodSpec that an option is for, where it is not the option's own name.
_FIELDS = {
    "name": "pod_name",
    "init_command": "initialization_command",
    "shm_gb": "shm_in_gb",
    "container_volume_gb": "container_volume_in_gb",
    "persistent_volume_gb": "persistent_volume_in_gb",
    "registry_username": "image_registry_username",
    "registry_token": "image_registry_token",
}


def spec_options(command: F) -> F:
    """Let a command take what a pod is asked for with."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def fields_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of PodSpec that options give."""
    fields = {_FIELDS.get(name, name): value for name, value in options.items() if value not in (None, ())}
    variables = [*_lines(fields.pop("env_file", None)), *fields.pop("env", ())]
    if variables:
        fields["environment_vars"] = dict(_variable(each) for each in variables)
    if "expose" in fields:
        fields["expose"] = [_port(each) for each in fields["expose"]]
    regions = fields.pop("region", ())
    if len(regions) == 1:
        fields["region"] = regions[0]
    elif regions:
        fields["region_list"] = regions
    return fields


def specs_of(path: str | None, options: Mapping[str, Any], count: int | None) -> list[dict[str, Any]]:
    """Return a spec for each pod: of a file, each as often as its `count` says, or of options, which go before it."""
    from yotta_async import PodSpec  # keeps --help quick

    known = {field.name for field in attrs.fields(PodSpec)}
    fields = fields_of(options)
    specs: list[dict[str, Any]] = []
    for entry in _read(path) if path else [{}]:
        given = {_snake(name): value for name, value in entry.items()}
        times = given.pop("count", 1) if count is None else count
        given.pop("count", None)
        if type(times) is not int or times < 1:
            raise click.BadParameter("count must be a whole number of at least 1", param_hint="--from")
        unknown = sorted(set(given) - known)
        if unknown:
            raise click.BadParameter(f"{path} has fields that no pod has: {', '.join(unknown)}", param_hint="--from")
        specs += [{**given, **fields} for _ in range(times)]
    return _numbered(specs)


def fallbacks_of(texts: Iterable[str]) -> list[dict[str, str]]:
    """Return the changes that `gpu=…,region=…` means."""
    names = {"gpu": "gpu_type", "gpu_type": "gpu_type", "gpu-type": "gpu_type", "region": "region", "image": "image"}
    fallbacks = []
    for text in texts:
        change = {}
        for part in text.split(","):
            name, _, value = part.partition("=")
            if name.strip() not in names or not value.strip():
                raise click.BadParameter(f"{part!r} is not gpu=… or region=…", param_hint="--fallback")
            change[names[name.strip()]] = value.strip()
        fallbacks.append(change)
    return fallbacks


def prices_of(texts: Iterable[str]) -> dict[str, float]:
    """Return the prices that `GPU=USD` means."""
    prices = {}
    for text in texts:
        gpu_type, _, price = text.rpartition("=")
        try:
            prices[gpu_type] = float(price)
        except ValueError:
            gpu_type = ""
        if not gpu_type:
            raise click.BadParameter(f"{text!r} is not GPU=USD", param_hint="--price")
    return prices


def _numbered(specs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give pods of the same name a number each."""
    width = len(str(len(specs)))
    counts: dict[str, int] = {}
    names = [spec.get("pod_name") for spec in specs]
    for spec in specs:
        name = spec.get("pod_name")
        if isinstance(name, str) and names.count(name) > 1:
            counts[name] = counts.get(name, 0) + 1
            spec["pod_name"] = f"{name}-{counts[name]:0{width}}"
    return specs


def _read(path: str) -> list[dict[str, Any]]:
    import yaml  # not quick to import, and JSON is YAML to it

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Where, and not what: the line may hold a secret.
        mark = getattr(error, "problem_mark", None)
        where = f" beyond line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise click.BadParameter(f"{path} cannot be read{where}", param_hint="--from") from None
    if isinstance(content, dict) and isinstance(content.get("pods"), list):
        content = content["pods"]
    entries = content if isinstance(content, list) else [content]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise click.BadParameter(f"{path} must hold a pod's fields, or a list of them", param_hint="--from")
    return entries


def _snake(name: object) -> str:
    """Return a field's name as PodSpec has it, whether it comes so or as the wire has it."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", str(name)).lower()


def _lines(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError:
        raise click.BadParameter(f"{path} is not UTF-8", param_hint="--env-file") from None
    return [line.removeprefix("export ") for line in lines if line and not line.startswith("#")]


def _variable(text: str) -> tuple[str, str]:
    key, has_value, value = text.partition("=")
    if not has_value:
        value = os.environ.get(key, "")
    if not key or not value:
        # Not the text itself: it may be a secret with its key forgotten.
        raise click.BadParameter("a variable is KEY=VALUE, or the KEY of one that is set here", param_hint="--env")
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return key, value


def _port(text: str) -> tuple[int, str | None]:
    number, _, protocol = text.partition(":")
    if not number.isascii() or not number.isdigit() or len(number) > 5:
        raise click.BadParameter(f"{text!r} is not PORT or PORT:PROTOCOL", param_hint="--expose")
    return int(number), protocol or None
