"""`npsoftmax bench`: how fast npsoftmax is on this machine, beside PyTorch where that is installed.

Design: two frameworks in one process slow each other down with their thread pools, and a machine's speed drifts. So
every measurement runs in a fresh process with a fixed number of threads (`workers`), all sides take turns in each
round (`turns`), and what is shown is the median over the rounds with its spread (`report`).

* `step` and `memory`: whole training steps of the models in `networks` and of their PyTorch twins in `twins`.
* `layers`: each layer of a network on its own; `our_layers` and `torch_layers` do the work.
* `ceiling`: what the machine can do at best; `roofline` draws both together.
"""
