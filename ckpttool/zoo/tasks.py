"""Tasks of models: the values of the Hub's `pipeline_tag`."""

from ckpttool.core.errors import CkptError
from ckpttool.core.suggestions import suggestion

_WORDS = (
    "any-to-any audio-classification audio-text-to-text audio-to-audio automatic-speech-recognition biology "
    "depth-estimation document-question-answering feature-extraction fill-mask graph-ml image-classification "
    "image-feature-extraction image-segmentation image-text-to-text image-to-3d image-to-image image-to-text "
    "image-to-video keypoint-detection mask-generation multiple-choice object-detection other question-answering "
    "reinforcement-learning robotics sentence-similarity summarization table-question-answering table-to-text "
    "tabular-classification tabular-regression tabular-to-text text-classification text-generation text-ranking "
    "text-retrieval text-to-3d text-to-audio text-to-image text-to-speech text-to-video text2text-generation "
    "time-series-forecasting token-classification translation unconditional-image-generation video-classification "
    "video-text-to-text visual-document-retrieval visual-question-answering voice-activity-detection "
    "zero-shot-classification zero-shot-image-classification zero-shot-object-detection"
)
TASKS = frozenset(_WORDS.split())
"""The Hub's tasks in alphabetical order (huggingface.js, packages/tasks/src/pipelines.ts)."""


def require_task(text: str) -> str:
    """Return a valid task unchanged.

    >>> require_task("image-classification")
    'image-classification'

    Raises:
        CkptError: the Hub has no such task; the message suggests the nearest ones.
    """
    task = text.strip().lower().replace(" ", "-").replace("_", "-")
    if task not in TASKS:
        near = suggestion(task, TASKS) or f": it has {', '.join(sorted(TASKS)[:6])} and {len(TASKS) - 6} more"
        raise CkptError(f"`task`: the Hub has no {text!r}{near}")
    return task
