"""Rows of pixels as pictures, side by side on a sheet."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.figures.style import INK, captioned

_SIDE = 0.94  # the side of a picture, in units of a place on the sheet
_LETTERS = 220  # the size of letters times their number, of a line as wide as a fifth of the sheet


def is_image(shape: tuple[int, ...]) -> bool:
    """Return whether examples of this shape are images: gray, or with three channels first."""
    return (len(shape) == 2 or (len(shape) == 3 and shape[0] in {1, 3})) and min(shape[-2:]) > 1


def is_gray(shape: tuple[int, ...]) -> bool:
    """Return whether images of this shape have no colours."""
    return len(shape) == 2 or shape[0] == 1


def picture(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a row of pixels as an image, colours last."""
    image = pixels.reshape(shape)
    if image.ndim == 2:
        return image
    return image[0] if image.shape[0] == 1 else np.moveaxis(image, 0, -1)


def show_photograph(
    axes: Axes, place: tuple[float, float], image: np.ndarray, *, darkest: float, brightest: float
) -> None:
    """Show an image of pixels from ``darkest`` to ``brightest``, its lower left corner at a place."""
    axes.imshow((image - darkest) / (brightest - darkest), cmap="gray", vmin=0, vmax=1, extent=_extent(place))


def show_signed(axes: Axes, place: tuple[float, float], image: np.ndarray, title: str = "") -> None:
    """Show an image of any numbers: a gray one by sign, a coloured one scaled from darkest to lightest."""
    if image.ndim == 2:
        largest = float(np.abs(image).max()) or 1.0
        axes.imshow(image, cmap="RdBu_r", vmin=-largest, vmax=largest, extent=_extent(place))
    else:
        low, high = float(image.min()), float(image.max())
        axes.imshow((image - low) / ((high - low) or 1.0), extent=_extent(place))
    write_above(axes, place, title, letters=13)


def write_above(axes: Axes, place: tuple[float, float], text: str, *, letters: int) -> None:
    """Write above the picture at a place, in smaller letters if a line is wider than one of five pictures in a row."""
    x, y = place
    size = min(letters, _LETTERS / max(1, *map(len, text.split("\n"))))
    axes.text(x + _SIDE / 2, y + _SIDE + 0.02, text, ha="center", va="bottom", fontsize=size, color=INK)


def pasted(figure: Figure, axes: Axes, text: str, *, columns: int, bottom: float, top: float) -> bytes:
    """Return the sheet as PNG, from ``bottom`` to ``top``, with a caption."""
    axes.set_xlim(-0.02, columns)
    axes.set_ylim(bottom - 0.02, top)
    return captioned(figure, text, margins={"left": 0.01, "right": 0.99, "bottom": 0.02, "top": 0.92})


def _extent(place: tuple[float, float]) -> tuple[float, float, float, float]:
    x, y = place
    return (x, x + _SIDE, y, y + _SIDE)
