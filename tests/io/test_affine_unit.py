"""The orientation of a file follows the unit of the run into a result of another format."""

from dataclasses import replace

import numpy as np

from helpers.written_volumes import AFFINE, write
from napari_diffusion import io
from napari_diffusion.io.axes import AxisRequest, apply_axes, resolve_axes


def test_affine_is_in_the_unit_of_the_run(tmp_path):
    volume = io.read(write("NRRD, raw", tmp_path))
    assigned = apply_axes(volume, resolve_axes(volume, AxisRequest(unit="µm")))
    np.testing.assert_allclose(assigned.affine[:3], AFFINE[:3] * 1000, atol=1e-2)
    io.write(tmp_path / "a.nii", np.asarray(volume.data), assigned)
    result = io.read(tmp_path / "a.nii")
    assert result.unit == "micrometer"
    np.testing.assert_allclose(result.affine[:3], AFFINE[:3] * 1000, atol=1e-2)


def test_sheared_affine_is_kept_in_nifti(tmp_path):
    """A qform cannot hold it, and the sform does."""
    volume = io.read(write("NRRD, raw", tmp_path))
    sheared = volume.affine.copy()
    sheared[:3, 2] += sheared[:3, 0]
    io.write(tmp_path / "a.nii", np.asarray(volume.data), replace(volume, affine=sheared))
    np.testing.assert_allclose(io.read(tmp_path / "a.nii").affine, sheared, atol=1e-5)
