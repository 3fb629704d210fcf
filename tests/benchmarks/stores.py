"""Runs in blocks beside the run in memory: time, throughput, peak memory, and bits.

python tests/benchmarks/stores.py [--gib 1] [--budget 0.5GiB] [--long]

A noisy image of that size is written as zarr with chunks of 64 x 128 x 128 voxels in a temporary
folder. Each run has a process of its own, which reads the image and writes OME-Zarr. Peak memory is
above that of the imported program with its kernels. "--long" adds default Perona-Malik with a
voxel size of 2 x 0.5 x 0.5 and T = 4, which is cut into passes, and a cluster of two processes.
"--flat" prints the peak for one to eight times the data. "--predicted" prints predicted and
measured peaks of twelve runs. "--paper" plans 1 TB, measures the pace of this machine, and prints
the time on 1, 10 and 100 nodes. Kills are tried by tests/reliability/run.py.
"""

import argparse
import json
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

source, target, how, case, budget, time_, kappa, spacing, kind = json.loads(sys.argv[1])

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
    models = {
        "linear": nd.Linear(), "regularised": nd.PeronaMalik(kappa=20.0, sigma=1.0),
        "total-variation": nd.TotalVariation(), "edge-enhancing": nd.EdgeEnhancing(kappa=20.0),
        "rician": nd.Rician(),
    }
    scheme = nd.schemes.Explicit(step=0.1) if case in ("8 stages", "explicit") else "auto"
    model = models.get(kind, nd.PeronaMalik(kappa=kappa))
    recipe = nd.Recipe(model, time_, spacing=spacing, scheme=scheme)
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
        facts["predicted"], facts["passes"] = plan.memory, len(plan.passes)
        executor = None
        if how == "cluster":
            from distributed import Client
            client = Client(n_workers=2, threads_per_worker=1, dashboard_address=None)
            warm = Path(target).with_name("warm.zarr")
            small = zarr.create_array(
                str(warm), shape=(32, 64, 64), chunks=(16, 32, 32), dtype="f4", overwrite=True
            )
            small[...] = 100 + 10 * np.random.default_rng(0).standard_normal((32, 64, 64))
            nd.diffuse_store(
                warm, warm.with_name("warm-out.zarr"), recipe, spacing=spacing, memory=budget,
                executor=client.get_executor(), overwrite=True,
            )
            used = lambda: psutil.Process().cpu_times()[:2]
            facts["start"] = time.perf_counter() - start
            before_workers = sum(map(sum, client.run(used).values()))
            facts["start_cpu"] = time.process_time() - cpu + before_workers
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
    if how == "cluster":  # what the workers have used before is part of their start
        facts["cpu"] -= before_workers
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
    if isinstance(case, list):  # model, time and scheme
        kind, time_, case = case
        spacing, kappa = [1.0, 1.0, 1.0], 20.0
    else:
        kind, kappa, (time_, spacing) = "", KAPPA[case], CASES[case]
    settings = json.dumps(
        [str(source), str(target), how, case, budget, time_, kappa, spacing, kind]
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
            if "start" in facts:
                print(f"  start of the workers: {facts['start_cpu']:.1f} s of processor time")
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
            f"predicted {facts['predicted'] / 2**20:.0f} MiB; {facts['plan']}",
            flush=True,
        )
        remove(source)
        remove(target)


#: Model, time, scheme, planes, budget of the runs of "--predicted".
CONFIGURATIONS = (
    ("linear", 2.0, "auto", 32, "0.5GiB"),
    ("linear", 2.0, "auto", 64, "150MiB"),
    ("perona-malik", 0.8, "explicit", 16, "0.5GiB"),
    ("perona-malik", 0.8, "explicit", 64, "0.5GiB"),
    ("perona-malik", 0.8, "explicit", 64, "150MiB"),
    ("perona-malik", 4.0, "auto", 32, "0.5GiB"),
    ("perona-malik", 4.0, "auto", 32, "150MiB"),
    ("regularised", 2.0, "auto", 32, "0.5GiB"),
    ("total-variation", 0.5, "auto", 32, "0.5GiB"),
    ("edge-enhancing", 0.5, "auto", 16, "0.5GiB"),
    ("edge-enhancing", 0.5, "auto", 32, "0.25GiB"),
    ("rician", 1.0, "auto", 32, "0.5GiB"),
)


def predicted(folder):
    """Predicted and measured peaks of twelve runs."""
    print("| run | MiB of data | budget | passes | predicted [MiB] | measured [MiB] | excess |")
    print("|---|---|---|---|---|---|---|")
    for model, time_, scheme, planes, budget in CONFIGURATIONS:
        source, target = folder / f"{planes}.zarr", folder / "blocks.ome.zarr"
        if not source.exists():
            phantom(source, planes)
        facts = measured(source, target, "blocks", [model, time_, scheme], budget)
        remove(target)
        excess = facts["predicted"] / facts["peak"] - 1
        print(
            f"| {model}, T = {time_:g} | {4 * planes} | {budget} | {facts['passes']} "
            f"| {facts['predicted'] / 2**20:.0f} | {facts['peak'] / 2**20:.0f} | {excess:+.0%} |",
            flush=True,
        )


#: A node of "--paper": processors, memory of a run [bytes], bytes read or written per second.
CORES, NODE_MEMORY, NODE_BANDWIDTH = 32, 64 << 30, 1e9
#: 1.1 TB of float32, in chunks of 128 x 256 x 256 voxels.
LARGE, LARGE_CHUNKS = (4096, 8192, 8192), (128, 256, 256)


def paper():
    """Time of 1 TB on several nodes, from the paces of this machine and the bytes of the plan."""
    import napari_diffusion as nd
    from napari_diffusion.core.geometry import Domain, Geometry
    from napari_diffusion.engine.execution import Execution
    from napari_diffusion.engine.out_of_core.block_plan import Resources
    from napari_diffusion.engine.out_of_core.planning import plan_blocks
    from napari_diffusion.engine.planner import make_plan
    from napari_diffusion.engine.problem import unread_problem

    values = np.random.default_rng(0).normal(100, 10, (64, 192, 192)).astype("f4")
    print("| run | passes | pace [ns] | nodes | compute | read and write | together |")
    print("|---|---|---|---|---|---|---|")
    for case, (time_, spacing) in CASES.items():
        scheme = nd.schemes.Explicit(step=0.1) if case == "8 stages" else "auto"
        recipe = nd.Recipe(nd.PeronaMalik(kappa=KAPPA[case]), time_, scheme=scheme)
        nd.diffuse(values[:8], recipe, spacing=spacing, threads=1)
        began = time.process_time()
        nd.diffuse(values, recipe, spacing=spacing, threads=1)
        used = time.process_time() - began
        large = np.broadcast_to(np.float32(0), LARGE)
        problem = unread_problem(large, recipe, Geometry(tuple(spacing)), Domain())
        plan = make_plan(problem, Execution(1))
        pace = used / values.size / len(plan.stages)
        resources = Resources(NODE_MEMORY, CORES, 1, LARGE_CHUNKS, pace, NODE_BANDWIDTH)
        blocks = plan_blocks(problem, plan, resources)
        voxels = float(np.prod(LARGE))
        compute = pace * voxels * len(plan.stages) * blocks.redundancy / CORES
        kept = [4 * len(each.carried) for each in blocks.passes]
        pairs = zip(kept, blocks.passes[1:], strict=False)
        moved = 4 * (1 + blocks.read_amplification) + sum(k * (1 + p.redundancy) for k, p in pairs)
        moving = moved * voxels / NODE_BANDWIDTH
        for nodes in (1, 10, 100):
            minutes = [each / nodes / 60 for each in (compute, moving, compute + moving)]
            print(
                f"| {len(plan.stages)} stages | {len(blocks.passes)} | {1e9 * pace:.1f} "
                f"| {nodes} | {' | '.join(f'{each:.3g} min' for each in minutes)} |"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--budget", default="0.5GiB")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--flat", action="store_true")
    parser.add_argument("--predicted", action="store_true")
    parser.add_argument("--paper", action="store_true")
    options = parser.parse_args()
    planes = max(1, round(options.gib * 256))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.flat:
            flat(folder, options.budget)
        elif options.predicted:
            predicted(folder)
        elif options.paper:
            paper()
        else:
            runs = [("8 stages", "memory"), ("8 stages", "blocks")]
            if options.long:
                runs += [("8 stages", "cluster"), ("default", "memory"), ("default", "blocks")]
            table(folder, planes, options.budget, runs)


if __name__ == "__main__":
    main()
