"""See inside: what `npsoftmax look` shows of a network, a head, a gradient and a run.

Design: the page asks, the library computes. `subject` opens a run, `trace` records what its layers see, `units`,
`gradients`, `heads`, `trees` and `charts` each answer one kind of question as plain values, and `server` hands them to
a page of plain JavaScript in `page/`, on this machine and to nobody else.
"""
