"""Time of a preview of one plane of a 256³ volume, for every model.

Measured are the draft, the exact preview, and the compilation before the first preview. The table
is one of ``run.py`` (``--only preview``). ``python tests/benchmarks/preview.py [models]`` prints
the rows of the given models, or of all models.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from timing import alternate, ball, median, table

from napari_diffusion import models
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.problem import unread_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.previewing.request import PreviewRequest
from napari_diffusion.workflows.warmup import compile_by_running

#: Diffusion time [voxel²].
TIME = 2.5
#: Program that prints the time to compile the kernels of a model [s], after loading the libraries.
COMPILE = """
import sys, time
import numpy as np
import napari_diffusion as nd
from napari_diffusion import models
from napari_diffusion.backends.numba import stages
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.problem import unread_problem
from napari_diffusion.workflows.warmup import compile_by_running
model = next(cls for cls in models.BUILTIN if cls.name == sys.argv[1])()
image, recipe = np.zeros((32, 32, 32), np.float32), nd.Recipe(model, 2.5)
began = time.perf_counter()
compile_by_running(unread_problem(image, recipe, Geometry(), Domain()))
print(time.perf_counter() - began)
"""


def preview(n: int, rounds: int, only: tuple[str, ...] = ()) -> dict:
    """Table of a plane across the first axis: default parameters, noise of about the threshold."""
    image, region = ball(n), (n // 2, slice(None), slice(None))
    rows = []
    for cls in models.BUILTIN:
        if only and cls.name not in only:
            continue
        problem = unread_problem(image, Recipe(cls(), TIME), Geometry(), Domain())
        draft, exact = (
            PreviewRequest(problem, region, Execution(), draft) for draft in (True, False)
        )
        compile_by_running(problem)
        contenders: dict[str, Callable[[], object]] = {"draft": draft.run, "exact": exact.run}
        times = alternate(contenders, rounds)
        planes = f"{draft.block.shape_of()[0]} / {exact.block.shape_of()[0]}"
        steps = f"{draft.plan.steps} / {exact.plan.steps}"
        seconds = [f"{median(times[kind]):.2f}" for kind in contenders]
        rows.append([cls.name, planes, steps, *seconds, f"{compile_time(cls.name):.1f}"])
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


def compile_time(name: str) -> float:
    """Time to compile the kernels of a model in a new process [s]."""
    environment = {**os.environ, "NAPARI_DIFFUSION_NO_CACHE": "1"}
    command = [sys.executable, "-c", COMPILE, name]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


if __name__ == "__main__":
    preview(256, 3, tuple(sys.argv[1:]))
