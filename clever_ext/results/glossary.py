"""What the words in a table of scores mean, told to who has not read the paper.

One place for them: the report shows these sentences, and the documentation's table of them is
checked against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: What a score means, in one line; every table of scores ends with it.
MEANING = (
    "A score estimates how far the picture can move, in the norm's own units (pixels in [0, 1]; "
    "for l2 the root of the sum of squared changes), before any attack could reach the target."
)
#: What it does not mean.
NO_CERTIFICATE = (
    "It is an estimate, not a certificate: samples may miss the steepest place, and a network "
    "that hides its gradients gets a score that it does not deserve."
)

#: Each status of a row, and what it says of the score.
STATUSES: Mapping[str, str] = MappingProxyType(
    {
        "ok": "The estimator worked as it is meant to.",
        "misclassified": (
            "The network's answer differs from the label before anything is changed: "
            "the score is 0."
        ),
        "degenerate": (
            "All batch maxima are equal, as they are where the network is linear around the "
            "picture. That value is the Lipschitz estimate; no law had to be fitted."
        ),
        "max-fallback": (
            "The batch maxima do not follow a reverse Weibull law, so no end point was fitted: "
            "the largest gradient norm seen stands in for it. The score is rather too high."
        ),
        "non-finite": (
            "A logit or a gradient was infinite or not a number. There is no score, and the "
            "picture counts in no mean."
        ),
        "no-target": (
            "The target is the class that the network predicts for the picture, or one that a "
            "logit of -inf rules out: there is nothing to reach, and the row counts in no minimum."
        ),
        "error": "The picture could not be read or scored; the row says why.",
    }
)

#: Each flag of a row, and what it says of the score.
FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "far-location": (
            "The fitted end point is more than twice the largest gradient norm seen: the fit "
            "reaches far beyond its data, and the score may be too low."
        ),
        "contradicted": (
            "What the run itself saw shows the score to be too high: the gradient at the picture "
            "is steeper than the fitted end point, or a sample nearer than the score was already "
            "classified otherwise."
        ),
        "eliminated": (
            "A race over the targets dropped this one, since its score could not be the smallest. "
            "Its number is a rough one."
        ),
        "stopped-at-limit": (
            "The gradients allowed were spent before the interval was as narrow as was asked for."
        ),
        "zero-gradient": (
            "The gradient is exactly zero at the picture and at every sample, so that it says "
            "nothing of how near an attack could come: a sign of gradient masking."
        ),
        "vanishing-gradients": (
            "At the steepest place seen the margin would outlast the whole range of pixel values "
            "several times: gradients so small cannot explain that there are other classes, and "
            "are a sign of gradient masking."
        ),
        "plateau": (
            "The network is nearly flat at the picture and more than a hundred times steeper "
            "elsewhere in the ball, as it is where an activation is saturated: a sign of gradient "
            "masking."
        ),
    }
)

#: Numbers beside a score, and what they say.
NUMBERS: Mapping[str, str] = MappingProxyType(
    {
        "first order": (
            "Margin / gradient norm at the picture: how far an attack would be if the network "
            "were linear. It takes one gradient, and is no bound of anything."
        ),
    }
)


def explain(word: str) -> str:
    """Say what a status, a flag or a number means; nothing of any other word.

    Args:
        word: As in the columns `status` and `flags`, or as a table names the number.

    >>> explain("degenerate")[:28]
    'All batch maxima are equal, '
    """
    return STATUSES.get(word) or FLAGS.get(word) or NUMBERS.get(word) or ""
