"""All preprocessing steps, in pure NumPy; importing this package makes them known to the parser.

It is imported where rows are changed, so that options that name a step start without it.

>>> str(Scale(1 / 127.5, -1.0)), str(Scale(offset=-1.0)), str(Resize(96, 96, "bicubic")), str(Bgr())
('scale(1/127.5, -1)', 'scale(offset=-1)', 'resize(96, 96, method=bicubic)', 'bgr()')
"""

from ckpttool.data.preprocessing_steps.images import Bgr, Grayscale, KerasMode, Resize, Rgb
from ckpttool.data.preprocessing_steps.numbers import Mean, OneHot, Scale, Standardize
from ckpttool.data.preprocessing_steps.step import Nothing, Range, Row, Step

__all__ = [
    "Bgr",
    "Grayscale",
    "KerasMode",
    "Mean",
    "Nothing",
    "OneHot",
    "Range",
    "Resize",
    "Rgb",
    "Row",
    "Scale",
    "Standardize",
    "Step",
]
