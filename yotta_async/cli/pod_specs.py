"""From the options of `pods create` and the file of its --from to a PodSpec for each pod. Options win over the file."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal

import attrs
import click

from yotta_async import InvalidRequestError, PodSpec
from yotta_async.cli.pod_files import PodFields, read_env_file, read_pod_file
from yotta_async.cli.printing import echo_err

MAX_PODS = 10_000
POD_FIELDS = frozenset(field.name for field in attrs.fields(PodSpec))
# The fields whose options have another name.
FIELD_OF_OPTION = {
    "name": "pod_name",
    "init_command": "initialization_command",
    "shm_gb": "shm_in_gb",
    "container_volume_gb": "container_volume_in_gb",
    "persistent_volume_gb": "persistent_volume_in_gb",
    "registry_username": "image_registry_username",
    "registry_token": "image_registry_token",
    "env": "environment_vars",
}
OPTION_OF_FIELD = {field: option for option, field in FIELD_OF_OPTION.items()}
FALLBACK_FIELDS = {
    "gpu": "gpu_type",
    "gpu_type": "gpu_type",
    "gpu-type": "gpu_type",
    "region": "region",
    "image": "image",
}


def build_specs(path: str | None, options: Mapping[str, Any], count: int | None) -> list[PodSpec]:
    """Return a spec for each pod: from a file, each as often as its `count` says, or from options alone.

    Raises click.UsageError, which names the option, or the file and the line.
    """
    by_options = parse_pod_options(options)
    if path is None and not {"image", "gpu_type"} <= by_options.keys():
        raise click.UsageError("--image and --gpu-type say what to create, or --from a file")
    sources = [None] if path is None else read_pod_file(path, POD_FIELDS | {"count"})
    _report_overridden(sources, by_options.keys() | (set() if count is None else {"count"}))
    pods: list[tuple[dict[str, Any], PodFields | None]] = []
    for source in sources:
        fields = _merge(source, by_options)
        in_file = fields.pop("count", 1)
        times = in_file if count is None else count
        if type(times) is not int or not 1 <= times <= MAX_PODS - len(pods):
            problem = f"count must be a whole number of at least 1, and all pods together at most {MAX_PODS:,}"
            raise click.UsageError(f"--{problem}") if source is None else source.build_error(problem, "count")
        pods += [(dict(fields), source) for _ in range(times)]
    _number_names([fields for fields, _ in pods])
    return [_build_spec(fields, source, by_options) for fields, source in pods]


def _report_overridden(sources: Iterable[PodFields | None], by_options: AbstractSet[str]) -> None:
    """Print which options win over fields of the file."""
    in_file = {name for source in sources if source is not None for name in source.values}
    for field in sorted(in_file & by_options):
        fields = f"variables of {field}" if field == "environment_vars" else field
        echo_err(f"{name_option(field)} wins over {fields} in the file of --from.")


def name_option(field: str) -> str:
    """Return the option that gives a field of PodSpec."""
    return f"--{OPTION_OF_FIELD.get(field, field).replace('_', '-')}"


def parse_pod_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of PodSpec that the command's options give."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    variables, regions = _parse_variables(given.pop("env", ()), given.pop("env_file", None)), given.pop("region", ())
    fields = {FIELD_OF_OPTION.get(name, name): value for name, value in given.items()}
    if variables:
        fields["environment_vars"] = variables
    if "expose" in fields:
        fields["expose"] = [_parse_port(each) for each in fields["expose"]]
    if len(regions) == 1:
        fields["region"] = regions[0]
    elif regions:
        fields["region_list"] = regions
    return fields


def parse_fallbacks(texts: Sequence[str]) -> list[dict[str, str]] | Literal["available"]:
    """Return the changes to a pod that texts such as gpu=TYPE,region=NAME mean, or "available" for that word."""
    if [text.strip() for text in texts] == ["available"]:
        return "available"
    fallbacks = []
    for text in texts:
        change = {}
        for part in text.split(","):
            name, _, value = part.partition("=")
            if name.strip() not in FALLBACK_FIELDS or not value.strip():
                problem = f"{part!r} is not gpu=TYPE or region=NAME, nor the word available alone"
                raise click.BadParameter(problem, param_hint="--fallback")
            change[FALLBACK_FIELDS[name.strip()]] = value.strip()
        fallbacks.append(change)
    return fallbacks


def parse_prices(texts: Iterable[str]) -> dict[str, float]:
    """Return the prices, by GPU type, that texts such as GPU=USD mean."""
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


def _parse_variables(texts: Sequence[str], env_file: str | None) -> dict[str, str]:
    """Return the variables of --env, which win over those of --env-file; a shell has quoted --env already."""
    variables: dict[str, str] = {}
    for text in texts:
        key, has_value, value = text.partition("=")
        value = value if has_value else os.environ.get(key, "")
        if not key or not value:
            # Without the text: it may be a secret whose key was forgotten.
            raise click.BadParameter("a variable is KEY=VALUE, or the KEY of one that is set here", param_hint="--env")
        if key in variables:
            raise click.BadParameter(f"the variable {key} is there twice", param_hint="--env")
        variables[key] = value
    return variables if env_file is None else read_env_file(env_file) | variables


def _parse_port(text: str) -> tuple[int, str | None]:
    number, _, protocol = text.partition(":")
    if not number.isascii() or not number.isdigit() or len(number) > 5:
        raise click.BadParameter(f"{text!r} is not PORT or PORT:PROTOCOL", param_hint="--expose")
    return int(number), protocol or None


def _merge(source: PodFields | None, by_options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a file with those of options in their place; variables are merged one by one."""
    in_file = {} if source is None else {name: value for name, value in source.values.items() if value is not None}
    fields: dict[str, Any] = {**in_file, **by_options}
    if source is not None and "environment_vars" in in_file:
        variables = _index_variables(source, in_file["environment_vars"])
        fields["environment_vars"] = variables | by_options.get("environment_vars", {})
    token = os.environ.get("YOTTA_REGISTRY_TOKEN")
    # Only a pod that logs in to a registry and says no other way to gets the token.
    if (
        token
        and fields.get("image_registry_username")
        and not fields.keys() & {"image_registry_token", "credential_id"}
    ):
        fields["image_registry_token"] = token
    return fields


def _index_variables(source: PodFields, variables: Any) -> dict[str, Any]:
    """Return variables by name, from a mapping, or a list of the API's objects or of pairs."""
    items = list(variables.items()) if isinstance(variables, dict) else variables
    by_name: dict[str, Any] = {}
    for item in items if isinstance(items, list) else [items]:
        if isinstance(item, dict) and item.keys() == {"key", "value"}:
            item = (item["key"], item["value"])
        if not isinstance(item, list | tuple) or len(item) != 2 or not isinstance(item[0], str):
            form = "environment_vars is a mapping of names to values, or a list of {key: NAME, value: VALUE}"
            raise source.build_error(form, "environment_vars")
        if item[0] in by_name:
            raise source.build_error(f"the variable {item[0]} is there twice", "environment_vars")
        by_name[item[0]] = item[1]
    return by_name


def _number_names(pods: Sequence[dict[str, Any]]) -> None:
    """Add a number to names that several pods share: train-01, train-02."""
    named = [pod for pod in pods if isinstance(pod.get("pod_name"), str)]
    totals = Counter(pod["pod_name"] for pod in named)
    used: Counter[str] = Counter()
    digits = len(str(len(pods)))
    for pod in named:
        name = pod["pod_name"]
        if totals[name] > 1:
            used[name] += 1
            pod["pod_name"] = f"{name}-{used[name]:0{digits}}"


def _build_spec(fields: dict[str, Any], source: PodFields | None, by_options: Mapping[str, Any]) -> PodSpec:
    try:
        return PodSpec(**fields)
    except InvalidRequestError as error:
        problem = _strip_classes(error)
    field = re.split(r"\W", problem, maxsplit=1)[0]
    if source is not None and field not in by_options:
        raise source.build_error(problem, field)
    raise click.UsageError(f"{name_option(field)}{problem.removeprefix(field)}" if field in by_options else problem)


def _strip_classes(error: InvalidRequestError) -> str:
    """Return a message about fields without the names of Python classes."""
    text = re.sub(r"\b(?:PodSpec|PortRequest|PersistentVolumeRequest)\.", "", str(error))
    return text.replace("PodSpec", "the pod").replace("PersistentVolumeRequest", "volume")
