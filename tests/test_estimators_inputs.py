"""What people hand to the estimators: images of any type, None as "off", and plain mistakes, each with its sentence."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax import ClassInfo, ImageClassifier, SoftmaxClassifier, build_model
from npsoftmax.errors import InputError
from npsoftmax.heads import HEADS
from npsoftmax.params import leaves
from npsoftmax.random import Rng

Y = np.arange(24) % 3
BYTES = (np.random.default_rng(0).random((24, 8, 8, 3)) * 60 + (Y * 80)[:, None, None, None]).astype(np.uint8)
ROWS = BYTES.reshape(24, -1) / 255


def images(**options):
    small = {"model_opts": {"widths": (4,), "fc": 8}, "epochs": 2, "batch_size": 8, "random_state": 0}
    return ImageClassifier(**(small | options))


def table(**options):
    return SoftmaxClassifier(**({"hidden": (4,), "epochs": 1, "batch_size": 8, "random_state": 0} | options))


@pytest.fixture(scope="module")
def of_bytes():
    return images().fit(BYTES, Y)


def same(one, other):
    return all(
        np.array_equal(a, b)
        for (_, a), (_, b) in zip(leaves(one.model_.params), leaves(other.model_.params), strict=True)
    )


# ---------------------------------------------------------------- images
AS_BYTES = {
    "int64": BYTES.astype(int),
    "int16": BYTES.astype(np.int16),
    "uint16": BYTES.astype(np.uint16),
    "uint64": BYTES.astype(np.uint64),
    "big endian": BYTES.astype(">i4"),
    "objects": BYTES.astype(object),
    "a list of images": list(BYTES),
    "a list of images of whole numbers": [image.astype(int) for image in BYTES],
    "a tuple": tuple(BYTES),
    "nested lists": BYTES.tolist(),
    "Fortran order": np.asfortranarray(BYTES),
    "a view": np.repeat(BYTES, 2, axis=0)[::2],
}


@pytest.mark.parametrize("name", AS_BYTES)
def test_whole_numbers_are_bytes(name, of_bytes):
    found = images().fit(AS_BYTES[name], Y)
    assert found.normalization_ == of_bytes.normalization_ and same(found, of_bytes)
    np.testing.assert_array_equal(of_bytes.predict_proba(AS_BYTES[name]), of_bytes.predict_proba(BYTES))
    assert found.dtype_ == np.uint8 and found.image_shape_ == (8, 8, 3)


def test_whole_numbers_are_augmented_like_bytes():
    assert same(images(augment="standard").fit(BYTES.astype(int), Y), images(augment="standard").fit(BYTES, Y))


def test_true_and_false_are_white_and_black():
    masks = BYTES > 100
    assert same(images().fit(masks, Y), images().fit(masks * np.uint8(255), Y))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_floats_are_taken_as_they_are(dtype):
    x = (BYTES / 255).astype(dtype)
    found = images().fit(x, Y)
    assert found.normalization_ is None and same(found, images().fit(list(x.astype(np.float32)), Y))


@pytest.mark.parametrize(
    ("X", "text"),
    [
        (BYTES.astype(int) * 200, r"whole numbers from 0 to \d+, but bytes lie from 0 to 255: .* X / \d+"),
        (BYTES.astype(int) - 300, r"whole numbers from -300 to -\d+, but bytes lie from 0 to 255: .* X / 300"),
        (
            BYTES.transpose(0, 3, 1, 2),
            r"\(24, 3, 8, 8\), which looks like channels first: type X.transpose\(0, 2, 3, 1\)",
        ),
        (BYTES[..., 0], r"has shape \(24, 8, 8\): for grey images type X\[\.\.\., None\]"),
        (BYTES[0], r"has shape \(8, 8, 3\).* for a single one X\[None\]"),
        (ROWS, r"\(N, H, W, C\) were expected, channels last, but X has shape \(24, 192\): type X.reshape"),
        (BYTES[:0], r"has shape \(0, 8, 8, 3\): there is no image"),
        ([], r"has shape \(0,\)"),
        (BYTES[:, :0], "nothing in these images"),
        ([*BYTES[:23], BYTES[23][:4]], r"images of shapes \(4, 8, 3\), \(8, 8, 3\), but .* all of one size"),
        ([[1], [1, 2]], "X holds what is no array"),
        ([BYTES[0] / 255, *BYTES[1:]], "X mixes images of whole numbers and of floats"),
        ((image for image in BYTES), "X is generator"),
        (np.where(BYTES > 200, np.nan, BYTES / 255), r"\d+ of 24 images hold NaN .*\(the first is X\[\d+\]\)"),
        (np.where(BYTES > 200, np.inf, BYTES / 255), "hold NaN or infinity"),
        (BYTES * 1e300, "more than float32 can"),
        (BYTES.astype(str), "X is an array of <U"),
        (BYTES * 1j, "X is an array of complex128"),
        (BYTES.astype("M8[s]"), "X is an array of datetime64"),
        (None, "X is NoneType"),
        ("photos", "X is str"),
        ({"image": BYTES}, "X is dict"),
        ({1, 2}, "X is set"),
        (3, r"X has shape \(\)"),
    ],
)
def test_what_are_no_images_is_said(X, text, of_bytes):
    for use in (lambda: images().fit(X, Y), lambda: of_bytes.predict(X), lambda: of_bytes.partial_fit(X, Y)):
        with pytest.raises(InputError, match=text):
            use()


def test_images_unlike_those_of_fit_are_said(of_bytes):
    for X, text in ((BYTES / 255, "float32"), (BYTES[:, :4], r"uint8 \(4, 8, 3\)"), (BYTES[..., :1], r"\(8, 8, 1\)")):
        with pytest.raises(InputError, match=rf"{text}.* trained on uint8 \(8, 8, 3\)"):
            of_bytes.predict(X)


# ---------------------------------------------------------------- None is off
OFF = [
    ("augment", "none"),
    ("normalize", "none"),
    ("schedule", "constant"),
    ("momentum", 0.0),
    ("weight_decay", 0.0),
    ("head_opts", {}),
    ("schedule_opts", {}),
]


@pytest.mark.parametrize(("name", "value"), OFF)
def test_none_is_off(name, value):
    settings = {"optimizer": "sgd", "lr": 0.01, "schedule": "step"} | ({"schedule": None} if name == "schedule" else {})
    found, expected = (
        images(**{**settings, name: None}).fit(BYTES, Y),
        images(**{**settings, name: value}).fit(BYTES, Y),
    )
    assert same(found, expected)
    assert found.get_params()[name] is None
    if name not in ("augment", "normalize"):
        assert same(table(**{**settings, name: None}).fit(ROWS, Y), table(**{**settings, name: value}).fit(ROWS, Y))


def test_off_is_not_the_default():
    for name in ("normalize", "schedule"):
        assert not same(images(**{name: None}).fit(BYTES, Y), images().fit(BYTES, Y))
    assert images(normalize=None).fit(BYTES, Y).normalization_.name == "none"
    images(augment=None, normalize=None).fit(BYTES / 255, Y)
    assert same(table(hidden=None).fit(ROWS, Y), table(hidden=()).fit(ROWS, Y))
    assert same(table(clip_norm=None).fit(ROWS, Y), table(clip_norm=1e9).fit(ROWS, Y))
    assert same(images(model="mlp", model_opts=None).fit(BYTES, Y), images(model="mlp", model_opts={}).fit(BYTES, Y))


# ---------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        *(({name: None}, f"{name} is None, but a") for name in ("head", "lr", "epochs", "batch_size", "optimizer")),
        ({"head": 3}, "head is 3, but a word"),
        ({"head": ["softmax"]}, "head is .*, but a word"),
        ({"head": "sofmax"}, "unknown head 'sofmax'. Did you mean 'softmax'"),
        ({"head_opts": {"temprature": 2}}, "Did you mean 'temperature'"),
        ({"head_opts": {3: 2}}, "the option of head 'softmax' is 3, but a name was expected"),
        ({"head_opts": "tau"}, "head_opts is 'tau', but a table"),
        ({"schedule": 3}, "schedule is 3"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"random_state": "a"}, "'a' cannot be used to seed"),
        ({"random_state": 1.5}, "1.5 cannot be used to seed"),
        ({"random_state": -1}, "random_state is -1, but a whole number of at least 0"),
        ({"random_state": np.random.default_rng(0)}, "cannot be used to seed"),
    ],
)
def test_settings_that_mean_nothing_are_said(settings, text):
    for use in (lambda: images(**settings).fit(BYTES, Y), lambda: table(**settings).fit(ROWS, Y)):
        with pytest.raises(InputError, match=text):
            use()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"model": None}, "model is None, but a word"),
        ({"model": 3}, "model is 3"),
        ({"model": "resnet"}, "Did you mean 'resnet9'"),
        ({"model_opts": {"width": 3}}, "Did you mean 'widths'"),
        ({"model_opts": [("widths", (8,))]}, "model_opts is .*, but a table"),
        ({"augment": "flips"}, "Did you mean 'flip'"),
        ({"augment": ["flip"]}, "augment is .*, but a word"),
        ({"augment": False}, "augment is False"),
        ({"normalize": "z"}, "unknown normalization 'z'"),
        ({"normalize": True}, "the normalization is True, but a name was expected. Known: half, none, standard"),
        ({"normalize": ["half"]}, "the normalization is"),
    ],
)
def test_settings_of_images_that_mean_nothing_are_said(settings, text):
    with pytest.raises(InputError, match=text):
        images(**settings).fit(BYTES, Y)


def test_settings_that_are_changed_between_passes_are_checked(of_bytes):
    classifier = images().partial_fit(BYTES, Y, classes=[0, 1, 2])
    for name, value in (("batch_size", 0), ("batch_size", None), ("lr", None), ("lr", "x")):
        with pytest.raises(InputError, match=str(value)):
            classifier.set_params(**{name: value}).partial_fit(BYTES, Y)
        classifier.set_params(batch_size=8, lr=0.01)


# ---------------------------------------------------------------- labels
@pytest.mark.parametrize(
    ("y", "text"),
    [
        (Y[:20], r"numbers of samples: \[24, 20\]"),
        (np.append(Y, 1), r"\[24, 25\]"),
        ([], r"\[24, 0\]"),
        (np.eye(3)[Y], r"y should be a 1d array, not \(24, 3\): of one-hot rows pass y.argmax\(axis=1\)"),
        (Y / 2, "Unknown label type: continuous"),
        (np.where(Y == 0, np.nan, Y), "y contains NaN"),
        (None, "y is None"),
        (Y * 0, "one class alone, 0, but"),
        (3, "1d array"),
        ({1, 2}, "1d array"),
        ([[1], [1, 2]], "inhomogeneous"),
    ],
)
def test_labels_that_do_not_fit_are_said(y, text):
    for use in (lambda: images().fit(BYTES, y), lambda: table().fit(ROWS, y)):
        with pytest.raises(InputError, match=text):
            use()


@pytest.mark.parametrize("y", [Y.astype(object), Y.tolist(), Y[:, None], Y.astype(np.uint8), Y.astype(float)])
@pytest.mark.filterwarnings("ignore:A column-vector y")
def test_labels_of_any_kind_of_whole_number(y, of_bytes):
    found = images().fit(BYTES, y)
    assert same(found, of_bytes) and found.classes_.tolist() == [0, 1, 2]


def test_classes_that_do_not_fit_are_said(of_bytes):
    for classes, text in ((3, "Expected array-like"), ([[0, 1], [1, 2]], "Unknown label type")):
        with pytest.raises(InputError, match=text):
            images().partial_fit(BYTES, Y, classes=classes)
    with pytest.raises(InputError, match=r"labels \[3\], but the classes are \[0, 1, 2\]"):
        of_bytes.partial_fit(BYTES, Y + 1)
    assert of_bytes.score(BYTES, np.full(24, 7)) == 0  # a class that was never seen is never predicted


@pytest.mark.parametrize("X", [ROWS[:, :5], BYTES, ROWS[0], ROWS[:0], ROWS * np.nan, None, [["a"]] * 24, ROWS * 1j])
def test_tables_that_do_not_fit_are_said(X):
    classifier = table().fit(ROWS, Y)
    with pytest.raises(InputError):
        classifier.predict(X)


def test_objects_in_a_table_are_scikit_learns_type_error_and_ours():
    for kind in (TypeError, InputError):
        with pytest.raises(kind, match="must be a string or a real number"):
            table().fit(np.array([[{"a": 1}] * 3] * 24, dtype=object), Y)


# ---------------------------------------------------------------- classes and models
HEAD_OPTS = {"legacy_adaptive_untrained": {"cutoffs": (1, 3)}}


@pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning", "ignore:adaptive softmax")
@pytest.mark.parametrize("name", HEADS)
def test_counts_and_superclasses_may_be_lists(name):
    arrays = ClassInfo(4, np.array([5, 1, 2, 2]), np.array([0, 0, 1, 1]))
    models = [
        build_model("mlp", name, info, (4,), model_opts={"hidden": (4,)}, head_opts=HEAD_OPTS.get(name))
        for info in (
            arrays,
            ClassInfo(4, [5, 1, 2, 2], (0, 0, 1, 1)),
            ClassInfo(np.int64(4), (5, 1, 2, 2), [0, 0, 1, 1]),
        )
    ]
    x = np.random.default_rng(0).random((3, 4)).astype(np.float32)
    for other in models[1:]:
        np.testing.assert_array_equal(models[0].log_prob(x, rng=Rng(0)), other.log_prob(x, rng=Rng(0)))
        assert models[0].macs() == other.macs()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("3",), "number of classes is '3', but a whole number"),
        ((3.0,), "number of classes is 3.0"),
        ((None,), "number of classes is None"),
        ((True,), "number of classes is True"),
        (([5, 1, 2],), r"is \[5, 1, 2\], but a whole number of at least 2 was expected, or ClassInfo\(n, counts\)"),
        ((1,), "at least 2 classes, not 1"),
        ((3, [5, 1]), r"counts have shape \(2,\), but one number for each of 3"),
        ((3, [[5], [1, 2], [3]]), "one number a class"),
        ((3, [5.5, 1, 2]), "counts must be whole numbers"),
        ((3, [True, False, True]), "counts must be whole numbers"),
        ((3, ["a", "b", "c"]), "counts must be whole numbers"),
        ((3, None, [0, -1, 1]), "coarse must be whole numbers"),
        ((3, 5), r"counts have shape \(\)"),
    ],
)
def test_classes_that_are_none_are_said(arguments, text):
    with pytest.raises(InputError, match=text):
        ClassInfo(*arguments)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": 3}, "the model is 3, but a name was expected"),
        ({"name": ["mlp"]}, "the model is"),
        ({"head": None}, "the head is None"),
        ({"head": "mlp"}, "unknown head 'mlp'"),
        ({"classes": "3"}, "number of classes is '3'"),
        ({"input_shape": 4}, r"input_shape is 4, but the shape of one sample was expected.*\(20,\)"),
        ({"input_shape": None}, "input_shape is None"),
        ({"input_shape": "44"}, "input_shape is '44'"),
        ({"input_shape": (4.5,)}, r"input_shape is \(4.5,\)"),
        ({"input_shape": (8, 0, 3)}, "at least 1"),
        ({"model_opts": 3}, "options of model 'mlp' are 3, but a dict was expected, such as {'hidden'"),
        ({"model_opts": [("hidden", (4,))]}, "a dict was expected"),
        ({"head_opts": "t"}, "options of head 'softmax' are 't', but a dict"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"seed": None}, "seed is None, but a whole number"),
        ({"seed": 1.5}, "seed is 1.5"),
    ],
)
def test_models_that_cannot_be_built_are_said(changes, text):
    with pytest.raises(InputError, match=text):
        build_model(**({"name": "mlp", "classes": 3, "input_shape": (4,)} | changes))


@pytest.mark.parametrize("shape", [[8, 8, 3], np.array([8, 8, 3]), tuple(np.array([8, 8, 3]))])
def test_shapes_may_be_lists(shape):
    assert build_model("mlp", classes=3, input_shape=shape).input_shape == (8, 8, 3)


class Photo:
    """As PIL's images: an array only where it is asked for, and no shape."""

    def __init__(self, pixels):
        self.pixels = pixels

    def convert(self, mode):
        return Photo(np.repeat(self.pixels[..., None], 3, axis=2))

    def __array__(self, dtype=None, copy=None):
        return self.pixels


def test_lists_of_images_that_do_not_fit_get_hints_that_work():
    grey = [Photo(image) for image in BYTES[..., 0]]
    with pytest.raises(InputError, match=r"type \[image.convert\('RGB'\) for image in X\]"):
        images().fit(grey, Y)
    assert images(epochs=1).fit([image.convert("RGB") for image in grey], Y).image_shape_ == (8, 8, 3)
    with pytest.raises(InputError, match=r"type np.stack\(X\)\[\.\.\., None\], for a single one \[X\]"):
        images().fit(list(BYTES[..., 0]), Y)
    with pytest.raises(InputError, match=r"images of shapes \(8, 8, 3\), \(9, 8, 3\)"):
        images().fit([Photo(BYTES[0]), Photo(np.zeros((9, 8, 3), np.uint8))] * 12, Y)


def test_a_mask_over_images_is_not_lost():
    with pytest.raises(InputError, match=r"masked array.*type X.filled\(0\)"):
        images().fit(np.ma.masked_array(BYTES, BYTES > 100), Y)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"epochs": 0}, "^epochs is 0, but at least 1"),
        ({"batch_size": 0}, "^batch_size is 0, but"),
        ({"model": "convnet", "model_opts": {"widths": (4,) * 5}}, "model='mlp', which takes any shape"),
        ({"model": "mlp", "model_opts": {}, "head_opts": {"linear": False}}, r"\(model_opts={'logits': 3}\)"),
    ],
)
def test_settings_have_the_names_of_python(settings, text):
    with pytest.raises(InputError, match=text):
        images(**settings).fit(BYTES, Y)
