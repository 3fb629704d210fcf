"""Without an optional library, one sentence says what to install; the rest works."""

import re

import pytest

from helpers.processes import python

HIDDEN = """
    import json, sys

    class Hidden:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in sys.argv[1].split():
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

    sys.meta_path.insert(0, Hidden())
    import napari_diffusion as nd
    try:
        {code}
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error), isinstance(error, ImportError)]))
    else:
        print(json.dumps(["", "", False]))
"""
NEEDED = {
    "napari": "napari-diffusion[napari]",
    "magicgui": "napari-diffusion[napari]",
    "qtpy": "napari-diffusion[napari]",
    "pyqtgraph": "napari-diffusion[napari]",
    "PyQt6 PySide6 PyQt5 PySide2": "napari-diffusion[all]",
    "napari magicgui qtpy pyqtgraph PyQt6 PySide6": "napari-diffusion[napari]",
}
WIDGETS = [
    "nd.ui.IsotropicDiffusion",
    "import napari_diffusion.ui",
    "from napari_diffusion.ui.widget import AnisotropicDiffusion",
    "from napari_diffusion.ui.samples import mri",
]
FILES = [
    ("nibabel", "import napari_diffusion.io as io; io.read('brain.nii')"),
    ("nibabel", "import napari_diffusion.io.samples as s; s.mri()"),
    ("tifffile", "import napari_diffusion.io as io; io.read('cells.tif')"),
    ("PIL", "import napari_diffusion.io.pictures as p; p.side_by_side('a.png', *[[[0]]] * 2, 1)"),
]


OTHER_FILES = [
    ("nrrd", "io.read('a.nrrd')"),
    ("mrcfile", "io.read('a.mrc')"),
    ("SimpleITK", "io.read('a.mha')"),
    ("pydicom", "io.read('a.dcm')"),
]


@pytest.mark.parametrize("code", WIDGETS)
@pytest.mark.parametrize("missing", NEEDED)
def test_widgets_say_which_extra_they_need(missing, code, tmp_path):
    kind, text, is_import_error = python(HIDDEN.format(code=code), missing, HOME=str(tmp_path))
    assert kind == "MissingLibraryError"
    assert is_import_error
    assert NEEDED[missing] in text
    assert re.fullmatch(r"The widgets need [^.]*: pip install \"[^.]*\"\.", text)


@pytest.mark.parametrize(("missing", "code"), FILES)
def test_files_say_which_extra_they_need(missing, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("brain.nii", "cells.tif"):
        (tmp_path / name).write_bytes(b"")
    kind, text, _ = python(HIDDEN.format(code=code), missing)
    assert kind == "MissingLibraryError"
    assert text.endswith('pip install "napari-diffusion[io]".')


@pytest.mark.parametrize(("missing", "code"), OTHER_FILES)
def test_other_formats_say_which_extra_they_need(missing, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    header = b"NRRD0004\ntype: uchar\ndimension: 1\nsizes: 3\nencoding: raw\n\nabc"
    contents = {"a.nrrd": header, "a.mrc": bytes(2000), "a.dcm": bytes(128) + b"DICM"}
    contents["a.mha"] = b"NDims = 2\nDimSize = 1 1\nElementType = MET_UCHAR\n"
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    code = f"import napari_diffusion.io as io; {code}"
    kind, text, _ = python(HIDDEN.format(code=code), missing)
    assert kind == "MissingLibraryError"
    assert text.endswith('pip install "napari-diffusion[formats]".')


def test_filters_need_none_of_the_optional_libraries():
    code = "nd.diffuse([[1.0, 2.0], [3.0, 5.0]], nd.Linear(), time=1.0)"
    missing = "napari magicgui qtpy pyqtgraph PyQt6 PySide6 nibabel tifffile PIL vispy"
    assert python(HIDDEN.format(code=code), missing) == ["", "", False]


def test_widgets_are_found_by_their_public_names():
    quiet = "import warnings; warnings.simplefilter('ignore'); "  # napari's own
    code = "assert nd.ui.IsotropicDiffusion.__name__ == 'IsotropicDiffusion'; nd.ui.nothing"
    kind, text, _ = python(HIDDEN.format(code=quiet + code), "")
    assert (kind, text) == (
        "AttributeError",
        "module 'napari_diffusion.ui' has no attribute 'nothing'",
    )


def test_all_public_names_are_imported_without_the_widgets():
    code = "exec('from napari_diffusion import *'); assert 'napari' not in sys.modules"
    assert python(HIDDEN.format(code=code), "") == ["", "", False]
