"""Types of the arrays that the package passes around."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: An array of any type: an image, a mask, labels.
Array = NDArray[Any]
#: An image as :func:`napari_diffusion.diffuse` returns it.
Image = NDArray[Any]
#: Floating point numbers in any arrangement.
FloatArray = NDArray[np.floating]
#: Values that diffuse, shape ``(C, *space)``: channels first, then the axes of space.
Field = NDArray[np.floating]
#: One byte per voxel.
Bytes = NDArray[np.uint8]
#: One byte per voxel; bit ``i`` is set where the face to the next voxel along axis ``i`` is open.
OpenFaces = NDArray[np.uint8]
