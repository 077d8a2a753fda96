"""im2col in Cython's pure-Python mode: it runs in Python as it is, and `npsoftmax grade` compiles it.

Replace each `raise NotImplementedError`, then type

    npsoftmax grade a3

The page that goes with it: README.md in this folder.
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
    raise NotImplementedError("a3 im2col_cython")  # fill cols, return nothing
