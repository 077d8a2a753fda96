"""Steps that go wrong in a5: two levels, clusters and samples."""

from __future__ import annotations

from npsoftmax.grading.mistakes.base import steps

STEPS = (
    steps(
        """
        def two_level_loss_forward(z_group, z_class, t, group):
            rows, g = np.arange(len(t)), group[t]
            inside = group == g[:, None]
            log_g = log_softmax(z_group)[rows, g]
            s = np.where(inside, z_class, -np.inf)
            log_c = log_softmax(s)[rows, t]
            loss = -(log_g + log_c).mean()
            inside = group == group[t][:, None]
            p_class = np.exp(log_softmax(np.where(inside, z_class, -np.inf)))
            return loss, (np.exp(log_softmax(z_group)), p_class, t, group[t])


        def log_softmax(z):
            s = z - z.max(axis=-1, keepdims=True)
            return s - np.log(np.exp(s).sum(axis=-1, keepdims=True))
        """,
        ("-(log_g + log_c).mean()", "-log_g.mean() - log_c.sum()",
         "the class's part is summed over the samples; it is their mean."),
        ("-(log_g + log_c).mean()", "-log_g.sum() - log_c.mean()",
         "the group's part is summed over the samples; it is their mean."),
        ("-(log_g + log_c).mean()", "-(log_g + log_c).sum()",
         "the loss is summed over the N = {N} samples; it is their mean."),
        ("-(log_g + log_c).mean()", "(log_g + log_c).mean()", "the minus is missing: the loss is -log p."),
        ("-(log_g + log_c).mean()", "-(log_g * log_c).mean()", "the two logarithms are multiplied; add them."),
        ("-(log_g + log_c).mean()", "-(log_g - log_c).mean()", "log p of the class is subtracted; add both."),
        ("-(log_g + log_c).mean()", "-(log_g + log_c).mean() / 2",
         "the mean of both losses was taken; it is their sum."),
        ("-(log_g + log_c).mean()", "-(log_g + log_c)", "the mean is missing: one loss a sample came back."),
        ("-(log_g + log_c).mean()", "-np.log(np.exp(log_g) + np.exp(log_c)).mean()",
         "the probabilities are added; they are multiplied, so add their logarithms."),
        ("-(log_g + log_c).mean()", "-np.exp(log_g + log_c).mean()",
         "the logarithm is missing: this is minus the mean probability."),
        ("-(log_g + log_c).mean()", "-(log_g + log_c).mean() / np.log(2)",
         "the logarithm is to the base 2; np.log is the natural one."),
    ),
    steps(
        """
        def two_level_loss_backward(dloss, cache):
            p_group, p_class, t, g = cache
            n, rows = len(t), np.arange(len(t))
            dz_group, dz_class = p_group.copy(), p_class.copy()
            dz_group[rows, g] -= 1
            dz_class[rows, t] -= 1
            return dz_group * dloss / n, dz_class * dloss / n
        """,
        ("dz_group * dloss / n, dz_class * dloss / n", "dz_class * dloss / n, dz_group * dloss / n",
         "dz_group and dz_class are exchanged: they come back as dz_group, dz_class."),
        ("* dloss / n", "* dloss / dz_group.size", "it is divided by N·G; the mean is over the N = {N} samples."),
        ("dz_group * dloss / n", "dz_group * dloss",
         "the 1/N is missing in dz_group: the loss is a mean over the N = {N} samples."),
        ("dz_class * dloss / n", "dz_class * dloss",
         "the 1/N is missing in dz_class: the loss is a mean over the N = {N} samples."),
        ("dz_group * dloss / n", "-dz_group * dloss / n", "the sign of dz_group is flipped: it is p - onehot."),
        ("dz_class * dloss / n", "-dz_class * dloss / n", "the sign of dz_class is flipped: it is p - onehot."),
        ("* dloss", "* 1.0", "dloss is not used: the gradient that comes from above multiplies everything."),
        ("dz_group[rows, g] -= 1", "dz_group[:, g] -= 1",
         "dz_group[:, g] changes the columns of ALL groups in every row: dz_group[rows, g]."),
        ("dz_class[rows, t] -= 1", "dz_class[:, t] -= 1",
         "dz_class[:, t] changes the columns of ALL labels in every row: dz_class[rows, t]."),
        ("dz_class[rows, t] -= 1", "dz_class[rows, g] -= 1",
         "in dz_class the 1 was subtracted at the group's number; it belongs to the label, t."),
        ("dz_group[rows, g] -= 1", "dz_group[rows, g] += 1",
         "in dz_group the 1 is added at the target's group; it is subtracted."),
        ("dz_class[rows, t] -= 1", "dz_class[rows, t] += 1",
         "in dz_class the 1 is added at the target; it is subtracted."),
        ("dz_class[rows, t] -= 1", "dz_class[rows, t] -= 1; dz_class -= p_class * 0 + (p_class == 0)",
         "outside the group dz_class is -1; it is 0."),
        ("dz_class = p_group.copy(), p_class.copy()", "dz_class = p_group.copy(), p_class * p_group[rows, g][:, None]",
         "dz_class is multiplied by the probability of the group; given the group, it is p_class - onehot."),
    ),
    steps(
        """
        def adaptive_loss_forward(h, w_head, proj, w_tail, t, cutoff):
            n = len(t)
            log_head = log_softmax(h @ w_head.T)
            tail = np.flatnonzero(t >= cutoff)
            inner, place, tails = tail, np.minimum(t, cutoff), t[tail] - cutoff
            low = h[inner] @ proj.T
            log_tail = log_softmax(low @ w_tail.T)
            log_p = log_head[np.arange(n), place]
            log_t = log_tail[np.arange(len(inner)), tails]
            loss = -(log_p.sum() + log_t.sum()) / n
            tail = np.flatnonzero(t >= cutoff)
            low = h[tail] @ proj.T
            p_head, p_tail = np.exp(log_softmax(h @ w_head.T)), np.exp(log_softmax(low @ w_tail.T))
            return loss, (h, w_head, proj, w_tail, t, cutoff, tail, low, p_head, p_tail)


        def log_softmax(z):
            s = z - z.max(axis=-1, keepdims=True)
            return s - np.log(np.exp(s).sum(axis=-1, keepdims=True))
        """,
        ("tail = np.flatnonzero(t >= cutoff)\n    inner", "tail = np.flatnonzero(t > cutoff)\n    inner",
         "the label that equals cutoff is left out of the tail: t >= cutoff, with equality."),
        ("np.minimum(t, cutoff)", "np.minimum(t, cutoff - 1)",
         "rare classes went to the last FREQUENT class, cutoff - 1; the cluster is column cutoff."),
        ("t[tail] - cutoff\n", "np.maximum(t[tail] - cutoff - 1, 0)\n",
         "the classes of the tail are counted from cutoff + 1; they are t - cutoff."),
        ("t[tail] - cutoff\n", "(t[tail] - cutoff + 1) % len(w_tail)\n",
         "the classes of the tail are off by one, t - cutoff + 1; they are t - cutoff."),
        ("t[tail] - cutoff\n", "t[tail] % len(w_tail)\n",
         "the classes of the tail are numbered by t; they are t - cutoff."),
        ("-(log_p.sum() + log_t.sum()) / n", "-(log_p.sum() + log_t.sum())",
         "the loss is summed over the N = {N} samples; it is their mean."),
        ("-(log_p.sum() + log_t.sum()) / n", "(log_p.sum() + log_t.sum()) / n",
         "the minus is missing: the loss is -log p."),
        ("-(log_p.sum() + log_t.sum()) / n", "-(log_p.sum() + log_t.sum()) / (n + len(inner))",
         "it is divided by the number of all decisions; the mean is over the N = {N} samples."),
        ("-(log_p.sum() + log_t.sum()) / n", "-(log_p.sum() - log_t.sum()) / n",
         "log p inside the cluster is subtracted; add both."),
        ("-(log_p.sum() + log_t.sum()) / n", "-log_p.sum() / n - log_t.sum()",
         "the tail's part is not divided by N = {N}."),
        ("-(log_p.sum() + log_t.sum()) / n", "-log_p.sum() - log_t.sum() / n",
         "the head's part is not divided by N = {N}."),
        ("-(log_p.sum() + log_t.sum()) / n", "-(log_p.sum() + log_t.sum()) / n / np.log(2)",
         "the logarithm is to the base 2; np.log is the natural one."),
    ),
    steps(
        """
        def adaptive_loss_backward(dloss, cache):
            h, w_head, proj, w_tail, t, cutoff, tail, low, p_head, p_tail = cache
            n, m = len(t), len(tail)
            a, b = p_head / n, p_tail / n
            a[np.arange(n), np.minimum(t, cutoff)] -= 1 / n
            b[np.arange(m), t[tail] - cutoff] -= 1 / n
            a, b = a * dloss, b * dloss
            dlow = b @ w_tail
            dh = a @ w_head
            dh[tail] += dlow @ proj
            dw_head = a.T @ h
            dproj = dlow.T @ h[tail]
            dw_tail = b.T @ low
            return dh, dw_head, dproj, dw_tail
        """,
        ("dh[tail] += dlow", "dh[tail] = dlow",
         "the tail's share of dh was assigned (=): rows of the tail get BOTH shares (+=)."),
        ("dh = a @ w_head", "dh = 0 * h", "the head's share of dh is missing: dz_head @ w_head, for all rows."),
        ("dh[tail] += dlow", "dh[tail] -= dlow", "the tail's share of dh is subtracted; add it."),
        ("b[np.arange(m), t[tail] - cutoff] -= 1 / n", "pass",
         "in dz of the tail the target is not subtracted: p - onehot."),
        ("a[np.arange(n), np.minimum(t, cutoff)] -= 1 / n", "pass",
         "in dz of the head the target is not subtracted: p - onehot."),
        ("np.minimum(t, cutoff)]", "np.minimum(t, cutoff - 1)]",
         "rare classes went to the last FREQUENT class, cutoff - 1; the cluster is column cutoff."),
        ("t[tail] - cutoff]", "np.maximum(t[tail] - cutoff - 1, 0)]",
         "the classes of the tail are counted from cutoff + 1; they are t - cutoff."),
        ("a, b = a * dloss, b * dloss", "a, b = a * dloss, b", "dloss is not used in the tail."),
        ("a, b = a * dloss, b * dloss", "a, b = a, b",
         "dloss is not used: the gradient that comes from above multiplies everything."),
        ("a, b = a * dloss, b * dloss", "a, b = a * dloss * n, b * dloss * n",
         "the 1/N is missing: the loss is a mean over the N = {N} samples."),
        ("a, b = a * dloss, b * dloss", "a, b = a * dloss, b * dloss * n",
         "the 1/N is missing in the tail: the loss is a mean over the N = {N} samples."),
        ("a, b = a * dloss, b * dloss", "a, b = -a * dloss, -b * dloss", "the sign is flipped: dz is p - onehot."),
        ("return dh, dw_head, dproj, dw_tail", "return dh, dw_head, dw_tail, dproj",
         "dproj and dw_tail are exchanged: dh, dw_head, dproj, dw_tail."),
        ("return dh, dw_head, dproj, dw_tail", "return dh, dw_head.T, dproj, dw_tail",
         "dw_head is transposed: it has the shape of w_head, dz_headᵀ @ h."),
        ("return dh, dw_head, dproj, dw_tail", "return dh, dw_head, dproj.T, dw_tail",
         "dproj is transposed: it has the shape of proj, dlowᵀ @ h[tail]."),
        ("return dh, dw_head, dproj, dw_tail", "return dh, dw_head, dproj, dw_tail.T",
         "dw_tail is transposed: it has the shape of w_tail, dz_tailᵀ @ low."),
        ("dlow.T @ h[tail]", "dlow.T @ h[: len(tail)]",
         "dproj has the first rows of h; it has those of the tail, h[tail]."),
    ),
    steps(
        """
        def sampled_loss_forward(h, w, b, t, drawn, log_expected):
            n = len(t)
            z_t = (h * w[t]).sum(axis=1) + b[t]
            z = h @ w[drawn].T + b[drawn]
            z = z - log_expected
            z = np.where(drawn == t[:, None], -np.inf, z)
            z_t = z_t
            log_p = log_softmax(np.concatenate([z_t[:, None], z], axis=1))
            loss = -log_p[:, 0].sum() / n
            return loss, sampled(h, w, b, t, drawn, log_expected)


        def log_softmax(z):
            s = z - z.max(axis=1, keepdims=True)
            return s - np.log(np.exp(s).sum(axis=1, keepdims=True))


        def sampled(h, w, b, t, drawn, log_expected):
            z_t = (h * w[t]).sum(axis=1) + b[t]
            z = np.where(drawn == t[:, None], -np.inf, h @ w[drawn].T + b[drawn] - log_expected)
            return h, w, t, drawn, np.exp(log_softmax(np.concatenate([z_t[:, None], z], axis=1)))
        """,
        ("z = h @ w[drawn].T + b[drawn]\n", "z = h @ w[drawn].T\n", "the bias of the drawn classes is forgotten."),
        ("(h * w[t]).sum(axis=1) + b[t]\n", "(h * w[t]).sum(axis=1)\n", "the bias of the target is forgotten."),
        ("z_t = z_t\n", "z_t = z_t - b[t]; z = z - b[drawn]\n", "the biases are forgotten: z = h @ wᵀ + b."),
        ("z_t = z_t\n", "z_t = z_t - log_expected[0]\n",
         "a log_expected is subtracted from the target's score too; its own correction is log 1 = 0."),
        ("z = z - log_expected\n", "z = z - np.exp(log_expected)\n",
         "e^log_expected is subtracted; it is the logarithm, as it comes."),
        ("z = z - log_expected\n", "z = z / np.exp(log_expected)\n",
         "the scores are divided by how often they are expected; subtract the logarithm."),
        ("z = z - log_expected\n", "z = z - np.log(np.abs(log_expected))\n",
         "the logarithm was taken again; log_expected is one already."),
        ("np.where(drawn == t[:, None], -np.inf, z)\n", "np.where(drawn == t[:, None], 0.0, z)\n",
         "a drawn target got the score 0, and e^0 = 1 still counts: -∞."),
        ("np.where(drawn == t[:, None], -np.inf, z)\n", "np.where(np.isin(drawn, t), -np.inf, z)\n",
         "a class that is the target of ANY sample is left out in all rows; leave it out only in the rows whose "
         "target it is."),
        ("-log_p[:, 0].sum() / n", "-log_p[:, 0].sum()",
         "the loss is summed over the N = {N} samples; it is their mean."),
        ("-log_p[:, 0].sum() / n", "log_p[:, 0].sum() / n", "the minus is missing: the loss is -log p of the target."),
        ("-log_p[:, 0].sum() / n", "-log_p[:, -1].sum() / n", "the last column was taken; the target's is column 0."),
        ("-log_p[:, 0].sum() / n", "-np.where(np.isfinite(log_p), log_p, 0).mean()",
         "all columns were averaged; the loss is that of the target, column 0."),
        ("-log_p[:, 0].sum() / n", "-log_p[:, 0].sum() / log_p.size",
         "it is divided by N · (1 + S); the mean is over the N = {N} samples."),
        ("-log_p[:, 0].sum() / n", "-log_p[:, 0]", "the mean is missing: one loss a sample came back."),
        ("-log_p[:, 0].sum() / n", "-log_p[:, 0].sum() / n / np.log(2)",
         "the logarithm is to the base 2; np.log is the natural one."),
        ("-log_p[:, 0].sum() / n", "-np.exp(log_p[:, 0]).sum() / n",
         "the logarithm is missing: this is minus the mean probability of the target."),
    ),
    steps(
        """
        def sampled_loss_backward(dloss, cache):
            h, w, t, drawn, p = cache
            n = len(t)
            dz = p.copy()
            dz[:, 0] -= 1
            dz = dz * dloss / n
            dw, db = np.zeros(w.shape), np.zeros(len(w))
            dw[drawn] += dz[:, 1:].T @ h
            db[drawn] += dz[:, 1:].sum(axis=0)
            np.add.at(dw, t, dz[:, :1] * h)
            np.add.at(db, t, dz[:, 0])
            dh = dz[:, :1] * w[t] + dz[:, 1:] @ w[drawn]
            return dh, dw, db
        """,
        ("dz[:, 0] -= 1", "pass",
         "the 1 of the target is not subtracted: dz is p - onehot, with the target in column 0."),
        ("dz[:, 0] -= 1", "dz[:, 0] += 1", "the 1 of the target is added; dz is p - onehot."),
        ("dz[:, 0] -= 1", "dz[:, -1] -= 1", "the 1 was subtracted in the last column; the target's is column 0."),
        ("dz[:, 0] -= 1", "dz -= 1", "1 was subtracted everywhere; only the target, column 0, gets it."),
        ("dz[:, 0] -= 1", "dz[np.arange(n), t % dz.shape[1]] -= 1",
         "the 1 was subtracted in column t; the target's is column 0 here."),
        ("dz * dloss / n", "dz * dloss / dz.size",
         "it is divided by N · (1 + S); the mean is over the N = {N} samples."),
        ("dz * dloss / n", "dz / n", "dloss is not used: the gradient that comes from above multiplies everything."),
        ("dz * dloss / n", "-dz * dloss / n", "the sign is flipped: dz is p - onehot."),
        ("    np.add.at(dw, t, dz[:, :1] * h)\n    np.add.at(db, t, dz[:, 0])\n", "",
         "the targets' share is missing in dw and db."),
        ("    np.add.at(dw, t, dz[:, :1] * h)\n", "    dw[t] += dz[:, :1] * h\n",
         "dw[t] += … counts a label that occurs twice once only: np.add.at adds all."),
        ("    np.add.at(db, t, dz[:, 0])\n", "    db[t] += dz[:, 0]\n",
         "db[t] += … counts a label that occurs twice once only: np.add.at adds all."),
        ("    np.add.at(dw, t, dz[:, :1] * h)\n    np.add.at(db, t, dz[:, 0])\n",
         "    dw[t] = dz[:, :1] * h\n    db[t] = dz[:, 0]\n",
         "dw[t] = … overwrites what the drawn classes left there, and repeated labels: np.add.at adds all."),
        ("    np.add.at(dw, t, dz[:, :1] * h)\n", "    np.add.at(dw, t, dz[:, :1] * w[t])\n",
         "the targets' share of dw has w[t]; it has h."),
        ("dw[drawn] += dz[:, 1:].T @ h", "pass", "the drawn classes' share is missing in dw."),
        ("db[drawn] += dz[:, 1:].sum(axis=0)", "pass", "the drawn classes' share is missing in db."),
        ("db[drawn] += dz[:, 1:].sum(axis=0)", "db[drawn] += dz[:, 1:].mean(axis=0)",
         "the drawn classes' share of db is a mean; it is a sum over the samples."),
        ("dz[:, :1] * w[t] + dz[:, 1:] @ w[drawn]", "dz[:, :1] * w[t]",
         "the drawn classes' share of dh is missing: add dz @ w[drawn]."),
        ("dz[:, :1] * w[t] + dz[:, 1:] @ w[drawn]", "dz[:, :1] * w[t] - dz[:, 1:] @ w[drawn]",
         "the drawn classes' share of dh is subtracted; add it."),
        ("return dh, dw, db", "return dh, dw[drawn], db[drawn]",
         "dw and db have only the rows that were drawn; they have all C = {C} rows."),
        ("return dh, dw, db", "return dw, dh, db", "dh and dw are exchanged: they come back as dh, dw, db."),
        ("    dw, db = np.zeros(w.shape), np.zeros(len(w))\n", "    dw, db = w.copy(), np.zeros(len(w))\n",
         "dw starts from w; it starts from zeros."),
        ("    dh = dz", "    dw[drawn], db[drawn] = dz[:, 1:].T @ h, dz[:, 1:].sum(axis=0)\n    dh = dz",
         "dw[drawn] = … overwrites the share of a target that was drawn too: add it (+=)."),
    ),
)  # fmt: skip
