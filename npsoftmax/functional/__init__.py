"""All the mathematics, as pure pairs: `thing_forward(...) -> y, cache`, right below it `thing_backward(dy, cache)`.

One readable algorithm a pair, for any array type. No pair changes what it is given. A word in the name says how a pair
differs from the readable one, whose numbers it gives:

* `thing_fused`: in one pass over memory, or as few as can be; what trains. A kernel does it.
* `thing_threaded`: its products run on all threads.
* `thing_tiled`: a tile at a time, so that what lies between is never whole in memory.
* `thing_relu`: it and max(y, 0) behind it, in the same pass.

Arrays are NumPy's or CuPy's. `npsoftmax.any_array` makes of every function here one for the arrays of any library with
the Python array API, and for tensors of PyTorch: `any_array(softmax_forward)`. Without it they become NumPy's here.

What a pair may be given (types, shapes, empty batches) is one rule for all, told in `npsoftmax/arguments.py`: each
begins with it, or leaves the shapes to the face of the kernel that it calls.

Where a readable pair has another file than what trains: `softmax_attention` beside `attention` and `multi_head`,
`two_level` and `adaptive` beside the heads of these names.
"""
