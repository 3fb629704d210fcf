"""Volumes that other libraries write, one for each kind of file that is read."""

import bz2
import gzip

import mrcfile
import nibabel
import nrrd
import numpy as np
import SimpleITK as sitk

#: The volume, axes z, y, x, and its geometry: voxel size x, y, z, origin and directions in LPS.
PIXELS = np.random.default_rng(3).normal(100, 10, (5, 6, 7)).astype(np.float32)
SIZES, ORIGIN = (0.5, 0.625, 2.0), (10.0, -20.0, 30.0)
#: Columns are the directions of x, y and z; the volume is turned about z, and left-handed.
DIRECTIONS = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.block(
    [[DIRECTIONS * SIZES, np.array(ORIGIN)[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]]
)


def image():
    """Return the volume as an image of SimpleITK."""
    made = sitk.GetImageFromArray(PIXELS)
    made.SetSpacing(SIZES)
    made.SetOrigin(ORIGIN)
    made.SetDirection(DIRECTIONS.ravel().tolist())
    return made


def by_simpleitk(path):
    sitk.WriteImage(image(), str(path), useCompression=path.name.startswith("packed"))


def by_nibabel(path):
    made = nibabel.Nifti1Image(PIXELS.T, AFFINE)
    made.header.set_xyzt_units("mm")
    kind = {".mgz": nibabel.MGHImage, ".mgh": nibabel.MGHImage}.get(path.suffix)
    nibabel.save(made if kind is None else kind(PIXELS.T, AFFINE), path)


def pair_by_nibabel(path):
    made = nibabel.Nifti1Pair(PIXELS.T, AFFINE)
    made.header.set_xyzt_units("mm")
    nibabel.save(made, path)


def analyze_by_nibabel(path):
    made = nibabel.AnalyzeImage(PIXELS.T, np.diag([*SIZES, 1.0]))
    nibabel.save(made, path)


def by_pynrrd(encoding):
    def write(path):
        header = {
            "encoding": encoding,
            "space": "left-posterior-superior",
            "space directions": (DIRECTIONS * SIZES).T,
            "space origin": ORIGIN,
            "space units": ["mm"] * 3,
            "kinds": ["domain"] * 3,
            "content": "a phantom",
        }
        nrrd.write(str(path), PIXELS.T, header)

    return write


def by_mrcfile(compress=None):
    def write(path):
        plain = path if compress is None else path.with_suffix(".plain")
        with mrcfile.new(plain) as file:
            file.set_data(PIXELS)
            file.voxel_size = SIZES
        if compress is not None:
            path.write_bytes(compress(plain.read_bytes()))

    return write


def by_compression(compress, write):
    def write_compressed(path):
        plain = path.with_name("plain.nii")
        write(plain)
        path.write_bytes(compress(plain.read_bytes()))

    return write_compressed


#: Name of a kind: name of a file, its writer, whether it has an orientation, unit, suffix of a
#: result in the same format, or that of the other format in which results are written.
KINDS = {
    "NIfTI": ("a.nii", by_nibabel, True, "millimeter", ".nii"),
    "NIfTI, gzip": ("a.nii.gz", by_nibabel, True, "millimeter", ".nii.gz"),
    "NIfTI, bzip2": (
        "a.nii.bz2",
        by_compression(bz2.compress, by_nibabel),
        True,
        "millimeter",
        ".nii.bz2",
    ),
    "NIfTI pair": ("a.img", pair_by_nibabel, True, "millimeter", ".nii"),
    "Analyze": ("a.hdr", analyze_by_nibabel, False, "millimeter", ".nii"),
    "MGZ": ("a.mgz", by_nibabel, True, "millimeter", ".mgz"),
    "MGH": ("a.mgh", by_nibabel, True, "millimeter", ".mgh"),
    "NRRD, raw": ("a.nrrd", by_pynrrd("raw"), True, "millimeter", ".nrrd"),
    "NRRD, gzip": ("a.nrrd", by_pynrrd("gzip"), True, "millimeter", ".nrrd"),
    "NRRD, bzip2": ("a.nrrd", by_pynrrd("bzip2"), True, "millimeter", ".nrrd"),
    "NRRD, text": ("a.nrrd", by_pynrrd("text"), True, "millimeter", ".nrrd"),
    "NRRD, detached": ("a.nhdr", by_pynrrd("gzip"), True, "millimeter", ".nrrd"),
    "NRRD of ITK": ("a.nrrd", by_simpleitk, True, "millimeter", ".nrrd"),
    "MRC": ("a.mrc", by_mrcfile(), False, "angstrom", ".mrc"),
    "MRC, gzip": ("a.map.gz", by_mrcfile(gzip.compress), False, "angstrom", ".mrc"),
    "MRC, bzip2": ("a.rec.bz2", by_mrcfile(bz2.compress), False, "angstrom", ".mrc"),
    "MetaImage": ("a.mha", by_simpleitk, True, "millimeter", ".mha"),
    "MetaImage, packed": ("packed.mha", by_simpleitk, True, "millimeter", ".mha"),
    "MetaImage pair": ("a.mhd", by_simpleitk, True, "millimeter", ".mha"),
}


def write(name, folder):
    """Write the volume as one kind of file, and return its path."""
    path = folder / KINDS[name][0]
    KINDS[name][1](path)
    return path
