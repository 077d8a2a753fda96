"""Steps that go wrong in a4: attention."""

from __future__ import annotations

from npsoftmax.grading.mistakes.base import steps

MASK_LATE = "the mask came after the softmax: what is forbidden must not count in the sum, or rows do not add up to 1."

STEPS = (
    steps(
        """
        def causal_mask(t, s, like):
            i, j = np.arange(t)[:, None], np.arange(s)
            return i >= j
        """,
        ("i >= j", "i + 1 >= j", "a query looks one key too far: query i may look at keys 0 to i, and i + 1 is later."),
        ("i >= j", "i - 1 >= j + 1", "a query may look at itself and at the key before: j ≤ i."),
        ("i >= j", "i + 0 * j >= 0", "everything is allowed; query i may look at keys 0 to i only."),
        ("i >= j", "i + 0 * j < 0", "nothing is allowed; query i may look at keys 0 to i."),
        ("i >= j", "i == j", "each query looks at itself alone; it may look at all keys before as well, j ≤ i."),
        ("i >= j", "i != j", "a query may look at everything but itself here; it may look at keys 0 to i."),
        ("i >= j", "i + s - t >= j",
         "the mask is aligned at the right (i + S - T); here query i may look at keys 0 to i."),
        ("i >= j", "s - 1 - j <= i",
         "the keys are counted from the right; query i may look at keys 0 to i from the left."),
        ("i >= j", "i < j", "True and False are exchanged: True means allowed, and that is j ≤ i."),
        ("i >= j", "np.where(i >= j, 0.0, -np.inf)",
         "this is 0 and -∞ to be added to scores; booleans were asked for, True: allowed."),
        ("i >= j", "np.where(i >= j, 0.0, -1e9)",
         "this is 0 and -1e9 to be added to scores; booleans were asked for, True: allowed."),
        ("i >= j", "(np.arange(t)[:, None] >= np.arange(t))",
         "the mask is (T, T); it is (T, S), a column for each key."),
        ("i >= j", "(np.arange(s)[:, None] >= np.arange(s))",
         "the mask is (S, S); it is (T, S), a row for each query."),
    ),
    steps(
        """
        def masked_softmax_forward(z, mask):
            s = np.where(mask, z, -np.inf)
            top = s.max(axis=-1, keepdims=True)
            top = np.where(np.isfinite(top), top, 0)
            e = np.exp(s - top)
            total = e.sum(axis=-1, keepdims=True)
            p = e / np.where(total > 0, total, 1)
            return p, p
        """,
        ("np.where(mask, z, -np.inf)", "np.where(mask, z, -1e9)",
         "a row with nothing allowed is shared out evenly, as -1e9 for -∞ does; there p is 0."),
        ("np.where(mask, z, -np.inf)", "z - 1e9 * ~mask",
         "1e9 is subtracted from forbidden scores: in a row with nothing allowed that changes nothing, and p is "
         "not 0 there."),
        ("np.where(mask, z, -np.inf)", "np.where(mask, z, -1.0)",
         "forbidden scores were set to -1, and e^-1 still counts: set them to -∞."),
        ("p = e / np.where(total > 0, total, 1)", "p = e", "the exponentials are not divided by their sum."),
        ("e.sum(axis=-1, keepdims=True)", "e.sum(axis=-2, keepdims=True)",
         "the sum runs over the queries (axis -2); it runs over the keys, the LAST axis."),
        ("axis=-1", "axis=-2", "the softmax runs over the queries (axis -2); it runs over the keys, the LAST axis."),
        ("axis=-1", "axis=0",
         "the softmax runs over the samples (axis 0); it runs over the keys, the LAST axis: axis=-1."),
        ("s.max(axis=-1, keepdims=True)", "(0 * s.max(axis=-1, keepdims=True))",
         "e^z overflows without the maximum: subtract the row's maximum first."),
        ("np.where(total > 0, total, 1)", "(total + 1)", "1 is added to every sum; only a sum of 0 is replaced by 1."),
        ("np.where(total > 0, total, 1)", "mask.sum(axis=-1, keepdims=True)",
         "you divided by how many are allowed; divide by the sum of their e^z."),
    ),
    steps(
        """
        def masked_softmax_backward(dp, cache):
            p = cache
            s = (p * dp).sum(axis=-1, keepdims=True)
            return p * (dp - s)
        """,
        ("axis=-1", "axis=-2", "the sum runs over the queries (axis -2); it runs over the keys, the LAST axis."),
        ("axis=-1", "axis=0", "the sum runs over the samples (axis 0); it runs over the keys, the LAST axis: axis=-1."),
        ("(p * dp).sum(axis=-1, keepdims=True)", "dp.sum(axis=-1, keepdims=True)",
         "the factor p is missing in the sum: Σ_j p_j · dp_j."),
        ("(p * dp).sum(", "(p * dp).mean(", "a mean stands where the sum over the keys has to stand."),
        ("(dp - s)", "(dp + s)", "the sum is added; subtract it: p · (dp - Σ_j p_j · dp_j)."),
        ("(dp - s)", "(s - dp)", "the bracket has the wrong sign: dp - Σ_j p_j · dp_j."),
        ("(dp - s)", "dp", "the second term is missing: each p_i depends on every other z_j as well."),
        ("p * (dp - s)", "p * dp - s", "p multiplies dp alone; it has to multiply the whole bracket, the sum as well."),
        ("p * (dp - s)", "(p > 0) * (dp - s)",
         "the factor p in front of the bracket is 1 here where something is allowed; it is p."),
        ("p * (dp - s)", "dp - p * dp.sum(axis=-1, keepdims=True)",
         "this is the backward of log-softmax; softmax's is p · (dp - Σ p · dp)."),
    ),
    steps(
        """
        def scaled_dot_product_attention_forward(q, k, v, mask):
            d = q.shape[-1]
            z = q @ k.swapaxes(-1, -2)
            p = masked_softmax_forward(z / math.sqrt(d), mask)[0]
            y = p @ v
            return y, (q, k, v, p)
        """,
        ("z / math.sqrt(d)", "z * math.sqrt(d)", "the scores are multiplied by √D; divide by it."),
        ("z / math.sqrt(d)", "z / d**2", "the scores are divided by D²; divide by √D."),
        ("z / math.sqrt(d)", "z / math.sqrt(v.shape[-1])",
         "the scores are divided by √E, the length of a value; it is √D, the length of a query."),
        ("z / math.sqrt(d)", "z / math.sqrt(q.shape[-2])",
         "the scores are divided by √T, the root of the number of queries; it is √D."),
        ("z / math.sqrt(d)", "z / math.sqrt(q.shape[0])",
         "the scores are divided by √N; it is √D, the length of a query."),
        ("z / math.sqrt(d)", "z / math.sqrt(q.shape[1])",
         "the scores are divided by the root of axis 1; it is √D, the LAST axis of q."),
        ("z / math.sqrt(d)", "z / np.linalg.norm(q, axis=-1, keepdims=True)",
         "the scores are divided by the length |q|; it is √D."),
        ("masked_softmax_forward(z / math.sqrt(d), mask)[0]", "masked_softmax_forward(z, mask)[0] / math.sqrt(d)",
         "the weights are divided by √D after the softmax; the scores are, before it."),
        ("masked_softmax_forward(z / math.sqrt(d), mask)[0]", "z / math.sqrt(d) * mask", "the softmax is missing."),
        ("masked_softmax_forward(z / math.sqrt(d), mask)[0]",
         "masked_softmax_forward(z / math.sqrt(d), np.ones_like(mask))[0] * mask", MASK_LATE),
        ("masked_softmax_forward(z / math.sqrt(d), mask)[0]", "masked_softmax_forward(z / math.sqrt(d), ~mask)[0]",
         "the mask is flipped: True means allowed."),
        ("y = p @ v", "y = p @ v / math.sqrt(d)", "y is divided by √D; the scores are, before the softmax."),
        ("y = p @ v", "y = p", "these are the weights; multiply by the values, p @ v."),
        ("y = p @ v", "y = np.broadcast_to(v.mean(axis=-2, keepdims=True), (p @ v).shape)",
         "this is the plain mean of the values; it is p @ v."),
    ),
    steps(
        """
        def scaled_dot_product_attention_backward(dy, cache):
            q, k, v, p = cache
            d = q.shape[-1]
            dv = p.swapaxes(-1, -2) @ dy
            dp = dy @ v.swapaxes(-1, -2)
            s = (p * dp).sum(axis=-1, keepdims=True)
            dz = p * (dp - s) / math.sqrt(d)
            dq = dz @ k
            dk = dz.swapaxes(-1, -2) @ q
            return dq, dk, dv
        """,
        ("return dq, dk, dv", "return dq, dv, dk", "dk and dv are exchanged: they come back as dq, dk, dv."),
        ("return dq, dk, dv", "return dk, dq, dv", "dq and dk are exchanged: they come back as dq, dk, dv."),
        ("return dq, dk, dv", "return dv, dk, dq", "dq and dv are exchanged: they come back as dq, dk, dv."),
        ("return dq, dk, dv", "return dk, dv, dq",
         "all three are in another order, dk, dv, dq: they come back as dq, dk, dv."),
        ("return dq, dk, dv", "return dv, dq, dk",
         "all three are in another order, dv, dq, dk: they come back as dq, dk, dv."),
        ("return dq, dk, dv", "return dq, dk * math.sqrt(d), dv", "1/√D is missing in dk."),
        ("return dq, dk, dv", "return dq * math.sqrt(d), dk, dv", "1/√D is missing in dq."),
        ("return dq, dk, dv", "return dq, dk, dv / math.sqrt(d)",
         "dv is divided by √D; only the scores were, so dq and dk are."),
        ("/ math.sqrt(d)", "* math.sqrt(d)", "dq and dk are multiplied by √D; divide by it, as the scores were."),
        ("/ math.sqrt(d)", "/ math.sqrt(v.shape[-1])",
         "dq and dk are divided by √E, of the length of a value; it is √D, of the length of a query."),
        ("/ math.sqrt(d)", "/ math.sqrt(k.shape[-2])",
         "dq and dk are divided by √S, of the number of keys; it is √D, of the length of a query."),
        ("/ math.sqrt(d)", "/ d", "dq and dk are divided by D; the scores were divided by √D."),
        ("p * (dp - s)", "p * dp", "in the softmax's backward the second term is missing: p · (dp - Σ p · dp)."),
        ("p * (dp - s)", "(dp - s)", "in the softmax's backward the factor p is missing: p · (dp - Σ p · dp)."),
        ("p * (dp - s)", "p * (dp + s)",
         "in the softmax's backward the sum is added; subtract it: p · (dp - Σ p · dp)."),
        ("p * (dp - s)", "(dp - p * dp.sum(axis=-1, keepdims=True))",
         "this has the backward of log-softmax inside; softmax's is p · (dp - Σ p · dp)."),
        ("(p * dp).sum(axis=-1", "(p * dp).sum(axis=-2",
         "in the softmax's backward the sum runs over the queries; it runs over the keys, axis -1."),
        ("(p * dp).sum(axis=-1, keepdims=True)", "dp.sum(axis=-1, keepdims=True)",
         "in the sum of the softmax's backward the factor p is missing: Σ_j p_j · dp_j."),
        ("dz @ k", "dz @ k / math.sqrt(d)", "1/√D is there twice in dq."),
        ("dz.swapaxes(-1, -2) @ q", "dz.swapaxes(-1, -2) @ q / math.sqrt(d)", "1/√D is there twice in dk."),
        ("dv = p.swapaxes(-1, -2) @ dy", "dv = (p > 0).swapaxes(-1, -2) @ dy",
         "dv does not use the weights p: it is pᵀ @ dy."),
    ),
    steps(
        """
        def split_heads(x, heads):
            n, t, d = x.shape
            e = d // heads
            return x.reshape(n, t, heads, e).transpose(0, 2, 1, 3)
        """,
        ("transpose(0, 2, 1, 3)", "transpose(2, 0, 1, 3)",
         "the heads stand before the samples; it is (N, heads, T, D/heads)."),
        ("transpose(0, 2, 1, 3)", "transpose(0, 2, 3, 1)",
         "tokens and columns are exchanged; it is (N, heads, T, D/heads)."),
        ("transpose(0, 2, 1, 3)", "transpose(0, 1, 3, 2)",
         "the axes are (N, T, D/heads, heads); it is (N, heads, T, D/heads)."),
        ("reshape(n, t, heads, e).transpose(0, 2, 1, 3)", "reshape(n, t, heads, e).transpose(0, 2, 1, 3)[:, ::-1]",
         "the heads are in the opposite order: head 0 has the first columns."),
        ("reshape(n, t, heads, e).transpose(0, 2, 1, 3)", "reshape(n, t, e, heads).transpose(0, 2, 1, 3)",
         "heads and D/heads are exchanged: reshape to (N, T, heads, D/heads)."),
        ("reshape(n, t, heads, e).transpose(0, 2, 1, 3)", "transpose(0, 2, 1).reshape(n, heads, t, e)",
         "tokens and columns are mixed: reshape (N, T, D) to (N, T, heads, D/heads) first, then transpose."),
        ("reshape(n, t, heads, e).transpose(0, 2, 1, 3)",
         "reshape(n, t, heads, e).transpose(0, 2, 1, 3).reshape(n * heads, t, e)",
         "samples and heads are one axis, (N·heads, T, D/heads); it is (N, heads, T, D/heads)."),
        ("x.reshape(n, t, heads, e).transpose(0, 2, 1, 3)", "np.stack([x] * heads, axis=1)",
         "each head got all D columns; it gets D/heads of them."),
    ),
    steps(
        """
        def merge_heads(y):
            n, heads, t, e = y.shape
            return y.transpose(0, 2, 1, 3).reshape(n, t, heads * e)
        """,
        ("y.transpose(0, 2, 1, 3).reshape(n, t, heads * e)", "y.mean(axis=1)",
         "the heads were averaged; they stand side by side, (N, T, heads·E)."),
        ("y.transpose(0, 2, 1, 3).reshape(n, t, heads * e)", "y.max(axis=1)",
         "the largest of the heads was taken; they stand side by side."),
        ("y.transpose(0, 2, 1, 3).reshape(n, t, heads * e)", "y[:, 0]",
         "only head 0 is there; all heads stand side by side."),
        ("y.transpose(0, 2, 1, 3).reshape(n, t, heads * e)", "y.transpose(0, 2, 1, 3)",
         "the last reshape is missing: (N, T, heads·E)."),
        ("y.transpose(0, 2, 1, 3).reshape(n, t, heads * e)",
         "y.transpose(0, 2, 1, 3)[:, :, ::-1].reshape(n, t, heads * e)",
         "the heads are in the opposite order: head 0 comes first."),
        ("y.transpose(0, 2, 1, 3).reshape(n, t, heads * e)", "np.concatenate(list(y.transpose(1, 0, 2, 3)), axis=1)",
         "the heads stand below each other, (N, heads·T, E); they stand side by side, (N, T, heads·E)."),
        ("y.transpose(0, 2, 1, 3).reshape(n, t, heads * e)", "y.transpose(0, 3, 2, 1).reshape(n, t, heads * e)",
         "the axes are in another order: transpose(0, 2, 1, 3) brings the tokens before the heads."),
        ("y.transpose(0, 2, 1, 3).reshape(n, t, heads * e)", "y.transpose(2, 0, 1, 3).reshape(t, n, heads * e)",
         "tokens stand before samples; it is (N, T, heads·E)."),
    ),
    steps(
        """
        def multi_head_attention_forward(x, w_qkv, w_out, heads, mask):
            d = x.shape[-1]
            qkv = x @ w_qkv
            a, b, c = qkv[..., :d], qkv[..., d : 2 * d], qkv[..., 2 * d :]
            q, k, v = a, b, c
            y, attention_cache = scaled_dot_product_attention_forward(*(split_heads(g, heads) for g in (q, k, v)), mask)
            merged = merge_heads(y)
            out = merged @ w_out
            return out, (x, w_qkv, w_out, heads, merged, attention_cache)
        """,
        ("merged = merge_heads(y)", "merged = merge_heads(y[:, ::-1])",
         "the heads are put together in the opposite order."),
        ("merged = merge_heads(y)", "merged = y.transpose(0, 2, 3, 1).reshape(x.shape)",
         "the heads' columns are interleaved; all of head 0 come first: merge_heads."),
        ("q, k, v = a, b, c", "k, q, v = a, b, c",
         "q and k are exchanged: the columns of w_qkv are q, then k, then v."),
        ("q, k, v = a, b, c", "v, k, q = a, b, c",
         "q and v are exchanged: the columns of w_qkv are q, then k, then v."),
        ("q, k, v = a, b, c", "k, v, q = a, b, c", "the order is k, v, q; the columns of w_qkv are q, then k, then v."),
        ("q, k, v = a, b, c", "v, q, k = a, b, c", "the order is v, q, k; the columns of w_qkv are q, then k, then v."),
        ("q, k, v = a, b, c", "q, k, v = a, a, a",
         "q, k and v are all the first D columns; each has D columns of its own."),
        ("q, k, v = a, b, c", "q, k, v = a, b, b", "v is k: the values are the LAST D columns of x @ w_qkv."),
        ("a, b, c = qkv[..., :d], qkv[..., d : 2 * d], qkv[..., 2 * d :]",
         "a, b, c = qkv[..., 0::3], qkv[..., 1::3], qkv[..., 2::3]",
         "q, k and v are every third column; they are D columns in a row each: q first, then k, then v."),
        ("merged @ w_out", "merged @ w_out.T", "merged is multiplied by w_outᵀ; it is w_out itself (both are D x D)."),
        ("merged @ w_out", "merged @ w_out + x", "x is added: there is no residual connection here."),
        ("merged = merge_heads(y)", "merged = y.reshape(x.shape)",
         "the heads are put together by a plain reshape, which mixes tokens with heads: merge_heads."),
        ("split_heads(g, heads)", "g.reshape(len(x), heads, -1, d // heads)",
         "the heads are cut by a plain reshape, which mixes tokens with heads: split_heads."),
        ("in (q, k, v)), mask)", "in (q, k, v)), np.ones_like(mask))", "the mask is not used."),
        ("in (q, k, v)), mask)", "in (q, k, v)), ~mask)", "the mask is flipped: True means allowed."),
        ("in (q, k, v)), mask)", "in (q, k, v)), mask.swapaxes(-1, -2))",
         "the mask is transposed: queries are rows, keys are columns."),
        ("for g in (q, k, v)), mask", "for g in (q / math.sqrt(d // heads), k, v)), mask",
         "the scores are divided by √(D/heads) twice: the attention does it already."),
        ("for g in (q, k, v)), mask", "for g in (q * math.sqrt(d // heads), k, v)), mask",
         "the scores are not divided by √(D/heads)."),
        ("for g in (q, k, v)), mask", "for g in (q / math.sqrt(heads), k, v)), mask",
         "the scores are divided by √D; each head has D/heads columns: √(D/heads)."),
    ),
    steps(
        """
        def multi_head_attention_backward(dy, cache):
            x, w_qkv, w_out, heads, merged, attention_cache = cache
            d = x.shape[-1]
            dw_out = merged.reshape(-1, d).T @ dy.reshape(-1, d)
            dmerged = dy @ w_out.T
            dheads = split_heads(dmerged, heads)
            dq, dk, dv = scaled_dot_product_attention_backward(dheads, attention_cache)
            dqkv = np.concatenate([merge_heads(g) for g in (dq, dk, dv)], axis=-1)
            dw_qkv = x.reshape(-1, d).T @ dqkv.reshape(-1, 3 * d)
            dx = dqkv @ w_qkv.T
            return dx, dw_qkv, dw_out
        """,
        ("return dx, dw_qkv, dw_out", "return dx, x[0].T @ dqkv[0], dw_out",
         "dw_qkv has the first sample alone; add up all of them."),
        ("return dx, dw_qkv, dw_out", "return dx, x[-1].T @ dqkv[-1], dw_out",
         "dw_qkv has the last sample alone; add up all of them (+=)."),
        ("return dx, dw_qkv, dw_out", "return dx, dw_qkv, merged[-1].T @ dy[-1]",
         "dw_out has the last sample alone; add up all of them (+=)."),
        ("return dx, dw_qkv, dw_out", "return dx, dw_qkv, merged[0].T @ dy[0]",
         "dw_out has the first sample alone; add up all of them."),
        ("for g in (dq, dk, dv)", "for g in (dk, dq, dv)",
         "dq and dk are exchanged where they are put side by side: q, then k, then v."),
        ("for g in (dq, dk, dv)", "for g in (dq, dv, dk)",
         "dk and dv are exchanged where they are put side by side: q, then k, then v."),
        ("for g in (dq, dk, dv)", "for g in (dv, dk, dq)",
         "dq and dv are exchanged where they are put side by side: q, then k, then v."),
        ("for g in (dq, dk, dv)", "for g in (0 * dq, dk, dv)",
         "dq is left out: x reaches the scores through the queries, too."),
        ("for g in (dq, dk, dv)", "for g in (dq, 0 * dk, dv)",
         "dk is left out: x reaches the scores through the keys, too."),
        ("for g in (dq, dk, dv)", "for g in (dq, dk, 0 * dv)", "dv is left out: x reaches y through the values, too."),
        ("merged.reshape(-1, d).T @ dy", "x.reshape(-1, d).T @ dy",
         "dw_out has x; what was multiplied by w_out is merged."),
        ("merged.reshape(-1, d).T @ dy.reshape(-1, d)", "(merged.reshape(-1, d).T @ dy.reshape(-1, d)).T",
         "dw_out is transposed: it is mergedᵀ @ dy."),
        ("merged.reshape(-1, d).T @ dy.reshape(-1, d)", "merged.reshape(-1, d).T @ (dy @ w_out.T).reshape(-1, d)",
         "dw_out has dy @ w_outᵀ; it has dy itself."),
        ("merged.reshape(-1, d).T @ dy.reshape(-1, d)", "np.einsum('ntd,nte->nde', merged, dy)",
         "dw_out still has the samples: add them up."),
        ("x.reshape(-1, d).T @ dqkv.reshape(-1, 3 * d)", "np.einsum('ntd,nte->nde', x, dqkv)",
         "dw_qkv still has the samples: add them up."),
        ("x.reshape(-1, d).T @ dqkv", "merged.reshape(-1, d).T @ dqkv",
         "dw_qkv has merged; what was multiplied by w_qkv is x."),
        ("split_heads(dmerged, heads)", "dmerged.reshape(len(x), heads, -1, d // heads)",
         "dmerged is cut by a plain reshape, which mixes tokens with heads: split_heads."),
        ("merge_heads(g) for", "g.reshape(x.shape) for",
         "dq, dk and dv are put together by a plain reshape, which mixes tokens with heads: merge_heads."),
        ("dy @ w_out.T", "dy", "dy does not go through w_out: dmerged is dy @ w_outᵀ."),
        ("dqkv @ w_qkv.T", "dqkv[..., :d] @ w_qkv[:, :d].T",
         "dx has the share of the queries alone; keys and values reach x, too."),
        ("dqkv @ w_qkv.T", "dqkv[..., d : 2 * d] @ w_qkv[:, d : 2 * d].T",
         "dx has the share of the keys alone; queries and values reach x, too."),
        ("dqkv @ w_qkv.T", "dqkv[..., 2 * d :] @ w_qkv[:, 2 * d :].T",
         "dx has the share of the values alone; queries and keys reach x, too."),
        ("dqkv @ w_qkv.T", "dqkv @ w_qkv.T + dy", "dy is added to dx: there is no residual connection here."),
        ("return dx, dw_qkv, dw_out", "return dx, dw_out, dw_qkv",
         "dw_qkv and dw_out are exchanged: they come back as dx, dw_qkv, dw_out."),
        ("return dx, dw_qkv, dw_out", "return dx, dw_qkv, dw_out / len(x)",
         "dw_out is a mean over the N = {N} samples; it is their sum."),
        ("return dx, dw_qkv, dw_out", "return dx, dw_qkv / len(x), dw_out",
         "dw_qkv is a mean over the N = {N} samples; it is their sum."),
    ),
)  # fmt: skip
