"""A file of one's own: read, learnt from its beginning, judged to its end, told as events. Pure but for the file.

>>> from mlops.detect import Request, judge_file
"""

from mlops.detect.judging import Judged, judge_file
from mlops.detect.reading import CannotJudge, Request

__all__ = ["CannotJudge", "Judged", "Request", "judge_file"]
