"""`dev.py` lists what it installs with the reasons, and installs nothing else."""

import importlib.util
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

from helpers.paths import ROOT


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Replace the PATH by a folder, and return a function that adds a shell script to it."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "env").symlink_to(shutil.which("env"))
    monkeypatch.setenv("PATH", str(folder))

    def add(name, script):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return add


@pytest.fixture
def dev(monkeypatch):
    """Load dev.py as if root ran it."""
    if sys.platform != "linux":
        pytest.skip("dev.py handles system packages on Linux only")
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    return module


def make_missing(dev, monkeypatch, *names):
    """Make dev.py find all libraries and programs except these."""
    monkeypatch.setattr(dev, "is_available", lambda name: name not in names)


def reasons(dev, *names):
    """Return the lines that dev.py must print about missing libraries and programs."""
    rows = dev.QT_LIBRARIES + dev.VIRTUAL_DISPLAY
    return [
        f"  {package}: {reason}; {name} was not found"
        for name, package, reason in rows
        if name in names
    ]


def test_dev_finds_libraries_programs_and_modules(dev, programs):
    programs("xauth", "exit 0")
    assert all(map(dev.is_available, ["libc.so.6", "xauth", "venv"]))
    assert not any(map(dev.is_available, ["libmissing.so.6", "xvfb-run", "missing_module"]))


def test_dev_lists_packages_and_reasons_before_it_calls_apt_get(dev, programs, monkeypatch):
    """A separate process shows whether the lines also come first through a pipe."""
    programs("apt-get", 'echo "apt-get $*"')
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    code = """
        import os, dev
        os.geteuid = lambda: 0
        dev.is_available = lambda name: name not in ("libEGL.so.1", "xauth")
        assert dev.install_packages(dev.QT_LIBRARIES + dev.VIRTUAL_DISPLAY)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    lines = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()
    assert lines[0] == "dev.py: These system packages are missing:"
    assert lines[1:3] == reasons(dev, "libEGL.so.1", "xauth")
    assert lines[1] == "  libegl1: Qt creates drawing contexts with EGL; libEGL.so.1 was not found"
    assert re.fullmatch(
        "dev.py: Installing them as root: apt-get update .*; .*apt-get install .* libegl1 xauth",
        lines[3],
    )
    assert lines[4].startswith("apt-get update")
    assert re.fullmatch("apt-get install .*--no-install-recommends .* libegl1 xauth", lines[5])
    assert len(lines) == 6


def test_dev_installs_packages_with_sudo(dev, programs, monkeypatch, capfd):
    programs("apt-get", "echo without sudo")
    programs("sudo", 'echo "sudo $*"')
    make_missing(dev, monkeypatch, "libEGL.so.1")
    monkeypatch.setattr(dev.os, "geteuid", lambda: 1000)
    assert dev.install_packages(dev.QT_LIBRARIES)
    lines = capfd.readouterr().out.splitlines()
    assert lines[1:2] == reasons(dev, "libEGL.so.1")
    assert lines[2].startswith("dev.py: Installing them with sudo: sudo apt-get update")
    assert lines[3].startswith("sudo apt-get update")
    assert re.fullmatch("sudo .*apt-get install .* libegl1", lines[4])
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("user", "scripts", "calls"),
    [
        (0, {}, 0),  # no apt-get
        (1000, {"apt-get": "echo called"}, 0),  # no sudo
        (1000, {"apt-get": "echo called", "sudo": "exit 1"}, 0),  # sudo asks for a password
        (0, {"apt-get": "echo called; exit 100"}, 2),  # update and installation fail
    ],
)
def test_dev_prints_the_command_when_it_cannot_install(
    user, scripts, calls, dev, programs, monkeypatch, capfd
):
    for name, script in scripts.items():
        programs(name, script)
    make_missing(dev, monkeypatch, "libEGL.so.1", "xauth")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(dev.os, "geteuid", lambda: user)
    monkeypatch.setattr(dev, "install_project", lambda extras: pytest.fail("the tests cannot run"))
    assert dev.test([]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert lines[1:3] == reasons(dev, "libEGL.so.1", "xauth")
    assert lines.count("called") == calls
    assert ("dev.py: apt-get failed. Its messages above give the reason." in lines) == bool(calls)
    sudo = "sudo " if user else ""
    assert re.fullmatch(
        f"dev.py: .*: {sudo}apt-get update -qq; {sudo}env .*apt-get install .* libegl1 xauth",
        lines[-1],
    )


def test_dev_calls_nothing_when_nothing_is_missing(dev, programs, monkeypatch, capfd):
    """The tests run on a virtual display, and get the options."""
    programs("apt-get", "echo called")
    programs("xvfb-run", 'echo "xvfb-run $1 $2 ($3)"; shift 3; exec "$@"')
    python = programs(
        "python", 'echo "[$QT_API$QT_QPA_PLATFORM$WAYLAND_DISPLAY] ${NAPARI_CONFIG##*/} $*"'
    )
    make_missing(dev, monkeypatch)
    monkeypatch.setattr(dev, "PYTHON", python)
    monkeypatch.setattr(dev, "install_project", lambda extras: None)
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    for name in ("DISPLAY", "NAPARI_CONFIG", "QT_API"):
        monkeypatch.delenv(name, raising=False)
    assert dev.test(["-k", "packaging"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines == [
        "xvfb-run -a -s (-screen 0 1280x900x24)",
        "[] settings.yaml -m pytest -k packaging",
    ]


def test_dev_runs_the_tests_with_pyside6(dev, programs, monkeypatch, capfd):
    make_missing(dev, monkeypatch)
    python = programs("python", 'echo "$QT_API $PYTEST_QT_API $*"; [ "$2" = pip ] || exit 3')
    monkeypatch.setattr(dev, "PYTHON", python)
    monkeypatch.setattr(dev, "install_project", lambda extras: None)
    monkeypatch.setenv("DISPLAY", ":4711")
    for name in ("QT_API", "PYTEST_QT_API"):
        monkeypatch.delenv(name, raising=False)
    assert dev.test(["--qt", "pyside6", "-x"]) == 3
    installation, tests = capfd.readouterr().out.splitlines()
    assert re.match("  -m pip install .*PySide6-Essentials>=", installation)
    assert tests == "pyside6 pyside6 -m pytest -x"


@pytest.mark.parametrize(("display", "window"), [(":4711", "--no-window "), (None, "")])
def test_dev_demo_continues_without_a_window(display, window, dev, programs, monkeypatch, capfd):
    """System packages matter only where there is a display."""
    make_missing(dev, monkeypatch, "libEGL.so.1")
    monkeypatch.setattr(dev, "BIN", programs("napari-diffusion", 'echo "$*"').parent)
    monkeypatch.setattr(dev, "install_project", lambda extras: None)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    assert dev.demo(["--output", "shown"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1] == f"demo {window}--output shown"
    assert lines[1:2] == (reasons(dev, "libEGL.so.1") if display else [])


def test_dev_installs_the_project_once_and_when_its_requirements_change(dev, tmp_path, monkeypatch):
    files = {"ROOT": ".", "STAMP": "stamp", "PYTHON": "python", "MANIFEST_LINK": "napari.yaml"}
    for constant, name in files.items():
        monkeypatch.setattr(dev, constant, tmp_path / name)
    for name in ("python", "napari.yaml", "pyproject.toml", "hatch_build.py"):
        (tmp_path / name).touch()
    installed = []
    monkeypatch.setattr(dev, "create_venv", lambda: None)
    monkeypatch.setattr(dev, "pip_install", lambda *arguments: installed.append(arguments[1]))
    for extras in ("all", "all", dev.TEST_EXTRAS, dev.TEST_EXTRAS, "all"):
        dev.install_project(extras)
    assert installed == [".[all]", f".[{dev.TEST_EXTRAS}]"]
    for name in ("pyproject.toml", "hatch_build.py"):
        (tmp_path / name).write_text("changed", encoding="utf-8")
        dev.install_project("all")
    assert len(installed) == 4
    (tmp_path / "napari.yaml").unlink()
    dev.install_project("all")
    assert len(installed) == 5


def test_dev_installs_the_project_again_after_an_interruption(dev, tmp_path, monkeypatch):
    monkeypatch.setattr(dev, "STAMP", tmp_path / "stamp")
    dev.STAMP.write_text("of other requirements", encoding="utf-8")

    def interrupt(*arguments):
        assert not dev.STAMP.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(dev, "create_venv", lambda: None)
    monkeypatch.setattr(dev, "pip_install", interrupt)
    monkeypatch.setattr(sys, "argv", ["dev.py", "demo", "--no-window"])
    assert dev.main() == 130
    assert not dev.STAMP.exists()


def test_dev_names_the_package_that_python_needs_to_create_an_environment(
    dev, programs, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(dev, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    make_missing(dev, monkeypatch, "ensurepip")
    with pytest.raises(SystemExit):
        dev.create_venv()
    package = f"python3.{sys.version_info.minor}-venv"
    lines = capfd.readouterr().out.splitlines()
    assert lines[2] == f"  {package}: Python needs it to create .venv; ensurepip was not found"
    assert lines[-1].endswith(package)
