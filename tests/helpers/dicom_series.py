"""A DICOM series that pydicom writes, with names and numbers in no order."""

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

PIXELS = np.random.default_rng(1).integers(-500, 500, (6, 5, 4)).astype(np.int16)
#: Direction cosines of rows and columns of a coronal series, and the normal of its slices.
COSINES = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
NORMAL = np.cross(COSINES[:3], COSINES[3:])
STEP = 2.5


def write_series(folder, numbers=range(6), uid="1.2.3", **changes):
    """Write one file per slice; names and numbers of instances are in no order."""
    folder.mkdir(exist_ok=True)
    for i in numbers:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.SeriesInstanceUID, data.Modality = uid, "CT"
        data.PatientName, data.InstanceNumber = "Doe^Jane", (i * 5) % 7
        data.Rows, data.Columns = PIXELS.shape[1:]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = 1
        data.PixelSpacing, data.SliceThickness = [0.5, 0.75], 5.0
        data.SpacingBetweenSlices = 9.0
        data.ImageOrientationPatient = list(COSINES)
        data.ImagePositionPatient = (np.array([10, 20, 30]) + i * STEP * NORMAL).tolist()
        data.RescaleSlope, data.RescaleIntercept = 1, 0
        data.PixelData = PIXELS[i].tobytes()
        for name, value in changes.items():
            setattr(data, name, value(i) if callable(value) else value)
        data.save_as(folder / f"{uid}-{(i * 5) % 7}.dcm", enforce_file_format=True)
    return folder
