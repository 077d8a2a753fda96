"""Steps that go wrong in a5: trees, and the losses along their paths."""

from __future__ import annotations

from npsoftmax.grading.mistakes.base import steps

HUFFMAN = "join the two RAREST subtrees, again and again; a joined one has the sum of their counts."

STEPS = (
    steps(
        """
        def balanced(order):
            n = len(order)
            place = np.concatenate([np.arange(n - 1), n - 1 + order])
            left, right = 2 * np.arange(n - 1) + 1, 2 * np.arange(n - 1) + 2
            return np.stack([place[left], place[right]], axis=1)
        """,
        ("right = 2 * np.arange(n - 1) + 1, 2 * np.arange(n - 1) + 2",
         "right = 2 * np.arange(n - 1) + 1, np.minimum(2 * np.arange(n - 1) + 3, 2 * n - 2)",
         "the right child is 2i + 3; it is 2i + 2, just behind the left one."),
        ("n - 1 + order])", "n + order])", "the leaf of class c is given the place C + c; it is C - 1 + c."),
        ("n - 1 + order])", "n - 1 + order[::-1]])",
         "the leaves are in the opposite order: order[0] is the leaf at heap position C - 1."),
        ("n - 1 + order])", "n - 1 + np.argsort(order)])",
         "the leaves are in the inverse order: the leaf at heap position C - 1 + j is the class order[j], not the "
         "place of class j in order."),
        ("n - 1 + order])", "2 * n - 2 - order])", "the places run backwards: class c has the place C - 1 + c."),
        ("np.concatenate([np.arange(n - 1), n - 1 + order])", "np.concatenate([n + np.arange(n - 1), order])",
         "nodes and leaves are exchanged: places 0 … C - 2 are the nodes, C - 1 + c is the leaf of class c."),
        ("axis=1)", "axis=0)", "it is (2, C - 1); each node is a row with its two children, (C - 1, 2)."),
    ),
    steps(
        """
        def huffman(order, counts):
            n = len(order)
            pool = [(int(counts[c]), [int(c)]) for c in order]
            depth = {int(c): 0 for c in order}
            key = lambda item: item[0]
            while len(pool) > 1:
                pool = sorted(pool, key=key)
                (a, left), (b, right), *pool = pool
                for c in left + right:
                    depth[c] += 1
                pool = pool + [(a + b, left + right)]
            places, level, children, node = sorted(depth, key=lambda c: depth[c]), 0, [], 1
            return tree_of(depth, n)


        def tree_of(depth, n):
            "A tree with these depths, nodes numbered breadth first."
            children, here, last, level = [], [None], 1, 0
            leaves = sorted(depth, key=lambda c: depth[c])
            while len(children) < n - 1:
                level, below = level + 1, []
                at = [c for c in leaves if depth[c] == level]
                slots = 2 * len(here)
                kids = [n - 1 + c for c in at]
                for _ in range(slots - len(at)):
                    kids.append(last)
                    below.append(None)
                    last += 1
                children += [kids[2 * i : 2 * i + 2] for i in range(len(here))]
                here = below
            return np.array(children)
        """,
        ("(a + b, left + right)", "(a * b, left + right)",
         f"a joined subtree has the product of the two counts; {HUFFMAN}"),
        ("pool = sorted(pool, key=key)\n", "pool = sorted(pool, key=key, reverse=True)\n",
         f"the two MOST frequent were joined; {HUFFMAN}"),
        ("(int(counts[c]), [int(c)]) for c in order", "(1, [int(c)]) for c in order",
         "the counts are not used: all classes count the same."),
    ),
    steps(
        """
        def climb(up, labels, levels):
            c = (len(up) + 1) // 2
            nodes = np.full((len(labels), levels), -1)
            signs = np.zeros((len(labels), levels), dtype=int)
            for n in range(len(labels)):
                place = c - 1 + labels[n]
                for l in range(levels):
                    if up[place] < 0:
                        break
                    parent, side = up[place] // 2, up[place] % 2
                    nodes[n, l] = parent
                    signs[n, l] = 2 * side - 1
                    place = parent
            return nodes, signs
        """,
        ("return nodes, signs",
         "return tuple(np.array([[*row[e][::-1], *row[~e]] for row, e in zip(a, nodes >= 0)]) for a in (nodes, signs))",
         "the path runs from the root to the leaf; it has to run from the leaf to the root."),
        ("2 * side - 1", "1", "every sign is +1; left is -1: 2 · side - 1."),
        ("2 * side - 1", "side", "left is 0; it is -1, since 0 means that the path has ended: 2 · side - 1."),
        ("2 * side - 1", "-1", "every sign is -1; right is +1: 2 · side - 1."),
        ("2 * side - 1", "2 * side", "left is 0 and right is 2; they are -1 and +1: 2 · side - 1."),
        ("2 * side - 1", "side + 1", "left is 1 and right is 2; they are -1 and +1: 2 · side - 1."),
        ("2 * side - 1", "(1 if labels[n] % 2 else -1)",
         "the sign is that of the label; it is that of the link, up[place] % 2."),
        ("2 * side - 1", "(1 if parent % 2 else -1)",
         "the sign is the parity of the parent; it is that of the link, up[place] % 2."),
        ("2 * side - 1", "(1 if place % 2 else -1)",
         "the sign is the parity of the place; it is that of the link, up[place] % 2."),
        ("nodes[n, l] = parent", "nodes[n, l] = place",
         "the place itself is stored; it is its parent, the node where the decision is made."),
        ("nodes[n, l] = parent", "nodes[n, l] = up[place]",
         "the link 2·parent + side is stored; the node is its half, up[place] // 2."),
        ("nodes[n, l] = parent", "nodes[n, l] = parent + 1", "nodes are counted from 1; the root is 0."),
        ("np.full((len(labels), levels), -1)", "np.zeros((len(labels), levels), dtype=int)",
         "past the root the nodes are 0, which is the root itself; they are -1."),
        ("np.zeros((len(labels), levels), dtype=int)", "np.full((len(labels), levels), -1)",
         "past the root the signs are -1, which means left; they are 0."),
        ("c - 1 + labels[n]", "c + labels[n] - 2 + (labels[n] == 0)",
         "it starts one place before the leaf: the leaf of class c is C - 1 + c."),
        ("c - 1 + labels[n]", "min(c + labels[n], 2 * c - 2)",
         "it starts one place behind the leaf: the leaf of class c is C - 1 + c."),
        ("c - 1 + labels[n]", "len(up) - 1 - labels[n]",
         "it starts from the other end: the leaf of class c is C - 1 + c."),
        ("if up[place] < 0:", "if up[place] <= 1:",
         "it ends one decision too early: the root is a parent too, only its own link is -1."),
        ("range(levels)", "range(levels - 1)",
         "the last level is left out: range(levels) ends at levels - 1 by itself."),
        ("return nodes, signs", "return signs, nodes",
         "nodes and signs are exchanged: they come back as nodes, signs."),
        ("return nodes, signs", "return nodes.T, signs.T", "both are transposed: a row for each label, (N, levels)."),
    ),
    steps(
        """
        def path_loss_forward(z, signs):
            turned = -signs * z
            tail = np.exp(-np.abs(turned))
            soft = np.maximum(turned, 0) + np.log1p(tail)
            soft = soft * np.abs(signs)
            loss = soft.sum() / len(z)
            return loss, (turned, tail, signs)
        """,
        ("np.maximum(turned, 0) + np.log1p(tail)", "np.where(turned >= 0, 1, tail) / (1 + tail)",
         "these are probabilities, σ(-s · z): add up softplus(-s · z), minus the logarithm of the right ones."),
        ("soft.sum() / len(z)", "soft.sum() / np.abs(signs).sum()",
         "you averaged over all decisions; sum along each path, and average over the samples."),
        ("soft.sum() / len(z)", "(soft.sum(axis=1) / np.abs(signs).sum(axis=1)).mean()",
         "you averaged along each path; the loss is the SUM of its decisions, and the mean of the samples."),
        ("soft.sum() / len(z)", "-soft.sum() / len(z)", "the sign is flipped: a loss is not below 0."),
        ("soft.sum() / len(z)", "soft.sum(axis=1)", "the mean is missing: one loss a sample came back."),
        ("soft.sum() / len(z)", "soft[:, 0].sum() / len(z)",
         "only the first decision of each path counts; add up all of them."),
        ("np.log1p(tail)", "tail", "the logarithm is missing: log1p(e^-|a|)."),
        ("np.log1p(tail)", "np.log(tail)", "the 1 is missing in the logarithm: log(1 + e^-|a|)."),
        ("np.log1p(tail)", "np.log2(1 + tail)", "log(1 + e^-|a|) is to the base 2; np.log1p is natural."),
        ("np.maximum(turned, 0) + np.log1p(tail)", "np.log2(1 + np.exp(np.minimum(turned, 600)))",
         "the logarithm is to the base 2; np.log is the natural one."),
        ("np.maximum(turned, 0) +", "np.abs(turned) +", "|a| stands where max(a, 0) has to stand."),
        ("np.maximum(turned, 0) +", "0 *", "max(a, 0) is missing: softplus(a) = max(a, 0) + log1p(e^-|a|)."),
        ("np.maximum(turned, 0) + np.log1p(tail)", "1 / (1 + tail)",
         "these are probabilities; their -log has to be added up."),
        ("-signs * z", "-z", "the signs are not used: a right turn has softplus(-z), a left turn softplus(z)."),
        ("soft = soft * np.abs(signs)", "soft = soft * (signs > 0)",
         "only right turns count; left turns, of sign -1, do as well."),
        ("soft = soft * np.abs(signs)", "soft = soft * signs",
         "the loss is multiplied by the signs: left turns count negative. |s| only leaves out what is past the end."),
    ),
    steps(
        """
        def path_loss_backward(dloss, cache):
            turned, tail, signs = cache
            wrong = np.where(turned >= 0, 1, tail) / (1 + tail)
            return -signs * wrong * dloss / len(turned)
        """,
        ("-signs * wrong", "np.abs(signs) * wrong", "the signs are lost: dz = -s · σ(-s · z)."),
        ("-signs * wrong * dloss / len(turned)", "signs * (1 - wrong) * dloss / len(turned)",
         "this is s · σ(s · z); it is -s · σ(-s · z)."),
        ("-signs * wrong", "-signs * wrong * (1 - wrong)",
         "the factor 1 - σ is too many: the derivative of softplus is σ."),
        ("-signs * wrong", "-signs * np.log(wrong)", "there is a logarithm too many: the derivative of softplus is σ."),
        ("-signs * wrong", "(wrong - (signs > 0)) * np.abs(signs)",
         "this is σ(-s · z) - 1 for right turns; it is -s · σ(-s · z)."),
        ("-signs * wrong", "-np.abs(signs) * wrong", "the sign of the turn is lost: dz = -s · σ(-s · z)."),
        ("len(turned)", "turned.size", "you averaged over the path as well; the mean is over the N = {N} samples."),
        ("* dloss", "* 1.0", "dloss is not used: the gradient that comes from above multiplies everything."),
        ("np.where(turned >= 0, 1, tail) / (1 + tail)", "1 / (1 + tail)",
         "this is σ(|a|); where a < 0 it is tail / (1 + tail)."),
        ("np.where(turned >= 0, 1, tail) / (1 + tail)", "tail / (1 + tail)",
         "this is σ(-|a|); where a >= 0 it is 1 / (1 + tail)."),
        ("np.where(turned >= 0, 1, tail) / (1 + tail)", "1 * (turned > 0)", "this is 0 or 1; σ lies between them."),
        ("np.where(turned >= 0, 1, tail) / (1 + tail)", "np.where(turned >= 0, 1, tail)",
         "the division by 1 + tail is missing in σ."),
    ),
    steps(
        """
        def tree_log_prob(z, children, levels):
            inner = len(children)
            reach = np.zeros((len(z), 2 * inner + 1))
            for first, last in levels:
                here, level = reach[:, first:last], z[:, first:last]
                left, right = -np.logaddexp(level, 0), -np.logaddexp(-level, 0)
                reach[:, children[first:last, 0]] = here + left
                reach[:, children[first:last, 1]] = here + right
            return reach[:, inner:]
        """,
        ("left, right = -np.logaddexp(level, 0), -np.logaddexp(-level, 0)", "left = right = -np.logaddexp(-level, 0)",
         "both children have log σ(z); the left one has log σ(-z)."),
        ("left, right = -np.logaddexp(level, 0), -np.logaddexp(-level, 0)", "left = right = -np.logaddexp(level, 0)",
         "both children have log σ(-z); the right one has log σ(z)."),
        ("left, right = -np.logaddexp(level, 0), -np.logaddexp(-level, 0)", "left, right = -level, level",
         "the scores are added as they are; add log σ(z) to the right and log σ(-z) to the left."),
        ("left, right = -np.logaddexp(level, 0), -np.logaddexp(-level, 0)",
         "left, right = np.logaddexp(level, 0), np.logaddexp(-level, 0)",
         "the sign is flipped: log σ(z) = -logaddexp(-z, 0), never above 0."),
        ("left, right = -np.logaddexp(level, 0), -np.logaddexp(-level, 0)",
         "left, right = -np.logaddexp2(level, 0), -np.logaddexp2(-level, 0)",
         "the logarithm is to the base 2; np.logaddexp is natural."),
        ("= here + left", "= here * left", "the decisions are multiplied; logarithms are added."),
        ("return reach[:, inner:]", "return reach", "the inner nodes came back too; the leaves are the last C places."),
        ("return reach[:, inner:]", "return reach[:, :inner]",
         "these are the inner nodes; the leaves are the last C places."),
        ("return reach[:, inner:]", "return reach[:, inner:][:, ::-1]",
         "the leaves are in the opposite order: class c is place C - 1 + c."),
        ("in levels:", "in levels[:-1]:", "the last level is left out."),
    ),
    steps(
        """
        def tree_log_prob_backward(dlog_p, cache):
            z, children, levels = cache
            inner = len(children)
            below = np.zeros((len(z), 2 * inner + 1))
            below[:, inner:] = dlog_p
            right_p = np.where(z >= 0, 1, np.exp(-np.abs(z))) / (1 + np.exp(-np.abs(z)))
            dz = np.zeros(z.shape)
            for first, last in reversed(levels):
                p = right_p[:, first:last]
                left, right = below[:, children[first:last, 0]], below[:, children[first:last, 1]]
                below[:, first:last] = left + right
                dz[:, first:last] = right * (1 - p) - left * p
            return dz
        """,
        ("right * (1 - p) - left * p", "right * (1 - p) + left * p",
         "the left sum is added; subtract it: dz = right · σ(-z) - left · σ(z)."),
        ("right * (1 - p) - left * p", "right - left",
         "the probabilities are missing: dz = right · σ(-z) - left · σ(z)."),
        ("right * (1 - p) - left * p", "right * (1 - p)",
         "only the leaves to the right are there: those to the left get -σ(z)."),
        ("right * (1 - p) - left * p", "-left * p",
         "only the leaves to the left are there: those to the right get σ(-z)."),
        ("right * (1 - p) - left * p", "left * (1 - p) - right * p",
         "left and right are exchanged: dz = right · σ(-z) - left · σ(z)."),
        ("right * (1 - p) - left * p", "(right - left) * p * (1 - p)",
         "this is σ' · (right - left); of LOG probabilities it is right · σ(-z) - left · σ(z)."),
        ("right * (1 - p) - left * p", "(left + right) * (1 - p)",
         "all leaves below got σ(-z); those to the left get -σ(z)."),
        ("right * (1 - p) - left * p", "right * (1 - p) - left * (1 - p)",
         "the left sum is multiplied by σ(-z); it is σ(z): dz = right · σ(-z) - left · σ(z)."),
        ("right * (1 - p) - left * p", "right * p - left * p",
         "the right sum is multiplied by σ(z); it is σ(-z): dz = right · σ(-z) - left · σ(z)."),
        ("in reversed(levels):", "in levels:",
         "the levels run from the root down; the sums below a node are known from the leaves up: reversed(levels)."),
        ("below[:, first:last] = left + right", "below[:, first:last] = (left + right) / 2",
         "the mean of left and right is handed up; it is their sum."),
        ("below[:, first:last] = left + right", "below[:, first:last] = right - left",
         "right - left is handed up; it is the sum of both."),
    ),
)  # fmt: skip
