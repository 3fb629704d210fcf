#!/usr/bin/env python3
"""Set up this project, run its demo or its tests, and build its documentation.

python3 dev.py demo [options]                 Filter a noisy sample and show it in napari.
python3 dev.py test [options]                 Run all tests. The options are those of pytest.
python3 dev.py test --qt pyside6 [options]    Run all tests with PySide6 instead of PyQt6.
python3 dev.py test --python 3.13 [options]   Run a selection of the tests with another Python.
python3 dev.py test --oldest [options]        Run it with the oldest supported dependencies.
python3 dev.py test --without numba           Test the library without numba, or without napari.
python3 dev.py test --cov [options]           Measure which lines of the sources the tests run.
python3 dev.py docs [options]                 Build the documentation, and check its links.
python3 dev.py docs --browser                 Also check its figures in a browser (Chromium).
python3 dev.py install [--python | --oldest]  Only create the environment of these tests.

Without a display, the demo writes files, and the tests use a virtual display. All commands need
Python 3.11 or newer. They create the environment .venv, and update it when its requirements
change. On Debian and Ubuntu, they list missing system packages and install them with apt-get.

"--python" takes the newest releases of all dependencies, and "--python newest" also the newest
Python of this machine. "--oldest" takes the lowest versions that pyproject.toml allows, and the
oldest Python. Their environments are in the folder .venvs. Options replace the selection: "--oldest
tests" runs all tests. "--cov" writes build/coverage/index.html; without other options, it fails if
less than 95 % of the lines run. The documentation is written to build/docs; its options are those
of sphinx-build. The exit status is 69 if this machine does not have the required Python.
"""

import argparse
import ctypes
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

if sys.version_info < (3, 11):  # noqa: UP036  (older versions can get as far as this line)
    raise SystemExit(f"dev.py: Python 3.11 or newer is required, not {sys.version.split()[0]}.")

ROOT = Path(__file__).resolve().parent
MANIFEST_LINK = ROOT / "src" / "napari_diffusion" / "napari.yaml"
TEST_EXTRAS = "all,test,peers,readers,docs"
SITE = ROOT / "build" / "docs"
OLDEST_PYTHON = (3, 11)
# Two processes share the files of the tests. Each has a virtual display of its own: on one display,
# their windows would take the focus and the clipboard of one another.
# In the order of the folders, slow files of few tests do not come last, when one process is idle.
TWO_PROCESSES = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
NO_SUCH_PYTHON = 69  # an exit status that pytest does not have

# Laws of a scalar and a tensor model, files, the command line, and complete uses of the widgets.
# Each environment compiles its kernels again, so other tests would take many minutes.
SELECTION = ["tests/testing/test_laws.py", "tests/io", "tests/cli/test_cli.py"]
SELECTION += ["tests/ui/test_flow.py"]
SELECTION += ["-k", "not test_model_satisfies_the_law or rational or edge-enhancing"]
SELECTION_EXTRAS = "all,test"

# Tests of the library, in an environment without napari and Qt, and "numba" also without numba.
LIBRARY = ["tests/core", "tests/io", "tests/api", "tests/cli/test_cli.py"]
LIBRARY += ["tests/models/test_perona_malik.py", "-p", "no:pytest-qt"]
WITHOUT = {
    "napari": (LIBRARY, ()),
    "numba": (
        [*LIBRARY, "-W", "ignore:numba is not installed:RuntimeWarning"],
        ("numba", "llvmlite"),
    ),
}
LIBRARY_EXTRAS = "formats,zarr,test"

# The settings are in pyproject.toml.
COVERAGE = ["--cov", "--cov-report=term", "--cov-report=html:build/coverage"]
COVERAGE_GOAL = "--cov-fail-under=95"

# napari excludes 6.11.0 and 6.11.1. Version 6.12.0 ends Python 3.11 after a dozen windows.
PYSIDE6 = "PySide6-Essentials>=6.8.3,!=6.11.0,!=6.11.1,!=6.12.0"

# Each row has a library or program, its Debian package, and the reason why it is needed.
# libxkbcommon-x11-0 also installs libxkbcommon0 and libxcb-xkb1, which Qt loads too.
QT_LIBRARIES = [
    ("libGL.so.1", "libgl1", "Qt and VisPy draw with OpenGL"),
    ("libEGL.so.1", "libegl1", "Qt creates drawing contexts with EGL"),
    ("libglib-2.0.so.0", "libglib2.0-0", "Qt runs its event loop with GLib"),
    ("libdbus-1.so.3", "libdbus-1-3", "Qt communicates with the desktop through D-Bus"),
    ("libfontconfig.so.1", "libfontconfig1", "Qt finds fonts with Fontconfig"),
    ("libxkbcommon-x11.so.0", "libxkbcommon-x11-0", "Qt reads the keyboard layout of X11"),
    ("libxcb-cursor.so.0", "libxcb-cursor0", "Qt sets mouse cursors on X11"),
    ("libxcb-icccm.so.4", "libxcb-icccm4", "Qt sends window properties to the window manager"),
    ("libxcb-keysyms.so.1", "libxcb-keysyms1", "Qt translates key codes on X11"),
    ("libxcb-shape.so.0", "libxcb-shape0", "Qt sets the shape of windows on X11"),
]
VIRTUAL_DISPLAY = [("Xvfb", "xvfb", "the tests open windows on virtual displays")]


def log(text: str) -> None:
    """Print a message immediately, so that it precedes the output of child processes."""
    print(f"dev.py: {text}", flush=True)


def is_available(name: str) -> bool:
    """Return whether a library can be loaded, or a program or Python module can be found."""
    if ".so." not in name:
        return bool(shutil.which(name) or importlib.util.find_spec(name))
    try:
        ctypes.CDLL(name)  # The folders of libraries differ between distributions.
    except OSError:
        return False
    return True


def install_packages(requirements: list[tuple[str, str, str]]) -> bool:
    """List missing packages with the reasons, install them, and return whether none is missing."""
    missing = [row for row in requirements if not is_available(row[0])]
    if not missing:
        return True
    log("These system packages are missing:")
    for name, package, reason in missing:
        print(f"  {package}: {reason}; {name} was not found")
    sudo = "" if os.geteuid() == 0 else "sudo "
    packages = " ".join(package for _, package, _ in missing)
    # Another installation may hold the lock. An update that fails for one source may suffice.
    options = "-qq -y --no-install-recommends -o DPkg::Lock::Timeout=120"
    install = f"env DEBIAN_FRONTEND=noninteractive apt-get install {options} {packages}"
    command = f"{sudo}apt-get update -qq; {sudo}{install}"
    check = f"command -v apt-get {'&& sudo -n true' if sudo else ''}"  # -n: without a password
    if subprocess.run(check, shell=True, capture_output=True).returncode == 0:
        log(f"Installing them {'with sudo' if sudo else 'as root'}: {command}")
        if subprocess.run(command, shell=True, stdin=subprocess.DEVNULL).returncode == 0:
            return True
        log("apt-get failed. Its messages above give the reason.")
    else:
        log("Installing them requires apt-get, and root access or sudo without a password.")
    log(f"Please install them. The command for Debian and Ubuntu is: {command}")
    return False


class Environment(NamedTuple):
    """A virtual environment with this project, and the interpreter that creates it."""

    folder: Path
    interpreter: str = sys.executable
    version: str = sys.version
    constraints: tuple[str, ...] = ()

    @property
    def bin(self) -> Path:
        """The folder of the programs."""
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    @property
    def python(self) -> Path:
        """The interpreter of the environment."""
        return self.bin / ("python.exe" if os.name == "nt" else "python")

    @property
    def stamp(self) -> Path:
        """The file that records a complete installation."""
        return self.folder / "installed.txt"

    def create(self) -> None:
        """Create the environment, unless it has pip and the right version of Python."""
        code = f"import pip, sys; sys.exit(sys.version != {self.version!r})"
        probe = [str(self.python), "-c", code]
        if self.python.exists() and subprocess.run(probe, capture_output=True).returncode == 0:
            return
        log(f"Creating the virtual environment {self.folder}")
        package = "python{}.{}-venv".format(*self.version.split(".")[:2])
        requirement = ("ensurepip", package, "Python needs it to create virtual environments")
        is_of_debian = self.interpreter == sys.executable and sys.base_prefix == "/usr"
        if is_of_debian and not install_packages([requirement]):
            raise SystemExit(1)
        command = [self.interpreter, "-m", "venv", "--clear", str(self.folder)]
        if subprocess.run(command).returncode:
            raise SystemExit(f"dev.py: {self.interpreter} could not create {self.folder}.")

    def pip_install(self, *arguments: str) -> None:
        """Install packages into the environment, or end this program with a message."""
        options = ["install", "--disable-pip-version-check"]
        command = [str(self.python), "-m", "pip", *options, *arguments]
        if subprocess.run(command, cwd=ROOT).returncode:
            raise SystemExit("dev.py: pip failed. Its messages above give the reason.")

    def content(self, extras: str) -> str:
        """Return everything that determines the content of the environment."""
        files = [ROOT / "pyproject.toml", ROOT / "hatch_build.py"]
        texts = (file.read_text("utf-8") for file in files)
        return "\n".join([str(ROOT), self.version, extras, *self.constraints, *texts])

    def install_project(self, extras: str) -> None:
        """Install this project in editable mode with its extras, unless this is done already."""
        # The environment of the tests also contains everything for the demo.
        current = [self.content(extras), self.content(TEST_EXTRAS)]
        is_current = self.stamp.exists() and self.stamp.read_text("utf-8") in current
        if is_current and self.python.exists() and MANIFEST_LINK.exists():
            return
        self.create()
        self.stamp.unlink(missing_ok=True)  # An interrupted installation is not complete.
        log("Installing the project with napari and Qt (some minutes, 1.6 GB on disk)")
        options = [] if sys.stdout.isatty() else ["--quiet"]
        if self.constraints:
            file = self.folder / "constraints.txt"
            file.write_text("\n".join(self.constraints), "utf-8")
            options += ["--constraint", str(file)]
        self.pip_install("--editable", f".[{extras}]", *options)
        self.stamp.write_text(self.content(extras), "utf-8")


VENV = Environment(ROOT / ".venv")


class Interpreter(NamedTuple):
    """A Python of this machine."""

    path: str
    number: tuple[int, int, int]
    version: str

    @property
    def name(self) -> str:
        """The version without the number of the release, such as "3.13"."""
        return "{}.{}".format(*self.number)


def installed_paths() -> Iterator[str]:
    """Yield the paths of programs that may be a supported Python."""
    yield sys.executable
    paths = []
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        paths += sorted(Path(folder).glob("python3*")) if folder else []
    managers = [Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")]
    if shutil.which("uv"):
        done = subprocess.run(["uv", "python", "dir"], capture_output=True, text=True)
        managers += [Path(line) for line in done.stdout.splitlines()[:1]]
    for folder in managers:
        paths += [*sorted(folder.glob("*/bin/python3")), *sorted(folder.glob("*/python.exe"))]
    if os.name == "nt" and shutil.which("py"):
        done = subprocess.run(["py", "--list-paths"], capture_output=True, text=True)
        paths += [Path(text) for text in re.findall(r"\S:\\.*\.exe", done.stdout)]
    name = r"python(3(\.1[1-9])?)?(\.exe)?"
    yield from (str(path) for path in paths if re.fullmatch(name, path.name))


def interpreters() -> list[Interpreter]:
    """Return the supported Pythons that can create an environment, newest first.

    The dependencies have no wheels for a version before its release or without the global lock.
    """
    code = """
import importlib.util, json, sys, sysconfig
info = sys.version_info
usable = sys.implementation.name == "cpython" and info.releaselevel == "final"
usable = usable and not sysconfig.get_config_var("Py_GIL_DISABLED")
has_pip = importlib.util.find_spec("ensurepip") is not None
print(json.dumps([usable, has_pip, sys.executable, info[:3], sys.version]))
"""
    pythons: dict[str, Interpreter] = {}
    for path in dict.fromkeys(installed_paths()):
        try:
            command = [path, "-I", "-c", code]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            usable, has_pip, executable, number, version = json.loads(done.stdout)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            continue  # a shim of a version that is not active, for example
        # The package that adds ensurepip is installed for this Python only.
        is_complete = has_pip or executable == sys.executable
        if usable and is_complete and tuple(number[:2]) >= OLDEST_PYTHON:
            pythons.setdefault(version, Interpreter(executable, tuple(number), version))
    return sorted(pythons.values(), key=lambda python: python.number, reverse=True)


def choose_interpreter(wish: str) -> Interpreter:
    """Return the newest release of a version such as "3.13", or end this program.

    "newest" is the newest version, which must be newer than that of this program.
    """
    pythons = interpreters()
    if wish == "newest":
        chosen = [python for python in pythons if python.number[:2] > sys.version_info[:2]]
        missing = "a Python newer than {}.{}".format(*sys.version_info)
    else:
        chosen = [python for python in pythons if python.name == wish]
        missing = f"Python {wish}"
    if chosen:
        return chosen[0]
    versions = ", ".join(dict.fromkeys(python.name for python in pythons))
    log(f"These tests need {missing}. This machine has {versions or 'none'}.")
    log("The search covered PATH, pyenv, uv and the launcher of Windows. Nothing was installed.")
    raise SystemExit(NO_SUCH_PYTHON)


def lowest_versions() -> tuple[str, ...]:
    """Return the lowest version that pyproject.toml allows of each direct dependency."""
    import tomllib  # not in versions that only print the message above

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    constraints = {}
    for requirement in (text for group in groups for text in group):
        match = re.match(r"([\w.-]+)(?:\[.*?\])?>=([\w.]+)[^;]*(;.*)?", requirement)
        if match:
            name, version, marker = match.groups()
            constraints[name] = f"{name}=={version}{marker or ''}"
    return tuple(constraints.values())


def install(options: list[str]) -> int:
    """Create the environment of the tests, without system packages."""
    parser = argparse.ArgumentParser("dev.py install", allow_abbrev=False)
    parser.add_argument("--python")
    parser.add_argument("--oldest", action="store_true")
    own = parser.parse_args(options)
    venv = choose_environment(own.python, own.oldest, None)
    venv.install_project(TEST_EXTRAS if venv is VENV else SELECTION_EXTRAS)
    return 0


def demo(options: list[str]) -> int:
    """Run the demo, without a window if it lacks a display or system packages."""
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform == "linux" and has_display and "--no-window" not in options:
        if not install_packages(QT_LIBRARIES):
            log("The demo continues without a window.")
            options = ["--no-window", *options]
    VENV.install_project("all")
    return subprocess.run([str(VENV.bin / "napari-diffusion"), "demo", *options]).returncode


def choose_environment(wish: str | None, is_oldest: bool, absent: str | None) -> Environment:
    """Return the environment of the options --python, --oldest and --without."""
    if absent:
        return Environment(ROOT / ".venvs" / f"without-{absent}")
    if not wish and not is_oldest:
        return VENV
    python = choose_interpreter(wish or "{}.{}".format(*OLDEST_PYTHON))
    log(f"Python {python.version.split()[0]} runs the tests: {python.path}")
    folder = ROOT / ".venvs" / f"{'oldest-' if is_oldest else ''}{python.name}"
    constraints = lowest_versions() if is_oldest else ()
    return Environment(folder, python.path, python.version, constraints)


def test_library(venv: Environment, absent: str, options: list[str]) -> int:
    """Run tests of the library in an environment that lacks a package; return the exit status."""
    selection, uninstalled = WITHOUT[absent]
    venv.install_project(LIBRARY_EXTRAS)
    if uninstalled:
        command = [str(venv.python), "-m", "pip", "uninstall", "--quiet", "--yes", *uninstalled]
        subprocess.run(command, cwd=ROOT, check=True)
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({absent!r}) is not None)"
    if subprocess.run([str(venv.python), "-c", code]).returncode:
        raise SystemExit(f"dev.py: {venv.folder} should not contain {absent}.")
    command = [str(venv.python), "-m", "pytest", *selection, *options]
    return subprocess.run(command, cwd=ROOT).returncode


def test(options: list[str]) -> int:
    """Run pytest, on virtual displays where Xvfb is installed."""
    parser = argparse.ArgumentParser("dev.py test", add_help=False, allow_abbrev=False)
    parser.add_argument("--qt", choices=["pyqt6", "pyside6"])
    parser.add_argument("--python")
    parser.add_argument("--oldest", action="store_true")
    parser.add_argument("--without", choices=sorted(WITHOUT))
    parser.add_argument("--cov", action="store_true")
    own, options = parser.parse_known_args(options)
    if own.without and (own.python or own.oldest or own.qt):
        parser.error("--without cannot be combined with --python, --oldest or --qt")
    venv = choose_environment(own.python, own.oldest, own.without)
    if own.without:
        return test_library(venv, own.without, options)
    use_pyside6 = own.qt == "pyside6"
    extras = TEST_EXTRAS
    goal = [] if options or venv is not VENV else [COVERAGE_GOAL]
    if not options and venv is VENV:
        options = TWO_PROCESSES
    elif not options:
        options, extras = [*TWO_PROCESSES, *SELECTION], SELECTION_EXTRAS
    if own.cov:
        options = [*options, *COVERAGE, *goal]
    environment = dict(os.environ)
    environment.pop("QT_QPA_PLATFORM", None)  # The tests need a platform with real windows.
    if sys.platform == "linux":
        requirements = QT_LIBRARIES
        if not environment.get("DISPLAY"):
            requirements = QT_LIBRARIES + VIRTUAL_DISPLAY
            environment.pop("WAYLAND_DISPLAY", None)  # Qt would open its windows there.
        if not install_packages(requirements):
            return 1
    venv.install_project(extras)
    if use_pyside6:
        venv.pip_install("--quiet", PYSIDE6)
        environment |= {"QT_API": "pyside6", "PYTEST_QT_API": "pyside6"}
    with tempfile.TemporaryDirectory(prefix="napari-diffusion-") as folder:
        # The tests must neither read nor change the settings of the user.
        environment["NAPARI_CONFIG"] = str(Path(folder, "settings.yaml"))
        # The tests start hundreds of processes, each of which would compile the sources.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        # Both processes draw. With more threads of Mesa each, they would wait for one another.
        environment.setdefault("LP_NUM_THREADS", "1")
        command = [str(venv.python), "-m", "pytest", *options]
        return subprocess.run(command, cwd=ROOT, env=environment).returncode


def docs(options: list[str]) -> int:
    """Build the documentation with warnings as errors, then check the links of its pages.

    With --browser, its figures are tried in a browser, too.
    """
    VENV.install_project(TEST_EXTRAS)
    checks = ["check_site"]
    if "--browser" in options:
        VENV.pip_install("--quiet", "--editable", ".[browser]")
        checks.append("check_browser")
    rest = [option for option in options if option != "--browser"]
    sphinx = ["-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(SITE), *rest]
    for command in (sphinx, *([f"docs/{check}.py", str(SITE)] for check in checks)):
        status = subprocess.run([str(VENV.python), *command], cwd=ROOT).returncode
        if status:
            return status
    log(f"The documentation is in {SITE}. Open {SITE / 'index.html'} in a browser.")
    return 0


def main() -> int:
    """Run the command that the first argument names."""
    commands = {"demo": demo, "test": test, "docs": docs, "install": install}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        print(__doc__)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    try:
        return commands[sys.argv[1]](sys.argv[2:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
