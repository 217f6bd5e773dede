"""What is installed, and what is left when it is uninstalled."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import pychat
from tests import compiled
from tests.system.programs import environment, run

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv*", ".hypothesis", ".*_cache", "__pycache__", "*.egg-info", "build", "dist", "dropin.cache",
    "_trial_temp*", "state",
)  # fmt: skip


def metadata() -> configparser.ConfigParser:
    """What setup.cfg says."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_every_package_is_installed() -> None:
    """``setup.cfg`` names each package by hand: a find directive would take Twisted's along."""
    named = metadata()["options"]["packages"].split()
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("pychat/**/__init__.py")}
    assert set(named) == there | {"twisted.plugins"}
    assert named == sorted(named)


def test_nothing_stands_in_the_place_of_twisted_s_own_files() -> None:
    """An ``__init__.py`` of ours would overwrite Twisted's, and uninstalling would remove it."""
    ours = [path.name for path in (ROOT / "twisted").rglob("*.py")]
    assert ours == ["pychat_plugin.py"]


def test_the_plugin_imports_nothing_of_ours() -> None:
    """``twistd`` reads all plugins before it knows which reactor it shall run."""
    code = "import sys, twisted.plugins.pychat_plugin; print([m for m in sys.modules if m.startswith(%r)])"
    assert run(sys.executable, "-c", code % "pychat", cwd=ROOT).strip() == "[]"
    assert run(sys.executable, "-c", code % "twisted.internet.reactor", cwd=ROOT).strip() == "[]"


def test_no_module_installs_a_reactor() -> None:
    """Importing everything there is leaves the choice of the reactor open."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in ROOT.glob("pychat/**/*.py")
        if path.name != "__main__.py"
    ]
    code = f"import {', '.join(sorted(modules))}, sys; assert 'twisted.internet.reactor' not in sys.modules"
    run(sys.executable, "-c", code.replace(".__init__", ""), cwd=ROOT)


def test_the_licence_and_the_version_are_told() -> None:
    """One version, and it is the package's."""
    assert metadata()["metadata"]["version"] == "attr: pychat.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", pychat.__version__)
    assert (
        run(sys.executable, "-m", "pychat", "--version", cwd=ROOT).strip() == f"pychat {pychat.__version__}"
    )


def test_what_is_compiled_is_there() -> None:
    """And in the order of the alphabet, where each is found."""
    for kind, suffix in (("compiled", "py"), ("in_c", "c")):
        named = metadata()["pychat"][kind].split()
        assert named == sorted(named)
        missing = [
            name for name in named if not (ROOT / "pychat" / f"{name.replace('.', '/')}.{suffix}").is_file()
        ]
        assert missing == []


def test_a_compiled_run_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make test-compiled` does not begin while one of the modules, or all, would come from a source."""
    library = f"there/hub{EXTENSION_SUFFIXES[0]}"
    for origins, fine in (
        ({"hub": library, "line": library}, True),
        ({"hub": library, "line": "there/line.py"}, False),
        ({"hub": library, "line": "nowhere"}, False),
        ({}, False),
    ):
        monkeypatch.setattr(compiled, "origins", origins.copy)
        if fine:
            compiled.pytest_configure()
        else:
            with pytest.raises(pytest.UsageError):
                compiled.pytest_configure()
    monkeypatch.undo()
    sections = metadata()["pychat"]
    assert list(compiled.origins()) == [*sections["compiled"].split(), *sections["in_c"].split()]


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
def test_an_environment_that_make_did_not_make(tmp_path: Path) -> None:
    """One that is active is installed into; one that is to be anew is made by what its interpreter stands on."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    own = tmp_path / ".venv"
    run(sys.executable, "-m", "venv", "--without-pip", str(own))
    standin = tmp_path / "standin"
    standin.mkdir()
    (standin / "venv.py").write_text(
        "import sys; print('makes', sys.prefix == sys.base_prefix, sys.argv[1:])"
    )
    env = environment(PATH=f"{own / 'bin'}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=str(standin))
    stamp = ".venv/.made-by-python3"
    (standin / "ensurepip.py").touch()
    assert "makes True ['--clear', '.venv']" in run("make", stamp, cwd=tmp_path, env=env)  # it has no pip
    (own / ".made-by-python3").unlink()
    (standin / "pip.py").touch()
    assert "not made by make" in run("make", stamp, cwd=tmp_path, env=env)
    assert "makes" not in run("make", stamp, cwd=tmp_path, env=env)
    for named in (".venv/bin/python3", "python3"):
        (own / ".made-by-python3").unlink()
        assert "makes True ['--clear', '.venv']" in run(
            "make", stamp, f"PYTHON={named}", cwd=tmp_path, env=env
        )
    assert (own / "pyvenv.cfg").exists()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the source: installing leaves files beside it."""
    return Path(shutil.copytree(ROOT, tmp_path / "source", ignore=NOT_SOURCE))


def make_environment(folder: Path) -> Path:
    """Make a fresh virtual environment; return the folder of its programs."""
    run(sys.executable, "-m", "venv", str(folder))
    return folder / "bin"


def pip(programs: Path, *arguments: str) -> str:
    """Run an environment's pip, which compiles nothing."""
    return run(
        str(programs / "python"), "-m", "pip", "--disable-pip-version-check", *arguments,
        env=environment(PYCHAT_COMPILE="0"), seconds=300,
    )  # fmt: skip


@pytest.mark.system
@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", [(), ("--editable",)], ids=["plain", "editable"])
def test_installed_and_uninstalled(tmp_path: Path, source: Path, how: tuple[str, ...]) -> None:
    """Both runners list the plugin, ``pychat`` runs, and afterwards Twisted's own plugins are all there."""
    programs = make_environment(tmp_path / "environment")
    pip(programs, "install", "--quiet", *how, str(source))
    assert libraries(source.rglob("*")) == []
    for runner in ("twistd", "twist"):
        assert re.search(
            r"^    pychat +A chat and a shared folder of files\.$", help_of(programs, runner), re.M
        )
    assert run(str(programs / "pychat"), "--version", cwd=tmp_path).strip() == f"pychat {pychat.__version__}"
    assert "--listen" in run(str(programs / "twistd"), "pychat", "--help", cwd=tmp_path)
    with_ours = plugins(help_of(programs, "twistd"))

    pip(programs, "uninstall", "--quiet", "--yes", "pychat")
    assert plugins(help_of(programs, "twistd")) == with_ours - {"pychat"}
    assert {"web", "conch", "dns"} <= with_ours
    assert not (programs / "pychat").exists()
    where = "import twisted.plugins; print(twisted.plugins.__file__)"
    assert Path(run(str(programs / "python"), "-c", where, cwd=tmp_path).strip()).is_file()


def libraries(files: Iterable[Path]) -> list[str]:
    """The names of those that are compiled modules, without what tells for which machine."""
    return sorted(
        file.name.partition(".")[0] for file in files if file.name.endswith(tuple(EXTENSION_SUFFIXES))
    )


PURE = "pychat is pure Python here, which does the same more slowly: "
REFUSED = "pychat cannot be compiled: "


@pytest.fixture
def crowd_alone(source: Path) -> Path:
    """A source of whose modules only one, and a short one, is to be compiled."""
    text = (source / "setup.cfg").read_text(encoding="utf-8")
    (source / "setup.cfg").write_text(
        re.sub(r"(?<=\ncompiled =\n)(    .*\n)+", "    crowd\n", text), encoding="utf-8"
    )
    return source


@pytest.mark.system
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("given", "status", "made", "told"),
    [
        ({}, 0, ["_channel", "_text", "crowd", "pychat__mypyc"], ""),
        ({"PYCHAT_COMPILE": "0"}, 0, [], PURE + "PYCHAT_COMPILE=0."),
        ({"CC": "false"}, 0, [], PURE + "there is no C compiler."),
        ({"CC": "false", "PYCHAT_COMPILE": "1"}, 1, None, REFUSED + "there is no C compiler."),
        ({"PYCHAT_COMPILE": "yes"}, 1, None, "PYCHAT_COMPILE is 0 or 1, or not set, and not 'yes'."),
    ],
    ids=["compiled", "pure", "no compiler", "no compiler, but insisted", "neither"],
)  # fmt: skip
def test_a_wheel(
    tmp_path: Path, crowd_alone: Path, given: dict[str, str], status: int, made: list[str] | None, told: str
) -> None:
    """It is compiled where that can be done and is not unwanted, and otherwise says why not."""
    assert_wheel(tmp_path, crowd_alone, given, status, made, told)


@pytest.mark.system
@pytest.mark.timeout(600)
def test_a_module_that_cannot_be_compiled(tmp_path: Path, crowd_alone: Path) -> None:
    """Then the pure Python is installed, and the fault told."""
    with open(crowd_alone / "pychat" / "crowd.py", "a", encoding="utf-8") as module:
        module.write('WRONG: int = "a text"\n')
    assert_wheel(
        tmp_path, crowd_alone, {}, 0, [], PURE + "mypyc or the C compiler failed, as is told above ("
    )


def assert_wheel(
    tmp_path: Path, source: Path, given: dict[str, str], status: int, made: list[str] | None, told: str
) -> None:
    """Make a wheel; ``made`` is what is compiled in it, ``None`` if there is to be no wheel."""
    clean = {key: value for key, value in environment().items() if key not in ("CC", "PYCHAT_COMPILE")}
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--wheel-dir", "wheels", str(source)],
        cwd=tmp_path, env={**clean, **given}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout
    assert told in done.stdout
    wheels = list((tmp_path / "wheels").glob("*.whl"))
    assert libraries(source.rglob("*")) == []
    if made is None:
        assert wheels == []
        return
    (wheel,) = wheels
    assert wheel.name.endswith("-py3-none-any.whl") == (not made)
    with zipfile.ZipFile(wheel) as zipped:
        assert libraries(map(Path, zipped.namelist())) == made
        zipped.extractall(tmp_path / "unpacked")
    wheel.unlink()
    code = "import pychat.crowd, sys; print(pychat.crowd.__file__)"
    assert run(sys.executable, "-c", code, cwd=tmp_path / "unpacked").strip().endswith(".py") == (not made)


def help_of(programs: Path, runner: str) -> str:
    """What a runner says about itself and its plugins."""
    return run(str(programs / runner), "--help", cwd=programs)


def plugins(said: str) -> set[str]:
    """The names of the plugins in a runner's help."""
    return set(re.findall(r"^    ([a-z][\w-]*)  ", said.partition("Commands:")[2], re.M))


@pytest.mark.system
@pytest.mark.timeout(600)
def test_the_source_archive_is_whole(tmp_path: Path, source: Path) -> None:
    """It has the tests and the documents, and a wheel can be made of it that has just the packages."""
    programs = make_environment(tmp_path / "environment")
    pip(programs, "install", "--quiet", "build")
    run(
        str(programs / "python"), "-m", "build", "--outdir", str(tmp_path / "dist"), str(source),
        env=environment(PYCHAT_COMPILE="0"), seconds=300,
    )  # fmt: skip
    (archive,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        packed = {name.partition("/")[2] for name in tar.getnames()}
    for needed in (
        "Makefile", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "pyproject.toml", "setup.cfg",
        "setup.py", "building/backend.py", "building/mypy.ini",
        "pychat/_channel.c", "pychat/_channel.pyi", "pychat/_text.c", "pychat/_text.pyi",
        "docs/protocol.md", "docs/transfer.md", "files/welcome.txt", "tests/conftest.py", "tests/test_names.py",
        "tests/system/programs.py", "pychat/transfer/packet.py", "twisted/plugins/pychat_plugin.py",
    ):  # fmt: skip
        assert needed in packed
    assert not [name for name in packed if name.endswith((".pyc", "dropin.cache"))]
    # The wheel was built from the archive, not from the tree.
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as zipped:
        tops = {name.partition("/")[0] for name in zipped.namelist()}
        assert "pychat/py.typed" in zipped.namelist()
        assert [name for name in zipped.namelist() if name.startswith("twisted")] == [
            "twisted/plugins/pychat_plugin.py"
        ]
    assert tops == {"pychat", "twisted", f"pychat-{pychat.__version__}.dist-info"}
