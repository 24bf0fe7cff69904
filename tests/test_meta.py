"""What holds for the package as a whole: its names, its imports, its errors, its routes, its words."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests

import yotta_async
import yotta_async.emulator
from benchmarks import tables
from benchmarks.measure import Row
from tests.conftest import PYTEST_OPTIONS
from tests.processes import start_process
from yotta_async import CreateOutcomeUnknownError, Pod, PodStatus, YottaError, errors
from yotta_async.api.endpoints import Endpoints
from yotta_async.emulator import Emulator
from yotta_async.gpus import Gpus
from yotta_async.pods import Pods

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "yotta_async"
README = (ROOT / "README.md").read_text()


def test_the_program_in_a_dask_pod_imports_nothing_of_ours() -> None:
    assert "yotta_async" not in re.findall(
        r"^\s*(?:import|from) (\w+)", (PACKAGE / "dask/bootstrap.py").read_text(), re.MULTILINE
    )


def test_what_is_public_is_exported_and_the_other_way_round() -> None:
    listed = re.findall(r"^from [.\w]+ import (\w+) as \1$", (PACKAGE / "__init__.pyi").read_text(), re.MULTILINE)
    emulated = {name for name, value in vars(yotta_async.emulator).items() if not inspect.ismodule(value)}
    for module, names in ((yotta_async, {*listed}), (yotta_async.emulator, emulated)):
        assert set(module.__all__) == {name for name in names if not name.startswith("_") or name == "__version__"}
        assert set(module.__all__) <= set(dir(module))
        assert all(getattr(module, name) is not None for name in module.__all__)
        assert list(module.__all__) == sorted(module.__all__)
    defined = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, YottaError)}
    assert defined <= set(dir(yotta_async))


def error_classes() -> list[type[YottaError]]:
    found = [YottaError]
    for kind in found:
        found += kind.__subclasses__()
    return found


@pytest.mark.parametrize("kind", error_classes())
def test_every_error_pickles_with_all_that_it_holds(kind: type[YottaError]) -> None:
    kept = inspect.signature(kind).parameters if inspect.isfunction(kind.__init__) else ()
    names = [name for name in kept if name not in ("message", "args", "kwargs")]
    given: dict[str, Any] = {name: (("RUNNING", 1.5),) if name == "history" else f"a {name}" for name in names}
    if "retry_after" in given:
        given["retry_after"] = 7.5
    if "last_pod" in given:
        given["last_pod"] = Pod(id="7")
    if "report" in given:
        given["report"] = yotta_async.FanOutReport(())
    error = kind("what happened", **given)
    error.add_note("and a note")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), copy.args, vars(copy)) == (str(error), error.args, vars(error))


def test_an_unpickled_create_error_says_that_it_cannot_look() -> None:
    error = CreateOutcomeUnknownError("lost", client_token="abc")
    error.resolver = lambda: asyncio.sleep(0, None)
    copy = pickle.loads(pickle.dumps(error))
    with pytest.raises(yotta_async.ConfigurationError, match="no longer bound to a client"):
        asyncio.run(copy.resolve())


async def test_every_endpoint_of_the_client_exists_in_the_emulator_and_in_the_specification() -> None:
    paths = json.loads((ROOT / "tests/data/pods-v1.openapi.json").read_text())["paths"]
    async with (
        Emulator() as emulator,
        aiohttp.ClientSession() as session,
        session.get(f"{emulator.url}/openapi.json") as response,
    ):
        emulated_paths = (await response.json())["paths"]
    specified, emulated = (
        {(method.upper(), re.sub(r"\{.*\}", "{}", path)) for path, methods in document.items() for method in methods}
        for document in (paths, emulated_paths)
    )
    functions = [function for kind in (Pods, Gpus) for _, function in inspect.getmembers(kind, inspect.isfunction)]
    docs = " ".join(function.__doc__ or "" for function in functions)
    documented = re.findall(r"Source: (GET|POST|DELETE) (\S+)\.", docs)
    ours = {(method, re.sub(r"\{.*\}", "{}", path)) for method, path in documented}
    assert ours <= emulated
    assert specified == {(method, path) for method, path in ours if path.startswith("/openapi/v1/")}
    calls = {name for name, _ in inspect.getmembers(Endpoints, inspect.isfunction) if not name.startswith("_")}
    assert calls - {"check", "check_spec", "draws_name", "get_once", "snapshot", "snapshot_once"} == {
        "create",
        "get",
        "list",
        "list_gpu_types",
        "pause",
        "resume",
        "delete",
    }


# A stranger's program, checked from a folder of its own as a stranger would.
GOOD = """
    import asyncio
    from collections.abc import Sequence
    from yotta_async import (
        CreateOutcomeUnknownError, EnvironmentVariable, Pod, PodHandle, PodSpec, PodStatus, PortRequest, RetryPolicy,
        SessionPool, WaitTimeoutError, YottaClient,
    )
    from yotta_async.emulator import Emulator, Timings

    def note(pod: Pod) -> None:
        print(pod.id, pod.status, pod.hourly_price, pod.extra)

    async def note_later(pod: Pod) -> None:
        note(pod)

    async def main() -> None:
        spec = PodSpec(image="a", gpu_type="b", expose=[22, (80, "HTTP"), PortRequest(port=1)], environment_vars={"A": "1"},
                       resource_type="GPU", credential_id=5)
        async with SessionPool(limit=5) as pool, YottaClient(
            "key", base_url="https://example.com", timeout=5, retry=RetryPolicy(max_attempts=2), session_pool=pool
        ) as yotta:
            handle: PodHandle = await yotta.pods.create(spec, gpu_count=2)
            try:
                await yotta.pods.create(image="a", gpu_type="b", environment_vars=[EnvironmentVariable("A", "1")])
            except CreateOutcomeUnknownError as error:
                found: PodHandle | None = await error.resolve()
                print(found, error.client_token)
            pod: Pod = await handle.wait_until(status=PodStatus.RUNNING, timeout=5, on_change=note)
            try:
                pod = await yotta.pods.wait_until(pod, status="PAUSED", on_change=note_later)
            except WaitTimeoutError as timeout:
                history: Sequence[tuple[PodStatus | None, float]] = timeout.history
                print(history)
            pods: list[Pod] = await yotta.pods.list(statuses=[PodStatus.RUNNING, "PAUSED", 1], regions=("a",))
            for each in pods:
                if each.status is not None and not each.status.is_terminal:
                    await yotta.pods.delete(each, missing_ok=True)
            for offer in await yotta.gpus.list(region="us-east-1"):
                price: float | None = offer.hourly_price
                print(offer.gpu_type, price, [region.name for region in offer.regions if region.is_available])
            await yotta.pods.create_many([spec], fallbacks="available")
            port = pod.port(22)
            print(port.host if port else None, await yotta.pods.get(7))
        async with Emulator(clock="manual", timings=Timings(initialize=5)) as emulator, emulator.client() as other:
            await emulator.clock.advance(5)
            await other.pods.list()

    asyncio.run(main())
"""
BAD = [
    "await yotta.pods.create(image=5, gpu_type='b')",
    "await yotta.pods.create(image='a', gpu_typ='b')",
    "await yotta.pods.create(image='a', gpu_type='b', gpu_count='many')",
    "await yotta.pods.create('a')",
    "PodSpec(image='a')",
    "PodSpec(image='a', gpu_type='b', expose=22)",
    "PodSpec(image='a', gpu_type='b', environment_vars={'A': 1})",
    "await yotta.pods.get(1.5)",
    "await yotta.pods.list(statuses=[1.5])",
    "await yotta.gpus.list(region=['a'])",
    "await yotta.pods.create_many([], fallbacks='availible')",
    "await yotta.pods.wait_until('7', status=None)",
    "await yotta.pods.wait_until('7', on_change='print')",
    "await yotta.pods.wait_until('7', until='RUNNING')",
    "(await yotta.pods.get('7')).pod_nam",
    "x: int = await yotta.pods.get('7')",
    "x: str = (await yotta.pods.get('7')).hourly_price",
    "YottaClient(5)",
    "YottaClient(timeout='5')",
    "YottaClient(retry=4)",
    "RetryPolicy(max_attempts='4')",
    "SessionPool(limit='5')",
]


def test_a_strangers_program_is_type_checked(tmp_path: Path) -> None:
    lines = [
        "from yotta_async import *",
        "async def main(yotta: YottaClient) -> None:",
        *(f"    {line}" for line in BAD),
    ]
    (tmp_path / "good.py").write_text(textwrap.dedent(GOOD))
    (tmp_path / "bad.py").write_text("\n".join(lines) + "\n")
    cache = ["--cache-dir", str(ROOT / ".mypy_cache")]
    options = ["--strict", "--no-error-summary", "--config-file", "", *cache]
    command = [sys.executable, "-m", "mypy", *options, str(tmp_path / "good.py"), str(tmp_path / "bad.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = done.stdout
    assert done.stderr == ""
    assert "good.py" not in report, report
    wrong = {int(number) for number in re.findall(r"bad\.py:(\d+): error", report)}
    missed = [line for number, line in enumerate(BAD, 3) if number not in wrong]
    assert missed == [], report


# Frameworks that the test extra does not have, by what is imported. `agents` is the OpenAI Agents SDK.
FRAMEWORKS = {"agents", "distributed", "langchain", "pydantic_ai"}


def find_frameworks(program: str) -> set[str]:
    """Return the frameworks that a program imports."""
    return FRAMEWORKS.intersection(re.findall(r"^ *(?:from|import) (\w+)", program, re.MULTILINE))


def skip_without_frameworks(program: str) -> None:
    if missing := [name for name in sorted(find_frameworks(program)) if importlib.util.find_spec(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}: pip install -e '.[test-all]'")


EXAMPLES = [
    pytest.param(path, id=path.name, marks=() if path.name == "quickstart.py" else pytest.mark.slow)
    for path in sorted((ROOT / "examples").rglob("*.py"))
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_runs(example: Path) -> None:
    skip_without_frameworks(example.read_text())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("YOTTA_")}
    done = subprocess.run(
        [sys.executable, example], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


# Every guide with Python blocks. Those of the emulator's are run by tests/emulator/test_readme.py.
GUIDES = (
    ROOT / "README.md",
    ROOT / ".github/CONTRIBUTING.md",
    *sorted((ROOT / "examples").rglob("*.md")),
    *(guide for guide in sorted(PACKAGE.rglob("README.md")) if guide.parent.name != "emulator"),
)
# "<!-- needs: NAME -->" above a block names a package that the test extra does not have.
BLOCK = re.compile(r"(?:<!-- needs: (\w+) -->\n)?```python\n(.*?)```", re.DOTALL)
BLOCKS = [
    pytest.param(
        needed,
        block,
        id=f"{guide.relative_to(ROOT)}-{number}",
        marks=() if guide == ROOT / "README.md" else pytest.mark.slow,  # each starts a process, and polls in real time
    )
    for guide in GUIDES
    for number, (needed, block) in enumerate(BLOCK.findall(guide.read_text()))
]
# A notebook runs `await` at the top of a cell.
NOTEBOOK = """
import ast, asyncio, pathlib
code = compile(pathlib.Path("test_block.py").read_text(), "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
asyncio.run(eval(code))
"""


def command_for(block: str) -> list[str]:
    """Return the arguments of the interpreter for a block: a test, a cell of a notebook, or a program."""
    if "def test_" in block:
        return ["-m", "pytest", "-q", "-c", os.devnull, *PYTEST_OPTIONS, "test_block.py"]
    return (
        ["-c", NOTEBOOK]
        if re.search("^(.* )?await ", block, re.MULTILINE) and "def " not in block
        else ["test_block.py"]
    )


@contextmanager
def served_by_the_command_line(*options: str) -> Iterator[dict[str, str]]:
    """Serve as a reader would who has no account, and yield the variables that the command says to export."""
    command = [sys.executable, "-c", "from yotta_async.cli import main; main()", "emulator", "--port", "0", *options]
    with start_process(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as served:
        assert served.stdout is not None
        served.stdout.readline()
        yield dict(pair.split("=", 1) for pair in served.stdout.readline().split()[1:])
        served.send_signal(signal.SIGINT)
        assert served.wait(10) == 0
        assert "Answered" in served.stdout.read()


@pytest.fixture(scope="module")
def simulated() -> Iterator[dict[str, str]]:
    with served_by_the_command_line("--control") as variables:
        yield variables


@pytest.mark.parametrize(("needed", "block"), BLOCKS)
def test_every_block_of_the_guides_runs(needed: str, block: str, tmp_path: Path, simulated: dict[str, str]) -> None:
    skip_without_frameworks(block)
    if needed:
        pytest.importorskip(needed, reason=f"the block needs {needed}, which the test extra does not have")
    requests.post(
        simulated["YOTTA_BASE_URL"] + "/_emulator/reset", headers={"x-api-key": simulated["YOTTA_API_KEY"]}, timeout=10
    ).raise_for_status()
    (tmp_path / "test_block.py").write_text(block)
    with served_by_the_command_line("--runtime", "process") if "PodCluster" in block else nullcontext(simulated) as api:
        done = subprocess.run(
            [sys.executable, *command_for(block)],
            capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
            env=os.environ | {"DASK_LOGGING__DISTRIBUTED": "warning"} | api,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    "guide", [*GUIDES, ROOT / "benchmarks/README.md", PACKAGE / "emulator/README.md"], ids=lambda path: path.parent.name
)
def test_every_link_of_the_guides_leads_somewhere(guide: Path) -> None:
    prose = re.sub(r"```.*?```", "", guide.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]*)\)", prose):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        file = guide.parent / path if path else guide
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, target


def test_the_benchmarks_readme_has_the_figures_of_the_results() -> None:
    document = json.loads((ROOT / "benchmarks/results.json").read_text())
    figures = tables.build_tables(document, [Row(**row) for row in document["rows"]])
    readme = (ROOT / "benchmarks/README.md").read_text()
    assert tables.insert_tables(readme, figures) == readme, "run python -m benchmarks.tables"


def test_the_readme_fits_a_few_screens() -> None:
    assert len(README.splitlines()) <= 200


def test_the_readmes_commands_are_those_that_ci_runs() -> None:
    assert ".venv/bin/pip install -q -e '.[cli]' && .venv/bin/yotta-async demo" in README
    assert ".venv/bin/pip install -q -e '.[test]' && .venv/bin/pytest" in README


def test_unknown_statuses_have_no_place_in_the_enumeration() -> None:
    assert len(PodStatus) == 9
