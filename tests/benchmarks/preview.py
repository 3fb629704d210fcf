"""How long a preview of one plane of a 256³ volume takes, for every model: a draft, the exact one, and the compilation before the first.

One table of ``run.py`` (``--only preview``); ``python tests/benchmarks/preview.py`` prints it for the models that are named, or for all.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from timing import ball, in_turn, median, table

from napari_diffusion import models
from napari_diffusion.engine.request import Request
from napari_diffusion.previewing.region import PreviewRequest
from napari_diffusion.workflows.warmup import compile_by_running

TIME = 2.5
#: Prints how long the kernels of a model take to compile; the libraries have been loaded before.
FIRST = """
import sys, time
import numpy as np
import napari_diffusion as nd
from napari_diffusion import models
from napari_diffusion.backends.numba import stages
from napari_diffusion.engine.request import Request
from napari_diffusion.workflows.warmup import compile_by_running
model = next(cls for cls in models.BUILTIN if cls.name == sys.argv[1])()
began = time.perf_counter()
compile_by_running(Request.of(np.zeros((32, 32, 32), np.float32), model, time=2.5))
print(time.perf_counter() - began)
"""


def preview(n: int, rounds: int, only: tuple[str, ...] = ()) -> dict:
    """Plane across the first axis, time 2.5 voxel², default parameters, noise of the threshold."""
    image, region = ball(n), (n // 2, slice(None), slice(None))
    rows = []
    for cls in models.BUILTIN:
        if only and cls.name not in only:
            continue
        request = Request.of(image, cls(), time=TIME)
        made = {
            kind: PreviewRequest(request, region, draft=kind == "draft")
            for kind in ("draft", "exact")
        }
        compile_by_running(request)
        contenders: dict[str, Callable[[], object]] = {
            kind: excerpt.run for kind, excerpt in made.items()
        }
        times = in_turn(contenders, rounds)
        environment = {**os.environ, "NAPARI_DIFFUSION_NO_CACHE": "1"}
        command = [sys.executable, "-c", FIRST, cls.name]
        first = float(
            subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            ).stdout
        )
        planes = [str(made[kind].block.shape_of()[0]) for kind in made]
        steps = [str(made[kind].plan.steps) for kind in made]
        seconds = [f"{median(times[kind]):.2f}" for kind in made]
        rows.append(
            [cls.name, *(f"{a} / {b}" for a, b in (planes, steps)), *seconds, f"{first:.1f}"]
        )
        print(*rows[-1], sep="   ", flush=True)
    head = [
        "model",
        "planes, draft / exact",
        "stages, draft / exact",
        "draft [s]",
        "exact [s]",
        "compiling, once [s]",
    ]
    title = f"## Preview of a plane of {n}³ float32, diffusion time {TIME:g} voxel²\n\n"
    return {"text": title + table(head, rows)}


if __name__ == "__main__":
    preview(256, 3, tuple(sys.argv[1:]))
