"""`dev.py` lists what it installs with the reasons, and installs nothing else."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib

import pytest

from helpers.paths import ROOT


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Replace the PATH by a folder, and return a function that adds a shell script to it."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "env").symlink_to(shutil.which("env"))
    monkeypatch.setenv("PATH", str(folder))

    def add(name, script, parent=folder):
        path = parent / name
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


@pytest.fixture
def venv(dev, programs, tmp_path, monkeypatch):
    """Replace the environment .venv by a folder, and return a function that adds its Python.

    The project is installed there without a call of pip.
    """
    monkeypatch.setattr(dev, "VENV", dev.Environment(tmp_path / "venv"))
    monkeypatch.setattr(dev.Environment, "install_project", lambda self, extras: None)
    dev.VENV.bin.mkdir(parents=True)
    return lambda script, name="python": programs(name, script, dev.VENV.bin)


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
    programs("virtual-display", "exit 0")
    assert all(map(dev.is_available, ["libc.so.6", "virtual-display", "venv"]))
    assert not any(map(dev.is_available, ["libmissing.so.6", "missing-program", "missing_module"]))


def test_dev_lists_packages_and_reasons_before_it_calls_apt_get(dev, programs, monkeypatch):
    """A separate process shows whether the lines also come first through a pipe."""
    programs("apt-get", 'echo "apt-get $*"')
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    code = """
        import os, dev
        os.geteuid = lambda: 0
        dev.is_available = lambda name: name not in ("libEGL.so.1", "Xvfb")
        assert dev.install_packages(dev.QT_LIBRARIES + dev.VIRTUAL_DISPLAY)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    lines = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()
    assert lines[0] == "dev.py: These system packages are missing:"
    assert lines[1:3] == reasons(dev, "libEGL.so.1", "Xvfb")
    assert lines[1] == "  libegl1: Qt creates drawing contexts with EGL; libEGL.so.1 was not found"
    assert re.fullmatch(
        "dev.py: Installing them as root: apt-get update .*; .*apt-get install .* libegl1 xvfb",
        lines[3],
    )
    assert lines[4].startswith("apt-get update")
    assert re.fullmatch("apt-get install .*--no-install-recommends .* libegl1 xvfb", lines[5])
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
    make_missing(dev, monkeypatch, "libEGL.so.1", "Xvfb")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(dev.os, "geteuid", lambda: user)
    fail = lambda self, extras: pytest.fail("the tests cannot run")  # noqa: E731
    monkeypatch.setattr(dev.Environment, "install_project", fail)
    assert dev.test([]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert lines[1:3] == reasons(dev, "libEGL.so.1", "Xvfb")
    assert lines.count("called") == calls
    assert ("dev.py: apt-get failed. Its messages above give the reason." in lines) == bool(calls)
    sudo = "sudo " if user else ""
    assert re.fullmatch(
        f"dev.py: .*: {sudo}apt-get update -qq; {sudo}env .*apt-get install .* libegl1 xvfb",
        lines[-1],
    )


def test_dev_calls_nothing_when_nothing_is_missing(dev, venv, programs, monkeypatch, capfd):
    """The tests get the options, and settings of napari that are not those of the user."""
    programs("apt-get", "echo called")
    venv('echo "[$QT_API$QT_QPA_PLATFORM$WAYLAND_DISPLAY] ${NAPARI_CONFIG##*/} $*"')
    make_missing(dev, monkeypatch)
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    for name in ("DISPLAY", "NAPARI_CONFIG", "QT_API"):
        monkeypatch.delenv(name, raising=False)
    assert dev.test(["-k", "packaging"]) == 0
    assert capfd.readouterr().out.splitlines() == ["[] settings.yaml -m pytest -k packaging"]


def test_dev_runs_the_tests_with_pyside6(dev, venv, monkeypatch, capfd):
    make_missing(dev, monkeypatch)
    venv('echo "$QT_API $PYTEST_QT_API $*"; [ "$2" = pip ] || exit 3')
    monkeypatch.setenv("DISPLAY", ":4711")
    for name in ("QT_API", "PYTEST_QT_API"):
        monkeypatch.delenv(name, raising=False)
    assert dev.test(["--qt", "pyside6", "-x"]) == 3
    installation, tests = capfd.readouterr().out.splitlines()
    assert re.match("  -m pip install .*PySide6-Essentials>=", installation)
    assert tests == "pyside6 pyside6 -m pytest -x"


@pytest.mark.parametrize(("display", "window"), [(":4711", "--no-window "), (None, "")])
def test_dev_demo_continues_without_a_window(display, window, dev, venv, monkeypatch, capfd):
    """System packages matter only where there is a display."""
    make_missing(dev, monkeypatch, "libEGL.so.1")
    venv('echo "$*"', "napari-diffusion")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    assert dev.demo(["--output", "shown"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1] == f"demo {window}--output shown"
    assert lines[1:2] == (reasons(dev, "libEGL.so.1") if display else [])


@pytest.mark.parametrize(("failing", "calls"), [("none", 2), ("sphinx", 1), ("check_site", 2)])
def test_dev_builds_the_documentation_and_checks_its_links(failing, calls, dev, venv, capfd):
    """Warnings are errors, and the exit status is that of the step that failed."""
    venv(f'echo "$*"; case "$*" in *{failing}*) exit 3;; esac')
    assert dev.docs(["-j", "2"]) == (0 if failing == "none" else 3)
    build, *check = capfd.readouterr().out.splitlines()[:calls]
    assert build == f"-m sphinx -W --keep-going -q -b html docs {dev.SITE} -j 2"
    assert check == [f"docs/check_site.py {dev.SITE}"][: calls - 1]


def test_dev_tries_the_documentation_in_a_browser(dev, venv, capfd):
    venv('echo "$*"')
    assert dev.docs(["--browser"]) == 0
    installation, build, links, browser = capfd.readouterr().out.splitlines()[:4]
    assert installation.endswith("--editable .[browser]")
    assert build.endswith(str(dev.SITE))
    assert links == f"docs/check_site.py {dev.SITE}"
    assert browser == f"docs/check_browser.py {dev.SITE}"


@pytest.fixture
def project(dev, tmp_path, monkeypatch):
    """Replace this project by a folder with empty files."""
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    monkeypatch.setattr(dev, "MANIFEST_LINK", tmp_path / "napari.yaml")
    monkeypatch.setattr(dev, "VENV", dev.Environment(tmp_path / ".venv"))
    for name in ("napari.yaml", "pyproject.toml", "hatch_build.py"):
        (tmp_path / name).touch()
    dev.VENV.bin.mkdir(parents=True)
    dev.VENV.python.touch()
    return tmp_path


def test_dev_installs_the_project_once_and_when_its_requirements_change(dev, project, monkeypatch):
    installed = []
    monkeypatch.setattr(dev.Environment, "create", lambda self: None)
    monkeypatch.setattr(dev.Environment, "pip_install", lambda self, *a: installed.append(a[1]))
    for extras in ("all", "all", dev.TEST_EXTRAS, dev.TEST_EXTRAS, "all"):
        dev.VENV.install_project(extras)
    assert installed == [".[all]", f".[{dev.TEST_EXTRAS}]"]
    for name in ("pyproject.toml", "hatch_build.py"):
        (project / name).write_text("changed", encoding="utf-8")
        dev.VENV.install_project("all")
    assert len(installed) == 4
    (project / "napari.yaml").unlink()
    dev.VENV.install_project("all")
    assert len(installed) == 5


def test_dev_installs_the_project_again_after_an_interruption(dev, project, monkeypatch):
    dev.VENV.stamp.write_text("of other requirements", encoding="utf-8")

    def interrupt(self, *arguments):
        assert not self.stamp.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(dev.Environment, "create", lambda self: None)
    monkeypatch.setattr(dev.Environment, "pip_install", interrupt)
    monkeypatch.setattr(sys, "argv", ["dev.py", "demo", "--no-window"])
    assert dev.main() == 130
    assert not dev.VENV.stamp.exists()


def test_dev_names_the_package_that_python_needs_to_create_an_environment(
    dev, project, monkeypatch, capfd
):
    monkeypatch.setattr(dev, "VENV", dev.Environment(project / "other"))
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.setenv("PATH", "")
    make_missing(dev, monkeypatch, "ensurepip")
    with pytest.raises(SystemExit):
        dev.VENV.create()
    package = f"python3.{sys.version_info.minor}-venv"
    lines = capfd.readouterr().out.splitlines()
    reason = "Python needs it to create virtual environments; ensurepip was not found"
    assert lines[2] == f"  {package}: {reason}"
    assert lines[-1].endswith(package)


@pytest.fixture
def pythons(dev, programs, tmp_path, monkeypatch):
    """Leave no Python on this machine, and return a function that adds one."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PYENV_ROOT", raising=False)

    def add(number, name=None, parent=None, *, usable=True, has_pip=True):
        parent = parent or tmp_path / "programs"
        parent.mkdir(parents=True, exist_ok=True)
        path = parent / (name or "python{}.{}".format(*number))
        version = "{}.{}.{} (main)".format(*number)
        answer = json.dumps([usable, has_pip, str(path), number, version])
        return str(programs(path.name, f"echo '{answer}'", parent))

    return add


def test_dev_finds_the_pythons_of_path_pyenv_and_uv(dev, pythons, programs, tmp_path):
    pythons((3, 10, 9))
    at_path = pythons((3, 11, 2), "python3")
    programs("python3.12", "exit 127")  # a shim of pyenv, for a version that is not active
    pythons((3, 13, 1), "python3.13-config")
    with_pyenv = pythons((3, 12, 1), "python3", tmp_path / ".pyenv" / "versions" / "3.12.1" / "bin")
    programs("uv", f"echo {tmp_path}/managed")
    with_uv = pythons((3, 14, 0), "python3", tmp_path / "managed" / "cpython-3.14" / "bin")
    assert [python.path for python in dev.interpreters()] == [with_uv, with_pyenv, at_path]


@pytest.mark.parametrize("reason", [{"usable": False}, {"has_pip": False}], ids=["beta", "bare"])
def test_dev_takes_the_newest_release_that_can_create_an_environment(reason, dev, pythons):
    pythons((3, 14, 2), **reason)
    pythons((3, 14, 0), "python3")
    assert dev.choose_interpreter("3.14").number == (3, 14, 0)


def test_dev_takes_this_python_even_before_it_can_create_an_environment(dev, pythons, monkeypatch):
    """Its package of Debian is installed later."""
    path = pythons((3, 11, 2), "python3", has_pip=False)
    monkeypatch.setattr(sys, "executable", path)
    assert dev.choose_interpreter("3.11").path == path


def test_newest_python_is_newer_than_this_one(dev, pythons, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 12, 7, "final", 0))
    pythons((3, 11, 9))
    pythons((3, 12, 8))
    with pytest.raises(SystemExit) as caught:
        dev.choose_interpreter("newest")
    assert caught.value.code == dev.NO_SUCH_PYTHON
    newest = pythons((3, 14, 0))
    pythons((3, 13, 5))
    assert dev.choose_interpreter("newest").path == newest


@pytest.mark.parametrize(
    ("options", "python"),
    [(["--python", "3.14"], "Python 3.14"), (["--oldest"], "Python 3.11")],
    ids=["python", "oldest"],
)
def test_dev_names_the_python_that_is_missing(options, python, dev, pythons, monkeypatch, capfd):
    pythons((3, 13, 1))
    pythons((3, 12, 4))
    monkeypatch.setattr(dev, "install_packages", lambda rows: pytest.fail("the tests cannot run"))
    with pytest.raises(SystemExit) as caught:
        dev.test(options)
    assert caught.value.code == dev.NO_SUCH_PYTHON
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"dev.py: These tests need {python}. This machine has 3.13, 3.12."


@pytest.mark.parametrize(
    ("options", "folder", "extras", "tests"),
    [
        (["--python", "3.13"], "3.13", "SELECTION_EXTRAS", None),
        (["-x", "--python=3.13"], "3.13", "TEST_EXTRAS", ["-x"]),
        (["--oldest"], "oldest-3.11", "SELECTION_EXTRAS", None),
        (
            ["--oldest", "tests/io", "-k", "nan"],
            "oldest-3.11",
            "TEST_EXTRAS",
            ["tests/io", "-k", "nan"],
        ),
        (["--oldest", "--python", "3.13"], "oldest-3.13", "SELECTION_EXTRAS", None),
        (["install", "--oldest"], "oldest-3.11", "SELECTION_EXTRAS", None),
    ],
)
def test_dev_runs_the_selection_or_the_tests_of_the_options(
    options, folder, extras, tests, dev, pythons, project, monkeypatch, capfd
):
    pythons((3, 13, 1))
    pythons((3, 11, 2))
    lowest = ("numpy==1.26",)
    monkeypatch.setattr(dev, "lowest_versions", lambda: lowest)
    make_missing(dev, monkeypatch)
    monkeypatch.setenv("DISPLAY", ":4711")
    environments = []

    def create(self):
        environments.append(self)
        self.bin.mkdir(parents=True)
        self.python.write_text('#!/bin/sh\necho "$*"\n', encoding="utf-8")
        self.python.chmod(0o755)

    monkeypatch.setattr(dev.Environment, "create", create)
    only_installs = options[0] == "install"
    assert (dev.install(options[1:]) if only_installs else dev.test(options)) == 0
    (environment,) = environments
    assert environment.folder == project / ".venvs" / folder
    assert environment.version.startswith(folder[-4:])
    assert environment.constraints == (lowest if "--oldest" in options else ())
    *_, installation, run = [*capfd.readouterr().out.splitlines(), *([""] if only_installs else [])]
    if not only_installs:
        assert run == f"-m pytest {' '.join(tests or [*dev.TWO_PROCESSES, *dev.SELECTION])}"
    assert f"--editable .[{getattr(dev, extras)}]" in installation
    file = environment.folder / "constraints.txt"
    assert (f"--constraint {file}" in installation) == file.exists() == ("--oldest" in options)
    if file.exists():
        assert file.read_text(encoding="utf-8").split() == list(lowest)


def test_lowest_versions_are_those_of_the_project(dev, project):
    (project / "pyproject.toml").write_text(
        """
        [project]
        dependencies = ["numpy>=1.26", "scipy>=1.11,!=1.13"]
        [project.optional-dependencies]
        napari = ["napari[pyqt6]>=0.6.1"]
        all = ["napari-diffusion[napari]", "napari[optional]", "pyqt6-qt6!=6.11.0"]
        test = ["zarr>=2.18; python_version < '3.12'"]
        """,
        encoding="utf-8",
    )
    assert dev.lowest_versions() == (
        "numpy==1.26",
        "scipy==1.11",
        "napari==0.6.1",
        "zarr==2.18; python_version < '3.12'",
    )


@pytest.mark.parametrize(
    ("options", "tests"),
    [
        (["--cov"], "-n 2 --dist loadfile --no-loadscope-reorder {report} --cov-fail-under=95"),
        (["--cov", "tests/io"], "tests/io {report}"),
    ],
    ids=["all tests", "some tests"],
)
def test_dev_measures_coverage_and_asks_for_a_share_of_all_tests(
    options, tests, dev, venv, monkeypatch, capfd
):
    make_missing(dev, monkeypatch)
    monkeypatch.setenv("DISPLAY", ":4711")
    venv('echo "$*"')
    assert dev.test(options) == 0
    report = "--cov --cov-report=term --cov-report=html:build/coverage"
    assert capfd.readouterr().out.splitlines() == [f"-m pytest {tests.format(report=report)}"]


@pytest.mark.parametrize(("absent", "removed"), [("numba", True), ("napari", False)])
def test_dev_tests_the_library_without_a_package(
    absent, removed, dev, project, programs, monkeypatch, capfd
):
    """Neither a display nor a system package is needed."""
    make_missing(dev, monkeypatch, "libEGL.so.1", "Xvfb")
    environments = []
    monkeypatch.setattr(dev.Environment, "install_project", lambda *call: environments.append(call))
    folder = project / ".venvs" / f"without-{absent}" / "bin"
    folder.mkdir(parents=True)
    programs("python", 'echo "$*"; [ "$2" = pytest ] && exit 3; exit 0', folder)
    assert dev.test(["--without", absent, "-x"]) == 3
    ((environment, extras),) = environments
    assert environment.folder == folder.parent
    assert "all" not in extras.split(",")
    *first, run = capfd.readouterr().out.splitlines()
    assert any("pip uninstall" in line and line.endswith(" llvmlite") for line in first) == removed
    assert run == f"-m pytest {' '.join(dev.WITHOUT[absent][0])} -x"


def test_dev_refuses_to_test_without_a_package_that_is_installed(
    dev, project, programs, monkeypatch
):
    monkeypatch.setattr(dev.Environment, "install_project", lambda *call: None)
    folder = project / ".venvs" / "without-napari" / "bin"
    folder.mkdir(parents=True)
    programs("python", "exit 1", folder)
    with pytest.raises(SystemExit, match="should not contain napari"):
        dev.test(["--without", "napari"])


def test_tests_of_the_library_exist(dev):
    paths = [path for path in dev.LIBRARY if path.startswith("tests/")]
    assert len(paths) > 3
    assert all((ROOT / path).exists() for path in paths)


def test_selection_consists_of_tests_and_of_extras(dev):
    paths = dev.SELECTION[: dev.SELECTION.index("-k")]
    assert all((ROOT / path.removeprefix("--ignore=")).exists() for path in paths)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert set(dev.SELECTION_EXTRAS.split(",")) < set(dev.TEST_EXTRAS.split(",")) <= set(extras)


def test_oldest_python_is_the_lowest_that_the_project_allows(dev):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lowest = ">={}.{}".format(*dev.OLDEST_PYTHON)
    assert tomllib.loads(text)["project"]["requires-python"] == lowest
