#!/usr/bin/env python3
"""Set up this project and run its demo or its tests.

python3 dev.py demo [options]                 Filter an MRI volume and show it in napari.
python3 dev.py test [options]                 Run all tests. The options are those of pytest.
python3 dev.py test --qt pyside6 [options]    Run all tests with PySide6 instead of PyQt6.

Without a display, the demo writes files, and the tests use a virtual display. Both commands need
Python 3.11 or newer. They create the environment .venv, and update it when its requirements
change. On Debian and Ubuntu, they list missing system packages and install them with apt-get.
"""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036  (older versions can get as far as this line)
    raise SystemExit(f"dev.py: Python 3.11 or newer is required, not {sys.version.split()[0]}.")

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "installed.txt"
MANIFEST_LINK = ROOT / "src" / "napari_diffusion" / "napari.yaml"
TEST_EXTRAS = "all,test,peers"

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
VIRTUAL_DISPLAY = [
    ("xvfb-run", "xvfb", "the tests open windows on a virtual display"),
    ("xauth", "xauth", "xvfb-run needs it to control access to the display"),
]


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


def create_venv() -> None:
    """Create .venv, unless it has pip and the current version of Python."""
    probe = [str(PYTHON), "-c", f"import pip, sys; sys.exit(sys.version != {sys.version!r})"]
    if PYTHON.exists() and subprocess.run(probe, capture_output=True).returncode == 0:
        return
    log(f"Creating the virtual environment {VENV}")
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    requirement = ("ensurepip", package, "Python needs it to create .venv")
    if sys.base_prefix == "/usr" and not install_packages([requirement]):
        raise SystemExit(1)
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)]).returncode:
        raise SystemExit(f"dev.py: {sys.executable} could not create {VENV}.")


def pip_install(*arguments: str) -> None:
    """Install packages into .venv, or end this program with a message."""
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise SystemExit("dev.py: pip failed. Its messages above give the reason.")


def environment_stamp(extras: str) -> str:
    """Return everything that determines the content of the environment."""
    files = [ROOT / "pyproject.toml", ROOT / "hatch_build.py"]
    return "\n".join([str(ROOT), sys.version, extras, *(f.read_text("utf-8") for f in files)])


def install_project(extras: str) -> None:
    """Install this project in editable mode with its extras, unless this is done already."""
    # The environment of the tests also contains everything for the demo.
    stamps = [environment_stamp(extras), environment_stamp(TEST_EXTRAS)]
    is_current = STAMP.exists() and STAMP.read_text("utf-8") in stamps
    if is_current and PYTHON.exists() and MANIFEST_LINK.exists():
        return
    create_venv()
    STAMP.unlink(missing_ok=True)  # An interrupted installation must not count as complete.
    log("Installing the project with napari and Qt (some minutes, 1.6 GB on disk)")
    pip_install("--editable", f".[{extras}]", *([] if sys.stdout.isatty() else ["--quiet"]))
    STAMP.write_text(environment_stamp(extras), "utf-8")


def demo(options: list[str]) -> int:
    """Run the demo, without a window if it lacks a display or system packages."""
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform == "linux" and has_display and "--no-window" not in options:
        if not install_packages(QT_LIBRARIES):
            log("The demo continues without a window.")
            options = ["--no-window", *options]
    install_project("all")
    return subprocess.run([str(BIN / "napari-diffusion"), "demo", *options]).returncode


def test(options: list[str]) -> int:
    """Run pytest, on a virtual display if there is no X11 display."""
    use_pyside6 = options[:2] == ["--qt", "pyside6"]
    command = [str(PYTHON), "-m", "pytest", *options[2 if use_pyside6 else 0 :]]
    environment = dict(os.environ)
    environment.pop("QT_QPA_PLATFORM", None)  # The tests need a platform with real windows.
    if sys.platform == "linux":
        requirements = QT_LIBRARIES
        if not environment.get("DISPLAY"):
            requirements = QT_LIBRARIES + VIRTUAL_DISPLAY
            command = ["xvfb-run", "-a", "-s", "-screen 0 1280x900x24", *command]
            environment.pop("WAYLAND_DISPLAY", None)  # Qt would open its windows there.
        if not install_packages(requirements):
            return 1
    install_project(TEST_EXTRAS)
    if use_pyside6:
        pip_install("--quiet", PYSIDE6)
        environment |= {"QT_API": "pyside6", "PYTEST_QT_API": "pyside6"}
    with tempfile.TemporaryDirectory(prefix="napari-diffusion-") as folder:
        # The tests must neither read nor change the settings of the user.
        environment["NAPARI_CONFIG"] = str(Path(folder, "settings.yaml"))
        return subprocess.run(command, cwd=ROOT, env=environment).returncode


def main() -> int:
    """Run the demo or the tests, as the first argument says."""
    commands = {"demo": demo, "test": test}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        print(__doc__)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    try:
        return commands[sys.argv[1]](sys.argv[2:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
