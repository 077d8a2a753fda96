"""One image file as pixels of a given size, by Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.errors import InputError

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
MOST_PIXELS = 2**26  # of a file: it is decoded whole before it is made small
# What a file may be, whatever it is called. Pillow knows more, and starts Ghostscript, a program, for PostScript.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")


def read_picture(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The image as uint8 (H, W, C), C = 3 or, for grey, 1: the middle of it, as large as has the right proportions.

    It is turned as its EXIF says; what is transparent becomes white. Raises InputError, with the file's name, where
    it cannot be read.
    """
    image_module, operations = _pillow()
    height, width, channels = shape
    try:
        with image_module.open(path, formats=FORMATS) as file:
            if file.width * file.height > MOST_PIXELS:
                raise ValueError(f"it has {file.width:,} x {file.height:,} pixels, and the most are {MOST_PIXELS:,}")
            image = _in_mode(operations.exif_transpose(file), "L" if channels == 1 else "RGB", image_module)
            square = operations.fit(image, (width, height), image_module.Resampling.BICUBIC)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}.") from None
    except Exception as error:  # Pillow's readers raise many kinds for files that are damaged
        reason = str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, image_module.UnidentifiedImageError):
            reason = "it holds no picture of a kind that is known"
        raise InputError(f"{path} cannot be read as an image: {reason}. Replace it, or move it away.") from error
    return np.asarray(square, dtype=np.uint8).reshape(height, width, channels)


def _in_mode(image: Any, mode: str, image_module: Any) -> Any:
    """Grey or RGB, over white, and with 16 bits a channel brought to eight."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.float64)
        scale = 255 / 65535 if image.mode.startswith("I;16") or grey.max(initial=0) > 255 else 1.0
        image = image_module.fromarray((grey * scale).clip(0, 255).round().astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        white = image_module.new("RGBA", image.size, "white")
        image = image_module.alpha_composite(white, image)
    return image.convert(mode)


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise InputError(
            'images are read by Pillow, which is not installed; type pip install "npsoftmax[images]".'
        ) from error
    return Image, ImageOps
