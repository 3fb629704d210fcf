"""Compressed TIFF files, as cameras, slide scanners and other programs write them."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_diffusion import io

Z, Y, X = np.mgrid[:3, :40, :30]
STACK = 20 * Z + 3 * Y + 2 * X + 60 * (X > 11)  # from 0 to 275
LOSSLESS = ["lzw", "packbits", "deflate", "adobe_deflate", "zstd", "lzma", "lerc"]
OPTIONS = {"photometric": "minisblack", "metadata": {"axes": "ZYX"}}


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
@pytest.mark.parametrize("compression", LOSSLESS)
def test_lossless_compression_keeps_every_bit(compression, dtype, tmp_path):
    path = tmp_path / "a.tif"
    data = STACK.astype(dtype)
    tifffile.imwrite(path, data, compression=compression, **OPTIONS)
    with tifffile.TiffFile(path) as tif:
        assert tif.pages.first.compression == tifffile.COMPRESSION[compression.upper()]
    volume = io.read(path)
    assert volume.data.dtype == dtype
    np.testing.assert_array_equal(volume.data, data)


@pytest.mark.parametrize("byteorder", ["<", ">"], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize("tile", [None, (16, 16)], ids=["strips", "tiles"])
@pytest.mark.parametrize(("dtype", "predictor"), [("u1", 2), ("u2", 2), ("i4", 2), ("f4", 3)])
@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd"])
def test_prediction_keeps_every_bit(compression, dtype, predictor, tile, byteorder, tmp_path):
    """Predictor 2 stores differences along a row, 3 those of the bytes of floating point."""
    path = tmp_path / "a.tif"
    data = STACK.astype(dtype)
    options = OPTIONS | {"predictor": predictor, "tile": tile, "byteorder": byteorder}
    tifffile.imwrite(path, data, compression=compression, **options)
    with tifffile.TiffFile(path) as tif:
        assert tif.pages.first.predictor == predictor
    np.testing.assert_array_equal(io.read(path).data, data)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_compressed_file_of_another_program(compression, mode, tmp_path):
    """Pillow writes and decodes the file with libtiff."""
    path = tmp_path / "a.tif"
    grey = STACK[0].astype("u1")
    data = grey if mode == "L" else np.stack([grey, grey[::-1], grey.T.repeat(2, 0)[:40, :30]], -1)
    Image.fromarray(data).save(path, compression=compression)
    with Image.open(path) as image:
        expected = np.asarray(image.convert(mode))
    result = io.read(path).data
    # Two decoders of JPEG may round to different sides, and convert colours with other constants.
    tolerance = 0 if compression != "jpeg" else 1 if mode == "L" else 2
    assert result.shape == expected.shape
    assert abs(result.astype(int) - expected).max() <= tolerance


def test_jpeg_stays_within_its_loss(tmp_path):
    path = tmp_path / "a.tif"
    data = STACK.astype("u1")
    tifffile.imwrite(path, data, compression="jpeg", compressionargs={"level": 95}, **OPTIONS)
    difference = io.read(path).data.astype(int) - data
    assert 0 < abs(difference).max() <= 10  # of 256 grey levels
