"""A result whose file cannot be written is saved elsewhere, and the widget says where."""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np

import napari_diffusion as nd
from helpers.viewer import filter_folder, wait_until_ended, wait_until_settled


def test_result_of_a_full_disk_is_saved_elsewhere(
    open_alone, qtbot, folders, tmp_path, monkeypatch, noisy
):
    source, target = folders
    np.save(source / "a.npy", noisy)
    spare = tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spare))
    replace = os.replace

    def refuse(old, new):
        if Path(new).parent == target:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(old, new)

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(os, "link", refuse)
    viewer, gui = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    filter_folder(gui, folders)
    wait_until_ended(qtbot, gui)
    (kept,) = spare.glob("a-*.npy")
    assert gui.panel.failed
    assert "No space left" in gui.panel.status.value
    assert str(kept) in gui.panel.status.value
    expected = nd.diffuse(noisy, nd.Linear(), time=gui.form.amount.time)
    np.testing.assert_array_equal(np.load(kept), expected)
    assert list(target.iterdir()) == []
