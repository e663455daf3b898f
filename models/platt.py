"""Logits made probabilities (Platt 1999): the scale and shift that fit what was observed best."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_STEPS = 50
_RIDGE = 1e-6
_LEAST_SCALE = 0.01


def fit(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Scale and shift by Newton's method. The scale stays positive: calibration never turns the order round."""
    inputs = np.stack([logits.astype(np.float64), np.ones(len(logits))], axis=1)
    found = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ found, -30, 30)))
        slope = inputs.T @ (chance - labels)
        curvature = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        found = found - np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-9:
            break
    return max(float(found[0]), _LEAST_SCALE), float(found[1])
