"""What people do who work on this project, and what `.ci/run` does: `nox -f .ci/noxfile.py -s NAME`.

`nox -f .ci/noxfile.py -l` lists the sessions. Each has an environment of its own, which it keeps for the next time.
Arguments after `--` are the command's own: `nox -f .ci/noxfile.py -s test -- -k waits`.
"""

import os
import shutil
from pathlib import Path

import nox

ROOT = Path(__file__).parent.parent
OLDEST_PYTHON = 11
NEWEST_PYTHON = 14
# The public packages. Everything else is reached through them.
PUBLIC = ["", ".agents", ".dask", ".emulator", ".pytest_plugin", ".timeline"]

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv|virtualenv"  # uv, where it is installed
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "test"]


def find_pythons() -> list[str]:
    """Return every Python that is installed and is allowed: of the system, of pyenv, of uv, and others on the path."""
    homes = (Path(os.environ.get("PYENV_ROOT", "~/.pyenv")) / "versions", Path("~/.local/share/uv/python"))
    found: dict[Path, str] = {}
    for number in range(OLDEST_PYTHON, NEWEST_PYTHON + 1):
        name = f"python3.{number}"
        places = [
            f"/usr/bin/{name}",
            *(str(path) for home in homes for path in home.expanduser().glob(f"*/bin/{name}")),
        ]
        if (on_path := shutil.which(name)) and "shims" not in Path(on_path).parts:  # pyenv's names are no interpreters
            places.append(on_path)
        for place in filter(os.path.exists, places):
            found.setdefault(Path(place).resolve(), place)
    return list(found.values())


def install(session: nox.Session, extras: str) -> None:
    """Install the package from the work tree, and go there."""
    session.chdir(ROOT)
    session.install("-e", f".[{extras}]")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format and layers."""
    install(session, "test")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly."""
    install(session, "test-all")
    session.run("mypy", *session.posargs)


@nox.session
def test(session: nox.Session) -> None:
    """The README's test command."""
    install(session, "test")
    session.run("pytest", "-n", "4", *session.posargs)


@nox.session
def test_all(session: nox.Session) -> None:
    """All tests, the slow ones and those of every extra included, with the coverage by branch."""
    install(session, "test-all")
    session.run("pytest", "-n", "4", "-m", "not live", "--cov", *session.posargs)


@nox.session(python=find_pythons())
def pythons(session: nox.Session) -> None:
    """The README's test command, with every Python that is installed."""
    test(session)


@nox.session(python=find_pythons()[:1], venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """The README's test command with the oldest Python, and the lowest versions of everything that is required."""
    session.chdir(ROOT)
    session.install("--resolution", "lowest-direct", "-e", ".[test]")
    session.run("pytest", "-n", "4", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The API reference. A warning is an error. `-- FOLDER` keeps it there."""
    install(session, "test-all")  # every extra is imported
    folder = session.posargs[0] if session.posargs else session.create_tmp()
    modules = [f"yotta_async{name}" for name in PUBLIC]
    session.run("python", "-W", "error::UserWarning", "-m", "pdoc", "-d", "google", "-o", folder, *modules)


@nox.session(venv_backend="uv", reuse_venv=False)
def wheel(session: nox.Session) -> None:
    """The wheel, built from the source distribution, and a smoke test of it in an environment without extras."""
    session.chdir(ROOT)
    folder = Path(session.create_tmp())
    shutil.rmtree(folder / "dist", ignore_errors=True)
    session.run("uv", "build", "-q", "--out-dir", str(folder / "dist"), external=True)
    [built] = (folder / "dist").glob("*.whl")
    session.install(str(built))
    session.chdir(folder)  # where the work tree cannot be imported
    session.run("python", str(ROOT / ".ci/smoke.py"))


@nox.session
def bench(session: nox.Session) -> None:
    """The comparison with other clients; `-- --help` shows what there is to choose."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def flakes(session: nox.Session) -> None:
    """The README's test command 20 times, every second time beside two busy processes; `-- 6` does it 6 times."""
    install(session, "test")
    session.run("python", ".ci/flakes.py", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Mutation testing; `-- FILE …` names files of the package."""
    install(session, "test")
    session.install("mutmut>=3.8")
    session.run("python", ".ci/mutants.py", *session.posargs)
