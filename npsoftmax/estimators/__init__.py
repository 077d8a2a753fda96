"""The networks as scikit-learn classifiers: `SoftmaxClassifier` for tables, `ImageClassifier` for images.

`PredictionSets` makes sets of classes of them, or of any other classifier.

Design: an estimator is its settings, which are those of a run (`TrainConfig`) under the same names, and after `fit` a
`Model` with its optimiser. A training run keeps a directory, so that nothing is lost; an estimator keeps nothing but
itself. It takes the same steps (training/step.py) with the same schedules and random numbers, so it ends where the run
of its settings ends, to the last bit (a test compares them). Importing this module imports scikit-learn; `import
npsoftmax` does not.

No `decision_function`: most heads have no score a class whose order is that of their predictions.
"""

from npsoftmax.estimators.images import ImageClassifier
from npsoftmax.estimators.sets import PredictionSets
from npsoftmax.estimators.tables import SoftmaxClassifier

__all__ = ["ImageClassifier", "PredictionSets", "SoftmaxClassifier"]
