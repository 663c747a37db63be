"""Reading what a picture shows."""

import io

import numpy as np
from PIL import Image


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def of_colour(image: np.ndarray, hex_colour: str) -> np.ndarray:
    """(row, column) of the pixels near a colour."""
    wanted = np.array([int(hex_colour[n : n + 2], 16) for n in (1, 3, 5)])
    return np.argwhere(np.abs(image - wanted).max(2) < 40)
