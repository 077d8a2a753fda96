"""Sets of classes, in the manner of scikit-learn: of any classifier that has probabilities."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from npsoftmax.calibration import class_scores, threshold
from npsoftmax.errors import InputError


class PredictionSets(BaseEstimator):
    """Sets of classes that hold the right one in a share `coverage` of all cases: split conformal prediction by APS.

    estimator: a *fitted* classifier with `predict_proba` and `classes_`, of this package or another. fit(X, y) takes
    samples that it was not trained on and that chose none of its settings, and only finds the threshold.
    random_state: of the random part of APS. After fit: threshold_, classes_. Derivation: docs/calibration.md.

        sets = PredictionSets(SoftmaxClassifier().fit(X, y), coverage=0.9).fit(X_held_out, y_held_out)
        sets.predict_set(X_new)  # (N, C), true where a class is in the set
    """

    def __init__(self, estimator: Any, coverage: float = 0.95, *, random_state: Any = None):
        self.estimator = estimator
        self.coverage = coverage
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Find the threshold. InputError for too few samples, and for labels that the classifier does not know."""
        check_is_fitted(self.estimator)
        self.classes_ = np.asarray(self.estimator.classes_)
        y = np.asarray(y)
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise InputError(f"y has the labels {unknown.tolist()}, but the classes are {self.classes_.tolist()}.")
        scores, targets = self._scores(X, "fit"), np.searchsorted(self.classes_, y)
        if y.shape != (len(scores),):
            raise InputError(
                f"X has {len(scores)} samples, but y has the shape {y.shape}; expected one label a sample."
            )
        self.threshold_ = threshold(scores[np.arange(len(y)), targets], self.coverage)
        return self

    def predict_set(self, X: Any) -> np.ndarray:
        """Which classes are in the set of each sample, in the order of `classes_`; at least one. X -> bool (N, C)."""
        check_is_fitted(self)
        return self._scores(X, "predict") <= self.threshold_

    def _scores(self, X: Any, what: str) -> np.ndarray:
        p = np.asarray(self.estimator.predict_proba(X))
        seed = check_random_state(self.random_state).randint(2**31)
        return class_scores(p, np.random.default_rng([seed, what == "fit"]).random(len(p)))
