"""Fixtures of the tests of devices."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.emulated import emulation
from napari_diffusion.backends import devices
from napari_diffusion.engine.devices import choice, records, verdicts


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(100, 30, (17, 12, 13)).astype(np.float32)


@pytest.fixture
def own_records(monkeypatch, tmp_path):
    """Records are not shared with other tests, and each fall-back is said again."""
    monkeypatch.setattr(records, "_file", lambda: tmp_path / "devices.json")
    records._records.cache_clear()
    choice.say_fallback.cache_clear()
    yield
    records._records.cache_clear()


@pytest.fixture
def fresh_search():
    """Devices are searched again, by this test and by the next one."""
    search = devices._search
    search.cache_clear()
    yield
    search.cache_clear()


@pytest.fixture
def card(monkeypatch):
    """The emulation in the place of a graphics card, measured on few voxels."""
    monkeypatch.setattr(verdicts, "MEASURED_VOXELS", 1 << 12)
    fake = replace(emulation(), is_card=True)
    monkeypatch.setattr(devices, "_search", lambda: ((fake,), ""))
    return fake
