"""No error leaves a method that Qt, magicgui or napari call."""

import ast
import logging
from itertools import chain
from pathlib import Path

from psygnal import Signal
from qtpy.QtCore import QObject, QTimer
from qtpy.QtCore import Signal as QtSignal

import napari_diffusion
from helpers.viewer import WAIT
from napari_diffusion.ui.qt.slots import report, slot

UI = Path(napari_diffusion.__file__).parent / "ui"
#: Functions that connect the last argument to a signal, an event or the end of a widget.
CONNECTORS = {"connect", "single_shot", "Undocked", "on_close", "reconnect", "when_destroyed"}
#: Connected functions without `slot`: they raise nothing, or report what they raise, or forward to
#: a method that is connected through them.
EXCEPTIONS = {"drop", "set", "leave", "on_destroyed", "guarded", "_recorder", "emit", "call"}
EXCEPTIONS |= {"start"}


class Reporter:
    def __init__(self):
        self.errors, self.values = [], []

    def fail(self, error):
        self.errors.append(error)

    @slot
    def none(self):
        self.values.append(())
        raise ValueError("nothing")

    @slot
    def one(self, value):
        self.values.append(value)
        raise RuntimeError("one")

    @slot
    def all(self, *values):
        """Take all."""
        self.values.append(values)
        return len(values)


class Emitter:
    happened = Signal(int, int)


class QtEmitter(QObject):
    happened = QtSignal(int)


def test_an_error_is_shown_and_does_not_reach_the_emitter(qtbot, caplog, slot_errors):
    reporter, emitter, qt = Reporter(), Emitter(), QtEmitter()
    for method in (reporter.none, reporter.one, reporter.all):
        emitter.happened.connect(method)
        qt.happened.connect(method)
    emitter.happened.emit(1, 2)
    assert reporter.values == [(), 1, (1, 2)]
    assert [str(error) for error in reporter.errors] == ["nothing", "one"]
    qt.happened.emit(3)
    assert reporter.values[3:] == [(), 3, (3,)]
    QTimer.singleShot(0, reporter.none)
    qtbot.waitUntil(lambda: len(reporter.errors) == 5, timeout=WAIT)
    # A sentence needs no traceback; a bug does.
    logged = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(logged) == 2
    assert all("RuntimeError: one" in text and "test_slots" in text for text in logged)
    assert (reporter.all(1, 2), Reporter.all.__doc__) == (2, "Take all.")
    slot_errors.clear()


def test_connections_stay_weak(slot_errors):
    reporter, emitter = Reporter(), Emitter()
    emitter.happened.connect(reporter.none)
    del reporter
    emitter.happened.emit(1, 2)
    assert slot_errors == []


def test_a_report_that_fails_is_only_logged(caplog):
    class Broken:
        def fail(self, error):
            raise KeyError("a bug in the report")

    report(Broken(), RuntimeError("x"))
    report(None, ValueError("a notification of napari"))
    assert [r.levelno for r in caplog.records] == [logging.ERROR]


def test_an_error_that_meets_a_destroyed_widget_is_no_error(caplog):
    class Destroyed:
        def fail(self, error):
            raise RuntimeError("wrapped C/C++ object of type QLabel has been deleted")

    report(Destroyed(), RuntimeError("wrapped C/C++ object of type QComboBox has been deleted"))
    assert caplog.records == []


def trees():
    for path in sorted(UI.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def is_slot(function):
    return any(getattr(d, "id", None) == "slot" for d in function.decorator_list)


def name_of(target):
    """Return the name of the function that is connected, or that makes it or is called by it."""
    if isinstance(target, ast.Lambda):
        target = target.body
    if isinstance(target, ast.Call):
        target = target.func
    return getattr(target, "attr", getattr(target, "id", ""))


def test_every_connected_method_is_a_slot():
    nodes = [(path, node) for path, tree in trees() for node in ast.walk(tree)]
    functions = [n for _, n in nodes if isinstance(n, ast.FunctionDef)]
    slots = {f.name for f in functions if is_slot(f)}
    assert len(slots) > 50
    signals = {
        target.id
        for _, n in nodes
        if isinstance(n, ast.Assign) and getattr(getattr(n.value, "func", 0), "id", "") == "Signal"
        for target in n.targets
        if isinstance(target, ast.Name)
    }
    unguarded = []
    for path, node in nodes:
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name not in CONNECTORS or not node.args:
            continue
        place = 0 if name == "connect" else -1
        connected = name_of(node.args[place])
        if connected not in chain(slots, signals, EXCEPTIONS):
            unguarded.append(f"{path.relative_to(UI)}:{node.lineno}: {connected}")
    assert unguarded == []
