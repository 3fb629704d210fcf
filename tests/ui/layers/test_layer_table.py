"""What the widgets read from a layer: axes, voxel sizes, unit and the words that say so.

Every expected value is derived by hand from the options of the layer.
"""

from dataclasses import dataclass, field
from math import cos, radians, sin, sqrt, tan
from typing import Any

import dask.array
import numpy as np
import pytest

import napari_diffusion as nd
from helpers.viewer import wait_until_settled
from napari_diffusion.engine.execution import Execution
from napari_diffusion.ui.run.settings import Settings

#: napari shows planes of rotated volumes, and warns that it does so roughly.
pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")

WIDGETS = ("Isotropic diffusion", "Anisotropic diffusion")
AS_Z = "Axis {} has no name: taken as z. Uncheck it if it is time."
AS_CHANNELS = "Axis {} has {} samples and no name: taken as channels. Check it to smooth along it."
SKEW = "° off a right angle: they are smoothed as if they were perpendicular."


@dataclass(frozen=True)
class Row:
    """One layer, and what a widget says about it.

    Attributes
    ----------
    name
        Name of the row.
    shape, options
        Shape and options of the layer.
    axes, spacing, unit
        Expected axes, voxel sizes and unit.
    words
        Expected text below the table of axes.
    """

    name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    spacing: tuple[float, ...]
    unit: str
    words: str
    options: dict[str, Any] = field(default_factory=dict)


ZYX = (6, 8, 9)
NAMED = {"axis_labels": ("z", "y", "x")}
THREE = "3-D: z, y, x."
PLAIN = f"3-D: axis 0, axis 1, axis 2. {AS_Z.format(0)}"


def named(*names, **options):
    return {"axis_labels": names} | options


def in_unit(unit, symbol=None, factors=(1, 1, 1), name=None):
    """Return the row of a volume in one unit, or in three."""
    units = (unit,) * 3 if isinstance(unit, str) else unit
    spacing = tuple(size * factor for size, factor in zip((2, 0.5, 0.25), factors, strict=True))
    options = NAMED | {"scale": (2, 0.5, 0.25), "units": units}
    return Row(name or unit, ZYX, (0, 1, 2), spacing, symbol or unit, THREE, options)


def with_affine(name, matrix, spacing, unit="pixel", words=THREE, **options):
    """Return the row of a volume with an affine transform of 3 or 4 rows."""
    affine = np.eye(4)
    affine[:3, : np.shape(matrix)[1]] = matrix
    return Row(name, ZYX, (0, 1, 2), spacing, unit, words, NAMED | options | {"affine": affine})


# fmt: off
UNITS = [
    in_unit("nm"),
    in_unit("angstrom", "Å"),
    in_unit("um", "µm"),
    in_unit("mm"),
    in_unit("cm"),
    in_unit("m"),
    in_unit("pixel"),
    in_unit("km"),
    in_unit("inch", "in"),
    in_unit("foot", "ft"),
    in_unit(("mm", "um", "nm"), "nm", (1e6, 1e3, 1), "unit of the last axis"),
    in_unit(("nm", "um", "mm"), "mm", (1e-6, 1e-3, 1), "unit of the last axis, a long one"),
    in_unit(("angstrom", "um", "um"), "µm", (1e-4, 1, 1), "ångström among micrometres"),
    # An axis without a length is not space where others have a length.
    Row("one axis in pixels", ZYX, (1, 2), (0.5, 0.25), "µm",
        "2-D: y, x; 6 planes separately. z has no unit of length: not taken as space.",
        NAMED | {"scale": (2, 0.5, 0.25), "units": ("pixel", "um", "um")}),
]

MM, UM, TURN, TILT = ("mm",) * 3, ("um",) * 3, radians(30), radians(15)
AFFINES = [
    with_affine("affine of NIfTI", np.diag((3, 0.5, 0.5)), (3, 0.5, 0.5)),
    with_affine("affine and unit", np.diag((3, 0.5, 0.5)), (3, 0.5, 0.5), "mm", units=MM),
    with_affine("affine and scale", np.diag((3, 0.5, 4)), (6, 0.25, 2), "µm",
                scale=(2, 0.5, 0.5), units=UM),
    with_affine("flips", np.diag((-3, 0.5, -0.25)), (3, 0.5, 0.25)),
    Row("negative scale", ZYX, (0, 1, 2), (2, 0.5, 0.25), "pixel", THREE,
        NAMED | {"scale": (-2, 0.5, -0.25)}),
    Row("translation", ZYX, (0, 1, 2), (1, 1, 1), "pixel", THREE, NAMED | {"translate": (4, 5, 6)}),
    with_affine("translation in the affine",
                [[1, 0, 0, 9], [0, 1, 0, 9], [0, 0, 1, 9]], (1, 1, 1)),
    # The columns are the steps of the array axes: axis 0 steps by 4 along the last coordinate.
    with_affine("reversed order", [[0, 0, 2], [0, 3, 0], [4, 0, 0]], (4, 3, 2)),
    with_affine("cyclic order", [[0, 5, 0], [0, 0, 3], [7, 0, 0]], (7, 5, 3), "µm", units=UM),
    with_affine("two axes exchanged", [[7, 0, 0], [0, 0, 3], [0, 5, 0]], (7, 5, 3), "µm", units=UM),
    # Coordinate 0 is in nm, and axis 2 steps by 500 along it.
    with_affine("order and units", [[0, 0, 500], [2, 0, 0], [0, 0.5, 0]], (2000, 500, 500), "nm",
                units=("nm", "um", "um")),
    Row("rotation", ZYX, (0, 1, 2), (2, 0.5, 0.25), "µm", THREE,
        NAMED | {"rotate": 30, "scale": (2, 0.5, 0.25), "units": UM}),
    Row("rotation by a right angle", ZYX, (0, 1, 2), (2, 0.5, 0.25), "µm", THREE,
        NAMED | {"rotate": 90, "scale": (2, 0.5, 0.25), "units": UM}),
    with_affine("rotation in the affine",
                [[1, 0, 0], [0, cos(TURN), -sin(TURN)], [0, sin(TURN), cos(TURN)]],
                (2, 0.5, 0.25), scale=(2, 0.5, 0.25)),
    # y steps by (2 cos, sin) and x by (-2 sin, cos); at 30 degrees the lengths are √3.25 and √1.75,
    # and the product is -1.5 sin 60° = -1.299: arcsin(1.299 / √5.6875) = 33 degrees.
    Row("scale after a rotation", (8, 9), (0, 1), (sqrt(3.25), sqrt(1.75)), "pixel",
        f"2-D: y, x. The axes are 33{SKEW}", named("y", "x", rotate=30, affine=np.diag((2, 1, 1)))),
    # One step along x moves by 0.5 along y: the length is √1.25, the angle arctan 0.5 = 27 degrees.
    Row("shear", (8, 9), (0, 1), (1, sqrt(1.25)), "pixel", f"2-D: y, x. The axes are 27{SKEW}",
        named("y", "x", shear=(0.5,))),
    with_affine("gantry tilt of 15 degrees", [[1, 0, 0], [tan(TILT), 1, 0], [0, 0, 1]],
                (1 / cos(TILT), 1, 1), "mm", f"{THREE} The axes are 15{SKEW}", units=MM),
    Row("shear along time", (3, 8, 9), (1, 2), (1, 1), "pixel",
        "2-D: y, x; 3 time points separately.", named("t", "y", "x", shear=(0.5, 0, 0))),
    Row("affine of four axes", (3, *ZYX), (1, 2, 3), (3, 0.5, 0.5), "mm",
        "3-D: z, y, x; 3 time points separately.",
        named("t", "z", "y", "x", units=("s", *MM), affine=np.diag((30, 3, 0.5, 0.5, 1)))),
]

UNKNOWN = "The name {} is not known here: {}taken as space."
NAMES = [
    Row("none", ZYX, (0, 1, 2), (1, 1, 1), "pixel", PLAIN),
    Row("none, two axes", (8, 9), (0, 1), (1, 1), "pixel", "2-D: axis 0, axis 1."),
    Row("volume of two channels", (30, 2, 64, 65), (0, 2, 3), (1, 1, 1), "pixel",
        "3-D: axis 0, axis 2, axis 3; 2 channels separately. "
        f"{AS_Z.format(0)} {AS_CHANNELS.format(1, 2)}"),
    Row("channels first", (3, 64, 65), (1, 2), (1, 1), "pixel",
        f"2-D: axis 1, axis 2; 3 channels separately. {AS_CHANNELS.format(0, 3)}"),
    Row("channels last", (64, 65, 2), (0, 1), (1, 1), "pixel",
        f"2-D: axis 0, axis 1; 2 channels separately. {AS_CHANNELS.format(2, 2)}"),
    Row("thin volume with a length", (3, 64, 65), (0, 1, 2), (1, 1, 1), "µm",
        "3-D: axis 0, axis 1, axis 2.", {"units": UM}),
    Row("thin volume with names", (3, 64, 65), (0, 1, 2), (1, 1, 1), "pixel", THREE, NAMED),
    Row("one sample", (1, 64, 65), (1, 2), (1, 1), "pixel", "2-D: axis 1, axis 2."),
    Row("one sample among many", (5, 6, 1, 64, 65), (1, 3, 4), (1, 1, 1), "pixel",
        "3-D: axis 1, axis 3, axis 4; 5 images separately. "
        f"Axis 0 is beyond the last three: not taken as space. {AS_Z.format(1)}"),
    Row("five axes", (5, 2, 6, 32, 33), (2, 3, 4), (1, 1, 1), "pixel",
        "3-D: axis 2, axis 3, axis 4; 5 images and 2 channels separately. "
        "Axis 0 is beyond the last three: not taken as space. "
        f"{AS_CHANNELS.format(1, 2)} {AS_Z.format(2)}"),
    Row("five names", (5, 2, 6, 8, 9), (2, 3, 4), (1, 1, 1), "pixel",
        "3-D: z, y, x; 5 time points and 2 channels separately.", named(*"tczyx")),
    Row("time last", (8, 9, 5), (0, 1), (1, 1), "pixel",
        "2-D: y, x; 5 time points separately.", named("y", "x", "T")),
    *(Row(name, ZYX, (1, 2), (1, 1), "pixel", f"2-D: y, x; 6 {noun} separately.",
          named(name, "y", "x"))
      for name, noun in [
          ("timepoint", "time points"), ("Zeit", "time points"), ("TIME [s]", "time points"),
          ("tile", "positions"), ("Round", "positions"), ("field of view", "positions"),
          ("ECHO", "measurements"), ("b-value", "measurements"), ("band", "channels"),
          ("Channels", "channels"), ("lambda", "channels"), ("sample", "colour samples")]),
    Row("unknown beside known", ZYX, (1, 2), (1, 1), "pixel",
        f"2-D: y, x; 6 samples of foo separately. {UNKNOWN.format('foo', 'not ')}",
        named("foo", "y", "x")),
    Row("all unknown", (8, 9), (0, 1), (1, 1), "pixel",
        f"2-D: foo, bar. {UNKNOWN.format('foo', '')} {UNKNOWN.format('bar', '')}",
        named("foo", "bar")),
    Row("words of space", ZYX, (0, 1, 2), (1, 1, 1), "pixel", "3-D: Plane, row, column.",
        named("Plane", "row", "column")),
    Row("units in names", ZYX, (0, 1, 2), (1, 1, 1), "pixel", "3-D: z [um], y_um, X (px).",
        named("z [um]", "y_um", "X (px)")),
    Row("numbers as names", ZYX, (0, 1, 2), (1, 1, 1), "pixel",
        "3-D: axis-0, axis-1, axis-2. Axis-0 has no name: taken as z. Uncheck it if it is time.",
        named("axis-0", "axis-1", "axis-2")),
    Row("the same name twice", ZYX, (0, 1, 2), (1, 1, 1), "pixel", "3-D: z, x, X.",
        named("z", "x", "X")),
    Row("four axes of space", (5, *ZYX), (1, 2, 3), (1, 1, 1), "pixel",
        "3-D: z, y, x; 5 planes separately. Slice is beyond the last three: not taken as space.",
        named("slice", "z", "y", "x")),
    Row("time by its unit", ZYX, (1, 2), (1, 1), "µm",
        "2-D: axis 1, axis 2; 6 time points separately.", {"units": ("s", "um", "um")}),
    Row("time alone", (8, 9), (0, 1), (1, 1), "pixel", "2-D: time, time.", {"units": ("s", "s")}),
]

RGB = {"rgb": True}
KINDS = [
    Row("RGB", (16, 17, 3), (0, 1), (1, 1), "pixel",
        "2-D: axis 0, axis 1; 3 colour samples together.", RGB),
    Row("RGBA", (16, 17, 4), (0, 1), (1, 1), "pixel",
        "2-D: axis 0, axis 1; 3 colour samples together; opacity is copied.", RGB),
    Row("stack of RGB", (6, 16, 17, 3), (0, 1, 2), (1, 1, 1), "pixel",
        f"3-D: axis 0, axis 1, axis 2; 3 colour samples together. {AS_Z.format(0)}", RGB),
    Row("RGBA in time", (6, 16, 17, 4), (1, 2), (0.5, 0.5), "µm",
        "2-D: y, x; 3 colour samples together; 6 time points separately; opacity is copied.",
        RGB | named("t", "y", "x", scale=(9, 0.5, 0.5), units=("s", "um", "um"))),
    Row("whole numbers", ZYX, (0, 1, 2), (1, 1, 1), "pixel", PLAIN, {"dtype": np.uint16}),
    Row("bool", ZYX, (0, 1, 2), (1, 1, 1), "pixel", PLAIN, {"dtype": bool}),
    Row("several resolutions", (6, 16, 18), (0, 1, 2), (2, 0.5, 0.5), "µm", THREE,
        NAMED | {"multiscale": True, "scale": (2, 0.5, 0.5), "units": UM}),
    Row("dask", ZYX, (0, 1, 2), (2, 0.5, 0.5), "µm", THREE,
        NAMED | {"lazy": True, "scale": (2, 0.5, 0.5), "units": UM}),
]
# fmt: on

GROUPS = {"units": UNITS, "affines": AFFINES, "names": NAMES, "kinds": KINDS}
#: Rows of every group that are also read in a window, whose layers napari draws.
IN_A_WINDOW = (
    "unit of the last axis",
    "one axis in pixels",
    "affine and scale",
    "flips",
    "rotation",
    "gantry tilt of 15 degrees",
    "volume of two channels",
    "five names",
    "RGBA in time",
    "several resolutions",
    "dask",
)


def add(viewer, row):
    """Add the layer of a row to a viewer."""
    options = {"rgb": False, **row.options}
    data = np.zeros(row.shape, options.pop("dtype", np.float32))
    data.flat[-1] = 1
    if options.pop("lazy", False):
        data = dask.array.from_array(data, chunks=4)
    if options.get("multiscale"):
        data = [data, data[:, ::2, ::2]]
    return viewer.add_image(data, name=row.name, **options)


def assert_says(row, gui):
    """Assert that a widget shows and uses axes, voxel sizes, unit and words of a row."""
    table, recipe = gui.form.table, gui.form.recipe()
    sizes = f" · {' × '.join(f'{size:.3g}' for size in row.spacing)}\N{NO-BREAK SPACE}{row.unit}"
    assert sizes in table.words.value
    assert table.words.value.replace(sizes, "").replace("\n", " ") == row.words, row.name
    assert {line.size.unit for line in table.rows} == {table.unit} == {gui.form.unit.value}
    assert table.unit == row.unit, row.name
    assert (recipe.axes, recipe.spacing) == (table.axes, table.spacing)
    assert_is(row, recipe)


def assert_is(row, recipe):
    assert recipe.axes == row.axes, row.name
    assert recipe.spacing == pytest.approx(row.spacing, rel=1e-11), row.name


def test_table_has_sixty_rows_with_different_names():
    rows = [row.name for group in GROUPS.values() for row in group]
    assert len(rows) == len(set(rows)) >= 60


@pytest.mark.parametrize("widget", WIDGETS)
@pytest.mark.parametrize("group", GROUPS)
def test_widget_says_and_uses_what_the_layer_means(open_alone, qtbot, group, widget):
    viewer, gui = open_alone(widget)
    layers = {}
    for row in GROUPS[group]:
        layers[row.name] = add(viewer, row)
        assert_says(row, gui)
    # The same layers in the other direction, chosen in the list.
    for row in reversed(GROUPS[group]):
        gui.form.layer.value = layers[row.name]
        assert_says(row, gui)
    wait_until_settled(qtbot, gui)


@pytest.mark.parametrize("group", GROUPS)
def test_batch_reads_a_layer_as_the_form_does(group):
    from napari.components import ViewerModel

    viewer = ViewerModel()
    for row in GROUPS[group]:
        recipe = nd.Recipe(nd.Linear(), 1.0, unit=row.unit)
        assert_is(row, Settings.of_layer(add(viewer, row), recipe, Execution()).recipe)


def test_layers_that_napari_draws_are_read_in_a_window(open_widget, qtbot):
    viewer, gui = open_widget("Isotropic diffusion")
    drawn = [row for group in GROUPS.values() for row in group if row.name in IN_A_WINDOW]
    assert len(drawn) == len(IN_A_WINDOW)
    for row in drawn:
        layer = add(viewer, row)
        assert_says(row, gui)
        viewer.layers.remove(layer)
    wait_until_settled(qtbot, gui)
