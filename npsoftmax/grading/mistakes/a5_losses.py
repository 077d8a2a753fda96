"""Mistakes of a5: two levels, clusters and samples."""

from __future__ import annotations

import numpy as np

from npsoftmax.functional import adaptive, sampled, two_level
from npsoftmax.functional.softmax import log_softmax_forward
from npsoftmax.grading.mistakes.base import mistake


# ---------------------------------------------------------------- two levels
@mistake("two_level_loss_forward", "loss")
def softmax_over_all_classes(z_group, z_class, t, group):
    """the second softmax runs over all C = {C} classes; given the group, only the classes of that group compete."""
    rows = np.arange(len(t))
    log_p = log_softmax_forward(z_group)[0][rows, group[t]] + log_softmax_forward(z_class)[0][rows, t]
    return -log_p.mean(), two_level.two_level_loss_forward(z_group, z_class, t, group)[1]


@mistake("two_level_loss_forward", "loss")
def group_forgotten(z_group, z_class, t, group):
    """-log p of the group is missing: log p(class) = log p(group) + log p(class | group)."""
    loss, cache = two_level.two_level_loss_forward(z_group, z_class, t, group)
    return loss + log_softmax_forward(z_group)[0][np.arange(len(t)), group[t]].mean(), cache


@mistake("two_level_loss_forward", "loss")
def class_forgotten(z_group, z_class, t, group):
    """-log p of the class given its group is missing: log p(class) = log p(group) + log p(class | group)."""
    _, cache = two_level.two_level_loss_forward(z_group, z_class, t, group)
    return -log_softmax_forward(z_group)[0][np.arange(len(t)), group[t]].mean(), cache


@mistake("two_level_loss_forward", "loss")
def zeros_for_the_others(z_group, z_class, t, group):
    """the scores of the other groups were set to 0, and e^0 = 1 still counts: leave them out, or set them to -∞."""
    rows, g = np.arange(len(t)), group[t]
    masked = np.where(group == g[:, None], z_class, 0.0)
    log_p = log_softmax_forward(z_group)[0][rows, g] + log_softmax_forward(masked)[0][rows, t]
    return -log_p.mean(), two_level.two_level_loss_forward(z_group, z_class, t, group)[1]


@mistake("two_level_loss_backward", "dz_group")
def group_target_not_subtracted(dloss, cache):
    """dz_group is p - onehot: 1 was not subtracted at the target's group."""
    _, dz_class = two_level.two_level_loss_backward(dloss, cache)
    return cache[0] * dloss / len(cache[2]), dz_class


@mistake("two_level_loss_backward", "dz_group")
def label_for_group(dloss, cache):
    """in dz_group the 1 was subtracted at the label; it belongs to the label's group, g."""
    p_group, _, t, _ = cache
    _, dz_class = two_level.two_level_loss_backward(dloss, cache)
    dz_group = p_group * dloss / len(t)
    dz_group[np.arange(len(t)), t % p_group.shape[1]] -= dloss / len(t)
    return dz_group, dz_class


@mistake("two_level_loss_backward", "dz_group", "dz_class")
def two_level_without_one_over_n(dloss, cache):
    """the 1/N is missing: the loss is a mean over the N = {N} samples."""
    dz_group, dz_class = two_level.two_level_loss_backward(dloss, cache)
    return dz_group * len(cache[2]), dz_class * len(cache[2])


@mistake("two_level_loss_backward", "dz_class")
def class_target_not_subtracted(dloss, cache):
    """dz_class is p - onehot: 1 was not subtracted at the target."""
    dz_group, _ = two_level.two_level_loss_backward(dloss, cache)
    return dz_group, cache[1] * dloss / len(cache[2])


# ---------------------------------------------------------------- clusters
def _inside(cache, t, cutoff):
    """log p of the rare classes inside the cluster."""
    _, _, _, w_tail, _, _, tail, low, _, _ = cache
    return log_softmax_forward(low @ w_tail.T)[0][np.arange(len(tail)), t[tail] - cutoff]


@mistake("adaptive_loss_forward", "loss")
def cluster_forgotten(h, w_head, proj, w_tail, t, cutoff):
    """a rare class has two factors: the cluster's own place in the head (the last column) is missing."""
    _, cache = adaptive.adaptive_loss_forward(h, w_head, proj, w_tail, t, cutoff)
    log_p = log_softmax_forward(h @ w_head.T)[0][np.arange(len(t)), np.minimum(t, cutoff)]
    log_p[cache[6]] = _inside(cache, t, cutoff)
    return -log_p.mean(), cache


@mistake("adaptive_loss_forward", "loss")
def class_in_the_cluster_forgotten(h, w_head, proj, w_tail, t, cutoff):
    """a rare class has two factors: log p of the class inside the cluster is missing."""
    _, cache = adaptive.adaptive_loss_forward(h, w_head, proj, w_tail, t, cutoff)
    return -log_softmax_forward(h @ w_head.T)[0][np.arange(len(t)), np.minimum(t, cutoff)].mean(), cache


@mistake("adaptive_loss_forward", "loss")
def mean_of_the_tail(h, w_head, proj, w_tail, t, cutoff):
    """the tail's part was averaged over its own samples; the mean is over all N = {N} samples of the batch."""
    _, cache = adaptive.adaptive_loss_forward(h, w_head, proj, w_tail, t, cutoff)
    loss = -log_softmax_forward(h @ w_head.T)[0][np.arange(len(t)), np.minimum(t, cutoff)].mean()
    return loss - _inside(cache, t, cutoff).sum() / max(len(cache[6]), 1), cache


@mistake("adaptive_loss_forward", "loss")
def without_the_projection(h, w_head, proj, w_tail, t, cutoff):
    """the cluster's score went to the wrong place: the cluster is the LAST column of the head, number cutoff."""
    _, cache = adaptive.adaptive_loss_forward(h, w_head, proj, w_tail, t, cutoff)
    tail = cache[6]
    log_p = log_softmax_forward(h @ w_head.T)[0][np.arange(len(t)), np.where(t < cutoff, t, 0)]
    log_p[tail] += _inside(cache, t, cutoff)
    return -log_p.mean(), cache


def _adaptive(dloss, cache, head_target=True, tail_scale=None):
    """The backward with one part changed."""
    h, w_head, proj, w_tail, t, cutoff, tail, low, p_head, p_tail = cache
    scale = dloss / len(t)
    dz_head, dz_tail = p_head * scale, p_tail * (tail_scale or scale)
    rows = np.arange(len(t)) if head_target else np.flatnonzero(t < cutoff)
    dz_head[rows, np.minimum(t, cutoff)[rows]] -= scale
    dz_tail[np.arange(len(tail)), t[tail] - cutoff] -= tail_scale or scale
    dlow = dz_tail @ w_tail
    dh = dz_head @ w_head
    dh[tail] += dlow @ proj
    return dh, dz_head.T @ h, dlow.T @ h[tail], dz_tail.T @ low


@mistake("adaptive_loss_backward", "dh", "dw_head")
def cluster_score_not_differentiated(dloss, cache):
    """for a rare class the 1 was not subtracted at the cluster's own score, number cutoff: it learns as well."""
    return _adaptive(dloss, cache, head_target=False)


@mistake("adaptive_loss_backward", "dh", "dproj", "dw_tail")
def tail_divided_by_its_size(dloss, cache):
    """the tail's gradient was divided by its own number of samples; the loss is a mean over all N = {N}."""
    return _adaptive(dloss, cache, tail_scale=dloss / max(len(cache[6]), 1))


@mistake("adaptive_loss_backward", "dh")
def tail_does_not_reach_h(dloss, cache):
    """the tail's share of dh is missing: add dlow @ proj for its samples."""
    h, w_head, _, _, t, cutoff, _, _, p_head, _ = cache
    dz_head = p_head * dloss / len(t)
    dz_head[np.arange(len(t)), np.minimum(t, cutoff)] -= dloss / len(t)
    return dz_head @ w_head, *adaptive.adaptive_loss_backward(dloss, cache)[1:]


# ---------------------------------------------------------------- samples
@mistake("sampled_loss_forward", "loss")
def target_counted_twice(h, w, b, t, drawn, log_expected):
    """where the target was drawn as well it counts twice: its drawn score has to be -∞ in that row."""
    z_t = (h * w[t]).sum(axis=1) + b[t]
    z = np.concatenate([z_t[:, None], h @ w[drawn].T + b[drawn] - log_expected], axis=1)
    return -log_softmax_forward(z)[0][:, 0].mean(), sampled.sampled_loss_forward(h, w, b, t, drawn, log_expected)[1]


@mistake("sampled_loss_forward", "loss")
def correction_forgotten(h, w, b, t, drawn, log_expected):
    """log_expected is not subtracted: frequent classes are drawn more often, and would be pushed down too much."""
    loss, _ = sampled.sampled_loss_forward(h, w, b, t, drawn, np.zeros_like(log_expected))
    return loss, sampled.sampled_loss_forward(h, w, b, t, drawn, log_expected)[1]


@mistake("sampled_loss_forward", "loss")
def correction_added(h, w, b, t, drawn, log_expected):
    """log_expected was added; it is subtracted, which divides by how often the class was expected."""
    loss, _ = sampled.sampled_loss_forward(h, w, b, t, drawn, -log_expected)
    return loss, sampled.sampled_loss_forward(h, w, b, t, drawn, log_expected)[1]


@mistake("sampled_loss_forward", "loss")
def target_not_in_the_sum(h, w, b, t, drawn, log_expected):
    """the target's own e^z is missing in the denominator: it competes with the drawn classes and with itself."""
    _, cache = sampled.sampled_loss_forward(h, w, b, t, drawn, log_expected)
    z = np.where(drawn == t[:, None], -np.inf, h @ w[drawn].T + b[drawn] - log_expected)
    top = z.max(axis=1)
    others = top + np.log(np.exp(z - top[:, None]).sum(axis=1))
    return (others - (h * w[t]).sum(axis=1) - b[t]).mean(), cache


@mistake("sampled_loss_backward", "dw", "db")
def repeated_labels_lost(dloss, cache):
    """a label that occurs twice in the batch was counted once: dw[t] += … keeps one of them, np.add.at adds all."""
    h, w, t, drawn, p = cache
    dh, _, _ = sampled.sampled_loss_backward(dloss, cache)
    dz_t, dz = (p[:, :1] - 1) * dloss / len(t), p[:, 1:] * dloss / len(t)
    dw, db = np.zeros_like(w), np.zeros(len(w))
    dw[drawn] += dz.T @ h
    db[drawn] += dz.sum(axis=0)
    dw[t] += dz_t * h
    db[t] += dz_t[:, 0]
    return dh, dw, db


@mistake("sampled_loss_backward", "dh")
def targets_share_missing(dloss, cache):
    """the target's share of dh is missing: add dz_t · w[t] to that of the drawn classes."""
    _, dw, db = sampled.sampled_loss_backward(dloss, cache)
    return (cache[4][:, 1:] * dloss / len(cache[2])) @ cache[1][cache[3]], dw, db


@mistake("sampled_loss_backward", "dh", "dw", "db")
def sampled_without_one_over_n(dloss, cache):
    """the 1/N is missing: the loss is a mean over the N = {N} samples."""
    return tuple(g * len(cache[2]) for g in sampled.sampled_loss_backward(dloss, cache))
