"""The build backend: that of setuptools, but a wheel gets the modules that setup.cfg lists compiled, with mypyc, and
those that are written in C.

Where that cannot be done the wheel is the pure Python, which does the same, more slowly.  ``PYCHAT_COMPILE=0`` in the
environment asks for that one, and ``PYCHAT_COMPILE=1`` fails where there would be no other.  What is editable is never
compiled: a module that was would hide the source that is edited.
"""

from __future__ import annotations

import configparser
import os
import platform
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from setuptools import Extension, build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable", "build_sdist", "build_wheel",
    "get_requires_for_build_editable", "get_requires_for_build_sdist", "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable", "prepare_metadata_for_build_wheel",
]  # fmt: skip

ROOT = Path(__file__).resolve().parent.parent

MYPY = ["2", "4"]
COMPILERS = ["mypy[mypyc]>=2.4,<2.5", "mypy-zope>=1.0.17,<2"]
"""What compiles, in versions that were tried.  It also needs the libraries whose types the modules use."""

TYPES = ("Twisted", "zope.interface")

WINDOWS = sys.platform == "win32"

AMONG_THEMSELVES = ["-fvisibility=hidden"]
"""Nobody else calls what was compiled, so the C compiler may put one function into the other."""

PYTHONS = ((3, 10), (3, 11), (3, 12), (3, 13))
"""Where that is done unasked."""

Settings = Mapping[str, Any] | None

extra: dict[str, Any] = {}
"""What ``setup.py`` tells setuptools beyond what stands in ``setup.cfg``."""


def modules() -> list[str]:
    """Which modules are compiled, such as ``pychat.hub``."""
    return [f"pychat.{name}" for name in _metadata()["pychat"]["compiled"].split()]


def in_c() -> list[str]:
    """Which ones are written in C, and are only there where that can be compiled."""
    # What a socket is on Windows is another thing.
    return [name for name in _metadata()["pychat"]["in_c"].split() if not WINDOWS or name != "_channel"]


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """What has to be installed to make one; a compiler of Python only where one of C can use what it writes."""
    needed: list[str] = build_meta.get_requires_for_build_wheel(config_settings)
    if _hindrance() is not None:
        return needed
    libraries = [
        each for each in _metadata()["options"]["install_requires"].split() if each.startswith(TYPES)
    ]
    return [*needed, *COMPILERS, *libraries]


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Make one; return its file name."""

    def build(compiled: bool) -> str:
        # Elsewhere than in the tree: what was left there by other versions would get into it.
        with tempfile.TemporaryDirectory(prefix="pychat-build-") as folder:
            extra["options"] = {"build": {"build_base": folder}}
            extra["ext_modules"] = _extensions(folder) if compiled else []
            try:
                return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
            finally:
                extra.clear()

    why = _hindrance()
    if why is None:
        try:
            return build(compiled=True)
        except (Exception, SystemExit) as failure:
            why = f"mypyc or the C compiler failed, as is told above ({failure})"
    if _wanted() == "1":
        sys.exit(f"pychat cannot be compiled: {why}.")
    print(f"pychat is pure Python here, which does the same more slowly: {why}.", file=sys.stderr)
    return build(compiled=False)


def _metadata() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def _wanted() -> str:
    wanted = os.environ.get("PYCHAT_COMPILE", "")
    if wanted not in ("", "0", "1"):
        sys.exit(f"PYCHAT_COMPILE is 0 or 1, or not set, and not {wanted!r}.")
    return wanted


def _hindrance() -> str | None:
    """Why nothing can be compiled here, or shall be; ``None`` if all is well."""
    if _wanted() == "0":
        return "PYCHAT_COMPILE=0"
    if sys.implementation.name != "cpython":
        return f"mypyc compiles for CPython, and this is {sys.implementation.name}"
    if _wanted() != "1" and not _is_usual():
        # What compiles is itself compiled: where nobody has done that, to install it is what would fail.
        here = f"Python {platform.python_version()} on {sysconfig.get_platform()}"
        return f"for {here} mypyc may have to be built first (PYCHAT_COMPILE=1 tries)"
    if not _compiles("int pychat;\n"):
        return "there is no C compiler"
    if not _compiles("#include <Python.h>\n"):
        return "there are no headers of Python for the C compiler (the package python3-dev of many systems)"
    return None


def _is_usual() -> bool:
    """Whether this is a machine and a Python for which mypy is to be had ready made."""
    return (
        platform.system() in ("Linux", "Darwin", "Windows")
        and platform.machine().lower() in ("x86_64", "amd64", "aarch64", "arm64")
        and sys.version_info[:2] in PYTHONS
        and sys.maxsize > 2**32
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
    )


def _compiles(source: str) -> bool:
    """Whether the compiler that setuptools would take makes something of it."""
    # setuptools brings this along, and Python 3.12 no longer does.
    from distutils import ccompiler
    from distutils.sysconfig import customize_compiler

    with tempfile.TemporaryDirectory(prefix="pychat-build-") as folder:
        file = Path(folder, "trial.c")
        file.write_text(source)
        paths = sysconfig.get_paths()
        try:
            compiler = ccompiler.new_compiler()
            customize_compiler(compiler)
            compiler.compile(
                [str(file)], output_dir=folder, include_dirs=[paths["include"], paths["platinclude"]]
            )
        except Exception:
            return False
    return True


def _extensions(folder: str) -> Sequence[Extension]:
    """Translate the modules into C, which is put there; and what is in C already."""
    from mypyc.build import mypycify

    found = version("mypy")
    if found.split(".")[:2] != MYPY:
        # Without build isolation it is whichever there is.
        raise RuntimeError(f"mypy {'.'.join(MYPY)} compiles it, and this is mypy {found}")
    files = [str(Path(*name.split(".")).with_suffix(".py")) for name in modules()]
    extensions: Sequence[Extension] = mypycify(
        ["--config-file", str(ROOT / "building" / "mypy.ini"), "--cache-dir", os.devnull, *files],
        opt_level="3",
        debug_level="0",
        group_name="pychat",
        target_dir=os.path.join(folder, "c"),
    )
    extensions = [*extensions, *(Extension(f"pychat.{name}", [f"pychat/{name}.c"]) for name in in_c())]
    for each in extensions:
        # A compiler that warns of more than mypyc's authors had seen shall not stop it.
        each.extra_compile_args = [flag for flag in each.extra_compile_args if flag != "-Werror"]
        if not WINDOWS:
            each.extra_compile_args += AMONG_THEMSELVES
    return extensions
