"""What limits long runs, exact previews and calls: tables of processor time.

``python tests/benchmarks/passes.py stages`` compares runs with 1, 2, 4 and 8 stages in one pass
over memory. ``slabs`` compares 16 threads with one, with and without a least size of a slab.
``kernels MODEL`` lists the kernels of an exact preview of a plane of 256³ voxels, and ``call
MODEL`` those of a call on 8² pixels: how often each is called, and for how long, in one thread.
``preview MODEL`` is the time of such a preview in all threads; with ``PYTHONPATH`` it measures
the sources of another checkout. ``candidates`` is the share of voxels of noise with a vesselness.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import numpy as np
from timing import alternate, ball, median, processor_seconds, ratio, table

import napari_diffusion as nd
from napari_diffusion import models
from napari_diffusion.backends.base import Backend
from napari_diffusion.backends.numba.backend import NumbaBackend
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.core.grid import Grid
from napari_diffusion.engine import planner, slab_pool
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.problem import unread_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.operators import stepper
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.hessians import three_scales, vessels
from napari_diffusion.previewing.request import PreviewRequest

#: Models with a stored operator: at the faces, at the voxels, tensors.
MODELS = {
    "total variation": nd.TotalVariation(kappa=10.0),
    "Perona-Malik, sigma 1": nd.PeronaMalik(kappa=10.0, sigma=1.0),
    "edge-enhancing": nd.EdgeEnhancing(kappa=10.0),
}
ROUNDS = 5


def stages() -> None:
    """Print a row for every model, with the time of its run and ratios to one stage a pass."""
    image = np.random.default_rng(0).normal(100, 10, (48, 192, 192)).astype(np.float32)
    rows = []
    for name, model in MODELS.items():
        contenders = {str(n): partial(_in_passes, n, image, model) for n in (1, 2, 4, 8)}
        times = alternate(contenders, ROUNDS, seconds=processor_seconds)
        ratios = [f"{ratio(times, n, '1'):.2f}" for n in contenders]
        rows.append([name, f"{median(times['1']) / image.size * 1e9:.0f}", *ratios[1:]])
    head = ["model, T = 2.5", "one stage a pass [ns/voxel]", "2 / 1", "4 / 1", "8 / 1"]
    print(table(head, rows))


def _in_passes(count: int, image: np.ndarray, model: nd.models.Model) -> None:
    stepper.MAX_PASS_STAGES = count
    nd.diffuse(image, model, time=2.5, threads=1)


def slabs() -> None:
    """Print a row for every model: 16 threads over one, with both ways to cut slabs."""
    image = np.random.default_rng(0).normal(100, 10, (128, 128, 128)).astype(np.float32)
    worthwhile, rows = slab_pool.worthwhile_slabs, []

    def run(threads: int, cut: Callable[[int, int], int], model: nd.models.Model) -> None:
        planner.worthwhile_slabs = cut
        planner.kept_plan.cache_clear()
        nd.diffuse(image, model, time=4.0, threads=threads)

    for name, model in (MODELS | {"classic": nd.PeronaMalik(kappa=10.0)}).items():
        contenders = {
            "1": partial(run, 1, worthwhile, model),
            "thin": partial(run, 16, lambda voxels, threads: threads, model),
            "thick": partial(run, 16, worthwhile, model),
        }
        times = alternate(contenders, ROUNDS, seconds=processor_seconds)
        rows.append([name, *(f"{ratio(times, cut, '1'):.2f}" for cut in ("thin", "thick"))])
    print(table(["128³, 16 threads / 1", "a slab for every thread", "as it is"], rows))


def kernels(model: str) -> None:
    """Print the kernels of the exact preview of a plane."""
    image, kind = ball(256), _kind(model)
    problem = unread_problem(image, Recipe(kind(), 2.5), Geometry(), Domain())
    request = PreviewRequest(problem, (128, slice(None), slice(None)), Execution(threads=1))
    request.run()
    voxels = int(np.prod(request.block.shape_of()))
    print(f"{voxels} voxels, {request.plan.steps} stages, {request.plan.operators_made} operators")
    _print_kernels(request.run, 1)


def preview(model: str) -> None:
    """Print the processor time of the exact preview of a plane, in all threads [s]."""
    problem = unread_problem(ball(256), Recipe(_kind(model)(), 2.5), Geometry(), Domain())
    request = PreviewRequest(problem, (128, slice(None), slice(None)), Execution())
    request.run()
    print(" ".join(f"{processor_seconds(request.run):.2f}" for _ in range(ROUNDS)))


def candidates() -> None:
    """Print the share of voxels of noise that have a vesselness, at three scales [%]."""
    u = ball(128)[None]
    grid, weights = Grid(u.shape[1:], (1.0,) * 3), np.ones(1, u.dtype)
    features = Features(u, 0, 128, grid, NumbaBackend(), weights)
    for sigma in three_scales(1.0, 3.0):
        best = vessels(features, (sigma,), 5.0, "bright")[1]
        print(f"{sigma:.2g}: {100 * np.count_nonzero(best) / best.size:.0f} %")


def call(model: str) -> None:
    """Print the kernels of a call on 8² pixels [µs]."""
    image = np.random.default_rng(4).normal(100, 10, (8, 8)).astype(np.float32)
    work = partial(nd.diffuse, image, _kind(model)(), time=0.2)
    work()
    _print_kernels(lambda: [work() for _ in range(200)], 200)


def _kind(name: str) -> type[models.Model]:
    return next(kind for kind in models.BUILTIN if kind.name == name)


def _print_kernels(work: Callable[[], object], count: int) -> None:
    """Print calls and processor time of every kernel in one of ``count`` equal parts of a work."""
    totals, calls, kept = defaultdict(float), defaultdict(int), {}
    names = [name for name in vars(Backend) if callable(vars(Backend)[name]) and name[0] != "_"]

    def timed(name: str, kernel: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object) -> object:
            start = time.thread_time()
            result = kernel(*arguments)
            totals[name] += time.thread_time() - start
            calls[name] += 1
            return result

        return wrapped

    for name in names:
        if name in vars(NumbaBackend):
            kept[name] = vars(NumbaBackend)[name]
            if not isinstance(kept[name], classmethod):
                setattr(NumbaBackend, name, timed(name, kept[name]))
    start = time.process_time()
    work()
    whole = time.process_time() - start
    for name, kernel in kept.items():
        setattr(NumbaBackend, name, kernel)
    unit = 1e6 / count
    rows = [
        [name, f"{calls[name] / count:g}", f"{seconds * unit:.0f}"]
        for name, seconds in sorted(totals.items(), key=lambda item: -item[1])
        if seconds * unit >= 0.5
    ]
    rows.append(["the rest", "", f"{(whole - sum(totals.values())) * unit:.0f}"])
    print(table(["kernel", "calls", "processor time [µs]"], rows))


if __name__ == "__main__":
    commands = {work.__name__: work for work in (stages, slabs, kernels, preview, candidates, call)}
    commands[sys.argv[1]](*sys.argv[2:])
