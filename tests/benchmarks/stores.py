"""Runs in blocks beside the run in memory: time, throughput, peak memory, and bits.

python tests/benchmarks/stores.py [--gib 1] [--budget 0.5GiB] [--long]

A noisy image of that size is written as zarr with chunks of 64 x 128 x 128 voxels in a temporary
folder. Each run has a process of its own, which reads the image and writes OME-Zarr. Peak memory is
above that of the imported program with its kernels. "--long" adds default Perona-Malik with a
voxel size of 2 x 0.5 x 0.5 and T = 4, which is cut into passes, and a cluster of two processes.
"--flat" prints the peak for one to eight times the data. "--kills N" ends a run N times at random
moments and continues it.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr

PLANE = (1024, 1024)
CHUNKS = (64, 128, 128)
#: Time and voxel size of the runs: eight stages, and the default scheme of many stages.
CASES = {"8 stages": (0.8, [1.0, 1.0, 1.0]), "default": (4.0, [2.0, 0.5, 0.5])}
KAPPA = {"8 stages": 20.0, "default": 1.0}

RUN = """
import json, resource, sys, threading, time
from pathlib import Path
import numpy as np
import psutil
import zarr
import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io.axes import AxisRequest, resolve_axes
from napari_diffusion.io.zarr_pyramid import pyramid_like

source, target, how, case, budget, time_, kappa, spacing = json.loads(sys.argv[1])

class Peak(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.process, self.highest, self.ended = psutil.Process(), 0, threading.Event()

    def run(self):
        while not self.ended.wait(0.003):
            total = self.process.memory_info().rss
            if how == "cluster":
                for child in self.process.children(recursive=True):
                    try:
                        total += child.memory_info().rss
                    except psutil.Error:
                        pass
            self.highest = max(self.highest, total)

def main():
    scheme = nd.schemes.Explicit(step=0.1) if case == "8 stages" else "auto"
    recipe = nd.Recipe(nd.PeronaMalik(kappa=kappa), time_, spacing=spacing, scheme=scheme)
    small = np.random.default_rng(0).normal(100, 10, (9, 9, 9)).astype("f4")
    nd.diffuse(small, recipe)
    volume = io.read(source)
    sampler = Peak()
    before = psutil.Process().memory_info().rss
    sampler.start()
    start, cpu = time.perf_counter(), time.process_time()
    facts = {}
    if how == "memory":
        image = zarr.open_array(source, mode="r")[...]
        result = nd.diffuse(image, recipe)
        io.write(target, result, volume)
    else:
        plan = nd.plan_store(source, target, recipe, spacing=spacing, memory=budget)
        facts["plan"] = plan.describe()
        facts["predicted"] = plan.memory
        executor = None
        if how == "cluster":
            from distributed import Client
            client = Client(n_workers=2, threads_per_worker=1, dashboard_address=None)
            client.run(lambda: None)
            start, cpu = time.perf_counter(), time.process_time()
            executor = client.get_executor()
        nd.diffuse_store(
            source, target, recipe, spacing=spacing, memory=budget, executor=executor
        )
        if how == "cluster":
            client.close()
    sampler.ended.set()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts["wall"] = time.perf_counter() - start
    facts["cpu"] = time.process_time() - cpu + children.ru_utime + children.ru_stime
    facts["peak"] = sampler.highest - before
    print(json.dumps(facts))

if __name__ == "__main__":
    main()
"""


def phantom(path, planes):
    """Steps in noise, written chunk by chunk."""
    shape = (planes, *PLANE)
    array = zarr.create_array(str(path), shape=shape, chunks=CHUNKS, dtype="f4", compressors=None)
    rng = np.random.default_rng(3)
    y, x = np.ogrid[: PLANE[0], : PLANE[1]]
    for lo in range(0, planes, CHUNKS[0]):
        hi = min(lo + CHUNKS[0], planes)
        z = np.arange(lo, hi)[:, None, None]
        steps = 60 * (((z // 24 + y // 40 + x // 32) % 3) == 0)
        array[lo:hi] = 100 + steps + 10 * rng.standard_normal((hi - lo, *PLANE), dtype="f4")
    return array


def measured(source, target, how, case, budget):
    time_, spacing = CASES[case]
    settings = json.dumps(
        [str(source), str(target), how, case, budget, time_, KAPPA[case], spacing]
    )
    script = target.with_suffix(".py")
    script.write_text(RUN)  # worker processes import it
    done = subprocess.run(
        [sys.executable, str(script), settings], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def table(folder, planes, budget, runs):
    source = folder / "in.zarr"
    voxels = phantom(source, planes).size
    print(f"{voxels * 4 / 2**30:.3g} GiB of float32, budget {budget}")
    print(
        "| run | processor time [s] | ratio | wall time [s] | Mvoxel/s | peak [MiB] | predicted |"
    )
    print("|---|---|---|---|---|---|---|")
    for case in dict.fromkeys(case for case, _ in runs):
        base = None
        for how in [how for own, how in runs if own == case]:
            target = folder / f"{how}.ome.zarr"
            facts = measured(source, target, how, case, budget)
            base = base or facts
            predicted = facts.get("predicted")
            shown = "" if predicted is None else f"{predicted / 2**20:.0f}"
            print(
                f"| {case}, {how} | {facts['cpu']:.1f} | {facts['cpu'] / base['cpu']:.2f} "
                f"| {facts['wall']:.1f} | {voxels / facts['wall'] / 1e6:.1f} "
                f"| {facts['peak'] / 2**20:.0f} | {shown} |",
                flush=True,
            )
            if "plan" in facts:
                print(f"  {facts['plan']}", flush=True)
        different = differing(folder / "memory.ome.zarr", folder / "blocks.ome.zarr")
        print(f"  {different} values differ", flush=True)
        for how in ("memory", "blocks", "cluster"):
            remove(folder / f"{how}.ome.zarr")
    remove(source)


def remove(path):
    import shutil

    shutil.rmtree(path, ignore_errors=True)
    path.with_name(path.name + ".recipe.json").unlink(missing_ok=True)


def differing(one, other):
    first, second = (zarr.open_array(str(path / "0"), mode="r") for path in (one, other))
    return sum(
        int((first[lo : lo + 64] != second[lo : lo + 64]).sum())
        for lo in range(0, first.shape[0], 64)
    )


def flat(folder, budget):
    """Peak for one to eight times the data."""
    for factor in (1, 2, 4, 8):
        source, target = folder / "in.zarr", folder / "blocks.ome.zarr"
        voxels = phantom(source, 32 * factor).size
        facts = measured(source, target, "blocks", "8 stages", budget)
        print(
            f"{voxels * 4 / 2**20:.0f} MiB: peak {facts['peak'] / 2**20:.0f} MiB, "
            f"predicted {facts['predicted'] / 2**20:.0f} MiB",
            flush=True,
        )
        remove(source)
        remove(target)


def kills(folder, count, budget):
    """End a run at random moments and continue it; then compare the bits."""
    source, target = folder / "in.zarr", folder / "blocks.ome.zarr"
    phantom(source, 64)
    measured(source, folder / "memory.ome.zarr", "memory", "8 stages", budget)
    rng, ended, wrong, left = random.Random(1), 0, 0, 0
    while ended < count:
        time_, spacing = CASES["8 stages"]
        arguments = [str(source), str(target), "blocks", "8 stages", budget]
        settings = json.dumps([*arguments, time_, KAPPA["8 stages"], spacing])
        script = folder / "run.py"
        script.write_text(RUN)
        process = subprocess.Popen(
            [sys.executable, str(script), settings], stdout=subprocess.DEVNULL
        )
        moment = time.monotonic() + rng.uniform(2.0, 8.0)
        while process.poll() is None and time.monotonic() < moment:
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            ended += 1
            if not target.exists():
                continue
        wrong += differing(folder / "memory.ome.zarr", target)
        remove(target)
    measured(source, target, "blocks", "8 stages", budget)
    wrong += differing(folder / "memory.ome.zarr", target)
    left += sum(path.name.startswith(".") for path in folder.iterdir())
    print(f"{ended} kills: {wrong} values differ, {left} leftovers")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--budget", default="0.5GiB")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--flat", action="store_true")
    parser.add_argument("--kills", type=int, default=0)
    options = parser.parse_args()
    planes = max(1, round(options.gib * 256))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.flat:
            flat(folder, options.budget)
        elif options.kills:
            kills(folder, options.kills, options.budget)
        else:
            runs = [("8 stages", "memory"), ("8 stages", "blocks")]
            if options.long:
                runs += [("8 stages", "cluster"), ("default", "memory"), ("default", "blocks")]
            table(folder, planes, options.budget, runs)


if __name__ == "__main__":
    main()
