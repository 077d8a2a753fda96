"""The scikit-learn estimators: scikit-learn's own checks, every head, its tools around them, equality with a run."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import sparse
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from npsoftmax import ImageClassifier, SoftmaxClassifier
from npsoftmax.errors import InputError
from npsoftmax.heads import HEADS
from npsoftmax.params import leaves
from npsoftmax.training import Progress, RunDirectory, TrainConfig, Trainer, prepare

# What a head needs beside its defaults; legacy_adaptive_untrained takes the features as scores: as many as classes.
HEAD_OPTS = {"legacy_adaptive_untrained": {"cutoffs": (1,)}, "ordinal": {"form": "corn"}}  # ant, bee, cat have no order
HIDDEN = {"legacy_adaptive_untrained": (16, 3)}
EXPECTED = {
    "adaptive": {
        f"check_sample_weight_equivalence_on_{kind}_data": "adaptive ranks classes by samples, not by their weights"
        for kind in ("dense", "sparse")
    },
    "entmax15": {
        "check_class_weight_classifiers": "without hidden layers: its loss ends where the heavy class leads by 2"
    },
}
ignore_what_heads_say = pytest.mark.filterwarnings("ignore:adaptive softmax", "ignore:Legacy")


@pytest.fixture(scope="module")
def blobs():
    """Three well separated kinds of points, by name, in uneven numbers."""
    rng = np.random.default_rng(0)
    centres = np.array([[2.0, 0, 0, 1], [-2, 1, 0, 0], [0, -2, 2, 0]])
    y = np.repeat([0, 1, 2], (40, 60, 30))
    return centres[y] + 0.4 * rng.standard_normal((len(y), 4)), np.array(["ant", "bee", "cat"])[y]


@pytest.fixture(scope="module")
def digits():
    """Images as bytes (N, 8, 8, 1) and their labels."""
    x, y = load_digits(return_X_y=True)
    return (x.reshape(-1, 8, 8, 1) * 15).astype(np.uint8)[:600], y[:600]


def images(**options):
    """A small ImageClassifier."""
    small = {"model_opts": {"widths": (8,), "fc": 32}, "epochs": 12, "batch_size": 32, "lr": 0.01, "random_state": 0}
    return ImageClassifier(**(small | options))


# ---------------------------------------------------------------- scikit-learn's own checks
def of_scikit_learn(*classifiers):
    return parametrize_with_checks(
        list(classifiers), expected_failed_checks=lambda classifier: EXPECTED.get(classifier.head, {})
    )


# Of these checks an ImageClassifier takes the few that need no data: theirs are tables.
@of_scikit_learn(SoftmaxClassifier(), ImageClassifier())
def test_scikit_learn_finds_nothing_wrong(estimator, check):
    check(estimator)


@pytest.mark.slow
@ignore_what_heads_say
@of_scikit_learn(
    SoftmaxClassifier(head="hierarchical", hidden=(64,)),
    SoftmaxClassifier(head="adaptive", optimizer="sgd", lr=0.1, clip_norm=1.0),
    SoftmaxClassifier(head="entmax15", hidden=()),
)
def test_scikit_learn_finds_nothing_wrong_with_other_heads(estimator, check):
    check(estimator)


# ---------------------------------------------------------------- every head
@ignore_what_heads_say
@pytest.mark.parametrize("head", HEADS)
def test_every_head_is_a_classifier(head, blobs):
    x, y = blobs
    options = {"head_opts": HEAD_OPTS.get(head), "hidden": HIDDEN.get(head, (16,)), "epochs": 20, "random_state": 1}
    classifier = SoftmaxClassifier(head, **options).fit(x, y)
    log_p, p = classifier.predict_log_proba(x), classifier.predict_proba(x)
    assert p.shape == (len(x), 3) and p.dtype == np.float64 and set(classifier.predict(x)) <= {"ant", "bee", "cat"}
    assert np.isfinite(log_p).all() or not HEADS[head].likelihood
    np.testing.assert_array_equal(np.exp(log_p), p)
    if head != "legacy_heap128" and HEADS[head].distribution:  # the heap leaks, and says so
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    if not HEADS[head].legacy:
        assert classifier.score(x, y) > 0.97
        if HEADS[head].likelihood:
            assert classifier.loss_curve_[-1] < classifier.loss_curve_[0]
            assert log_loss(y, p) < 0.5


def test_probability_zero_is_a_log_of_minus_infinity(blobs):
    classifier = SoftmaxClassifier("sparsemax", epochs=20, random_state=0).fit(*blobs)
    p, log_p = classifier.predict_proba(blobs[0]), classifier.predict_log_proba(blobs[0])
    assert (p == 0).any()
    np.testing.assert_array_equal(np.isneginf(log_p), p == 0)


def test_the_margin_head_without_a_likelihood_gives_softmax_of_its_scores(blobs):
    classifier = SoftmaxClassifier("hinge", epochs=5, random_state=0).fit(*blobs)
    model = classifier.model_
    z, _ = model.head.scores(model.features(blobs[0]))
    expected = z - logsumexp(z, axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.predict_log_proba(blobs[0]), expected, atol=1e-12)


def test_tables_keep_their_precision(blobs):
    x, y = blobs
    for dtype in (np.float32, np.float64):
        classifier = SoftmaxClassifier(epochs=1, random_state=0).fit(x.astype(dtype), y)
        assert {p.dtype for _, p in leaves(classifier.model_.params)} == {np.dtype(dtype)}
        assert classifier.predict_proba(x).dtype == classifier.predict_proba(x.astype(np.float32)).dtype == dtype
    assert SoftmaxClassifier(epochs=1).fit(x.round().astype(int), y).predict_proba(x).dtype == np.float64


def test_heads_see_how_often_the_classes_occur(blobs):
    classifier = SoftmaxClassifier("balanced", epochs=1).fit(*blobs)
    np.testing.assert_array_equal(classifier.model_.head.classes.counts, [40, 60, 30])


def test_what_would_be_dishonest_is_not_there():
    for classifier in (SoftmaxClassifier(), ImageClassifier()):
        assert not hasattr(classifier, "decision_function")


# ---------------------------------------------------------------- weights and sparse tables
def in_rows(kind, x):
    return getattr(sparse, f"{kind}_array")(x)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
def test_a_sparse_table_is_the_table(kind, blobs):
    x, y = blobs
    x = np.where(np.abs(x) < 0.5, 0, x)
    dense, of_rows = (SoftmaxClassifier(epochs=3, random_state=0).fit(t, y) for t in (x, in_rows(kind, x)))
    for a, b in ((x, in_rows(kind, x)), (x[:1], in_rows(kind, x[:1]))):
        np.testing.assert_array_equal(dense.predict_proba(a), of_rows.predict_proba(b))
    dense.partial_fit(x, y)
    of_rows.partial_fit(in_rows(kind, x), y)
    np.testing.assert_array_equal(dense.predict_proba(x), of_rows.predict_proba(x))


def test_the_size_of_all_weights_is_no_learning_rate(blobs):
    x, y = blobs
    plain, heavy = (
        SoftmaxClassifier(optimizer="sgd", epochs=2, random_state=0).fit(x, y, sample_weight=w) for w in (None, 8.0)
    )
    np.testing.assert_array_equal(plain.predict_proba(x), heavy.predict_proba(x))
    assert plain.loss_curve_ == heavy.loss_curve_


@pytest.mark.parametrize("head", ["softmax", "hierarchical", "sparsemax", "hinge", "sampled"])
def test_class_weights_are_sample_weights_by_label(head, blobs):
    x, y = blobs
    weights = {"ant": 2.0, "bee": 0.5, "cat": 1.0}

    def fitted(sample_weight=None, **settings):
        return SoftmaxClassifier(head, epochs=2, random_state=0, **settings).fit(x, y, sample_weight=sample_weight)

    by_label = fitted(np.array([weights[label] for label in y]))
    np.testing.assert_array_equal(fitted(class_weight=weights).predict_proba(x), by_label.predict_proba(x))
    balanced, of_head = fitted(class_weight="balanced"), fitted(head_opts={"class_weight": "balanced"})
    np.testing.assert_allclose(balanced.predict_log_proba(x), of_head.predict_log_proba(x), rtol=1e-6, atol=1e-9)


def test_samples_of_no_weight_might_as_well_be_others(blobs):
    x, y = blobs
    w = (np.arange(len(x)) % 3 > 0).astype(float)
    other = np.where(w[:, None] > 0, x, -x)
    a, b = (SoftmaxClassifier(epochs=2, random_state=0).fit(t, y, sample_weight=w) for t in (x, other))
    np.testing.assert_array_equal(a.predict_proba(x), b.predict_proba(x))


def test_weights_in_passes(blobs):
    x, y = blobs
    w = 1 + np.arange(len(x)) % 2
    settings = {"schedule": "constant", "epochs": 2, "random_state": 0, "class_weight": {"ant": 3.0}}
    whole = SoftmaxClassifier(**settings).fit(x, y, sample_weight=w)
    mean = (w * np.where(y == "ant", 3.0, 1.0)).mean()
    passes = SoftmaxClassifier(**settings)
    for _ in range(2):
        passes.partial_fit(x, y, classes=["ant", "bee", "cat"], sample_weight=w / mean)
    np.testing.assert_allclose(whole.predict_proba(x), passes.predict_proba(x), rtol=1e-9)


def test_images_have_weights(digits):
    x, y = digits
    weighted = images(epochs=2, class_weight={3: 0.0}).fit(x, y, sample_weight=np.ones(len(y)))
    assert (weighted.predict(x) == 3).mean() < 0.02 < (y == 3).mean()


def test_weights_go_through_a_search_and_a_pipeline(blobs):
    x, y = blobs
    w = np.linspace(0, 1, len(x))
    search = GridSearchCV(SoftmaxClassifier(epochs=2, random_state=0), {"class_weight": [None, "balanced"]}, cv=2)
    assert search.fit(x, y, sample_weight=w).best_score_ > 0.3
    pipeline = make_pipeline(StandardScaler(), SoftmaxClassifier(epochs=2, random_state=0))
    assert pipeline.fit(x, y, softmaxclassifier__sample_weight=w).score(x, y) > 0.3


@pytest.mark.parametrize(
    ("settings", "w", "words"),
    [
        ({}, [1.0, 2.0], r"sample_weight has shape \(2,\), but one for each of 130"),
        ({}, -1.0, "sample_weight is -1.0 for sample 0, but finite numbers of at least 0"),
        ({}, np.nan, "sample_weight is nan for sample 0"),
        ({}, 0.0, "weights of all samples are zero"),
        ({}, "heavy", "could not convert string to float"),
        ({"class_weight": "equal"}, None, "class_weight is 'equal', but None, 'balanced' or a dict"),
        ({"class_weight": {"dog": 2.0}}, None, r"The classes, \['ant', 'bee', 'cat'\], are not in class_weight"),
        ({"class_weight": {"ant": -2.0}}, None, "sample_weight is -2.0 for sample 0"),
        ({"class_weight": {"ant": 0, "bee": 0, "cat": 0}}, None, "weights of all samples are zero"),
    ],
)
def test_weights_that_do_not_fit(settings, w, words, blobs):
    with pytest.raises(InputError, match=words):
        SoftmaxClassifier(epochs=1, **settings).fit(*blobs, sample_weight=w)


def test_balanced_weights_need_all_labels(blobs):
    with pytest.raises(InputError, match="class_weight='balanced' needs all labels at once"):
        SoftmaxClassifier(class_weight="balanced").partial_fit(*blobs, classes=["ant", "bee", "cat"])


# ---------------------------------------------------------------- inside scikit-learn's tools
def test_in_a_pipeline(blobs):
    x, y = blobs
    pipeline = make_pipeline(StandardScaler(), SoftmaxClassifier("hierarchical", random_state=0))
    assert pipeline.fit(1000 * x + 5, y).score(1000 * x + 5, y) > 0.97


def test_in_a_grid_search(blobs):
    grid = {"head": ["softmax", "hierarchical"], "head_opts": [None, {"init": "zeros"}], "lr": [1e-5, 0.01]}
    search = GridSearchCV(SoftmaxClassifier(epochs=8, random_state=0), grid, cv=3, error_score="raise").fit(*blobs)
    assert search.best_params_["lr"] == 0.01 and search.best_score_ > 0.9
    assert len(search.cv_results_["params"]) == 8


def test_in_a_search_over_numpy_numbers(blobs):
    grid = {"epochs": np.arange(2, 4), "lr": np.array([0.01, 0.02], np.float32), "hidden": [[np.int64(8)], (4, 4)]}
    search = GridSearchCV(SoftmaxClassifier(random_state=0), grid, cv=2, error_score="raise").fit(*blobs)
    assert len(search.cv_results_["params"]) == 8


def test_in_cross_validation(blobs, digits):
    assert cross_val_score(SoftmaxClassifier(random_state=0), *blobs, cv=4).min() > 0.9
    assert cross_val_score(images(), *digits, cv=2).min() > 0.8


def test_images_in_a_pipeline(digits):
    x, y = digits
    halves = make_pipeline(FunctionTransformer(lambda x: x / np.float32(255)), images(head="hierarchical"))
    assert halves.fit(x, y).score(x, y) > 0.85


@pytest.mark.slow  # two processes that import everything
def test_images_in_parallel_jobs(digits):
    grid = {"head": ["softmax", "hinge"]}
    search = GridSearchCV(images(), grid, cv=2, n_jobs=2, error_score="raise").fit(*digits)
    assert search.best_score_ > 0.8


@pytest.mark.parametrize("kind", ["table", "images"])
def test_pickles_and_clones(kind, blobs, digits):
    x, y = blobs if kind == "table" else digits
    classifier = SoftmaxClassifier(epochs=2, random_state=3) if kind == "table" else images(epochs=1)
    classifier.fit(x, y)
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(x), classifier.predict_proba(x))
    same = clone(classifier)
    with pytest.raises(NotFittedError):
        same.predict(x)
    np.testing.assert_array_equal(same.fit(x, y).predict_proba(x), classifier.predict_proba(x))
    for one in (again, classifier):  # the moments of the optimiser travel too
        one.partial_fit(x[:50], y[:50])
    np.testing.assert_array_equal(again.predict_proba(x), classifier.predict_proba(x))


def test_without_a_seed_two_fits_differ(blobs):
    a, b = (SoftmaxClassifier(epochs=1).fit(*blobs).predict_proba(blobs[0]) for _ in range(2))
    assert (a != b).any()


# ---------------------------------------------------------------- bit by bit
def test_partial_fit_learns(blobs):
    x, y = blobs
    classifier = SoftmaxClassifier(random_state=0)
    classifier.partial_fit(x[y == "bee"], y[y == "bee"], classes=["cat", "ant", "bee"])
    assert list(classifier.classes_) == ["ant", "bee", "cat"]
    for _ in range(20):
        classifier.partial_fit(x, y)
    assert classifier.score(x, y) > 0.97 and len(classifier.loss_curve_) == 21


def test_passes_at_a_constant_rate_are_a_fit(blobs):
    x, y = blobs
    whole = SoftmaxClassifier(schedule="constant", epochs=3, random_state=0).fit(x, y)
    parts = SoftmaxClassifier(random_state=0)
    for _ in range(3):
        parts.partial_fit(x, y, classes=np.unique(y))
    assert parts.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(parts.predict_proba(x), whole.predict_proba(x))


def test_it_is_the_run_of_the_same_settings(tmp_path):
    """The estimator's loop is the trainer's, to the last bit: order, augmentation, dropout, schedule, updates."""
    settings = {
        "model": "convnet",
        "model_opts": {"widths": (4,), "fc": 12, "dropout": 0.3},
        "head": "gumbel_softmax",
        "augment": "standard",
        "epochs": 2,
        "batch_size": 48,
        "lr": 0.01,
        "clip_norm": 0.5,
        "weight_decay": 1e-3,
    }
    session = prepare(TrainConfig(data="digits", limit_train=300, val_split=0.0, seed=5, **settings))
    run = RunDirectory.plan(session.config, "digits", str(tmp_path / "run"))
    trainer = Trainer(session, run, Progress(2, quiet=True))
    run.describe(session.config, session.dataset, session.train.normalize, session.backend)
    trainer.fit()
    classifier = ImageClassifier(random_state=5, **settings).fit(session.dataset.x_train, session.dataset.y_train)
    for (name, ours), (_, theirs) in zip(leaves(classifier.model_.params), leaves(session.model.params), strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


@pytest.mark.parametrize("model", ["tinyvgg", "resnet9", "vit"])
def test_other_models_take_images(model, digits):
    options = {"resnet9": {"widths": (4, 4, 8, 8)}, "vit": {"patch": 2, "dim": 8, "depth": 1, "heads": 2, "mlp": 8}}
    x, y = digits
    classifier = images(model=model, model_opts=options.get(model), epochs=1).fit(x[:100], y[:100])
    assert classifier.predict_proba(x[:7]).shape == (7, 10)


# ---------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "hirarchical"}, "Did you mean 'hierarchical'"),
        ({"head_opts": {"temprature": 2}}, "Did you mean 'temperature'"),
        ({"hidden": (0,)}, "whole number of at least 1"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": "3"}, "epochs is '3', but a whole number was expected"),
        ({"optimizer": "adan"}, "unknown optimizer 'adan'"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'"),
        ({"clip_norm": -1.0}, "clip"),
        ({"lr": 1e200}, "the loss became|finite numbers are needed"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_a_mistake_is_named_in_fit(settings, message, blobs):
    with pytest.raises(InputError, match=message):
        SoftmaxClassifier(random_state=0, **settings).fit(*blobs)


def test_labels_that_do_not_fit(blobs):
    x, y = blobs
    with pytest.raises(InputError, match="at least 2 classes"):
        SoftmaxClassifier().fit(x, ["one"] * len(x))
    with pytest.raises(InputError, match="first call to partial_fit"):
        SoftmaxClassifier().partial_fit(x, y)
    with pytest.raises(InputError, match=r"labels \['cat'\], but the classes are \['ant', 'bee'\]"):
        SoftmaxClassifier().partial_fit(x, y, classes=["ant", "bee"])
    classifier = SoftmaxClassifier(epochs=1).fit(x, y)
    with pytest.raises(InputError, match="not the same"):
        classifier.partial_fit(x, y, classes=["ant", "bee"])


def test_images_that_do_not_fit(digits):
    x, y = digits
    with pytest.raises(InputError, match=r"\(N, H, W, C\) were expected"):
        ImageClassifier().fit(x.reshape(len(x), -1), y)
    with pytest.raises(InputError, match="for images of bytes"):
        images(augment="flip").fit(x / 255.0, y)
    classifier = images(epochs=1).fit(x, y)
    with pytest.raises(InputError, match=r"trained on uint8 \(8, 8, 1\)"):
        classifier.predict(x / 255.0)
    with pytest.raises(ValueError, match="NaN"):
        images().fit(np.full((4, 8, 8, 1), np.nan), [0, 1, 0, 1])


def test_a_held_out_part_of_the_digits_is_recognised(digits):
    x, y = digits
    train, test, t_train, t_test = train_test_split(x, y, random_state=0)
    assert images().fit(train, t_train).score(test, t_test) > 0.9


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_a_pass_that_is_refused_leaves_the_parameters_as_they_were(blobs):
    x, y = blobs
    classifier = SoftmaxClassifier(random_state=0, hidden=(), epochs=1).fit(x, y)
    before, steps = classifier.predict_proba(x), classifier.optimizer_.steps
    with pytest.raises(InputError, match=r"the loss became (nan|inf)"):
        classifier.partial_fit(np.full_like(x, 1.7e308), y)
    np.testing.assert_array_equal(classifier.predict_proba(x), before)
    assert classifier.optimizer_.steps == steps and len(classifier.loss_curve_) == 1
