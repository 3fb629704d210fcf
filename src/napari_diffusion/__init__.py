"""Diffusion filters for microscopy and MRI volumes: N-D, in physical units, stable.

>>> import numpy as np
>>> import napari_diffusion as nd
>>> smooth = nd.diffuse(np.eye(8, dtype=np.float32), nd.Linear(), time=2.0, spacing=(1.0, 0.5))
"""

import lazy_loader

# Names are imported on first use, so that the import itself loads neither numba nor SciPy.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
