"""What a reader of another package returns is checked and completed."""

import numpy as np
import pytest

from napari_diffusion import io
from napari_diffusion.core.errors import InputError
from napari_diffusion.io import Format, Volume


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Return a function that reads a file of a format whose reader returns a given volume."""
    path = tmp_path / "image.theirs"
    path.touch()

    def read(*fields):
        own = Format("Theirs", (".theirs",), lambda path: Volume(*fields), None, None)
        monkeypatch.setattr(io.REGISTRY, "builtin", (*io.FORMATS, own))
        return io.read(path)

    return read


def test_what_a_reader_leaves_out_is_filled_in(read, tmp_path):
    data = np.zeros((3, 4), np.int16)
    volume = read(data, "YX", (0.5, None), "mm")
    assert (volume.stored, volume.format) == (np.dtype("int16"), "Theirs")
    assert volume.path == tmp_path / "image.theirs"
    assert volume.data is data
    assert (volume.axes, volume.spacing, volume.unit) == ("YX", (0.5, None), "mm")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("YX", (1.0, 1.0, 1.0)), "its array has 3 axes, with the letters 'YX'"),
        (("ZYX", (1.0, 1.0)), r"and the voxel sizes \(1.0, 1.0\)"),
        (("ZYX", (1.0, -2.0, 1.0)), "a voxel size must be a number above 0, got -2.0"),
        (("ZYX", (1.0, 0, 1.0)), "a voxel size must be a number above 0, got 0"),
        (("ZYX", (1.0, np.nan, 1.0)), "a voxel size must be a number above 0, got nan"),
        (("ZYX", (1.0, np.inf, 1.0)), "a voxel size must be a number above 0, got inf"),
        (("ZYX", (1.0, 1.0, 1.0), "second"), "'second' is not a unit of length"),
    ],
)
def test_metadata_that_do_not_fit_are_refused_with_the_name_of_the_file(fields, message, read):
    with pytest.raises(InputError, match=message) as caught:
        read(np.zeros((2, 3, 4)), *fields)
    assert "image.theirs: cannot be read as Theirs: " in str(caught.value)


@pytest.mark.parametrize(
    ("suffixes", "message"),
    [
        (".raw", "suffixes must be a tuple"),
        ((), "suffixes must be a tuple"),
        ((".RAW",), "in lower case, got '.RAW'"),
        (("raw",), "starts with a dot"),
    ],
)
def test_suffixes_that_no_file_name_could_have_are_refused(suffixes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        io.REGISTRY._check(Format("Theirs", suffixes, None, None, None))
