"""After training: probabilities that mean what they say, and sets that hold the answer as often as they promise.

Functions of the log-probabilities of any classifier, in NumPy. Derivations: docs/calibration.md.
"""

from npsoftmax.calibration.scaling import Scaling, fit_temperature, fit_vector, mean_nll
from npsoftmax.calibration.sets import class_scores, least_images, regularisation, threshold
from npsoftmax.calibration.subtrees import Subtrees

__all__ = [
    "Scaling",
    "Subtrees",
    "class_scores",
    "fit_temperature",
    "fit_vector",
    "least_images",
    "mean_nll",
    "regularisation",
    "threshold",
]
