"""What `info` says about a file is what the file holds."""

import json

import nibabel
import numpy as np
import pytest
import tifffile

from helpers.written_volumes import AFFINE, KINDS, PIXELS, SIZES, write
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.core.errors import MissingLibraryError


def facts(capsys, *paths):
    code = main(["info", "--json", *map(str, paths)])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", KINDS)
def test_facts_of_every_kind_of_file(name, tmp_path, capsys):
    code, (own,) = facts(capsys, write(name, tmp_path))
    assert code == 0
    sizes = dict(zip(own["axes"], own["spacing"], strict=True))
    assert [sizes[letter] for letter in "XYZ"] == pytest.approx(SIZES, rel=1e-6)
    counts = dict(zip(own["axes"], own["shape"], strict=True))
    assert [counts[letter] for letter in "ZYX"] == list(PIXELS.shape)
    assert own["unit"] == KINDS[name][3]
    assert (own["min"], own["max"]) == (PIXELS.min().item(), PIXELS.max().item())
    assert own["memory_bytes"] == PIXELS.nbytes
    assert sorted(own["smoothed_axes"]) == ["X", "Y", "Z"]
    if KINDS[name][2]:
        np.testing.assert_allclose(own["affine_ras"], AFFINE, atol=1e-4)
        assert own["orientation"] == {"x": "back", "y": "left", "z": "head"}
    else:
        assert own["orientation"] is None


def test_text_says_axes_sizes_values_and_assumptions(tmp_path, capsys):
    image = nibabel.Nifti1Image(
        np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([2, 2, 3, 1])
    )
    image.header.set_slope_inter(2, 1)
    nibabel.save(image, tmp_path / "a.nii")
    assert main(["info", str(tmp_path / "a.nii")]) == 0
    text = capsys.readouterr().out
    assert "axes        x 2, y 3, z 4" in text
    assert "voxel size  x 2 mm, y 2 mm, z 3 mm (unit assumed)" in text
    assert "int16 x 2 + 1, from 1 to 47" in text
    assert "orientation x to the right, y to the front, z to the head" in text
    assert "note        It gives no unit of length; mm is assumed." in text


def test_what_the_file_leaves_open_is_asked(tmp_path, capsys):
    stack = np.zeros((3, 8, 9), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata=None, photometric="minisblack")
    _, (own,) = facts(capsys, tmp_path / "a.tif")
    assert own["smoothed_axes"] is None
    assert "give --axes ZYX if they are a stack" in own["question"]


def test_values_that_are_not_finite_are_counted(tmp_path, capsys):
    values = np.arange(12.0).reshape(3, 4)
    values[0, 0], values[1, 1] = np.nan, np.inf
    np.save(tmp_path / "a.npy", values)
    _, (own,) = facts(capsys, tmp_path / "a.npy")
    assert (own["min"], own["max"], own["not_finite"]) == (1.0, 11.0, 2)


def test_error_without_a_path_gets_the_name_of_its_file(tmp_path, capsys, monkeypatch):
    def refuse(path):
        raise MissingLibraryError("JPEG-LS needs a decoder")

    monkeypatch.setattr(io, "read", refuse)
    assert main(["info", str(tmp_path / "a.dcm")]) == 2
    assert capsys.readouterr().err == f"Error: {tmp_path / 'a.dcm'}: JPEG-LS needs a decoder\n"


def test_file_that_cannot_be_read_does_not_hide_the_others(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    (tmp_path / "b.nii").write_bytes(b"broken")
    code, (good, bad) = facts(capsys, tmp_path / "a.npy", tmp_path / "b.nii")
    assert code == 3
    assert good["axes"] == ["Y", "X"]
    assert "cannot be read as NIfTI" in bad["error"]
    assert main(["info", str(tmp_path / "b.nii")]) == 2
    assert "cannot be read as NIfTI" in capsys.readouterr().err
