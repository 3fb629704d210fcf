"""The README's Python is run as it stands, so that nobody copies an example that does not work."""

import re
from pathlib import Path

import numpy as np

README = Path(__file__).parents[1] / "README.md"


def test_every_python_example_runs_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the examples save a recipe
    rng = np.random.default_rng(0)
    names = {
        "volume": rng.normal(100, 10, (5, 12, 12)).astype(np.float32),
        "frames": rng.normal(100, 10, (2, 5, 8, 8)).astype(np.float32),
        "rgb": rng.integers(0, 255, (12, 12, 3), dtype=np.uint8),
    }
    examples = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert examples
    exec("\n".join(examples), names)
    # every array that the text presents as a result is the filtered image, in the image's shape
    for result, image in {"smooth": "volume", "blurred": "volume", "again": "volume", "series": "frames", "colour": "rgb"}.items():
        assert names[result].shape == names[image].shape
        assert names[result].std() < names[image].std()
    np.testing.assert_array_equal(names["again"], names["smooth"])  # the recipe says the same as the call
