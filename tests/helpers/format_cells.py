"""What is read from files of other libraries, and what a result of the same format keeps.

`cells` writes a file with another library, reads it, writes a result in its format, and reads that
again. The table of docs/data.md and the tests take the same cells.
"""

import nibabel
import nrrd
import numpy as np
import SimpleITK as sitk
import tifffile

from helpers.dicom_series import PIXELS as SLICES
from helpers.dicom_series import write_series
from helpers.written_volumes import AFFINE, KINDS, PIXELS, SIZES
from napari_diffusion import io

STEP, NAMES = 2.5, ["nuclei", "cell walls"]
#: What a cell says: the value of the source is in the result, or the source has none.
KEPT, NONE, LOST = "kept", "–", "lost"
#: Columns: name, and how the value is taken from a volume.
COLUMNS = {
    "voxel size": lambda volume: None if volume.unit == "pixel" else sizes_of(volume),
    "unit": lambda volume: None if volume.unit == "pixel" else volume.unit,
    "orientation": lambda volume: volume.affine,
    "time step": lambda volume: volume.time_step,
    "channel names": lambda volume: volume.channel_names or None,
    "data type": lambda volume: volume.stored,
}


def sizes_of(volume):
    return tuple(size for size in volume.spacing if size)


def frames():
    return np.stack([PIXELS, PIXELS + 1])


def nifti_series(kind):
    def make(path):
        image = kind(frames().T, AFFINE)
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = STEP
        nibabel.save(image, path)

    return make


def mgh_series(path):
    image = nibabel.MGHImage(frames().T, AFFINE)
    image.header["tr"] = STEP * 1000
    nibabel.save(image, path)


def nrrd_series(path):
    header = {
        "space": "left-posterior-superior",
        "space directions": [*np.diag(SIZES).tolist(), [np.nan] * 3],
        "space units": ["mm"] * 3,
        "kinds": ["domain"] * 3 + ["time"],
        "units": ["", "", "", "s"],
        "spacings": [np.nan] * 3 + [STEP],
    }
    nrrd.write(str(path), frames().T, header)


def metaimage_series(path):
    image = sitk.JoinSeries([sitk.GetImageFromArray(frame) for frame in frames()], 0.0, STEP)
    sitk.WriteImage(image, str(path))


def tiff(**options):
    def make(path):
        tifffile.imwrite(path, frames(), photometric="minisblack", **options)

    return make


def ome_zarr(axes):
    """Return a writer of an OME-Zarr with channels or frames, which are ``axes[0]``."""

    def make(path):
        from yaozarrs import v05
        from yaozarrs.write.v05 import write_image

        kinds = {"T": v05.TimeAxis(name="t", unit="second"), "C": v05.ChannelAxis(name="c")}
        space = [v05.SpaceAxis(name=name, unit="micrometer") for name in "zyx"]
        scale = [STEP if axes[0] == "T" else 1.0, 2.0, 0.625, 0.5]
        datasets = [v05.Dataset(path="0", coordinateTransformations=[{"scale": scale}])]
        pyramid = v05.Multiscale(axes=[kinds[axes[0]], *space], datasets=datasets)
        window = {"min": 0, "start": 0, "end": 200, "max": 200}
        channels = [{"label": name, "color": "00FF00", "window": window} for name in NAMES]
        omero = {"omero": {"channels": channels}} if axes[0] == "C" else {}
        image = v05.Image(multiscales=[pyramid], **omero)
        write_image(path, image, frames(), writer="zarr")

    return make


IMAGEJ = {"axes": "TZYX", "spacing": 2.0, "unit": "um", "finterval": STEP}
OME = {"axes": "CZYX", "Channel": {"Name": NAMES}, "PhysicalSizeZ": 2.0}
OME |= {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.625}
OME_TIME = {"axes": "TZYX", "TimeIncrement": STEP, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.625}
#: Further sources, with time steps or names of channels: name of the row, file, writer.
SERIES = (
    ("NIfTI", "t.nii", nifti_series(nibabel.Nifti1Image)),
    ("NIfTI, gzip", "t.nii.gz", nifti_series(nibabel.Nifti1Image)),
    ("NIfTI pair", "t.img", nifti_series(nibabel.Nifti1Pair)),
    ("MGZ", "t.mgz", mgh_series),
    ("MGH", "t.mgh", mgh_series),
    ("NRRD, raw", "t.nrrd", nrrd_series),
    ("MetaImage", "t.mha", metaimage_series),
    ("ImageJ TIFF", "t.tif", tiff(imagej=True, metadata=IMAGEJ)),
    ("OME-TIFF", "c.ome.tif", tiff(ome=True, metadata=OME)),
    ("OME-TIFF", "t.ome.tif", tiff(ome=True, metadata=OME_TIME)),
    ("OME-Zarr", "t.ome.zarr", ome_zarr("TZYX")),
)
#: Libraries that write the files, by the beginning of the name of a row.
WRITERS = {
    "NRRD of ITK": "SimpleITK",
    "NRRD": "pynrrd",
    "MRC": "mrcfile",
    "MetaImage": "SimpleITK",
    "DICOM": "pydicom",
    "NumPy": "NumPy",
    "ImageJ": "tifffile",
    "OME-Zarr": "yaozarrs",
    "OME": "tifffile",
    "plain": "tifffile",
    "BigTIFF": "tifffile",
    "tiled": "tifffile",
}
#: Rows without a file in `KINDS`: file, writer, suffix of a result.
OTHERS = {
    "ImageJ TIFF": (
        "a.tif",
        tiff(imagej=True, resolution=(2.0, 1.6), metadata=IMAGEJ),
        ".tif",
    ),
    "OME-TIFF": ("a.ome.tif", tiff(ome=True, metadata=OME), ".ome.tif"),
    "plain TIFF": ("a.tif", tiff(metadata=None), ".tif"),
    "BigTIFF": ("a.tif", tiff(bigtiff=True, metadata={"axes": "TZYX"}), ".tif"),
    "tiled TIFF": ("a.tif", tiff(tile=(16, 16), compression="zlib"), ".tif"),
    "OME-Zarr": ("a.ome.zarr", ome_zarr("CZYX"), ".ome.zarr"),
    "NumPy": ("a.npy", lambda path: np.save(path, frames()), ".npy"),
    "DICOM series": ("series", write_series, ".nii.gz"),
}
ROWS = (*KINDS, *OTHERS)


def sources(row, folder):
    """Yield path and values of the files of a row."""
    if row in KINDS:
        name, write, *_ = KINDS[row]
        write(folder / name)
        yield folder / name, PIXELS
    else:
        name, write, _ = OTHERS[row]
        write(folder / name)
        yield folder / name, SLICES if row == "DICOM series" else frames()
    for own, name, write in SERIES:
        if own == row:
            write(folder / name)
            yield folder / name, frames()


def in_order(volume, ndim):
    """Return values with the axes of space last, in the order z, y, x."""
    letters = [letter for letter in volume.axes if letter in "ZYX"]
    if len(letters) < 3:
        return np.asarray(volume.data)
    rest = [i for i, letter in enumerate(volume.axes) if letter not in "ZYX"]
    order = rest + [volume.axes.index(letter) for letter in "ZYX"]
    values = np.asarray(volume.data).transpose(order)
    return values.reshape(values.shape[-ndim:])


def agree(name, before, after):
    """Whether a value of the source is in the result."""
    if name == "orientation":
        return after is not None and np.allclose(before, after, atol=1e-4)
    if name == "voxel size":
        return np.allclose(sorted(before), sorted(after or [0]), rtol=1e-5)
    return before == after


def cells(row, folder):
    """Return suffix of a result, and what each column says, for one kind of file."""
    suffix = KINDS[row][4] if row in KINDS else OTHERS[row][2]
    said = dict.fromkeys(COLUMNS, NONE)
    for number, (path, values) in enumerate(sources(row, folder)):
        volume = io.read(path)
        if "Z" not in volume.axes:  # the pages of a file have no names
            values = values.reshape(volume.shape)
        np.testing.assert_array_equal(in_order(volume, values.ndim), values)
        target = folder / f"result{number}{suffix}"
        data = np.asarray(volume.data) + np.asarray(volume.data).dtype.type(1)
        io.write(target, data, volume)
        result = io.read(target)
        np.testing.assert_array_equal(in_order(result, values.ndim), values + 1)
        for name, take in COLUMNS.items():
            before = take(volume)
            if before is not None and said[name] != LOST:
                said[name] = KEPT if agree(name, before, take(result)) else LOST
    return suffix, said


def writer_of(row):
    """Return the library that writes the files of a row."""
    return next((name for start, name in WRITERS.items() if row.startswith(start)), "nibabel")


def table(folder):
    """Return the table of all cells as lines of Markdown."""
    head = ("file", "written by", "result", *COLUMNS)
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for number, row in enumerate(ROWS):
        place = folder / str(number)
        place.mkdir()
        suffix, said = cells(row, place)
        lines.append(f"| {' | '.join((row, writer_of(row), f'`{suffix}`', *said.values()))} |")
    return lines
