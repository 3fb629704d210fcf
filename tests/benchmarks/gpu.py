"""Measure a graphics card: ``python tests/benchmarks/gpu.py``, in less than five minutes.

It prints the tables of docs/graphics_card.md: whether the bits are those of the processor, the
share of the copy bandwidth that a step of face-wise diffusion reaches, and whole runs with
transfers beside the processor. ``--device NAME`` takes another device than the first card.
``--size N`` takes volumes of N x N x N voxels; a card should get at least 256, and PoCL at most 64.
"""

import argparse
import sys
import time
import warnings

import numpy as np

import napari_diffusion as nd
from napari_diffusion.backends.devices import get_device
from napari_diffusion.core.resources import cpu_count

#: Steps and copies that are timed at once, and seconds after which no further round begins.
STEPS, ENOUGH_S = 20, 20.0
#: Bytes per voxel and step of an ideal kernel in float32: one value is read, one is written.
IDEAL_BYTES = 8
RUNS = {
    "Perona-Malik, 20 steps": (
        nd.PeronaMalik(kappa=20.0),
        {"time": 20 / 6, "scheme": nd.schemes.Explicit(step=1 / 6)},
    ),
    "Perona-Malik, σ 1, T = 10": (nd.PeronaMalik(kappa=8.0, sigma=1.0), {"time": 10.0}),
    "total variation, T = 2.5": (nd.TotalVariation(kappa=10.0), {"time": 2.5}),
    "modified curvature, T = 2": (nd.ModifiedCurvature(kappa=10.0), {"time": 2.0}),
    "speckle reducing, T = 4": (nd.SpeckleReducing(q0=0.2), {"time": 4.0}),
    "Rician, T = 4": (nd.Rician(sigma_noise=20.0), {"time": 4.0}),
    "edge-enhancing, T = 2": (nd.EdgeEnhancing(), {"time": 2.0}),
    "coherence-enhancing, T = 2": (nd.CoherenceEnhancing(), {"time": 2.0}),
    "vessel-enhancing, T = 1": (nd.VesselEnhancing(), {"time": 1.0}),
    "linear, σ 2": (nd.Linear(), {"time": 2.0}),
}


def volume(size):
    """Return noise on a ball, float32."""
    x = np.meshgrid(*3 * [np.linspace(-1, 1, size, dtype=np.float32)], indexing="ij")
    ball = sum(c * c for c in x) < 0.5
    noise = np.random.default_rng(0).normal(0, 20, 3 * (size,))
    return np.abs(100 + 60 * ball + noise).astype(np.float32)


def seconds_of(work, finish):
    """Return the least time of some rounds of ``work`` [s]; the first one compiles."""
    work()
    finish()
    least, begin = np.inf, time.perf_counter()
    for _ in range(5):
        start = time.perf_counter()
        work()
        finish()
        now = time.perf_counter()
        least = min(least, now - start)
        if now - begin > ENOUGH_S:
            break
    return least


def bandwidth(device, image):
    """Return the copy bandwidth [B/s], and the time of a step of face-wise diffusion [s]."""
    kernels = device.kernels()
    fields = kernels.load(image[None]), kernels.load(image[None])
    a, b = np.full(3, 1 / 6, np.float32), np.full(3, 1 / 20, np.float32)
    weights = np.ones(1, np.float32)

    def copies():
        for i in range(STEPS):
            fields[i % 2][...] = fields[1 - i % 2]

    def steps():
        for i in range(STEPS):
            u, out = fields[i % 2], fields[1 - i % 2]
            kernels.step(u, out, 0, len(image), a, b, 0.0, 1, None, None, 0, None, weights)

    copied = 2 * image.nbytes * STEPS / seconds_of(copies, kernels.finish)
    return copied, seconds_of(steps, kernels.finish) / STEPS


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--device", default="gpu")
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    try:
        device = get_device(options.device)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    if device is None:
        raise SystemExit("The processor is measured beside the device; name a device.")
    image = volume(options.size)
    print(f"{device.name} ({device.platform}, {device.version})")
    print(f"{options.size}³ voxels, float32; {cpu_count()} processors beside it\n")
    copied, step = bandwidth(device, image)
    ideal = IDEAL_BYTES * image.size / copied
    print(f"copy {copied / 1e9:.1f} GB/s; a step of Perona-Malik {step * 1e3:.2f} ms, which is")
    print(f"{100 * ideal / step:.0f} % of the copy bandwidth at {IDEAL_BYTES} B per voxel\n")
    print("| run | values that differ | processor [s] | device with transfers [s] | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for name, (model, settings) in RUNS.items():
        results, times, said = [], [], []
        for place in ("cpu", options.device):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                nd.diffuse(image[:8], model, device=place, **settings)  # compiles
                begin = time.perf_counter()
                results.append(nd.diffuse(image, model, device=place, **settings))
                times.append(time.perf_counter() - begin)
            said += [str(warning.message) for warning in caught]
        if said:
            print(f"| {name} | - | {times[0]:.2f} | {said[0]} | |")
            continue
        different = int((results[0] != results[1]).sum())
        cells = f"{different} of {image.size}", *(f"{t:.2f}" for t in times)
        print(f"| {name} | {' | '.join(cells)} | {times[0] / times[1]:.2f} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
