"""Limits of control groups, batch systems and shells, read from a tree of files made here."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.control_groups import GIB, tree, v1, v2
from napari_diffusion.core import resources
from napari_diffusion.core.resources import cpu_count, free_memory

NO_LIMIT_V1 = 9223372036854771712


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine with 256 GiB and 64 processors, without a batch system and limits of the shell."""
    memory = resources.psutil.virtual_memory()
    monkeypatch.setattr(
        resources.psutil, "virtual_memory", lambda: memory._replace(available=256 * GIB)
    )
    monkeypatch.setattr(resources, "_free_in_limits", lambda: iter(()))
    monkeypatch.setattr(resources, "bound_processors", lambda: 64)
    for name, proof in resources._JOB_PROCESSORS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(proof, raising=False)


# --- memory -----------------------------------------------------------------------------------


def test_machine_without_control_groups_has_its_free_memory(tmp_path):
    assert free_memory(tmp_path).size == 256 * GIB
    assert str(free_memory(tmp_path)) == "256 GiB are free"


@pytest.mark.parametrize("name", ["limit", "high"])
def test_limit_of_version_2_counts_without_its_cached_files(name, tmp_path):
    """A copied input is in the page cache, which the system gives back."""
    group = v2(5 * GIB, cached=3 * GIB, folder="job__", **{name: 8 * GIB})
    free = free_memory(tree(tmp_path, "0::/job\n", **group))
    assert free.size == 6 * GIB
    assert str(free) == "6 GiB are free of the 8 GiB that this job or container may use"


def test_limit_of_version_1_counts_without_its_cached_files(tmp_path):
    group = v1(5 * GIB, 8 * GIB, cached=3 * GIB, folder="memory__slurm__job_1__")
    groups = "4:memory:/slurm/job_1\n2:cpu,cpuacct:/\n0::/\n"
    assert free_memory(tree(tmp_path, groups, **group)).size == 6 * GIB


def test_no_limit_leaves_the_free_memory_of_the_machine(tmp_path):
    groups = "4:memory:/job\n0::/job\n"
    files = v1(GIB, NO_LIMIT_V1, folder="memory__job__") | v2(GIB, folder="job__")
    assert str(free_memory(tree(tmp_path, groups, **files))) == "256 GiB are free"


@pytest.mark.parametrize("tight", ["", "slice__", "slice__job__", "slice__job__step__"])
def test_smallest_of_all_ancestors_counts(tight, tmp_path):
    files = {}
    for folder in ("", "slice__", "slice__job__", "slice__job__step__"):
        files |= v2(2 * GIB, limit=(4 if folder == tight else 100) * GIB, folder=folder)
    assert free_memory(tree(tmp_path, "0::/slice/job/step\n", **files)).size == 2 * GIB


def test_use_of_a_neighbouring_job_counts_in_a_common_ancestor(tmp_path):
    files = v2(90 * GIB, limit=100 * GIB, folder="slice__")
    files |= v2(1 * GIB, limit=50 * GIB, folder="slice__job__")
    assert free_memory(tree(tmp_path, "0::/slice/job\n", **files)).size == 10 * GIB


@pytest.mark.parametrize(
    ("groups", "folder"),
    [
        ("0::/\n", ""),  # namespace of its own
        ("0::/docker/0123abc\n", ""),  # path of the host
        ("0::/../../other\n", ""),  # group outside of the namespace
        ("4:memory:/docker/0123abc\n", "memory__"),
        ("0::/kubepods/a:b/c\n", ""),  # colon in a name
        ("0::/job\n", "unified__job__"),  # both versions are mounted
    ],
)
def test_container_sees_its_own_group(groups, folder, tmp_path):
    make = v1 if folder.startswith("memory") else v2
    files = make(GIB, limit=3 * GIB, folder=folder)
    assert free_memory(tree(tmp_path, groups, **files)).size == 2 * GIB


def test_group_that_is_over_its_limit_has_nothing_free(tmp_path):
    files = v2(9 * GIB, limit=8 * GIB, folder="job__")
    assert free_memory(tree(tmp_path, "0::/job\n", **files)).size == 0


@pytest.mark.parametrize("missing", ["memory_DOT_stat", "memory_DOT_current", "memory_DOT_high"])
def test_limit_counts_although_another_file_is_missing(missing, tmp_path):
    files = v2(0, limit=8 * GIB)
    del files[missing]
    assert free_memory(tree(tmp_path, "0::/\n", **files)).size == 8 * GIB


@pytest.mark.parametrize("text", ["", "nonsense", "1:2", "\n\n0::/job\n"])
def test_unreadable_description_of_groups_is_ignored(text, tmp_path):
    files = {"job__memory_DOT_max": "", "job__memory_DOT_high": "nonsense"}
    assert free_memory(tree(tmp_path, text, **files)).size == 256 * GIB


def test_run_in_a_small_job_on_a_large_machine_is_refused(tmp_path, monkeypatch):
    """The system would kill it; the message says whose limit it is."""
    root = tree(tmp_path, "0::/job\n", **v2(7 * GIB, limit=8 * GIB, folder="job__"))
    monkeypatch.setattr(free_memory, "__defaults__", (root,))
    image = np.broadcast_to(np.float32(0), (1024, 1024, 2048))
    with pytest.raises(MemoryError) as caught:
        nd.diffuse(image, nd.Linear(), time=1.0, progress=lambda share: pytest.fail("ran"))
    text = str(caught.value)
    assert "more memory and 1 GiB are free of the 8 GiB that this job or container may" in text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not enforce these limits")
@pytest.mark.parametrize("name", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_limit_of_the_shell_counts(name):
    """A process with this limit refuses a run, and still makes a small one."""
    code = f"""
        import json, resource
        import numpy as np
        import napari_diffusion as nd
        from napari_diffusion.core.resources import free_memory
        nd.diffuse(np.zeros((8, 8), "f4"), nd.Linear(), time=1.0)
        before = free_memory().size
        resource.setrlimit(resource.{name}, (3 << 30, 3 << 30))
        free = free_memory()
        refusal = ""
        try:
            nd.diffuse(np.broadcast_to(np.float32(0), (1024, 1024, 1024)), nd.Linear(), time=1.0)
        except MemoryError as error:
            refusal = str(error)
        nd.diffuse(np.zeros((8, 8), "f4"), nd.Linear(), time=1.0)
        print(json.dumps([before, free.size, refusal]))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, free, refusal = json.loads(done.stdout)
    assert free < min(before, 3 * GIB)
    assert "are free of the 3 GiB that the shell allows" in refusal


# --- processors -------------------------------------------------------------------------------


def test_machine_without_a_quota_has_the_processors_of_the_process(tmp_path):
    assert cpu_count(tmp_path) == 64


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 64), ("200000 100000", 2), ("250000 100000", 3), ("10000 100000", 1)],
)
def test_quota_of_version_2_counts(quota, expected, tmp_path):
    """A share of a processor is rounded up: fewer threads would leave it idle."""
    root = tree(tmp_path, "0::/job\n", job__cpu_DOT_max=quota)
    assert cpu_count(root) == expected


@pytest.mark.parametrize(("quota", "expected"), [(-1, 64), (400000, 4), (50000, 1)])
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_quota_of_version_1_counts(mount, quota, expected, tmp_path):
    files = {f"{mount}__job__cpu_DOT_cfs_quota_us": quota}
    files[f"{mount}__job__cpu_DOT_cfs_period_us"] = 100000
    assert cpu_count(tree(tmp_path, "3:cpu,cpuacct:/job\n", **files)) == expected


def test_smallest_quota_of_all_ancestors_counts(tmp_path):
    root = tree(
        tmp_path, "0::/a/b\n", a__cpu_DOT_max="200000 100000", a__b__cpu_DOT_max="800000 100000"
    )
    assert cpu_count(root) == 2


@pytest.mark.parametrize(("name", "proof"), resources._JOB_PROCESSORS)
def test_processors_that_a_batch_system_grants_count(name, proof, tmp_path, monkeypatch):
    """Not every batch system binds a job to its processors."""
    monkeypatch.setenv(name, "4")
    assert cpu_count(tmp_path) == 64  # a variable of another program
    monkeypatch.setenv(proof, "17")
    assert cpu_count(tmp_path) == 4
    for text in ("", "several", "-3"):
        monkeypatch.setenv(name, text)
        assert cpu_count(tmp_path) == 64
    monkeypatch.setenv(name, "1000")
    assert cpu_count(tmp_path) == 64


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot bind")
def test_processors_that_the_process_is_bound_to_are_the_default_of_threads():
    code = """
        import os
        import numpy as np
        import napari_diffusion as nd
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        print(nd.plan(np.zeros((9, 9)), nd.Linear(), time=1.0).threads)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_default_of_threads_is_the_grant_of_the_job(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert nd.plan(np.zeros((9, 9)), nd.Linear(), time=1.0).threads == 1
    assert nd.plan(np.zeros((9, 9)), nd.Linear(), time=1.0, threads=5).threads == 5
