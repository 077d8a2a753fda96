"""The classifier of tables."""

from __future__ import annotations

from typing import Any

from npsoftmax.estimators.network import NetworkClassifier


class SoftmaxClassifier(NetworkClassifier):
    """A multilayer perceptron with any softmax head. X (N, D), best with mean 0 and deviation 1 (StandardScaler), or
    sparse in rows (CSR), which become an array a batch at a time.

    float32 samples are computed with in float32, all others in float64, as is scikit-learn's habit.
    hidden: widths of the hidden layers, () for none. head, head_opts: one of HEADS and its options. epochs, batch_size,
    optimizer, lr, momentum (of sgd), weight_decay, schedule, schedule_opts, clip_norm: as in `npsoftmax train`.
    class_weight: None, "balanced" (N / (C · n_c), n_c samples of class c) or a dict, label -> weight, of the samples in
    training; the counts that a head sees are those of samples, whatever they weigh. random_state: seed of parameters,
    order and noise. None is "off" for hidden, momentum, weight_decay, schedule (constant), clip_norm and the options.

    With head="sigmoid" y may be sets of labels, an indicator matrix (N, C): then `predict` gives one, and `score` is
    the share of sets that are right as a whole.

    After fit: classes_ (C,), model_, optimizer_, loss_curve_ (mean training loss of each pass), n_features_in_, dtype_,
    predicts_sets_ (whether y was sets of labels).
    InputError, a ValueError, for settings that do not fit. There is no `decision_function`.

        SoftmaxClassifier(head="hierarchical", hidden=(64,)).fit(X, y).predict_proba(X)
    """

    def __init__(
        self,
        head: str = "softmax",
        hidden: tuple[int, ...] = (64,),
        *,
        head_opts: dict[str, Any] | None = None,
        epochs: int = 30,
        batch_size: int = 64,
        optimizer: str = "adam",
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        schedule: str = "one_cycle",
        schedule_opts: dict[str, Any] | None = None,
        clip_norm: float | None = None,
        class_weight: dict[Any, float] | str | None = None,
        random_state: Any = None,
    ):
        self.head = head
        self.hidden = hidden
        self.head_opts = head_opts
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.schedule_opts = schedule_opts
        self.clip_norm = clip_norm
        self.class_weight = class_weight
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _settings(self) -> dict[str, Any]:
        hidden = () if self.hidden is None else self.hidden
        return super()._settings() | {"model": "mlp", "model_opts": {"hidden": hidden}}
