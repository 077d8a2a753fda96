"""Steps that go wrong in a3: padding, convolution, columns and pooling."""

from __future__ import annotations

from npsoftmax.grading.mistakes.base import Change, Steps, steps

SWAPPED = "SH and SW are exchanged: the first of the pair steps down, the second to the right."
UNSTEPPED = "the stride is forgotten in the slice: window (i, j) begins at row i·SH and column j·SW."
AHEAD = "the windows begin one pixel too far, in height and in width."
LAST_ROW = "the last row of windows is left out: range(OH) ends at OH - 1 by itself."
LAST_COLUMN = "the last column of windows is left out: range(OW) ends at OW - 1 by itself."
BATCH_MEAN = "is a mean over the N = {N} images; it is their SUM: the 1/N is already inside dy."

FORWARD: tuple[Change, ...] = (
    ("range(oh)", "range(oh - 1)", LAST_ROW),
    ("range(ow)", "range(ow - 1)", LAST_COLUMN),
    ("i * sh : i * sh + kh, j * sw : j * sw + kw", "i : i + kh, j : j + kw", UNSTEPPED),
    ("pad_images(x, pad)", "pad_images(x, pad, 1.0)", "the images are padded with ones; pad with zeros."),
    ("pad_images(x, pad)", "np.pad(x, ((0, 0), (0, 2 * pad[0]), (0, 2 * pad[1]), (0, 0)))",
     "all the padding is below and to the right; half of it belongs above and to the left."),
    ("np.tensordot(window, w, axes=3)", "np.tensordot(window, w.reshape(w.shape[3], -1).T.reshape(w.shape), axes=3)",
     "w.reshape(F, -1) mixes its axes: the filters are the LAST axis of w, w.reshape(-1, F)."),
    ("np.tensordot(window, w, axes=3)", "np.tensordot(window.sum(axis=-1), w.sum(axis=2), axes=2)",
     "window and kernel are each summed over the channels first; multiply, then sum."),
    ("+ b_", "- b_", "the bias is subtracted; it is added."),
    ("+ b_", "* (1 if b is None else b)", "the bias is a factor; it is added."),
    ("+ b_", "+ kh * kw * b_", "the bias is added once a tap; it is added once to each output."),
    ("np.tensordot(window, w, axes=3)", "np.tensordot(window, w[::-1], axes=3)", "the kernel is flipped in height."),
    ("np.tensordot(window, w, axes=3)", "np.tensordot(window, w[:, ::-1], axes=3)", "the kernel is flipped in width."),
    ("np.tensordot(window, w, axes=3)", "np.tensordot(window, w, axes=3) / (kh * kw)",
     "the products are averaged over the KH·KW taps; add them up."),
    ("np.tensordot(window, w, axes=3)", "np.tensordot(window, w, axes=3) / (kh * kw * x.shape[3])",
     "the products are averaged over the taps and channels; add them up."),
    ("np.tensordot(window, w, axes=3)", "np.einsum('nhwc,hwcf->nhwcf', window, w).max(axis=(1, 2, 3))",
     "the largest product was taken; add them up."),
    ("np.tensordot(window, w, axes=3)", "np.maximum(np.tensordot(window, w, axes=3) + b_, 0) - b_",
     "there is a ReLU too many: a convolution is linear."),
    ("np.tensordot(window, w, axes=3)", "np.tensordot(window[..., :1], w[:, :, :1], axes=3)",
     "only the first channel is there; add up all of them."),
    ("np.tensordot(window, w, axes=3)", "np.tensordot(window[:, :1, :1], w[:1, :1], axes=3)",
     "only the first tap of the kernel is there; add up all KH·KW."),
    ("np.tensordot(window, w, axes=3)", "np.tensordot(window[:, -1:, -1:], w[-1:, -1:], axes=3)",
     "only the last tap of the kernel is there: = overwrites, += adds them up."),
)  # fmt: skip

OVERWRITTEN: Change = (
    "dpadded[place] += ",
    "dpadded[place] = ",
    "dx was assigned window by window (=): where windows overlap, a pixel gets the SUM of what they send it (+=).",
)
BACKWARD: tuple[Change, ...] = (
    ("range(oh)", "range(oh - 1)", LAST_ROW),
    ("range(ow)", "range(ow - 1)", LAST_COLUMN),
    ("i * sh : i * sh + kh, j * sw : j * sw + kw", "i : i + kh, j : j + kw", UNSTEPPED),
    ("dw += ", "dw = ", "dw is assigned (=), so that only the last position is left: add up all of them (+=)."),
    ("dpadded[place] += ", "dpadded[place] -= ", "dx has the wrong sign: it is subtracted from the zeros."),
    ("db = dy.sum(axis=(0, 1, 2))", "db = dy.sum(axis=(1, 2, 3))",
     "db was summed over the filters; keep them: axis=(0, 1, 2)."),
    ("db = dy.sum(axis=(0, 1, 2))", "db = dy.sum(axis=(1, 2))",
     "db still has the samples: sum over them too, axis=(0, 1, 2)."),
    ("db = dy.sum(axis=(0, 1, 2))", "db = dy.sum()", "db is the sum of all of dy; each filter has a bias of its own."),
    ("db = dy.sum(axis=(0, 1, 2))", "db = dy.mean(axis=(0, 1, 2))",
     "db is a mean over samples and positions; it is their sum."),
    ("db = dy.sum(axis=(0, 1, 2))", "db = dy.sum(axis=(0, 1, 2)) / len(dy)", f"db {BATCH_MEAN}"),
    ("db = dy.sum(axis=(0, 1, 2))", "db = dy.sum(axis=(0, 1, 2), keepdims=True)",
     "db keeps axes of length 1: it is (F,), as b."),
    ("db = dy.sum(axis=(0, 1, 2))", "db = dy[:, -1, -1].sum(axis=0)",
     "db has the last position alone: add up all of them (+=)."),
    ("db = dy.sum(axis=(0, 1, 2))", "db = np.full(dy.shape[3], float(dy[..., 0].size))",
     "db does not use dy: it is its sum."),
    ("dx = dpadded[:, ph : ph + h, pw : pw + wd]", "dx = dpadded[:, :h, :wd]",
     "dx is cropped at the wrong place: the image begins at row PH and column PW of the padded one."),
    ("dx = dpadded[:, ph : ph + h, pw : pw + wd]", "dx = dpadded[:, pw : pw + h, ph : ph + wd]",
     "PH and PW are exchanged where dx is cropped: the first of the pair is for the height."),
    ("dx = dpadded[:, ph : ph + h, pw : pw + wd]", "dx = dpadded[:, -h:, -wd:]",
     "dx is cropped at the wrong place: the padding is on both sides, [:, PH : PH + H, PW : PW + W]."),
    ("dx = dpadded[:, ph : ph + h, pw : pw + wd]", "dx = dpadded[:, ph : ph + h, pw : pw + wd] / len(dy)",
     "dx is divided by N = {N}: each image has a dx of its own, and nothing is averaged."),
    ("np.tensordot(window, dy[:, i, j], axes=(0, 0))", "np.tensordot(window[:1], dy[:1, i, j], axes=(0, 0))",
     "dw has the first image alone; add up all of them."),
    ("np.tensordot(window, dy[:, i, j], axes=(0, 0))", "np.tensordot(window[-1:], dy[-1:, i, j], axes=(0, 0))",
     "dw has the last image alone; add up all of them (+=)."),
    ("np.tensordot(window, dy[:, i, j], axes=(0, 0))", "np.tensordot(window[:, ::-1, ::-1], dy[:, i, j], axes=(0, 0))",
     "dw is flipped in height and width: weight (u, v) met pixel (i + u, j + v)."),
    ("np.tensordot(window, dy[:, i, j], axes=(0, 0))", "np.tensordot(window, np.ones_like(dy[:, i, j]), axes=(0, 0))",
     "dw does not use dy at all."),
    ("padded = pad_images(x, pad)", "padded = pad_images(x, pad, 1.0)",
     "the images are padded with ones for dw; pad with zeros."),
    ("return dx, dw, db", "return dx, dw.reshape(-1, w.shape[3]).T.reshape(w.shape), db",
     "dw.reshape mixes its axes: (F, KH·KW·C) has to be transposed before it gets the shape of w."),
    ("return dx, dw, db", "return dx, dw.reshape(-1, w.shape[3]), db",
     "the last reshape of dw is missing: it has the shape of w."),
    ("return dx, dw, db", "return dw, dx, db", "dx and dw are exchanged: they come back as dx, dw, db."),
    ("return dx, dw, db", "return dx, db, dw", "dw and db are exchanged: they come back as dx, dw, db."),
)  # fmt: skip


def _forward(name: str) -> Steps:
    return steps(
        f"""
        def {name}(x, w, b, stride, pad):
            (sh, sw), (kh, kw) = stride, w.shape[:2]
            oh, ow = output_size(x.shape[1], kh, sh, pad[0]), output_size(x.shape[2], kw, sw, pad[1])
            padded, b_ = pad_images(x, pad), (0 if b is None else b)
            y = np.zeros((len(x), oh, ow, w.shape[3]))
            for i in range(oh):
                for j in range(ow):
                    window = padded[:, i * sh : i * sh + kh, j * sw : j * sw + kw]
                    y[:, i, j] = np.tensordot(window, w, axes=3) + b_
            return y, (x, w, b is not None, stride, pad)
        """,
        *FORWARD,
    )


def _backward(name: str, *more: Change) -> Steps:
    return steps(
        f"""
        def {name}(dy, cache):
            x, w, has_bias, (sh, sw), pad = cache
            (n, h, wd, c), (kh, kw), (ph, pw) = x.shape, w.shape[:2], pad
            oh, ow = dy.shape[1:3]
            padded = pad_images(x, pad)
            dpadded, dw = np.zeros(padded.shape), np.zeros(w.shape)
            for i in range(oh):
                for j in range(ow):
                    place = np.s_[:, i * sh : i * sh + kh, j * sw : j * sw + kw]
                    window = padded[place]
                    dw += np.tensordot(window, dy[:, i, j], axes=(0, 0))
                    dpadded[place] += np.tensordot(dy[:, i, j], w, axes=(1, 3))
            dx = dpadded[:, ph : ph + h, pw : pw + wd]
            db = dy.sum(axis=(0, 1, 2))
            db = db if has_bias else None
            return dx, dw, db
        """,
        *BACKWARD,
        *more,
    )


SIZES = """
    (n, h, w, c), (kh, kw), (sh, sw), (ph, pw) = SHAPE, k, stride, pad
    oh, ow = output_size(h, kh, sh, ph), output_size(w, kw, sw, pw)"""
FLOOR = "the number of windows is wrong: OH is (H + 2·PH - KH) // SH + 1, and OW likewise."

STEPS = (
    steps(
        """
        def pad_images(x, pad, value):
            ph, pw = pad
            before, after = (ph, pw), (ph, pw)
            return np.pad(x, ((0, 0), (before[0], after[0]), (before[1], after[1]), (0, 0)), constant_values=value)
        """,
        ("constant_values=value)", "constant_values=0) + value",
         "value is added to the whole image; only the padding has it."),
        ("before, after = (ph, pw), (ph, pw)", "before, after = (2 * ph, 2 * pw), (2 * ph, 2 * pw)",
         "there is twice as much padding: PH and PW are the width on EACH side."),
        ("before, after = (ph, pw), (ph, pw)", "before, after = (0, 0), (2 * ph, 2 * pw)",
         "all the padding is below and to the right; half of it belongs above and to the left."),
        ("before, after = (ph, pw), (ph, pw)", "before, after = (ph, pw), (0, 0)",
         "only the top and the left are padded; pad both sides: (PH, PH) and (PW, PW)."),
        ("before, after = (ph, pw), (ph, pw)", "before, after = (ph, ph), (ph, ph)",
         "the width is padded by PH too; it is padded by PW."),
        ("before, after = (ph, pw), (ph, pw)", "before, after = (pw, pw), (pw, pw)",
         "the height is padded by PW too; it is padded by PH."),
        ("before, after = (ph, pw), (ph, pw)", "before, after = (ph, 0), (ph, 0)", "the width is not padded."),
        ("before, after = (ph, pw), (ph, pw)", "before, after = (0, pw), (0, pw)", "the height is not padded."),
        ("before, after = (ph, pw), (ph, pw)", "before, after = (ph, ph), (pw, pw)",
         "the pairs are (PH, PW) for each axis; they are (PH, PH) for the height and (PW, PW) for the width."),
        ("((0, 0), (before[0], after[0]), (before[1], after[1]), (0, 0))",
         "((0, 0), (0, 0), (before[0], after[0]), (before[1], after[1]))",
         "axes 2 and 3 are padded, as with channels first; here the images are (N, H, W, C): axes 1 and 2."),
        ("constant_values=value", "mode='edge'", "the padding repeats the border; it is `value`."),
        ("constant_values=value", "mode='reflect'", "the padding mirrors the image; it is `value`."),
        ("constant_values=value", "mode='wrap'", "the padding wraps around; it is `value`."),
        ("constant_values=value", "constant_values=-np.inf",
         "the padding is -∞ whatever the case says; it is `value`."),
    ),
    _forward("conv2d_naive_forward"),
    _forward("conv2d_im2col_forward"),
    _backward("conv2d_naive_backward"),
    _backward("conv2d_im2col_backward", OVERWRITTEN),
    steps(
        "def im2col(x, k, stride, pad):" + SIZES.replace("SHAPE", "x.shape") + """
    padded = pad_images(x, pad)
    cols = np.zeros((n, oh, ow, kh, kw, c))
    for u in range(kh):
        for v in range(kw):
            cols[:, :, :, u, v] = padded[:, u : u + sh * oh : sh, v : v + sw * ow : sw]
    return cols.reshape(n * oh * ow, -1)
""",
        ("u : u + sh * oh : sh, v : v + sw * ow : sw", "u : u + oh, v : v + ow",
         "the stride is forgotten in the slice: the step of a tap's slice is SH in height and SW in width."),
        ("u : u + sh * oh : sh, v : v + sw * ow : sw", "(u + 1) : (u + 1) + sh * oh : sh, v : v + sw * ow : sw", AHEAD),
        ("cols[:, :, :, u, v]", "cols[:, :, :, kh - 1 - u, kw - 1 - v]",
         "the taps are flipped: (u, v) is tap u·KW + v."),
        ("cols.reshape(n * oh * ow, -1)", "cols.transpose(1, 2, 0, 3, 4, 5).reshape(n * oh * ow, -1)",
         "the rows are in another order: sample by sample, then position by position, row (n·OH + i)·OW + j."),
        ("cols.reshape(n * oh * ow, -1)", "cols.transpose(0, 2, 1, 3, 4, 5).reshape(n * oh * ow, -1)",
         "the rows are in another order: within a sample row by row of the image, (n·OH + i)·OW + j."),
        ("cols.reshape(n * oh * ow, -1)", "cols.transpose(0, 1, 2, 5, 4, 3).reshape(n * oh * ow, -1)",
         "the columns are in another order: (u·KW + v)·C + c, the channels last and v before u."),
        ("cols.reshape(n * oh * ow, -1)", "cols.reshape(n, oh * ow, -1)",
         "it is still (N, OH·OW, KH·KW·C): the positions of all samples stand below each other, (N·OH·OW, KH·KW·C)."),
        ("cols.reshape(n * oh * ow, -1)", "cols", "the last reshape is missing: (N·OH·OW, KH·KW·C)."),
        ("cols.reshape(n * oh * ow, -1)", "cols.reshape(n, -1)",
         "there is one row a sample; there is one row for each output position."),
        ("padded = pad_images(x, pad)",
         "padded = pad_images(x, pad[::-1]); padded = np.pad(padded, ((0, 0), (0, 9), (0, 9), (0, 0)))",
         "PH and PW are exchanged: the first of the pair pads the height."),
        ("padded = pad_images(x, pad)", "padded = np.pad(x, ((0, 0), (0, 2 * ph), (0, 2 * pw), (0, 0)))",
         "all the padding is below and to the right; half of it belongs above and to the left."),
        ("padded = pad_images(x, pad)", "padded = pad_images(x, pad, -np.inf)",
         "the images are padded with -∞; here it is 0."),
        ("padded = pad_images(x, pad)", "padded = pad_images(x, pad, 1.0)",
         "the images are padded with ones; here it is 0."),
        ("range(kw)", "range(kw - 1)", "the last column of taps is left out: range(KW) ends at KW - 1 by itself."),
        ("range(kh)", "range(kh - 1)", "the last row of taps is left out: range(KH) ends at KH - 1 by itself."),
        ("    padded =", "    oh, ow = oh - 1, ow - 1\n    padded =", FLOOR),
        ("    padded =", "    oh, ow = (h - kh) // sh + 1, (w - kw) // sw + 1\n    padded =",
         "the number of windows is that of the images without padding: OH is (H + 2·PH - KH) // SH + 1."),
    ),
    steps(
        "def col2im(cols, shape, k, stride, pad):" + SIZES.replace("SHAPE", "shape") + """
    parts = cols.reshape(n, oh, ow, kh, kw, c)
    padded = np.zeros((n, h + 2 * ph, w + 2 * pw, c))
    for u in range(kh):
        for v in range(kw):
            padded[:, u : u + sh * oh : sh, v : v + sw * ow : sw] += parts[:, :, :, u, v]
    return padded[:, ph : ph + h, pw : pw + w]
""",
        ("ph : ph + h, pw : pw + w", "pw : pw + h, ph : ph + w",
         "PH and PW are exchanged in the crop: [:, PH : PH + H, PW : PW + W]."),
        ("ph : ph + h, pw : pw + w", ":h, :w",
         "it is cropped at the wrong place: the image begins at row PH and column PW."),
        ("ph : ph + h, pw : pw + w", "-h:, -w:",
         "it is cropped at the wrong place: the padding is on both sides, PH : PH + H."),
        ("u : u + sh * oh : sh, v : v + sw * ow : sw", "u : u + oh, v : v + ow",
         "the stride is forgotten in the slice: the step of a tap's slice is SH in height and SW in width."),
        ("parts[:, :, :, u, v]", "parts[:, :, :, kh - 1 - u, kw - 1 - v]",
         "the taps are flipped: (u, v) is tap u·KW + v."),
        ("+= parts", "-= parts", "the entries are subtracted; add them."),
        ("cols.reshape(n, oh, ow, kh, kw, c)", "cols.reshape(n, oh, ow, c, kh, kw).transpose(0, 1, 2, 4, 5, 3)",
         "the columns are read with channels first; they are (KH, KW, C), channels last."),
        ("cols.reshape(n, oh, ow, kh, kw, c)", "cols.reshape(n, oh, ow, kw, kh, c).transpose(0, 1, 2, 4, 3, 5)",
         "the taps are read column by column; tap (u, v) has the number u·KW + v."),
        ("cols.reshape(n, oh, ow, kh, kw, c)", "cols.reshape(oh, ow, n, kh, kw, c).transpose(2, 0, 1, 3, 4, 5)",
         "the rows are read position by position first; they are sample by sample, (N, OH, OW)."),
        ("cols.reshape(n, oh, ow, kh, kw, c)", "cols.reshape(n, ow, oh, kh, kw, c).transpose(0, 2, 1, 3, 4, 5)",
         "the rows are read as (N, OW, OH); they are (N, OH, OW)."),
        ("range(kw)", "range(kw - 1)", "the last column of taps is left out: range(KW) ends at KW - 1 by itself."),
        ("range(kh)", "range(kh - 1)", "the last row of taps is left out: range(KH) ends at KH - 1 by itself."),
        ("return padded[:, ph : ph + h, pw : pw + w]", "return padded[:, ph : ph + h, pw : pw + w] / (kh * kw)",
         "you divided by the KH·KW taps; col2im is a plain sum."),
    ),
    steps(
        "def max_pool(x, k, stride, pad):" + SIZES.replace("SHAPE", "x.shape") + """
    padded = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)), constant_values=-np.inf)
    taps = np.stack([padded[:, u : u + sh * oh : sh, v : v + sw * ow : sw] for u in range(kh) for v in range(kw)])
    y, index = taps.max(axis=0), taps.argmax(axis=0)
    return y, index
""",
        ("taps.max(axis=0), taps.argmax(axis=0)", "np.where(np.isinf(taps), np.inf, taps).min(axis=0), "
         "np.where(np.isinf(taps), np.inf, taps).argmin(axis=0)",
         "this is the smallest of every window; take the largest."),
        ("taps.max(axis=0), taps", "np.abs(taps).max(axis=0), taps", "y is the largest |x|; it is the largest x."),
        ("taps.max(axis=0), taps", "np.where(np.isinf(taps), 0, taps).sum(axis=0), taps",
         "y is the sum of every window; take its largest value."),
        ("return y, index", "return index, y", "y and index are exchanged: they come back as y, index."),
        ("return y, index", "return y, index % kw", "index is v alone, the column of the tap; it is u·KW + v."),
        ("return y, index", "return y, index // kw", "index is u alone, the row of the tap; it is u·KW + v."),
        ("return y, index", "return y, (index // kw) * kh + index % kw", "index is u·KH + v; it is u·KW + v."),
        ("return y, index", "return y, kh * kw - 1 - index", "the taps are numbered backwards: (0, 0) is tap 0."),
        ("return y, index", "return y, (taps == y) * 1",
         "index is a mask of the winners; it is ONE number a window, u·KW + v."),
        ("return y, index", "return y, index * 0",
         "index is 0 everywhere; it is the number of the tap that won, u·KW + v."),
        ("    padded =",
         "    ph, pw = 0, 0\n    oh, ow = output_size(h, kh, sh, ph), output_size(w, kw, sw, pw)\n    padded =",
         "the padding is ignored: pad the images first."),
        ("    padded =",
         "    sh, sw = 1, 1\n    oh, ow = output_size(h, kh, sh, ph), output_size(w, kw, sw, pw)\n    padded =",
         "the stride is ignored: there are as many windows as at stride 1."),
        ("u : u + sh * oh : sh, v : v + sw * ow : sw", "u : u + oh, v : v + ow",
         "the stride is forgotten in the slice: the step of a tap's slice is SH in height and SW in width."),
        ("range(kw)", "range(kw - 1)", "the last column of taps is left out: range(KW) ends at KW - 1 by itself."),
    ),
    steps(
        "def max_pool_backward(dy, index, shape, k, stride, pad):" + SIZES.replace("SHAPE", "shape") + """
    padded = np.zeros((n, h + 2 * ph, w + 2 * pw, c))
    for u in range(kh):
        for v in range(kw):
            padded[:, u : u + sh * oh : sh, v : v + sw * ow : sw] += np.where(index == u * kw + v, dy, 0)
    return padded[:, ph : ph + h, pw : pw + w]
""",
        ("+= np.where(index == u * kw + v, dy, 0)", "+= np.where(index == u * kw + v, dy, 0) / (kh * kw)",
         "dy is divided by the KH·KW taps; the winner gets all of it."),
        ("+= np.where", "= np.where",
         "the tap's slice was assigned (=), also where it did not win: a pixel gets the SUM (+=)."),
        ("+= np.where", "-= np.where", "dy is subtracted; add it."),
        ("u * kw + v", "u * kh + v", "the tap's number is u·KH + v; it is u·KW + v."),
        ("u * kw + v", "v * kh + u", "the taps are numbered down the columns; tap (u, v) has the number u·KW + v."),
        ("u * kw + v", "u * kw + v + 1", "the taps are counted from 1; tap (0, 0) has the number 0."),
        ("u * kw + v, dy, 0", "u * kw + v, 1, 0", "dy is not used: the winner gets dy, not 1."),
        ("index == u", "index != u", "everybody but the winner got dy; only the winner does."),
        ("u : u + sh * oh : sh, v : v + sw * ow : sw", "u : u + oh, v : v + ow",
         "the stride is forgotten in the slice: the step of a tap's slice is SH in height and SW in width."),
        ("ph : ph + h, pw : pw + w", "pw : pw + h, ph : ph + w",
         "PH and PW are exchanged in the crop: [:, PH : PH + H, PW : PW + W]."),
        ("ph : ph + h, pw : pw + w", ":h, :w",
         "it is cropped at the wrong place: the image begins at row PH and column PW."),
        ("    return padded[:, ph : ph + h, pw : pw + w]", "    return padded",
         "dx is still padded: crop it to the shape of x."),
        ("range(kw)", "range(kw - 1)", "the last column of taps is left out: range(KW) ends at KW - 1 by itself."),
        ("range(kh)", "range(kh - 1)", "the last row of taps is left out: range(KH) ends at KH - 1 by itself."),
    ),
    steps(
        """
        def im2col_cython(x, cols, kh, kw, sh, sw, ph, pw, oh, ow):
            row = 0
            for n in range(x.shape[0]):
                for i in range(oh):
                    for j in range(ow):
                        for u in range(kh):
                            for v in range(kw):
                                for c in range(x.shape[3]):
                                    h, w = i * sh + u - ph, j * sw + v - pw
                                    column = (u * kw + v) * x.shape[3] + c
                                    inside = 0 <= h < x.shape[1] and 0 <= w < x.shape[2]
                                    cols[row, column] = x[n, h, w, c] if inside else 0.0
                        row += 1
        """,
        ("i * sh + u - ph, j * sw + v - pw", "i + u - ph, j + v - pw",
         "the stride is forgotten: h = i·sh + u - ph, w = j·sw + v - pw."),
        ("i * sh + u - ph, j * sw + v - pw", "i * sw + u - ph, j * sh + v - pw",
         "sh and sw are exchanged: h = i·sh + u - ph."),
        ("i * sh + u - ph, j * sw + v - pw", "i * sh + u - pw, j * sw + v - ph",
         "ph and pw are exchanged: h = i·sh + u - ph."),
        ("i * sh + u - ph, j * sw + v - pw", "i * sh + u + ph, j * sw + v + pw",
         "the padding is added; it is subtracted: i·sh + u - ph."),
        ("(u * kw + v) * x.shape[3] + c", "(v * kh + u) * x.shape[3] + c",
         "the taps are numbered down the columns: (u·KW + v)·C + c."),
        ("0 <= h < x.shape[1] and 0 <= w < x.shape[2]", "0 < h < x.shape[1] and 0 < w < x.shape[2]",
         "row 0 and column 0 of the image count as outside: 0 <= h, 0 <= w."),
        ("0 <= h < x.shape[1] and 0 <= w < x.shape[2]", "h < x.shape[1] and w < x.shape[2]",
         "negative h and w wrap around to the other side of the image: ask 0 <= h and 0 <= w too."),
        ("0 <= h < x.shape[1] and 0 <= w < x.shape[2]", "0 <= h < x.shape[1] - 1 and 0 <= w < x.shape[2] - 1",
         "the last row and column of the image count as outside: h < H, w < W."),
    ),
)  # fmt: skip
