"""Make the picture of a run in blocks: ``python docs/make_large_screenshot.py``.

It writes a light-sheet-like OME-Zarr of 2 GiB with chunks and shards, filters it with the command
that it prints, and opens both in napari beside each other. It needs 25 GB of disk, and
``xvfb-run -a`` on a machine without a screen. ``--gib 0.25`` makes a smaller one.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# The picture shows a new installation, not the settings of the person who makes it.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

import numpy as np
import zarr

from napari_diffusion import io
from napari_diffusion.io.ome_zarr import finish
from napari_diffusion.io.volume import Volume, no_values
from napari_diffusion.io.zarr_pyramid import level_of_region, pyramid_like

IMAGE = Path(__file__).parent / "images" / "large.png"
#: Planes per GiB, rows and columns; voxel size [µm]; side of the cube of a nucleus [voxel].
PLANES, SIDE, SPACING, CUBE = 256, 1024, (2.0, 0.5, 0.5), (12, 40, 40)
ARGUMENTS = "run in.ome.zarr out.ome.zarr --auto --memory 500MB"


def nuclei(start: int, stop: int) -> Any:
    """Return planes of a tissue: a bright nucleus in most cubes, and haze, with camera noise."""
    z, y, x = np.ogrid[start:stop, :SIDE, :SIDE]
    position = [np.asarray(axis, np.int64) for axis in (z, y, x)]
    cell = [axis // size for axis, size in zip(position, CUBE, strict=True)]
    code = (cell[0] * 73856093) ^ (cell[1] * 19349663) ^ (cell[2] * 83492791)
    distance = np.zeros(code.shape, np.float32)
    for axis, size, shift in zip(position, CUBE, (3, 11, 19), strict=True):
        centre = 0.5 + 0.12 * (((code >> shift) % 7) - 3) / 3
        distance += (((axis % size) / size - centre) / (0.22 + 0.02 * (code % 5))) ** 2
    haze = 60 + 40 * np.exp(-(((y - 500) / 420.0) ** 2) - ((x - 520) / 460.0) ** 2)
    values = haze + 260 / (1 + np.exp(np.minimum(6 * (distance - 1), 30))) * (code % 4 > 0)
    noise = np.random.default_rng(start).standard_normal(values.shape, dtype="f4")
    return (values + 22 * noise).astype(np.float32)


def write_phantom(path: Path, gib: float) -> None:
    """Write the phantom shard by shard."""
    shape = (max(32, round(PLANES * gib)), SIDE, SIDE)
    like = Volume(no_values(shape, np.float32), "ZYX", SPACING, "micrometer")
    pyramid = pyramid_like(like, np.float32, (32, 128, 128), (32, 512, 512))
    pyramid.create(path)
    array = pyramid.open_level(path, 0, "r+")
    for start in range(0, shape[0], 32):
        array[start : start + 32] = nuclei(start, min(start + 32, shape[0]))
    for level in range(1, len(pyramid.levels)):
        for region in pyramid.regions(level):
            pyramid.write(path, level, region, level_of_region(path, pyramid, level, region))
    finish(path, pyramid, like, "")


def add(viewer: Any, path: Path, **look: Any) -> Any:
    """Add a store as a layer of several levels, which is read where it is shown."""
    volume = io.read(path)
    levels = [array for _, array in sorted(zarr.open_group(str(path), mode="r").arrays())]
    space = {"scale": volume.spacing, "units": ("um",) * 3, "axis_labels": ("z", "y", "x")}
    return viewer.add_image(levels, multiscale=True, name=path.name, **space, **look)


def take_picture(folder: Path) -> None:
    """Open source and result beside each other, and save the window."""
    import napari
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(show=False)
    viewer.window._qt_window.resize(1280, 800)
    viewer.window._qt_window.show()
    for name in ("in.ome.zarr", "out.ome.zarr"):
        add(viewer, folder / name, contrast_limits=(40, 360), colormap="gray")
    viewer.canvas.grid.enabled = True
    viewer.canvas.grid.stride = 1
    viewer.dims.set_point(0, 2.0 * 27)
    viewer.reset_view()
    viewer.scene.camera.zoom *= 2.4
    viewer.canvas.overlays.scale_bar.visible = True
    end = time.monotonic() + 12
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.02)
    if not viewer.window._qt_window.grab().save(str(IMAGE)):
        raise OSError(f"Cannot write {IMAGE}.")
    viewer.close()


def main() -> None:
    """Make the phantom, run the command, take the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=2.0)
    gib = parser.parse_args().gib
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_phantom(folder / "in.ome.zarr", gib)
        print(f"napari-diffusion {ARGUMENTS}", flush=True)
        command = [sys.executable, "-m", "napari_diffusion", *ARGUMENTS.split()]
        began = time.monotonic()
        subprocess.run(command, cwd=folder, check=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"{gib:g} GiB: {time.monotonic() - began:.0f} s, {used.ru_utime + used.ru_stime:.0f} s "
            "of processors"
        )
        take_picture(folder)


if __name__ == "__main__":
    main()
