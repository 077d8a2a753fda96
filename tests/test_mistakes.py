"""Mistakes that a newcomer makes in Python, each with the sentence that it gets; and what must not be silent."""

import copy
import pickle

import numpy as np
import pytest

from npsoftmax import ClassInfo, Rng, build_model, check_gradients, get_backend, kernels, layers, metrics
from npsoftmax.errors import InputError
from npsoftmax.functional import activation, dropout, gumbel, loss, tokens
from npsoftmax.heads import HEADS
from npsoftmax.params import SparseRows
from npsoftmax.training import clipping
from npsoftmax.training.early_stopping import EarlyStopping
from npsoftmax.training.optimizers import SGD, Adam
from npsoftmax.training.schedules import make_schedule


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def mlp(head="softmax", classes=3, seed=0):
    return build_model("mlp", head, classes, (4,), seed=seed, model_opts={"hidden": (5,)})


def refused(call, words):
    with pytest.raises(InputError, match=words):
        call()


# ---------------------------------------------------------------- settings
Z, T, MASK = normal(3, 2), np.array([0, 1, 1]), np.ones((3, 2), bool)
NO_NUMBERS = [None, "0.5", [0.5, 0.5], np.array([0.5, 0.5]), {}]

TAKE_A_NUMBER = {
    "temperature": lambda v: loss.softmax_cross_entropy_forward(Z, T, temperature=v),
    "label_smoothing": lambda v: loss.softmax_cross_entropy_forward(Z, T, label_smoothing=v),
    "margin": lambda v: loss.hinge_forward(Z, T, margin=v),
    "tau": lambda v: gumbel.gumbel_softmax_forward(Z, Z, tau=v),
    "keep": lambda v: dropout.dropout_forward(Z, MASK, v),
    "dropout": layers.Dropout,
    "eps": lambda v: layers.LayerNorm(4, eps=v),
    "momentum": lambda v: layers.BatchNorm(4, momentum=v),
    "lr": lambda v: SGD({"w": Z.copy()}).step({"w": Z.copy()}, {"w": Z}, lr=v),
    "beta1": lambda v: Adam({"w": Z}, beta1=v),
    "weight_decay": lambda v: Adam({"w": Z}, weight_decay=v),
    "max_norm": lambda v: clipping.clip_by_norm({"w": Z}, v),
    "learning rate": lambda v: make_schedule("constant", v, 1, 1),
    "patience": EarlyStopping,
}


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", TAKE_A_NUMBER)
def test_a_setting_that_is_no_number(name, value):
    refused(lambda: TAKE_A_NUMBER[name](value), f"{name}.* is ")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: layers.BatchNorm(4, eps=-1), "eps is -1, but a finite number above 0"),
        (lambda: layers.LayerNorm(4, eps=0), "eps is 0"),
        (lambda: layers.BatchNorm(4, momentum=2), "momentum is 2, but the share of the new batch, from 0 to 1"),
        (lambda: layers.Conv2d(True, 8, 3, rng=Rng(0)), "inputs is True, but a whole number"),
        (lambda: layers.Conv2d(3, 8, True, rng=Rng(0)), "kernel size is True"),
        (lambda: layers.Sequential(layers.ReLU()), r"layers of a Sequential have names; type .*Sequential\(fc="),
        (lambda: layers.Sequential(a=layers.ReLU), "layer 'a' of a Sequential is <class"),
        (lambda: layers.Residual(3), "the branch of a Residual is 3, but a layer was expected"),
        (lambda: HEADS["softmax"]("4", ClassInfo(3), rng=Rng(0)), "features is '4', but a whole number"),
        (lambda: HEADS["hierarchical"](True, ClassInfo(3), rng=Rng(0)), "features is True"),
        (lambda: HEADS["softmax"](4, 3, rng=Rng(0)), r"classes is 3, .* type ClassInfo\(10\)"),
        (lambda: HEADS["sampled"](4, ClassInfo(9), rng=Rng(0), samples=2.5), "samples is 2.5, but a whole number"),
        (lambda: tokens.token_pool_forward(normal(2, 3, 4), "max"), "unknown pool of tokens 'max'"),
    ],
)
def test_a_part_that_cannot_be_made(call, words):
    refused(call, words)


def test_an_array_is_a_pair_of_numbers_too():
    assert layers.Conv2d(3, 8, np.array([3, 5]), rng=Rng(0)).k == (3, 5)


# ---------------------------------------------------------------- labels
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([[0], [1, 2]], "is no array"),
        (np.ma.masked_array([0, 1], [0, 1]), "is a masked array, and a mask would be lost"),
        (None, "NoneType, but an array was expected"),
        ({0, 1}, "set, but an array was expected"),
        (np.array([0.0, np.nan]), "labels are float64, but whole numbers are needed"),
        (np.array([[0], [1]]), r"for this column of labels type t\[:, 0\]"),
        (["0", "1"], "labels are <U1"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("head", [name for name in HEADS if name != "legacy_adaptive_untrained"])
@pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning")
def test_heads_refuse_labels_in_the_words_of_the_losses(head, labels, words):
    h, classes = normal(2, 4), ClassInfo(3, np.array([3, 2, 1]), np.array([0, 0, 1]))
    refused(lambda: HEADS[head](4, classes, rng=Rng(0)).loss(h, labels, rng=Rng(0)), words)
    refused(lambda: loss.softmax_cross_entropy_forward(normal(2, 3), labels), words)


@pytest.mark.parametrize("head", [name for name in HEADS if name != "legacy_adaptive_untrained"])
@pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning")
def test_labels_of_any_whole_number_type_train_alike(head):
    classes = ClassInfo(6, np.array([9, 7, 5, 3, 2, 1]), np.array([0, 0, 1, 1, 2, 2]))

    def step(labels):
        made = HEADS[head](4, classes, rng=Rng(0))
        value, cache = made.loss(normal(3, 4), labels, train=True, rng=Rng(0))
        return value, made.backward(cache)[0]

    value, dh = step(np.array([1, 0, 4]))
    for dtype in (np.uint64, np.uint8, ">i2"):
        other = step(np.array([1, 0, 4]).astype(dtype))
        assert other[0] == value and (other[1] == dh).all()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1, 1.5], "labels are float64"),
        (["a", "b"], "labels are <U1"),
        ([-1], "labels run from -1 to -1"),
        ([0, 5], "labels run from 0 to 5, but 3 classes"),
        (None, "NoneType"),
        ([[0], [1, 2]], "is no array"),
    ],
)
def test_classes_are_not_counted_from_what_is_no_label(labels, words):
    refused(lambda: ClassInfo.from_labels(labels, 3), words)
    assert ClassInfo.from_labels([0, 2, 2], 3).counts.tolist() == [1, 0, 2]
    assert ClassInfo.from_labels([], 3).counts.tolist() == [0, 0, 0]


# ---------------------------------------------------------------- gradients of another batch, and infinite ones
@pytest.mark.parametrize(
    "layer", [layers.ClassToken(4, rng=Rng(0)), layers.PositionEmbedding(3, 4, rng=Rng(0))], ids=repr
)
def test_tokens_refuse_the_gradient_of_another_batch(layer):
    y, cache = layer.forward(normal(2, 3, 4))
    refused(lambda: layer.backward(np.zeros((5, *y.shape[1:])), cache), r"dy has shape \(5, .* but \(2, ")


@pytest.mark.parametrize("name", ["relu", "relu_fused"])
def test_relu_stops_an_infinite_gradient(name):
    forward, backward = (getattr(activation, f"{name}_{which}") for which in ("forward", "backward"))
    dy = np.array([np.inf, np.nan, -np.inf, 2.0])
    assert backward(dy, forward(np.array([-1.0, 0.0, -2.0, 3.0]))[1]).tolist() == [0, 0, 0, 2]


# ---------------------------------------------------------------- models and caches
@pytest.mark.parametrize("wrong", [lambda value, cache: value, lambda value, cache: None, lambda *both: both])
def test_backward_takes_the_cache_and_says_so(wrong):
    model = mlp()
    refused(lambda: model.backward(wrong(*model.loss(normal(2, 4), T[:2]))), "value, cache = model.loss")


def test_a_model_moves_to_backends_in_real_numbers():
    refused(lambda: mlp().to("cpu"), r"backend is 'cpu', but what get_backend\(\) gives")
    refused(lambda: mlp().to(get_backend(), int), "dtype is <class 'int'>, but parameters are real numbers")


def test_a_weight_of_another_shape_is_not_called_a_bias():
    layer = layers.Dense(3, 4, rng=Rng(0))
    layer.params["w"] = normal(4, 3)
    refused(lambda: layer.forward(normal(2, 3)), r"right has shape \(4, 3\).* as left \(2, 3\) says")


def test_whole_numbers_at_the_face_of_winograd():
    x, w = np.arange(16).reshape(1, 4, 4, 1), np.arange(9).reshape(3, 3, 1, 1)
    refused(lambda: kernels.conv2d_winograd(x, w, None, (1, 1), 4), "holds int64, but Winograd's")
    refused(lambda: kernels.conv2d_winograd_dw(x, x, w, (1, 1), 4), "holds int64")


# ---------------------------------------------------------------- optimisers
READ_ONLY = normal(3, 2)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("params", "grads", "words"),
    [
        ({"w": Z}, {"w": Z.tolist()}, "the gradient of 'w' is .* but an array, or SparseRows"),
        ({"w": Z}, {"w": None}, "the gradient of 'w' is None"),
        ({"w": Z}, {"w": Z + 1j}, "the gradient of 'w' holds complex64"),
        ({"w": Z}, Z, "the gradients are ndarray, but a dict"),
        ({"w": READ_ONLY}, {"w": Z}, "parameter 'w' is read-only"),
    ],
)
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_a_step_of_wrong_arrays_changes_nothing(kind, params, grads, words):
    params = {"a": normal(2), **params}
    if isinstance(grads, dict):
        grads = {"a": normal(2), **grads}
    optimizer, before = kind(params), [p.copy() for p in params.values()]
    refused(lambda: optimizer.step(params, grads, lr=0.1), words)
    assert optimizer.steps == 0 and all((p == q).all() for p, q in zip(params.values(), before, strict=True))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SGD([Z]), "the parameters are list, but a dict"),
        (lambda: SGD({"w": Z.tolist()}), "parameter 'w' is of list"),
        (lambda: SGD({"w": np.ones(2, int)}), "parameter 'w' is of int64"),
        (lambda: Adam({"w": Z.astype(np.float16)}), "parameter 'w' is of float16, but an array of float32 or float64"),
        (lambda: SGD({"gamma": Z}, no_decay="gamma"), r"no_decay is 'gamma', .* type for example \('b',\)"),
        (lambda: SGD({"w": Z}, no_decay=None), "no_decay is None"),
        (lambda: Adam({"w": Z}).load_state(None, 1), "the saved state is NoneType"),
        (lambda: Adam({"w": Z}).load_state({"m": {"w": [1]}, "v": {"w": Z}}, 1), "'m.w' of the saved state is"),
        (lambda: (a := Adam({"w": Z})).load_state(a.state_tree(), 1.5), "counts 1.5 steps"),
        (lambda: clipping.clip_by_norm({"w": np.ones((3, 2), int)}, 1), "the gradient of 'w' is of int64"),
        (lambda: clipping.clip_by_value({"w": [1.0]}, 1), "the gradient of 'w' is of list"),
        (lambda: clipping.clip_by_norm(Z, 1), "the gradients are ndarray"),
        (lambda: SparseRows([0], [[1.0]], 3), r"rows is \[0\], .* two arrays and a whole number"),
        (lambda: SparseRows(np.array([0]), Z[:1], None), "n_rows None"),
    ],
)
def test_what_optimisers_and_clipping_refuse(call, words):
    refused(call, words)


def test_rows_are_summed_from_lists_as_well():
    assert SparseRows.from_indices([2, 0, 2], [[1.0], [2.0], [3.0]], 3).to_dense().tolist() == [[2], [0], [4]]


# ---------------------------------------------------------------- noise and metrics
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Rng(0).uniform(3), r"noise of shape 3 was asked for, but \(samples, …\)"),
        (lambda: Rng(0).normal(3), "noise of shape 3"),
        (lambda: Rng(0).uniform(()), r"noise of shape \(\)"),
        (lambda: Rng(0).gumbel((2, -1)), r"noise of shape \(2, -1\)"),
        (lambda: Rng(0).permutation(3.0), "noise of shape"),
        (lambda: Rng(0).integers(5, 5, (3,)), "from 5 to below 5"),
        (lambda: Rng(0).integers(0, 2**40, (3,)), "1 to 2\\*\\*32 of them"),
        (lambda: Rng(0).keep_mask((3,), 1.5), "keep is 1.5, but a probability"),
        (lambda: Rng(0).keep_mask((3,), "a"), "keep is 'a'"),
        (lambda: Rng(0).at(-1), "the step is -1"),
        (lambda: Rng(0).at("x"), "the step is 'x'"),
        (lambda: Rng(0).at(2**70), "the step is"),
        (lambda: Rng(0).at(0, np.array([0.5, 6])).uniform((2,)), "numbers of the samples are float64"),
        (lambda: Rng(0).at(0, np.arange(2)).uniform((3,)), "noise for 3 samples was asked for, but this step has 2"),
        (lambda: metrics.reliability(np.log(np.full((2, 3), 1 / 3)), [0, 1], bins=2.5), "bins is 2.5, but a whole"),
        (lambda: metrics.reliability(np.log(np.full((2, 3), 1 / 3)), [0, 1], bins="a"), "bins is 'a'"),
        (lambda: metrics.reliability(-3.0, [0, 1]), r"log_prob has shape \(\); expected \(N, C\)"),
        (lambda: metrics.confusion_matrix([0, 1], [[0], [1, 2]], 2), "a list was given that is no array"),
    ],
)
def test_what_noise_and_metrics_refuse(call, words):
    refused(call, words)


def test_all_whole_numbers_of_32_bits_can_be_drawn():
    drawn = Rng(0).integers(-5, 2**32 - 5, (1000,))
    assert drawn.min() < 2**24 and drawn.max() > 2**32 - 2**24 and len(set(drawn.tolist())) > 995


# ---------------------------------------------------------------- parameters set one branch at a time
def loss_of(model):
    return model.loss(normal(2, 4), T[:2])[0]


WAYS_TO_SET = {
    "item": lambda own, new: [own.__setitem__(name, new[name]) for name in new],
    "update": lambda own, new: own.update(new),
    "or": lambda own, new: own.__ior__(new),
    "deep": lambda own, new: [own["trunk"].__setitem__("fc1", new["trunk"]["fc1"]), own.update(head=new["head"])],
}


@pytest.mark.parametrize("way", WAYS_TO_SET)
def test_a_branch_that_is_assigned_is_the_layers(way):
    model, other = mlp(), mlp(seed=1)
    WAYS_TO_SET[way](model.params, other.params)
    assert loss_of(model) == loss_of(other) != loss_of(mlp())
    assert model.params["head"] is model.head.params


def test_attention_sees_the_branch_that_is_assigned():
    layer, zeros = layers.MultiHeadAttention(8, 2, rng=Rng(0)), {"w": np.zeros((8, 24)), "b": np.zeros(24)}
    layer.params["qkv"] = zeros
    assert (layer.forward(normal(1, 3, 8))[0] == layer.params["out"]["b"]).all()
    assert layer.weights(normal(1, 3, 8)) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.params.__setitem__("foo", 3), "there is no 'foo' to set; there are trunk, head"),
        (lambda m: m.params.update(trunk={}), "the new trunk lack 'fc1.w'"),
        (lambda m: m.params.__setitem__("head", None), "head was given as NoneType, but a dict"),
        (lambda m: m.params["trunk"].__setitem__("fc2", {}), "there is no 'fc2'"),
        (lambda m: m.params.pop("head"), "'head' cannot be removed"),
        (lambda m: m.params.__delitem__("trunk"), "'trunk' cannot be removed"),
        (lambda m: m.params.clear(), "cannot be removed"),
        (lambda m: m.params["trunk"].__setitem__("fc1", {"w": [[1], [1, 2]], "b": [0] * 5}), "that is no array"),
    ],
)
def test_a_branch_that_no_layer_would_see_is_refused(change, words):
    model = mlp()
    refused(lambda: change(model), words)
    assert loss_of(model) == loss_of(mlp())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_branches_of_its_own(copied):
    model = mlp()
    twin = copied(model)
    twin.params["head"] = mlp(seed=1).params["head"]
    assert twin.params["head"] is twin.head.params and loss_of(twin) != loss_of(model) == loss_of(mlp())
    twin.head = mlp(seed=2).head
    assert twin.params["head"] is twin.head.params


# ---------------------------------------------------------------- the gradient checker
def twice(x):
    return 2 * x, None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((twice, lambda dy, cache: 2 * dy, normal(3, 3, dtype=float)), "args ndarray, but a function and a tuple"),
        ((twice, None, (normal(3, dtype=float),)), "backward is NoneType"),
    ],
)
def test_what_the_checker_cannot_call(arguments, words):
    refused(lambda: check_gradients(*arguments), words)


def test_an_empty_output_proves_nothing():
    report = check_gradients(lambda x: (x[:0], None), lambda dy, cache: np.zeros(3), (normal(3, dtype=float),))
    assert not report.ok and "y is empty" in str(report)
