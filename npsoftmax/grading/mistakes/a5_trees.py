"""Mistakes of a5: trees, and the losses along their paths."""

from __future__ import annotations

import numpy as np

from npsoftmax.functional import path
from npsoftmax.grading.mistakes.base import mistake
from npsoftmax.heads import tree
from npsoftmax.kernels.tree import reference


# ---------------------------------------------------------------- building
@mistake("balanced", "children")
def order_ignored(order):
    """the leaves are in the order of their labels; the leaf at heap position C - 1 + j is the class order[j]."""
    return tree.balanced(np.arange(len(order)))


@mistake("balanced", "children")
def heap_counted_from_one(order):
    """children at 2i and 2i + 1 belong to a heap that counts from 1; from 0 they are 2i + 1 and 2i + 2."""
    n = len(order)
    place = np.concatenate([np.arange(n - 1), n - 1 + order])
    return np.array([[place[2 * i], place[2 * i + 1]] for i in range(n - 1)])


@mistake("balanced", "children")
def classes_for_places(order):
    """leaves are given by their class; the place of class c is C - 1 + c, so that it cannot be mistaken for a node."""
    n = len(order)
    place = np.concatenate([np.arange(n - 1), order])
    return place[1:].reshape(n - 1, 2)


@mistake("balanced", "children")
def sides_exchanged(order):
    """left and right are exchanged: 2i + 1 is the left child and stands first."""
    return tree.balanced(order)[:, ::-1].copy()


@mistake("huffman", "code length")
def a_balanced_tree(order, counts):
    """this is a balanced tree: the counts are not used. Rare classes go deep, frequent ones stay near the root."""
    return tree.balanced(order)


@mistake("huffman", "code length")
def most_frequent_joined_first(order, counts):
    """the two MOST frequent subtrees were joined; join the two rarest, which so end deepest."""
    return tree.huffman(order, counts.max() + counts.min() - counts)


@mistake("huffman", "code length")
def a_chain(order, counts):
    """every class was joined to the one subtree so far: that is a chain. Join the two rarest of ALL subtrees."""
    n = len(order)
    by_count = order[np.argsort(-counts[order], kind="stable")]
    children = [[n - 1 + by_count[i], i + 1] for i in range(n - 2)]
    return np.array([*children, [n - 1 + by_count[-2], n - 1 + by_count[-1]]])


# ---------------------------------------------------------------- climbing
@mistake("climb", "signs")
def branch_code_flipped(up, labels, levels):
    """the signs are flipped: side 1 is right, and right is +1."""
    nodes, signs = reference.climb(up, labels, levels)
    return nodes, -signs


@mistake("climb", "nodes", "signs")
def own_parent_missing(up, labels, levels):
    """the last decision is missing: the path starts with the leaf's own parent, not with its grandparent."""
    place = len(up) // 2 + labels
    nodes, signs = [], []
    place = np.maximum(up[place] >> 1, 0)
    for _ in range(levels):
        link = up[place]
        nodes.append(link >> 1)
        signs.append(np.where(link < 0, 0, 2 * (link & 1) - 1))
        place = np.maximum(link >> 1, 0)
    return np.stack(nodes, axis=1), np.stack(signs, axis=1)


@mistake("climb", "signs")
def signs_past_the_root(up, labels, levels):
    """past the root the sign has to be 0: there is no decision, and up is -1 there."""
    nodes, signs = reference.climb(up, labels, levels)
    return nodes, np.where(nodes < 0, 1, signs)


@mistake("climb", "nodes", "signs")
def from_the_root_down(up, labels, levels):
    """the path runs from the root to the leaf; it has to run from the leaf to the root, empty places at the end."""
    nodes, signs = reference.climb(up, labels, levels)
    return nodes[:, ::-1].copy(), signs[:, ::-1].copy()


@mistake("climb", "nodes", "signs")
def labels_for_places(up, labels, levels):
    """you started at place `label`, which is an inner node; the leaf of class c is place C - 1 + c."""
    return reference.climb(up, labels - len(up) // 2, levels)


# ---------------------------------------------------------------- the loss of a path
def _parts(z, signs):
    turned = -signs * z
    return turned, np.exp(-np.abs(turned)), signs


@mistake("path_loss_forward", "loss")
def empty_places_counted(z, signs):
    """the places past the end of a path, where the sign is 0, counted log 2 each; they count nothing."""
    return np.logaddexp(0, -signs * z).sum() / len(z), _parts(z, signs)


@mistake("path_loss_forward", "loss")
def sign_of_the_branch(z, signs):
    """the sign is flipped: -log σ(s · z) = softplus(-s · z), small where the turn is the right one."""
    return path.path_loss_forward(z, -signs)[0], _parts(z, signs)


@mistake("path_loss_forward", "loss")
def mean_along_the_path(z, signs):
    """you averaged over the path; the loss is the SUM of its decisions, and the mean of the samples."""
    return path.path_loss_forward(z, signs)[0] / z.shape[1], _parts(z, signs)


@mistake("path_loss_forward", "loss")
def sum_over_samples(z, signs):
    """the 1/N is missing: sum over the path, but mean over the N = {N} samples."""
    return path.path_loss_forward(z, signs)[0] * len(z), _parts(z, signs)


@mistake("path_loss_forward", "loss")
def product_of_sigmoids(z, signs):
    """the logarithm of a probability is taken that has become 0 (a product underflows, 1 - σ rounds): add
    softplus(-s · z) instead."""
    probability = np.where(signs == 0, 1, 1 / (1 + np.exp(-signs * z))).prod(axis=1)
    return -np.log(probability).mean(), _parts(z, signs)


@mistake("path_loss_forward", "loss")
def softplus_overflows(z, signs):
    """e^a overflows for large a, in log(1 + e^a) or in a sigmoid: use max(a, 0) + log1p(e^-|a|)."""
    turned = -signs * z
    return (np.log(1 + np.exp(turned)) * np.abs(signs)).sum() / len(z), _parts(z, signs)


@mistake("path_loss_backward", "dz")
def path_sign_flipped(dloss, cache):
    """the sign is flipped: dz = -s · σ(-s · z) · dloss / N."""
    return -path.path_loss_backward(dloss, cache)


@mistake("path_loss_backward", "dz")
def path_without_one_over_n(dloss, cache):
    """the 1/N is missing: the loss is a mean over the N = {N} samples."""
    return path.path_loss_backward(dloss, cache) * len(cache[0])


@mistake("path_loss_backward", "dz")
def right_for_wrong(dloss, cache):
    """this is σ(s · z), how right the decision was; the gradient is how wrong it was, σ(-s · z)."""
    turned, _, signs = cache
    return -signs / (1 + np.exp(turned)) * dloss / len(turned)


@mistake("path_loss_backward", "dz")
def sign_forgotten(dloss, cache):
    """the factor s is missing: right and left turns have gradients of opposite signs, and past the end it is 0."""
    turned, tail, _ = cache
    return -np.where(turned >= 0, 1, tail) / (1 + tail) * dloss / len(turned)


# ---------------------------------------------------------------- all leaves
@mistake("tree_log_prob", "log_p")
def left_and_right_exchanged(z, children, levels):
    """left and right are exchanged: σ(z) is the probability of going right, to children[:, 1]."""
    return reference.tree_log_prob(-z, children, levels)


@mistake("tree_log_prob", "log_p")
def last_decision_only(z, children, levels):
    """each place has only its own decision: add the log p of its parent, level by level."""
    inner = len(children)
    reach = np.zeros((len(z), 2 * inner + 1))
    reach[:, children[:, 0]], reach[:, children[:, 1]] = -np.logaddexp(z, 0), -np.logaddexp(-z, 0)
    return reach[:, inner:]


@mistake("tree_log_prob", "log_p")
def logarithm_of_a_sigmoid(z, children, levels):
    """the logarithm of a probability is taken that has become 0: add -logaddexp(-z, 0) and -logaddexp(z, 0) instead."""
    p = 1 / (1 + np.exp(-z))
    return _added(children, levels, np.log(1 - p), np.log(p))


@mistake("tree_log_prob", "log_p")
def logarithm_of_two_sigmoids(z, children, levels):
    """e^±z overflows, in log(1 + e^±z) or in a sigmoid: add -logaddexp(-z, 0) and -logaddexp(z, 0) instead."""
    return _added(children, levels, -np.log(1 + np.exp(z)), -np.log(1 + np.exp(-z)))


def _added(children, levels, left, right):
    """The logarithms of the decisions, added up from the root."""
    inner = len(children)
    reach = np.zeros((len(left), 2 * inner + 1))
    for first, last in levels:
        reach[:, children[first:last, 0]] = reach[:, first:last] + left[:, first:last]
        reach[:, children[first:last, 1]] = reach[:, first:last] + right[:, first:last]
    return reach[:, inner:]


@mistake("tree_log_prob", "log_p")
def without_the_logarithm(z, children, levels):
    """these are probabilities; log-probabilities were asked for."""
    return np.exp(reference.tree_log_prob(z, children, levels))


@mistake("tree_log_prob_backward", "dz")
def every_leaf_for_the_path(dlog_p, cache):
    """every node got the sum over ALL leaves; only the leaves below a node depend on its score."""
    z, _, _ = cache
    total = dlog_p.sum(axis=1, keepdims=True)
    return total * (path.sigmoid(-z) - path.sigmoid(z))


@mistake("tree_log_prob_backward", "dz")
def probabilities_exchanged(dlog_p, cache):
    """σ(z) and σ(-z) are exchanged: dz = (sum right) · σ(-z) - (sum left) · σ(z)."""
    z, children, levels = cache
    return path.tree_log_prob_backward(dlog_p, (-z, children, levels))


@mistake("tree_log_prob_backward", "dz")
def tree_sign_flipped(dlog_p, cache):
    """the sign is flipped: a larger z raises the leaves on the right."""
    return -path.tree_log_prob_backward(dlog_p, cache)
