"""im2col in Cython's pure-Python mode: the same file runs in Python as it is, and compiled some hundred times as fast.

The library's own kernel is `_im2col.pyx`, which adds threads and float32. This one is the exercise of assignment a3:
it is imported by the grader alone, since it needs Cython.
"""

import cython


@cython.boundscheck(False)
@cython.wraparound(False)
def im2col_cython(
    x: cython.double[:, :, :, ::1],
    cols: cython.double[:, ::1],
    kh: cython.Py_ssize_t,
    kw: cython.Py_ssize_t,
    sh: cython.Py_ssize_t,
    sw: cython.Py_ssize_t,
    ph: cython.Py_ssize_t,
    pw: cython.Py_ssize_t,
    oh: cython.Py_ssize_t,
    ow: cython.Py_ssize_t,
) -> None:
    """Write the columns of `im2col` into `cols`, number by number: in compiled code loops cost nothing.

    x (N, H, W, C), cols (N·OH·OW, KH·KW·C): row n·OH·OW + i·OW + j is the window at (i, j) of image n, and column
    (u·KW + v)·C + c of it is x[n, i·SH + u - PH, j·SW + v - PW, c], or 0 where that lies outside the image.
    """
    n: cython.Py_ssize_t
    i: cython.Py_ssize_t
    j: cython.Py_ssize_t
    u: cython.Py_ssize_t
    v: cython.Py_ssize_t
    c: cython.Py_ssize_t
    h: cython.Py_ssize_t
    w: cython.Py_ssize_t
    row: cython.Py_ssize_t = 0
    column: cython.Py_ssize_t
    for n in range(x.shape[0]):
        for i in range(oh):
            for j in range(ow):
                column = 0
                for u in range(kh):
                    h = i * sh + u - ph
                    for v in range(kw):
                        w = j * sw + v - pw
                        for c in range(x.shape[3]):
                            if 0 <= h < x.shape[1] and 0 <= w < x.shape[2]:
                                cols[row, column] = x[n, h, w, c]
                            else:
                                cols[row, column] = 0.0
                            column += 1
                row += 1
