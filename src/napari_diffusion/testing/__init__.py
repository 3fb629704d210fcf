"""Laws that every diffusion model satisfies, as public checks.

``check_model(MyModel())`` checks all of them for a new model.
"""

from __future__ import annotations

from napari_diffusion.testing.laws import CASES, LAWS, ROUNDING, Case, check_model

__all__ = ["CASES", "LAWS", "ROUNDING", "Case", "check_model"]
