"""Files of NumPy: an array without names of its axes."""

import os
import signal
import struct
import threading
import time

import numpy as np
import pytest

from napari_diffusion import io
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io import npy
from napari_diffusion.io.axes import AxisRequest, resolve_axes


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((64, 64), "YX"),
        ((9, 64, 64), "QYX"),
        ((60, 2, 64, 64), "QQYX"),
        ((64, 64, 3), "YXQ"),
        ((9, 64, 64, 4), "QYXQ"),
        ((64,), "X"),
        ((3, 4, 5), "QYX"),
    ],
)
def test_axes_of_few_samples_are_no_rows_and_columns(tmp_path, shape, axes):
    np.save(tmp_path / "a.npy", np.zeros(shape, "u1"))
    volume = io.read(tmp_path / "a.npy")
    assert volume.axes == axes
    assert [size is None for size in volume.spacing] == [axis == "Q" for axis in axes]


def test_colours_at_the_end_are_filtered_as_the_user_says(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((64, 64, 3), "u1"))
    volume = io.read(tmp_path / "a.npy")
    with pytest.raises(InputError, match="does not say what its 3 planes are") as caught:
        resolve_axes(volume, AxisRequest())
    assert caught.value.remedy is Remedy.NAME_PLANES
    assert resolve_axes(volume, AxisRequest(channel_axis=2)).axes == (0, 1)
    assert resolve_axes(volume, AxisRequest(axes=("Y", "X"))).axes == (0, 1)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("count", [1, 100])
def test_short_file_is_refused_with_both_sizes(tmp_path, order, count):
    path = tmp_path / "a.npy"
    np.save(path, np.asarray(np.zeros((5, 6, 7)), order=order))
    whole = path.read_bytes()
    path.write_bytes(whole[:-count])
    with pytest.raises(InputError) as caught:
        io.read(path)
    assert caught.value.description == (
        f"cannot be read as NumPy: damaged: its header declares {len(whole):,} bytes, "
        f"and it has {len(whole) - count:,}"
    )
    assert caught.value.remedy is Remedy.REPLACE_DAMAGED


@pytest.mark.parametrize("count", [10**12, 10**18, 10**30])
def test_impossible_size_is_refused_before_memory_is_taken(tmp_path, count):
    text = repr({"descr": "<f8", "fortran_order": False, "shape": (count, 3)}).ljust(118) + "\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(240)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError) as caught:
        io.read(tmp_path / "a.npy")
    assert f"{count * 24 + len(content) - 240:,} bytes, and it has {len(content):,}" in str(
        caught.value
    )


def test_bytes_after_the_array_are_told(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.save(file, np.ones((5, 6)))
        np.save(file, np.zeros((5, 6)))
    volume = io.read(tmp_path / "a.npy")
    np.testing.assert_array_equal(volume.data, np.ones((5, 6)))
    assert volume.notes == ("368 bytes follow its array; they are left out.",)


def test_archive_with_the_wrong_suffix_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", np.ones((5, 6)))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(InputError, match="it holds an archive"):
        io.read(tmp_path / "a.npy")


def test_headers_are_parsed_by_one_thread_at_a_time(tmp_path, monkeypatch):
    """Python 3.11 can fail if two threads parse at the same moment."""
    np.save(tmp_path / "a.npy", np.arange(6.0))
    load, inside, counts = np.load, [], []

    def slow(*args, **options):
        inside.append(1)
        counts.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        return load(*args, **options)

    monkeypatch.setattr(np, "load", slow)
    threads = [threading.Thread(target=npy.mapped, args=(tmp_path / "a.npy",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [1, 1, 1, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_process_forked_while_a_header_is_parsed_can_read(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.arange(6.0))
    load, begun = np.load, threading.Event()

    def slow(*args, **options):
        begun.set()
        time.sleep(0.2)
        return load(*args, **options)

    monkeypatch.setattr(np, "load", slow)
    thread = threading.Thread(target=npy.mapped, args=(tmp_path / "a.npy",))
    thread.start()
    begun.wait()
    child = os.fork()
    if not child:
        signal.alarm(10)  # ends a child that waits for ever
        os._exit(int(npy.mapped(tmp_path / "a.npy").size))
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6
