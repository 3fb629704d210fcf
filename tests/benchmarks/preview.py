"""How long a preview of one plane of a 256³ volume takes, for every model: ``python tests/benchmarks/preview.py``.

The first call of each model includes the compilation where there is no cache (``NAPARI_DIFFUSION_NO_CACHE=1``).
"""

import time

import numpy as np

import napari_diffusion as nd
from napari_diffusion import models
from napari_diffusion.engine.slabs import cpu_count


def main() -> None:
    """Print the first and the best of three later previews, in each orientation."""
    image = np.random.default_rng(0).normal(100.0, 100.0, (256, 256, 256)).astype(np.float32)
    print(f"256³ float32, time 2.5 voxel², {cpu_count()} processors; seconds")
    for cls in models.BUILTIN:
        model, row = cls(), []
        for axis in range(3):
            region = tuple(128 if i == axis else slice(None) for i in range(3))
            for _ in range(4):
                began = time.perf_counter()
                nd.preview(image, model, region=region, time=2.5)
                row.append(time.perf_counter() - began)
        best = "  ".join(f"{min(row[k + 1 : k + 4]):.3f}" for k in (0, 4, 8))
        print(f"{model.name:22} first {row[0]:.3f}   then {best}", flush=True)


if __name__ == "__main__":
    main()
