"""Trees of files as the system writes them for control groups, versions 1 and 2."""

GIB = 1 << 30


def tree(root, groups, **files):
    """Write /proc/self/cgroup and the files of control groups; "__" stands for a slash."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        *folders, file = name.split("__")
        path = root.joinpath("sys/fs/cgroup", *folders, file.replace("_DOT_", "."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def v2(used, limit="max", high="max", cached=0, folder=""):
    """Return the files of a group of version 2."""
    return {
        f"{folder}memory_DOT_max": limit,
        f"{folder}memory_DOT_high": high,
        f"{folder}memory_DOT_current": used,
        f"{folder}memory_DOT_stat": f"anon 1\ninactive_file {cached}\nactive_file 5",
    }


def v1(used, limit, cached=0, folder=""):
    """Return the files of a group of version 1."""
    return {
        f"{folder}memory_DOT_limit_in_bytes": limit,
        f"{folder}memory_DOT_usage_in_bytes": used,
        f"{folder}memory_DOT_stat": f"inactive_file 1\ntotal_inactive_file {cached}",
    }
