"""The preprocessing that the weights of `keras.applications` were trained with, by the name of the architecture.

A test compares the table with each module's own `preprocess_input`. If the mode is None, the network contains its
preprocessing as layers, and takes bytes from 0 to 255.
"""

from typing import Literal

from ckpttool.core.errors import UnknownName
from ckpttool.core.suggestions import suggestion
from ckpttool.data.preprocessing import Preprocessing
from ckpttool.data.preprocessing_steps import KerasMode, Nothing

Mode = Literal["caffe", "tf", "torch"]

_NAMES: dict[Mode | None, str] = {
    "caffe": "VGG16 VGG19 ResNet50 ResNet101 ResNet152",
    "tf": "ResNet50V2 ResNet101V2 ResNet152V2 InceptionV3 InceptionResNetV2 MobileNet MobileNetV2 NASNetLarge "
    "NASNetMobile Xception",
    "torch": "DenseNet121 DenseNet169 DenseNet201",
    None: "ConvNeXtTiny ConvNeXtSmall ConvNeXtBase ConvNeXtLarge ConvNeXtXLarge EfficientNetB0 EfficientNetB1 "
    "EfficientNetB2 EfficientNetB3 EfficientNetB4 EfficientNetB5 EfficientNetB6 EfficientNetB7 EfficientNetV2B0 "
    "EfficientNetV2B1 EfficientNetV2B2 EfficientNetV2B3 EfficientNetV2S EfficientNetV2M EfficientNetV2L "
    "MobileNetV3Small MobileNetV3Large",
}
MODES: dict[str, Mode | None] = {name: mode for mode, names in _NAMES.items() for name in names.split()}
"""The mode of each architecture; None if the network contains its preprocessing."""


def preprocessing_of(architecture: str) -> Preprocessing:
    """Return the preprocessing of an architecture of `keras.applications`.

    >>> str(preprocessing_of("VGG16")), str(preprocessing_of("EfficientNetB0"))
    ('keras(caffe)', 'none')

    Raises:
        UnknownName: there is no architecture of this name.
    """
    if architecture not in MODES:
        nearest = suggestion(architecture, MODES) or f"; known: {', '.join(MODES)}"
        raise UnknownName(f"no architecture {architecture} in keras.applications{nearest}")
    mode = MODES[architecture]
    return Preprocessing((Nothing() if mode is None else KerasMode(mode),))
