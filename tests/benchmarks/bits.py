"""Fingerprints of results, to show that a change of form does not change any bit.

    python tests/benchmarks/bits.py write before.json     # with the old code
    python tests/benchmarks/bits.py compare before.json   # with the new code

Every result is reduced to the SHA-256 of its bytes. Rows: all models in 2-D and 3-D, float32 and
float64, plain, with labels and with channels, by three schemes; then previews, drafts, diagnostics,
plans, suggestions, and the files that the command line writes. Bits depend on the processor, so
both runs belong on the same machine.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import napari_diffusion as nd

MODELS = {
    "linear": nd.Linear(),
    "perona-malik": nd.PeronaMalik(kappa=12.0),
    "perona-malik-sigma": nd.PeronaMalik(kappa=9.0, sigma=0.7, diffusivity="exponential"),
    "total-variation": nd.TotalVariation(kappa=6.0),
    "mean-curvature": nd.MeanCurvature(),
    "modified-curvature": nd.ModifiedCurvature(kappa=12.0),
    "edge-enhancing": nd.EdgeEnhancing(kappa=8.0),
    "coherence-enhancing": nd.CoherenceEnhancing(kappa=5.0),
    "hybrid": nd.Hybrid(kappa=8.0, contrast=5.0),
    "vessel-enhancing": nd.VesselEnhancing(gamma=20.0),
    "speckle-reducing": nd.SpeckleReducing(q0=0.2),
    "rician": nd.Rician(sigma_noise=8.0),
}
SPACINGS = {2: (1.3, 0.7), 3: (2.0, 0.8, 0.5)}
SHAPES = {2: (37, 41), 3: (11, 19, 23)}
SCHEMES = {"auto": {}, "explicit": {"scheme": "explicit"}, "strict": {"strict": True}}


def picture(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Steps, a slope and noise with a fixed seed."""
    rng = np.random.default_rng(20)
    index = np.indices(shape).sum(0)
    clean = 60.0 + 40.0 * (index % 17 > 8) + 0.3 * index
    return (clean + rng.normal(0, 8, shape)).astype(dtype)


def inputs(kind: str, ndim: int, dtype: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Return an image and the arguments of `diffuse` that belong to it."""
    shape, options = SHAPES[ndim], {"spacing": SPACINGS[ndim]}
    if kind == "channels":
        return picture((*shape, 3), dtype), options | {"channel_axis": -1}
    image = picture(shape, dtype)
    if kind == "labels":
        labels = (np.indices(shape)[-1] > shape[-1] // 2).astype(np.uint8) + 1
        labels[:3] = 0
        return image, options | {"labels": labels}
    return image, options


def digest(value: Any) -> str:
    """Return the fingerprint of an array, or of the representation of any other object."""
    if isinstance(value, np.ndarray):
        raw = np.ascontiguousarray(value)
        return hashlib.sha256(f"{raw.dtype} {raw.shape}".encode() + raw.tobytes()).hexdigest()[:20]
    return hashlib.sha256(repr(value).encode()).hexdigest()[:20]


def digest_of(call: Any) -> str:
    """Return the fingerprint of the result of a call, or the type of the error that it raises."""
    try:
        return digest(call())
    except (ValueError, TypeError) as error:
        return type(error).__name__


def runs() -> Iterator[tuple[str, str]]:
    """Fingerprints of runs and plans."""
    names = MODELS, SHAPES, ("float32", "float64"), ("plain", "labels", "channels"), SCHEMES
    for name, ndim, dtype, kind, scheme in product(*names):
        image, options = inputs(kind, ndim, dtype)
        options = options | SCHEMES[scheme] | {"time": 1.1}
        model = MODELS[name]
        row = f"{name}/{ndim}-D/{dtype}/{kind}/{scheme}"
        yield row, digest_of(lambda m=model, i=image, o=options: nd.diffuse(i, m, **o))
        if dtype == "float32":
            plan = digest_of(lambda m=model, i=image, o=options: numbers_of(nd.plan(i, m, **o)))
            yield f"plan/{row}", plan


def numbers_of(plan: Any) -> list[Any]:
    """Return the numbers of a plan."""
    stages = [tuple(stage) for stage in plan.stages]
    return [type(plan.scheme).__name__, stages, plan.halo, plan.memory, plan.max_step, plan.chunk]


def parts() -> Iterator[tuple[str, str]]:
    """Fingerprints of previews, drafts and diagnostics."""
    for name, kind in product(MODELS, ("plain", "labels", "channels")):
        image, options = inputs(kind, 3, "float32")
        region = (5, slice(4, 15), slice(3, 20), *[slice(None)] * (kind == "channels"))
        for draft in (False, True):
            arguments = options | {"region": region, "time": 2.0, "draft": draft}
            row = f"{'draft' if draft else 'preview'}/{name}/{kind}"
            yield row, digest_of(lambda m=MODELS[name], i=image, o=arguments: nd.preview(i, m, **o))
        for measure in (nd.conductance, nd.coherence):
            row = f"{measure.__name__}/{name}/{kind}"
            yield row, digest_of(lambda f=measure, m=MODELS[name], i=image, o=options: f(i, m, **o))
        arrows = digest_of(
            lambda m=MODELS[name], i=image, o=options: nd.directions(i, m, **o).arrows()
        )
        yield f"directions/{name}/{kind}", arrows
    image, options = inputs("plain", 3, "float32")
    yield "gradients", digest_of(lambda: nd.gradients(image, sigma=0.8, **options).magnitudes)
    for name in ("perona-malik-sigma", "edge-enhancing"):
        error = digest_of(lambda m=MODELS[name]: nd.integration_error(image, m, time=3.0))
        yield f"integration error/{name}", error


def suggestions() -> Iterator[tuple[str, str]]:
    """Fingerprints of suggestions."""
    image = picture((12, 48, 48), "float32")
    for model in ("auto", nd.PeronaMalik(), nd.CoherenceEnhancing(), nd.Rician()):
        result = nd.suggest(image, model, spacing=(2.0, 0.5, 0.5))
        # A parameter without a value, such as a map, is left out: models may get more of them.
        chosen = {name: value for name, value in vars(result.model).items() if value is not None}
        numbers = result.time, result.gain, result.noise_left, result.noise_share
        values = result.model.name, chosen, *numbers
        yield f"suggestion/{model if isinstance(model, str) else model.name}", digest(values)


def files() -> Iterator[tuple[str, str]]:
    """Fingerprints of the pixels in files that the command line writes."""
    from napari_diffusion import io
    from napari_diffusion.cli import main

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in.npy")
        np.save(source, picture(SHAPES[3], "float32"))
        for name, suffix in product(MODELS, (".npy", ".nii.gz", ".ome.tif")):
            target = Path(folder, f"{name}{suffix}")
            command = ["run", str(source), str(target), "--model", MODELS[name].name, "--time", "1"]
            geometry = ["--axes", "ZYX", "--spacing", "2,0.8,0.5", "--unit", "mm", "--quiet"]
            failed = main([*command, *geometry])
            pixels = "" if failed else digest(np.asarray(io.read(target).data))
            yield f"file/{name}/{suffix}", pixels


def main() -> int:
    """Write the fingerprints, or compare them with those of a file."""
    command, path = sys.argv[1], Path(sys.argv[2])
    current = dict(row for rows in (runs, parts, suggestions, files) for row in rows())
    if command == "write":
        path.write_text(json.dumps(current, indent=0))
        print(f"{len(current)} results written to {path}")
        return 0
    before = json.loads(path.read_text())
    names = current.keys() | before.keys()
    different = sorted(name for name in names if current.get(name) != before.get(name))
    print(f"{len(current)} results, {len(before)} before, {len(different)} different")
    print("\n".join(different))
    return int(bool(different))


if __name__ == "__main__":
    raise SystemExit(main())
