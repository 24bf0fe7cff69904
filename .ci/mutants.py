"""Mutation testing by mutmut, in a copy of the repository: the changes to the code that no test notices.

Arguments: files of the package, by default those whose mistakes cost most. The tests are those of the files' folders.
Prints every mutant that lives, as a diff. mutmut makes none of functions that have a decorator.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "yotta_async"
DEFAULT = ["transport/retry.py", *(f"{folder}/*.py" for folder in ("api", "polling", "creation"))]
# Mutants are run in forks of one process, in which these cannot work: they start processes, or count frames and calls.
NOT_RUN = "not _process_ and not interpreter and not few_calls and not tls"

# The converter is built once in a process. If it were kept, a mutant of the code that builds it would never run.
CLEAR_CACHES = """

@pytest.fixture(autouse=True)
def _no_caches() -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("yotta_async"):
            for value in list(vars(module).values()):
                getattr(value, "cache_clear", lambda: None)()
"""


def list_files(patterns: list[str]) -> list[str]:
    """Return the files of the package that match, relative to the repository."""
    files = sorted({file for pattern in patterns for file in PACKAGE.glob(pattern.removeprefix("yotta_async/"))})
    if not files:
        sys.exit(f"no file of the package matches {' '.join(patterns)}")
    return [str(file.relative_to(ROOT)) for file in files]


def list_tests(files: list[str]) -> list[str]:
    """Return the tests of the files' folders, which have the folders' names, and those of the failures of a request."""
    folders = {Path(file).parts[1] for file in files}
    tests = [f"tests/{folder}" for folder in sorted(folders) if (ROOT / "tests" / folder).is_dir()]
    if "api" in folders:
        tests += ["tests/models", "tests/test_gpus.py"]
    if "creation" in folders:
        tests.append("tests/test_simulation.py")
    return [*tests, "tests/test_failure_table.py"]


def copy_repository(folder: Path) -> None:
    """Copy what git knows, as it is in the work tree."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def main() -> None:
    """Make the mutants, run the tests against each, and show those that live."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=DEFAULT, help="such as transport/retry.py or 'polling/*.py'")
    files = list_files(parser.parse_args().files)
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    copy_repository(folder)
    with (folder / "tests/conftest.py").open("a") as conftest:
        conftest.write(CLEAR_CACHES)
    settings = {
        "source_paths": ["yotta_async"],
        "only_mutate": files,
        "timeout_multiplier": ["3"],  # of the tests' usual time: then a mutant is taken to hang
        "also_copy": ["benchmarks", "examples", "README.md", "CHANGELOG.md", ".github"],
        "pytest_add_cli_args": ["-p", "no:xdist", "-k", NOT_RUN],
        "pytest_add_cli_args_test_selection": list_tests(files),
    }
    lines = [f"{name} =\n" + "".join(f"    {value}\n" for value in values) for name, values in settings.items()]
    (folder / "setup.cfg").write_text("[mutmut]\n" + "".join(lines))
    mutmut = [sys.executable, "-m", "mutmut"]
    subprocess.run([*mutmut, "run", "--max-children", "2"], cwd=folder, check=True)
    results = subprocess.run([*mutmut, "results"], cwd=folder, capture_output=True, text=True, check=True).stdout
    alive = [line.strip().removesuffix(": survived") for line in results.splitlines() if line.endswith(": survived")]
    for name in alive:
        subprocess.run([*mutmut, "show", name], cwd=folder, check=True)
    print(f"{len(alive)} mutants live; {folder} has the results: run `mutmut browse` there")


main()
