"""Compiles the modules that every request goes through, where that can be done.

BGPROXY_COMPILE says what is wanted: 1, compile or fail; 0, do not; nothing, compile if there are a C compiler and the
headers of Python. Owns nothing but how: which modules they are is in pyproject.toml. Their sources stay in the wheel
beside what was made of them, for tracebacks. Never touches the source tree, nor an editable install.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# The library with all of the machine code; what is imported as a module only leads into it.
LIBRARY = "bgproxy.compiled"
# What the compiler is, and whose types it has to know.
NEEDED = ("mypy==", "setuptools==", "msgspec==", "orjson==")
HELP = (
    "It takes a C compiler and the headers of Python (Debian: gcc python3-dev). "
    "With BGPROXY_COMPILE=0 the same sources are installed as they are."
)


class CannotCompileError(Exception):
    """Says why."""


class CompileHook(BuildHookInterface[Any]):
    def dependencies(self) -> list[str]:
        """As they are pinned for the checks, and for running it."""
        if not is_wanted():
            return []
        project = self.metadata.core
        pinned = [*project.dependencies, *project.optional_dependencies["dev"]]
        return [each for each in pinned if each.startswith(NEEDED)]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "standard":
            return
        if not is_wanted():
            if os.environ.get("BGPROXY_COMPILE") != "0":
                self.app.display_warning(f"bgproxy is installed as it is: there is no compiler. {HELP}")
            return
        self._directory = TemporaryDirectory(prefix="bgproxy-compiled-")
        try:
            libraries = compiled(Path(self.root), self.config["modules"], Path(self._directory.name))
        except CannotCompileError as error:
            if is_must():
                raise SystemExit(f"bgproxy cannot be compiled: {error}\n{HELP}") from error
            self.app.display_warning(
                f"bgproxy cannot be compiled, and is installed as it is: {error}\n{HELP}"
            )
            return
        build_data["force_include"].update(libraries)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        if version == "standard" and is_wanted():
            self._directory.cleanup()


def is_wanted() -> bool:
    match os.environ.get("BGPROXY_COMPILE", ""):
        case "":
            return has_compiler()
        case "0":
            return False
        case "1" if not has_compiler():
            raise SystemExit(f"bgproxy cannot be compiled: there is no compiler.\n{HELP}")
        case "1":
            return True
        case other:
            raise SystemExit(f"BGPROXY_COMPILE is {other!r}: 1 compiles or fails, 0 does not compile")


def is_must() -> bool:
    return os.environ.get("BGPROXY_COMPILE") == "1"


def has_compiler() -> bool:
    """True if it looks as if C could be compiled for this Python."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "")
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return bool(compiler) and shutil.which(compiler[0]) is not None and headers.exists()


def compiled(root: Path, modules: list[str], directory: Path) -> dict[str, str]:
    """The libraries that the modules become, each with its place in the wheel; CannotCompileError if they do not."""
    # They are there only if `dependencies` has asked for them.
    from mypyc.build import mypycify  # noqa: PLC0415
    from setuptools import Distribution  # noqa: PLC0415
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415
    from setuptools.errors import CCompilerError, ExecError  # noqa: PLC0415

    options = ["--config-file=", "--strict", "--follow-imports=silent", f"--cache-dir={os.devnull}"]
    built = directory / "built"
    with contextlib.chdir(root):
        extensions = mypycify([*options, *modules], target_dir=str(directory / "c"), group_name=LIBRARY)
        command = build_ext(Distribution({"ext_modules": extensions}))
        command.build_lib, command.build_temp = str(built), str(directory)
        command.ensure_finalized()
        try:
            command.run()
        except (CCompilerError, ExecError) as error:
            raise CannotCompileError(error) from error
    return {str(path): str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
