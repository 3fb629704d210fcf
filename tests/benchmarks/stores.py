"""Runs in blocks beside the run in memory: time, throughput, peak memory, and bits.

python tests/benchmarks/stores.py [--gib 1] [--budget 0.5GiB]
python tests/benchmarks/stores.py --long [--gib 2] [--only PART] [--folder FOLDER] [--page FILE]

A noisy image of that size is written as zarr with chunks of 64 x 128 x 128 voxels in a temporary
folder. Each run has a process of its own, which reads the image and writes OME-Zarr. Peaks are
memory of its own above that of the imported program with its kernels; mapped files are not counted.

"--long" takes about 15 minutes of an idle machine with two processors, and needs 8 GiB of memory
and 40 GiB of disk. It prints what it does, keeps what it has measured in docs/stores.json, and
writes the tables of the page. "--only" does one part of it:

one-pass   8 stages of Perona-Malik in memory, in blocks, and by a cluster of two processes
passes     default Perona-Malik with a voxel size of 2 x 0.5 x 0.5 and T = 4, cut into passes
large      8 stages in blocks on twice the data
flat       peak for one to eight times the data, from 64 MiB on
predicted  predicted and measured peaks of twelve runs
paper      1 TB on 1, 10 and 100 nodes, from the pace of this machine

Kills are tried by tests/reliability/run.py.
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
from napari_diffusion.workflows.store.heaps import use_one_heap

use_one_heap()  # as the command line does
source, target, how, case, budget, time_, kappa, spacing, kind = json.loads(sys.argv[1])

def own_memory():
    # Files that are mapped are not counted.
    process, total = psutil.Process(), 0
    for each in (process, *(process.children(recursive=True) if how == "cluster" else ())):
        try:
            state = each.memory_info()
            total += state.rss - state.shared
        except psutil.Error:
            pass
    return total

class Peak(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.highest, self.ended = 0, threading.Event()

    def run(self):
        while not self.ended.wait(0.003):
            self.highest = max(self.highest, own_memory())

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
    before = own_memory()
    start, cpu = time.perf_counter(), time.process_time()
    facts = {}
    if how == "memory":
        sampler.start()
        image = zarr.open_array(source, mode="r")[...]
        result = nd.diffuse(image, recipe)
        io.write(target, result, volume)
    else:
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
            executor = client.get_executor()
            before = own_memory()
        options = dict(spacing=spacing, memory=budget, executor=executor)
        plan = nd.plan_store(source, target, recipe, **options)
        facts["plan"] = plan.describe()
        facts["predicted"], facts["passes"] = plan.memory, len(plan.passes)
        sampler.start()
        start, cpu = time.perf_counter(), time.process_time()
        nd.diffuse_store(source, target, recipe, **options)
        facts["wall"] = time.perf_counter() - start
        if how == "cluster":
            client.close()
    sampler.ended.set()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts.setdefault("wall", time.perf_counter() - start)
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


def say(text):
    """Print at once what was measured, with the time since the start."""
    print(f"[{time.perf_counter() - STARTED:5.0f} s] {text}", flush=True)


STARTED = time.perf_counter()
HEAD = (
    "| run | GiB | processors [s] | ratio | wall time [s] | Mvoxel/s | peak [MiB] | predicted |",
    "|---|---|---|---|---|---|---|---|",
)


def rows(folder, gib, budget, case, hows):
    """Return rows of the table for one case. The first run is the one to compare with.

    Every result must have its values.
    """
    source, lines, base = folder / "in.zarr", [], None
    say(f"writing {gib:g} GiB")
    voxels = phantom(source, max(1, round(gib * 256))).size
    for how in hows:
        say(f"{case}, {how}")
        target = folder / f"{how}.ome.zarr"
        facts = measured(source, target, how, case, budget)
        base = base or facts
        predicted = facts.get("predicted")
        passes = facts.get("passes", 1)
        words = {"memory": "in memory", "cluster": "cluster of two processes"}.get(how, "in blocks")
        words += f", {passes} passes" if passes > 1 else ""
        ratio = f"{facts['cpu'] / base['cpu']:.2f}" if len(hows) > 1 else ""
        lines.append(
            f"| {case}, {words} | {gib:g} | {facts['cpu']:.1f} | {ratio} | {facts['wall']:.1f} "
            f"| {voxels / facts['wall'] / 1e6:.1f} | {facts['peak'] / 2**20:.0f} "
            f"| {'' if predicted is None else f'{predicted / 2**20:.0f}'} |"
        )
        say(lines[-1])
        if "start" in facts:
            say(f"start of the workers: {facts['start_cpu']:.1f} s of processor time")
        if "plan" in facts:
            say(facts["plan"])
        if how != hows[0]:
            different = differing(folder / f"{hows[0]}.ome.zarr", target)
            say(f"{different} values differ")
            if different:
                raise SystemExit("A run in blocks has other values than the run in memory.")
            remove(target)
    remove(folder / f"{hows[0]}.ome.zarr")
    remove(source)
    return lines


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


def flat(folder, budget, smallest=16):
    """Return a table of peaks for one to eight times the data."""
    lines = ["| data [MiB] | budget | peak [MiB] | predicted [MiB] |", "|---|---|---|---|"]
    for factor in (1, 2, 4, 8):
        source, target = folder / "in.zarr", folder / "blocks.ome.zarr"
        voxels = phantom(source, smallest * factor).size
        facts = measured(source, target, "blocks", "8 stages", budget)
        lines.append(
            f"| {voxels * 4 / 2**20:.0f} | {budget} | {facts['peak'] / 2**20:.0f} "
            f"| {facts['predicted'] / 2**20:.0f} |"
        )
        say(lines[-1])
        remove(source)
        remove(target)
    return lines


#: Model, time, scheme, planes, budget of the runs of "--only predicted".
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


def predicted(folder, count):
    """Return a table of predicted and measured peaks."""
    lines = [
        "| run | data [MiB] | budget | passes | predicted [MiB] | measured [MiB] | excess |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, time_, scheme, planes, budget in CONFIGURATIONS[:count]:
        source, target = folder / f"{planes}.zarr", folder / "blocks.ome.zarr"
        if not source.exists():
            phantom(source, planes)
        facts = measured(source, target, "blocks", [model, time_, scheme], budget)
        remove(target)
        excess = facts["predicted"] / facts["peak"] - 1
        lines.append(
            f"| {model}, T = {time_:g} | {4 * planes} | {budget} | {facts['passes']} "
            f"| {facts['predicted'] / 2**20:.0f} | {facts['peak'] / 2**20:.0f} | {excess:+.0%} |"
        )
        say(lines[-1])
    for source in folder.glob("*.zarr"):
        remove(source)
    return lines


#: A node of "--paper": processors, memory of a run [bytes], bytes read or written per second.
CORES, NODE_MEMORY, NODE_BANDWIDTH = 32, 64 << 30, 1e9
#: 1.1 TB of float32, in chunks of 128 x 256 x 256 voxels.
LARGE, LARGE_CHUNKS = (4096, 8192, 8192), (128, 256, 256)


def paper():
    """Return the time of 1 TB on several nodes, from the pace of this machine and the plan."""
    import napari_diffusion as nd
    from napari_diffusion.core.geometry import Domain, Geometry
    from napari_diffusion.engine.execution import Execution
    from napari_diffusion.engine.out_of_core.block_plan import Resources
    from napari_diffusion.engine.out_of_core.planning import plan_blocks
    from napari_diffusion.engine.planner import make_plan
    from napari_diffusion.engine.problem import unread_problem

    values = np.random.default_rng(0).normal(100, 10, (64, 192, 192)).astype("f4")
    lines = [
        "| Perona-Malik | passes | pace [ns] | nodes | compute | read and write | together |",
        "|---|---|---|---|---|---|---|",
    ]
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
            lines.append(
                f"| {len(plan.stages)} stages | {len(blocks.passes)} | {1e9 * pace:.1f} "
                f"| {nodes} | {' | '.join(f'{each:.3g} min' for each in minutes)} |"
            )
            say(lines[-1])
    return lines


#: Parts of "--long", each with the table of the page to which its rows belong.
PARTS = {
    "one-pass": "blocks",
    "passes": "blocks",
    "large": "blocks",
    "flat": "flat",
    "predicted": "predicted",
    "paper": "paper",
}
DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "recipes" / "large_images.md"


def part_of(name, folder, gib, budget):
    """Measure one part, and return its lines."""
    if name == "one-pass":
        return rows(folder, gib, budget, "8 stages", ["memory", "blocks", "cluster"])
    if name == "passes":
        return rows(folder, gib, budget, "default", ["memory", "blocks"])
    if name == "large":
        return rows(folder, 2 * gib, budget, "8 stages", ["blocks"])
    if name == "flat":
        return flat(folder, "200MiB", max(2, round(8 * gib)))
    if name == "predicted":
        return predicted(folder, len(CONFIGURATIONS) if gib >= 1 else 2)
    return paper()


def write_page(page, measured_lines):
    """Write the lines of all parts that were measured to the tables of the page."""
    text = page.read_text(encoding="utf-8")
    for table in dict.fromkeys(PARTS.values()):
        parts = [name for name, own in PARTS.items() if own == table and name in measured_lines]
        lines = [line for name in parts for line in measured_lines[name]]
        if not lines:
            continue
        lines = [*(HEAD if table == "blocks" else ()), *lines]
        begin, end = f"<!-- {table} -->\n", f"<!-- end {table} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = before + begin + "\n".join(lines) + "\n" + end + after
    page.write_text(text, encoding="utf-8")


def long_run(options):
    """Measure the parts, keep what was measured, and write the page."""
    kept = options.page.parent.parent / "stores.json" if options.page == PAGE else None
    kept = kept or options.page.with_suffix(".json")
    lines = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for name in options.only or PARTS:
        say(f"part {name}")
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            lines[name] = part_of(name, Path(folder), options.gib or 2.0, options.budget)
        kept.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
        write_page(options.page, lines)
    say(f"the tables of {options.page.name} are written")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float)
    parser.add_argument("--budget", default="0.5GiB")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    if options.long or options.only:
        long_run(options)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows(Path(folder), options.gib or 1.0, options.budget, "8 stages", ["memory", "blocks"])


if __name__ == "__main__":
    main()
