"""What fills the new rows of a tensor that is resized."""

from typing import Literal, get_args

Fill = Literal["mean", "zeros", "normal", "rows"]
FILLS: tuple[Fill, ...] = get_args(Fill)
