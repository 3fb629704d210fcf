"""The laws that every diffusion model keeps, as public checks.

``check_model(MyModel())`` runs all of them on a model of your own.
"""

from __future__ import annotations

from napari_diffusion.testing.laws import CASES, LAWS, ROUNDING, Case, check_model

__all__ = ["CASES", "LAWS", "ROUNDING", "Case", "check_model"]
