"""Memory and processors that this process may use, which may be fewer than the machine has.

A batch system or a container limits a job by *control groups*, which form a tree: the limit of
every ancestor counts. A shell limits the address space (``ulimit -v``). The kernel of Linux kills a
process that exceeds the first kind of limit, without a message.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

#: Root of the file system; the functions take another one.
ROOT = Path("/")
#: Mount points of the control groups of memory and of processors, below the root: those of
#: version 2, and those of version 1.
_MOUNTS_V2 = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_MOUNTS_V1 = {
    "memory": ("sys/fs/cgroup/memory",),
    "cpu": ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"),
}
#: Variables in which a batch system says how many processors a job has on this machine, each with a
#: variable that proves that the batch system has started the process: Slurm, Grid Engine, LSF, PBS.
_JOB_PROCESSORS = (
    ("SLURM_CPUS_PER_TASK", "SLURM_JOB_ID"),
    ("NSLOTS", "SGE_TASK_ID"),
    ("LSB_DJOB_NUMPROC", "LSB_JOBID"),
    ("NCPUS", "PBS_JOBID"),
)


@dataclass(frozen=True, order=True)
class FreeMemory:
    """Memory that this process may still take.

    Attributes
    ----------
    size
        Its amount [bytes].
    bound
        What limits it, as the end of the sentence ``1.5 GiB are free``; empty for the machine.
    """

    size: int
    bound: str = ""

    def __str__(self) -> str:
        return f"{format_bytes(self.size)} are free{self.bound and ' '}{self.bound}"


def free_memory(root: Path = ROOT) -> FreeMemory:
    """Return the smallest of the free memory of machine, control groups and limits of the shell.

    Parameters
    ----------
    root
        Root of the file system that describes the control groups.
    """
    bounds = [FreeMemory(int(psutil.virtual_memory().available))]
    bounds += _free_in_groups(root)
    bounds += _free_in_limits()
    return min(bounds)


def cpu_count(root: Path = ROOT) -> int:
    """Return the number of processors that this process may use.

    It is the smallest of three numbers: the processors to which the process is bound, the quota of
    its control groups, and the grant of its batch system. Not every batch system binds its jobs to
    processors: a job with the default number of threads would then take those of other jobs.

    Parameters
    ----------
    root
        Root of the file system that describes the control groups.
    """
    counts = [bound_processors(), _quota(root)]
    for name, proof in _JOB_PROCESSORS:
        granted = os.environ.get(name)
        if granted is not None and proof in os.environ and granted.isdecimal():
            counts.append(int(granted))
    return max(1, min(counts))


def bound_processors() -> int:
    """Return the number of processors that this process is bound to."""
    # Python 3.13 and newer: also counts the option -X cpu_count.
    count: Callable[[], int | None] | None = getattr(os, "process_cpu_count", None)
    if count is not None:
        return count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache  # a run of a small image would take twice as long
def _quota(root: Path) -> int:
    """Return the processors that the control groups grant, rounded up; very many without quota."""
    quotas = [math.inf]
    for group in _groups(root, "cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):
            if os.path.exists(group / "cpu.max"):
                quota, period = _read(group / "cpu.max").split()
            else:
                quota = _read(group / "cpu.cfs_quota_us")
                period = _read(group / "cpu.cfs_period_us")
            if quota != "max" and float(quota) > 0:  # version 1 says -1 for no quota
                quotas.append(float(quota) / float(period))
    return math.ceil(min(*quotas, 1 << 20))


def _free_in_groups(root: Path) -> Iterator[FreeMemory]:
    """Yield what is free in each control group with a limit."""
    for group in _groups(root, "memory"):
        is_v2 = os.path.exists(group / "memory.max")
        for name in ("memory.max", "memory.high") if is_v2 else ("memory.limit_in_bytes",):
            with suppress(OSError, ValueError):  # the text "max" is no number
                limit = int(_read(group / name))
                # Version 1 has no word for "no limit", but a number close to 2^63.
                if limit < 1 << 60:
                    used = _used_in_group(group, is_v2)
                    bound = f"of the {format_bytes(limit)} that this job or container may use"
                    yield FreeMemory(max(0, limit - used), bound)


def _used_in_group(group: Path, is_v2: bool) -> int:
    """Return the memory in use [bytes], without cached files that the system drops on demand."""
    usage = "memory.current" if is_v2 else "memory.usage_in_bytes"
    # The entries of version 1 with this prefix include the groups below.
    cached = "inactive_file" if is_v2 else "total_inactive_file"
    used = 0
    with suppress(OSError, ValueError):
        used = int(_read(group / usage))
        for line in _read(group / "memory.stat").splitlines():
            if line.startswith(cached + " "):
                used -= int(line.split()[1])
    return max(0, used)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control group of this process and of its ancestors.

    A container may see its own group as the mount point, and yet the path of the machine in
    ``/proc``. Folders that do not exist are therefore left out, and the mount point is not.
    """
    try:
        lines = _read(root / "proc/self/cgroup").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        mounts = _MOUNTS_V1[controller] if controllers else _MOUNTS_V2
        # The path of a group outside of the container starts with "..".
        parts = [part for part in Path(path).parts if part not in ("/", "..")]
        for mount in mounts:
            for depth in range(len(parts), -1, -1):
                folder = root.joinpath(mount, *parts[:depth])
                if os.path.isdir(folder):  # unlike the method, false where it cannot be read
                    yield folder


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


def _free_in_limits() -> Iterator[FreeMemory]:
    """Yield what the limits of this process for its address space and its data leave free."""
    try:
        import resource
    except ImportError:  # Windows
        return
    used: Any = psutil.Process().memory_info()
    for name, field in (("RLIMIT_AS", "vms"), ("RLIMIT_DATA", "data")):
        limit = resource.getrlimit(getattr(resource, name))[0]
        if limit != resource.RLIM_INFINITY and hasattr(used, field):
            bound = f"of the {format_bytes(limit)} that the shell allows, see ulimit -v and -d"
            yield FreeMemory(max(0, limit - getattr(used, field)), bound)


def format_bytes(count: int) -> str:
    """Return a number of bytes with a binary unit, such as ``1.5 GiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 999.5:  # three digits
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"


#: Bytes of the units of a budget.
_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{letter}B": 1000 ** (i + 1) for i, letter in enumerate("KMGT")}
_UNITS |= {f"{letter}IB": 1024 ** (i + 1) for i, letter in enumerate("KMGT")}


def bytes_of(size: int | str) -> int:
    """Return a number of bytes that may be a text such as ``"2 GiB"`` or ``"500MB"``.

    Raises
    ------
    ValueError
        When it is no size above 0.
    """
    number = -1.0
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", str(size))
    if match is not None and match[2].upper() in _UNITS:
        number = float(match[1]) * _UNITS[match[2].upper()]
    if isinstance(size, bool) or number < 1:
        raise ValueError(f"A memory budget is a size such as 2GiB or 500MB, got {size!r:.60}.")
    return int(number)
