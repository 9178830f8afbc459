"""One colour per class, the same in every run: a function of the class id (and of the name, for background classes).

Colours are picked one by one, each as far as possible from all earlier ones in Oklab (Ottosson, "A perceptual color
space for image processing", 2020), where distance is roughly what the eye sees. So class k looks the same whether there
are 17 classes or 202.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BACKGROUND: dict[str, str] = {
    "sil": "#d5d8dc",
    "background": "#d5d8dc",
    "bg": "#d5d8dc",
    "none": "#d5d8dc",
    "idle": "#d5d8dc",
    "unlabelled": "#d5d8dc",
    "unlabeled": "#d5d8dc",
    "action_start": "#c3c8ce",
    "action_end": "#e3e6e9",
}
"""Light greys for classes that mean "no action", by lower-case name."""

_FIRST = (0.62, 0.13, 255.0)  # a calm blue: lightness, chroma, hue in degrees
_LIGHTNESS = (0.46, 0.55, 0.64, 0.73, 0.82)
_CHROMA = (0.07, 0.11, 0.145)
_HUES = 72
_KEEP_CLEAR = ((1.0, 0.0, 0.0), (0.88, 0.0, 0.0), (0.25, 0.0, 0.0))  # Oklab of white, background grey and text


@lru_cache(maxsize=8)
def class_colors(num_classes: int, names: tuple[str, ...] = ()) -> NDArray[np.uint8]:
    """sRGB colours [K, 3] of the classes 0..K-1; ``names`` (K of them, or none) turn background classes light grey."""
    colors = _distinct(num_classes).copy()
    for k, name in enumerate(names[:num_classes]):
        grey = BACKGROUND.get(name.lower())
        if grey is not None:
            colors[k] = [int(grey[i : i + 2], 16) for i in (1, 3, 5)]
    colors.setflags(write=False)  # the cached array is shared
    return colors


def class_names(names: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """K printable names: the given ones without control characters, "class k" where there is none."""
    clean = ["".join(c if c.isprintable() else " " for c in name).strip() for name in names[:num_classes]]
    return tuple(clean[k] if k < len(clean) and clean[k] else f"class {k}" for k in range(num_classes))


@lru_cache(maxsize=8)
def _distinct(count: int) -> NDArray[np.uint8]:
    lightness, chroma, hue = (
        g.ravel() for g in np.meshgrid(_LIGHTNESS, _CHROMA, np.arange(_HUES) * 360.0 / _HUES, indexing="ij")
    )
    lab = _polar(lightness, chroma, hue)
    rgb = _oklab_to_srgb(lab)
    inside = ((rgb >= 0) & (rgb <= 1)).all(1)  # the others cannot be shown on a screen
    lab, rgb = lab[inside], rgb[inside]
    start = int(np.argmin(_distance(lab, _polar(*(np.array([v]) for v in _FIRST))[0])))
    nearest = np.min([_distance(lab, np.array(c)) for c in _KEEP_CLEAR], axis=0)
    chosen = [start]
    while len(chosen) < min(count, len(lab)):
        nearest = np.minimum(nearest, _distance(lab, lab[chosen[-1]]))
        chosen.append(int(nearest.argmax()))
    picked = np.rint(rgb[chosen] * 255).astype(np.uint8)
    return picked[np.arange(count) % len(picked)]  # more classes than colours: start over


def _polar(lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]) -> NDArray[np.float64]:
    angle = np.deg2rad(hue)
    return np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=-1)


def _distance(lab: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    # Thin strips are told apart by hue more than by lightness.
    out: NDArray[np.float64] = np.sqrt((((lab - other) * (0.7, 1.0, 1.0)) ** 2).sum(-1))
    return out


def _oklab_to_srgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Oklab [..., 3] to gamma-encoded sRGB; values outside 0..1 cannot be displayed."""
    to_cone = np.array([[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.291485548]])
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.707614701],
        ]
    )
    linear = ((lab @ to_cone.T) ** 3) @ to_rgb.T
    low, high = 12.92 * linear, 1.055 * np.clip(linear, 0, None) ** (1 / 2.4) - 0.055
    out: NDArray[np.float64] = np.where(linear <= 0.0031308, low, high)
    return out
