"""Each process of the tests has settings of napari of its own."""

import os
from pathlib import Path

_worker, _settings = map(os.environ.get, ("PYTEST_XDIST_WORKER", "NAPARI_CONFIG"))
if _worker and _settings:
    os.environ["NAPARI_CONFIG"] = str(Path(_settings).with_name(f"settings-{_worker}.yaml"))
