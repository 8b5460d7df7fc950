"""All operations on images for augmentation; importing this package makes them known to the parser."""

from ckpttool.runtime.augmentations.colours import Brightness, Contrast, Hue, Saturation
from ckpttool.runtime.augmentations.moves import Crop, Flip, Rotate, Scale, Shift
from ckpttool.runtime.augmentations.operation import Bounds, Colour, Move, Operation, Shape

__all__ = [
    "Bounds",
    "Brightness",
    "Colour",
    "Contrast",
    "Crop",
    "Flip",
    "Hue",
    "Move",
    "Operation",
    "Rotate",
    "Saturation",
    "Scale",
    "Shape",
    "Shift",
]
