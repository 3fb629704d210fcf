#!/usr/bin/env python3
"""Set this project up and try it or test it, with nothing but Python 3.11 or newer.

python3 dev.py demo                  filter a real MRI volume and show it (without a display: write volume and picture)
python3 dev.py test [pytest options] run every test, GUI tests included
python3 dev.py test --qt pyside6 [pytest options]  the same with PySide6, which is installed beside PyQt6

Both make the virtual environment .venv beside this file once, and again when its requirements change. On Debian and
Ubuntu, system libraries that Qt lacks are installed with apt-get.
"""

import ctypes
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "installed.json"
MANIFEST_LINK = ROOT / "src" / "napari_diffusion" / "napari.yaml"
EXTRAS = {"demo": {"all"}, "test": {"all", "test", "peers"}}

# napari excludes the first two; of the third, every window drops some thousand references to None that it does not hold, and
# Python 3.11 ends when the last is gone.
PYSIDE6 = "PySide6-Essentials>=6.8.3,!=6.11.0,!=6.11.1,!=6.12.0"

# What Qt's xcb platform and OpenGL load at run time, and the Debian package of each. Loading a library is the only test
# that holds on every distribution, for every Python.
LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
}
VIRTUAL_DISPLAY = {"xvfb-run": "xvfb", "Xvfb": "xvfb", "xauth": "xauth"}


def say(text: str) -> None:
    """Print one line at once, so that it precedes what a child process prints."""
    print(f"dev.py: {text}", flush=True)


def loads(library: str) -> bool:
    """Tell whether the dynamic linker finds a library for this Python."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def has_display() -> bool:
    """Tell whether a window could be shown here."""
    return not sys.platform.startswith("linux") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def lacking(virtual_display: bool) -> list[str]:
    """List the Debian packages whose library or program is not there, in a fixed order."""
    missing = {package for library, package in LIBRARIES.items() if not loads(library)}
    if virtual_display:
        missing |= {package for program, package in VIRTUAL_DISPLAY.items() if not shutil.which(program)}
    return sorted(missing)


def ensure_packages(packages: list[str]) -> str | None:
    """Install Debian packages; return None, or the sentence that says why not and what to do."""
    if not packages:
        return None
    if not shutil.which("apt-get"):
        return f"missing system libraries: install what Debian calls {' '.join(packages)} with your package manager"
    install = ["apt-get", "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"]
    by_hand = f"please run: sudo apt-get update && sudo {' '.join(install[:4])} {' '.join(packages)}"
    root = ["env", "DEBIAN_FRONTEND=noninteractive"]
    if os.geteuid() != 0:
        if not shutil.which("sudo") or subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode:
            return f"missing system packages, and no right to install them without a password; {by_hand}"
        root = ["sudo", "-n", *root]
    say(f"installing system packages: {' '.join(packages)}")
    subprocess.run([*root, "apt-get", "update", "-qq"])  # a broken third-party source need not matter; install tells
    # Debian 13 and Ubuntu 24.04 renamed glib's package with their move to 64-bit time.
    renamed = subprocess.run(["apt-cache", "show", "libglib2.0-0t64"], capture_output=True).returncode == 0
    names = [f"{name}t64" if renamed and name == "libglib2.0-0" else name for name in packages]
    if subprocess.run([*root, *install, "-qq", *names], stdin=subprocess.DEVNULL).returncode:
        return f"apt-get could not install {' '.join(names)}; {by_hand}"
    return None


def stamp(extras: set[str]) -> dict[str, object]:
    """Describe a complete environment: where it is, what it was made from, and the extras in it."""
    digest = hashlib.sha256(f"{ROOT}\n{sys.version}\n".encode())
    for name in ("pyproject.toml", "hatch_build.py"):
        digest.update((ROOT / name).read_bytes())
    return {"digest": digest.hexdigest(), "extras": sorted(extras)}


def make_venv() -> None:
    """Create .venv, or create it anew when its Python or pip does not run or is another version."""
    probe = [str(PYTHON), "-c", "import pip, sys; print(sys.version)"]
    if PYTHON.exists():
        found = subprocess.run(probe, capture_output=True, text=True)
        if found.returncode == 0 and found.stdout.strip() == sys.version:
            return
    say(f"making the virtual environment {VENV.name}")
    if importlib.util.find_spec("ensurepip") is None:  # Debian keeps it in a package of its own
        problem = ensure_packages(["python3-venv"]) if sys.prefix == "/usr" else "install a complete Python"
        if problem:
            raise SystemExit(f"dev.py: {sys.executable} cannot make environments with pip (no ensurepip): {problem}.")
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)]).returncode:
        raise SystemExit(f"dev.py: {sys.executable} could not make the virtual environment {VENV}.")


def ensure_installed(extras: set[str]) -> None:
    """Install this project, editable and with its extras, unless that is done already."""
    try:
        installed = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        installed = {"digest": None, "extras": []}
    have = set(installed["extras"])
    if installed["digest"] == stamp(extras)["digest"] and extras <= have and PYTHON.exists() and MANIFEST_LINK.exists():
        return
    make_venv()
    STAMP.unlink(missing_ok=True)  # an interrupted installation must not count as complete
    wanted = extras | have if installed["digest"] else extras
    say("installing the project and its requirements, 1.6 GB on disk with napari and Qt; this takes some minutes")
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--editable"]
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    # subprocess needs no shell quoting for the brackets
    if subprocess.run([*command, f".[{','.join(sorted(wanted))}]", *quiet], cwd=ROOT).returncode:
        raise SystemExit("dev.py: pip could not install the requirements; its last lines above say why.")
    STAMP.write_text(json.dumps(stamp(wanted)))


def demo(options: list[str]) -> int:
    """Filter a real MRI volume and show it in napari; without a display, write the volume and a picture."""
    env = dict(os.environ)
    if has_display() and sys.platform.startswith("linux"):
        problem = ensure_packages(lacking(virtual_display=False))
        if problem:
            say(f"{problem}. Going on without a display.")
            env = {key: value for key, value in env.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    ensure_installed(EXTRAS["demo"])
    return subprocess.run([str(BIN / "napari-diffusion"), "demo", *options], env=env).returncode


def test(options: list[str]) -> int:
    """Run pytest, on a virtual display when there is no real one, with PySide6 if asked to."""
    pyside6 = options[:2] == ["--qt", "pyside6"]
    if pyside6:
        options = options[2:]
    command = [str(PYTHON), "-m", "pytest", *options]
    env = {key: value for key, value in os.environ.items() if key != "QT_QPA_PLATFORM"}
    if sys.platform.startswith("linux"):
        virtual = not os.environ.get("DISPLAY")
        problem = ensure_packages(lacking(virtual))
        if problem:
            raise SystemExit(f"dev.py: {problem}.")
        if virtual:
            command = ["xvfb-run", "-a", "-s", "-screen 0 1280x900x24", *command]
            env.pop("WAYLAND_DISPLAY", None)  # or Qt would open its windows there
    ensure_installed(EXTRAS["test"])
    if pyside6:
        env |= {"QT_API": "pyside6", "PYTEST_QT_API": "pyside6"}
        if subprocess.run([str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", PYSIDE6]).returncode:
            raise SystemExit("dev.py: pip could not install PySide6; its last lines above say why.")
    with tempfile.TemporaryDirectory(prefix="napari-diffusion-") as folder:
        env["NAPARI_CONFIG"] = str(Path(folder, "settings.yaml"))  # neither read nor change the user's settings
        return subprocess.run(command, cwd=ROOT, env=env).returncode


def main() -> int:
    """Run the command named on the command line."""
    commands = {"demo": demo, "test": test}
    if sys.version_info < (3, 11):  # noqa: UP036  (that is what this line is for)
        raise SystemExit(f"dev.py: needs Python 3.11 or newer, and this is {sys.version.split()[0]}.")
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        print(__doc__)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    try:
        return commands[sys.argv[1]](sys.argv[2:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
