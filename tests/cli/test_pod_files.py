"""Files of pods and of variables: what they may hold, and errors that name file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from tests.cli.conftest import POD, Run
from yotta_async import PersistentVolumeRequest, PodSpec
from yotta_async.cli.pod_files import read_env_file
from yotta_async.cli.pod_specs import build_specs

MINIMAL: dict[str, Any] = {"image": "i", "gpu_type": "G"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("YOTTA_REGISTRY_TOKEN", raising=False)
    return tmp_path


def read(text: str | bytes, name: str = "fleet.yaml", count: int | None = None, **options: Any) -> list[PodSpec]:
    """Return the specs that a file in the current folder gives, together with options."""
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return build_specs(name, options, count)


def refuse(text: str | bytes, name: str = "fleet.yaml", **options: Any) -> str:
    """Return the error of a file in the current folder."""
    with pytest.raises(click.UsageError) as refused:
        read(text, name, **options)
    return refused.value.message


def get_variables(spec: PodSpec) -> dict[str, str]:
    return {variable.key: variable.value for variable in spec.environment_vars}


# Forms


@pytest.mark.usefixtures("folder")
def test_forms_of_a_file() -> None:
    [spec] = read("image: i\ngpuType: G\ncontainerVolumeInGb: 100")
    assert spec == PodSpec(**MINIMAL, container_volume_in_gb=100)
    assert read("[{image: i, gpu_type: G}]") == [PodSpec(**MINIMAL)]
    assert read('[{"image": "i", "gpu_type": "G"}]') == [PodSpec(**MINIMAL)]
    small, big = read("- &base {image: i, gpu_type: G}\n- <<: *base\n  gpu_count: 2")
    assert (small.gpu_count, big.gpu_count) == (None, 2)


@pytest.mark.usefixtures("folder")
def test_fields_beside_pods_are_shared() -> None:
    text = "region: us-east-2\ncount: 2\nimage: shared\npods:\n- {image: i, gpu_type: G, count: 1}\n- gpu_type: H\n"
    specs = read(text)
    assert [(spec.image, spec.gpu_type, spec.region) for spec in specs] == [
        ("i", "G", "us-east-2"),
        ("shared", "H", "us-east-2"),
        ("shared", "H", "us-east-2"),
    ]


@pytest.mark.usefixtures("folder")
def test_options_win_over_fields_and_variables_are_merged() -> None:
    [spec] = read(
        "image: i\ngpu_type: G\nenvironment_vars: {A: of the file, B: '2'}", gpu_type="H", env=("A=of the option",)
    )
    assert spec.gpu_type == "H"
    assert get_variables(spec) == {"A": "of the option", "B": "2"}


@pytest.mark.usefixtures("folder")
def test_option_that_wins_over_the_file_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    text = "image: i\ngpu_type: G\ncount: 2\nenvironment_vars: {A: secret}"
    read(text)
    assert capsys.readouterr().err == ""
    read(text, gpu_type="H", count=3, env=("A=hush",), name="mine")
    assert capsys.readouterr().err.splitlines() == [
        "--count wins over count in the file of --from.",
        "--env wins over variables of environment_vars in the file of --from.",
        "--gpu-type wins over gpu_type in the file of --from.",
    ]


@pytest.mark.usefixtures("folder")
def test_names_that_pods_share_are_numbered() -> None:
    specs = read("- {image: i, gpu_type: G, pod_name: a, count: 2}\n- {image: i, gpu_type: G, pod_name: b}")
    assert [spec.pod_name for spec in specs] == ["a-1", "a-2", "b"]
    assert len(read("- {image: i, gpu_type: G, pod_name: a, count: 2}", count=12)) == 12


@pytest.mark.usefixtures("folder")
def test_ports_variables_and_volumes_in_every_form() -> None:
    ports = ("[22, [8080, HTTP]]", "{22: , 8080: HTTP}", "[{port: 22}, {port: 8080, protocol: HTTP}]")
    variables = ("{A: b}", "[{key: A, value: b}]", "[[A, b]]")
    for form, pairs in zip(ports, variables, strict=True):
        [spec] = read(f"image: i\ngpu_type: G\nexpose: {form}\nenvironmentVars: {pairs}")
        assert [(each.port, each.protocol) for each in spec.expose] == [(22, None), (8080, "HTTP")]
        assert get_variables(spec) == {"A": "b"}
    [spec] = read(json.dumps({**MINIMAL, "expose": {"22": "SSH"}}), "fleet.json")
    assert spec.expose[0].port == 22
    volume = {"mountPath": "/data", "volumeType": "NFS", "id": 5}
    [spec] = read(json.dumps({**MINIMAL, "persistentVolumes": [volume]}), "fleet.json")
    assert spec.persistent_volumes == (PersistentVolumeRequest(mount_path="/data", volume_type="NFS", id="5"),)


# YAML and JSON


@pytest.mark.usefixtures("folder")
def test_yaml_is_yaml_1_2() -> None:
    [spec] = read("image: 22:22\ngpu_type: 2026-01-01\nregion: 'no'\nshm_in_gb: 1e2\npod_name: !!str 7")
    assert (spec.image, spec.gpu_type, spec.region, spec.shm_in_gb, spec.pod_name) == (
        "22:22",
        "2026-01-01",
        "no",
        100,
        "7",
    )


@pytest.mark.usefixtures("folder")
def test_json_is_read_as_json() -> None:
    for indent in (None, "\t", 2):
        [spec] = read(json.dumps({**MINIMAL, "pod_name": "job \U0001f680"}, indent=indent), "fleet.json")
        assert spec.pod_name == "job \U0001f680"
    [spec] = read('{"image": "i", "gpu_type": "\\u0047", "shm_in_gb": 1e2}', "fleet.json")
    assert (spec.gpu_type, spec.shm_in_gb) == ("G", 100)
    [spec] = read(b'\xef\xbb\xbf{"image": "i", "gpu_type": "G"}', "fleet.json")
    assert spec.image == "i"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("image: i\ngpu_type: G\nimage: secret", "line 3: the key 'image' is there twice"),
        ("image: i\ngpu_type: G\ngpuType: secret", "line 3: the field gpu_type is there twice"),
        ("image: i\ngpu_type: G\nenvironment_vars:\n  A: b\n  A: secret", "line 5: the key 'A' is there twice"),
        ("image: i\ngpu_type: G\ncolour: red", "line 3: no pod has the field 'colour'"),
        ("image: i\ngpu_typ: G", "line 2: no pod has the field 'gpu_typ'; did you mean gpu_type?"),
        ("colour: red\npods:\n- {image: i, gpu_type: G}", "line 1: no pod has the field 'colour'"),
        ("- image: i\n  gpu_type: G\n  gpu_count: 3", "line 3: gpu_count must be a power of two"),
        ("- image: i\n- image: j", "line 1: the pod needs gpu_type"),
        ("image: i\ngpu_type: G\nregion: no", "line 3: write 'no' in quotes"),
        ("image: i\ngpu_type: G\nexpose:\n- 22:22", "line 3: expose[0]"),
        ("image: i\ngpu_type: G\nexpose: [99999]", "line 3: expose[0]: port must be between 0 and 65535"),
        ("image: i\ngpu_type: G\nenvironment_vars: {P: 8080}", "line 3: environment_vars[0].value must be text"),
        ("image: i\ngpu_type: G\nenvironment_vars: [A=1]", "line 3: environment_vars is a mapping"),
        ("image: i\ngpu_type: G\nenvironment_vars: [[A, b], [A, c]]", "line 3: the variable A is there twice"),
        ("image: i\ngpu_type: G\npersistent_volumes: [{mount: a}]", "line 3: persistent_volumes"),
        ("image: i\ngpu_type: G\npersistent_volumes: [a]", "line 3: persistent_volumes[0] must be"),
        ("image: i\ngpu_type: G\ncount: 1000000000000", "line 3: count must be a whole number"),
        ("- {image: i, gpu_type: G, count: 6000}\n- {image: i, gpu_type: G, count: 6000}", "line 2: count"),
        ("image: i\ngpu_type: G\ncount: '3'", "line 3: count"),
        ("image: [i\ngpu_type: G", "line 2: this is not YAML"),
        ("image: !!python/object:os.system x\ngpu_type: G", "line 1: a value of this type"),
        ("- 7", "line 1: a pod is a mapping"),
        ("pods: {a: b}", "line 1: the fields of a pod, or a list of pods"),
        ("image: i\ngpu_type: G\n---\nimage: i", "line 3: this is not YAML"),
        ("", "the fields of a pod, or a list of pods"),
        ("hello", "the fields of a pod, or a list of pods"),
        ("{}\x00", "this is not YAML"),
        ("x: &x [*x]", "no pod has the field 'x'"),
        ("[" * 100_000, "cannot be read"),
        ("x: " + "9" * 5000, "this is not YAML"),
        (b"image: \xff", "this is not UTF-8"),
        ('{"image": "i", "gpu_type": "G"}'.encode("utf-16"), "this is not UTF-8"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("folder")
def test_errors_of_yaml_name_file_and_line(text: str | bytes, error: str) -> None:
    message = refuse(text)
    assert message.startswith("fleet.yaml")
    assert error in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"image": "i",\n\t"gpu_type": "G",\n\t"image": "secret"}', "line 3: the key 'image' is there twice"),
        ('[\n{"image": "i", "gpu_type": "G"},\n{"image": "i", "gpu_type": "G",\n"gpu_count": 3}]', "line 4: gpu_count"),
        ('{"image": "i",\n"gpu_type": "secret"\n"x"}', "line 3: this is not JSON"),
        ('{"image": "i", "gpu_type": "G", "shm_in_gb": NaN}', "shm_in_gb must be a whole number"),
        ('{"x": ' + "9" * 5000 + "}", "cannot be read as JSON"),
        ("image: i\ngpu_type: G", "line 1: this is not JSON"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_errors_of_json_name_file_and_line(text: str, error: str) -> None:
    message = refuse(text, "fleet.json")
    assert message.startswith("fleet.json")
    assert error in message
    assert "secret" not in message


@pytest.mark.usefixtures("folder")
def test_error_of_an_option_names_the_option() -> None:
    assert refuse("image: i\ngpu_type: G", gpu_count=3).startswith("--gpu-count must be a power of two")


@pytest.mark.usefixtures("folder")
def test_nested_aliases_stay_small() -> None:
    levels = [f"x{number + 1}: &x{number + 1} [{', '.join([f'*x{number}'] * 10)}]" for number in range(12)]
    assert "no pod has the field 'x0'" in refuse("x0: &x0 [a]\n" + "\n".join(levels))


# Variables


@pytest.mark.usefixtures("folder")
def test_env_file_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "of the environment")
    Path("vars.env").write_bytes(
        b'\xef\xbb\xbfA=1\n# a comment\n\nexport B = \'x y\'\nC=v # note\nD="two\\nlines"\nE="more\nlines"\nF=$A\nHERE\n'
    )
    assert read_env_file("vars.env") == {
        "A": "1",
        "B": "x y",
        "C": "v",
        "D": "two\nlines",
        "E": "more\nlines",
        "F": "$A",
        "HERE": "of the environment",
    }


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('A=1\n\nB="a" "secret"\n', "line 3: this is not KEY=VALUE"),
        ("A=1\nA=secret\n", "line 2: the variable A is there twice"),
        ("A=1\nNOT_SET_HERE\n", "line 2: the variable NOT_SET_HERE is not set here"),
        ("A=\n", "line 1: the variable A is empty"),
        (b"A=\xff", "not UTF-8"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_errors_of_env_files_name_file_and_line(text: str | bytes, error: str) -> None:
    Path("vars.env").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(click.UsageError) as refused:
        read_env_file("vars.env")
    assert refused.value.message.startswith("vars.env")
    assert error in refused.value.message
    assert "secret" not in refused.value.message


def test_env_option_is_literal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", '"quoted"')
    [spec] = build_specs(None, {**MINIMAL, "env": ('ARGS="a" --x "b"', "JSON='text'", "HERE")}, None)
    assert get_variables(spec) == {"ARGS": '"a" --x "b"', "JSON": "'text'", "HERE": '"quoted"'}


def test_registry_token_of_the_environment_goes_to_pods_that_log_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOTTA_REGISTRY_TOKEN", "of the environment")
    specs = read(
        "- {image: i, gpu_type: G, image_registry_username: u, image_registry_token: of the file}\n"
        "- {image: i, gpu_type: G, image_registry_username: u}\n"
        "- {image: i, gpu_type: G, image_registry_username: u, credential_id: 7}\n"
        "- {image: i, gpu_type: G}\n"
    )
    tokens = [spec.image_registry_token for spec in specs]
    assert tokens == ["of the file", "of the environment", None, None]
    [spec] = build_specs(None, {**MINIMAL, "registry_username": "u", "registry_token": "of the option"}, None)
    assert spec.image_registry_token == "of the option"


def test_many_pods_of_a_file_are_created(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(
        "pods:\n"
        "  - {image: ubuntu:24.04, gpu_type: NVIDIA_L4_24G, pod_name: small, count: 2}\n"
        "  - image: ubuntu:24.04\n    gpuType: NVIDIA_H100_80GB_HBM3_80G\n    podName: big\n    expose: [22, [8080, HTTP]]\n"
        "    environmentVars: {A: b}\n"
    )
    (tmp_path / "vars.env").write_text("# mine\nexport FROM_FILE='x y'\n")
    report = json.loads(
        run("pods", "create", "--from", "fleet.yaml", "--env-file", "vars.env", "--wait", "-o", "json").stdout
    )
    assert [item["pod"]["pod_name"] for item in report["items"]] == ["small-1", "small-2", "big"]
    pod = json.loads(run("pods", "get", report["items"][2]["pod_id"], "-o", "json", "--show-secrets").stdout)
    variables = {variable["key"]: variable["value"] for variable in pod["environment_vars"]}
    assert {"A": "b", "FROM_FILE": "x y"}.items() <= variables.items()
    (tmp_path / "bad.json").write_text('{"image": "secret-thing", ]')
    done = run("pods", "create", *POD, "--from", "bad.json", code=2)
    assert "bad.json, line 1" in done.stderr
    assert "secret-thing" not in done.stderr
