"""A model of PyTorch on one batch. PyTorch is imported here alone, and only where it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from npsoftmax.diagnosis.batch import examine_batch
from npsoftmax.diagnosis.findings import Diagnosis, Finding


def doctor_torch(
    model: Any,
    inputs: Any,
    labels: Any,
    loss_function: Callable[[Any, Any], Any],
    optimizer: Any = None,
    *,
    all_classes: bool = False,
) -> Diagnosis:
    """Evaluate a PyTorch model twice on one batch, and say what its outputs, its loss and its optimiser show.

    outputs = model(inputs) in evaluation mode, loss = loss_function(outputs, labels); both have to be what the training
    does. optimizer: one, or a list of all of them: whether they have been given all parameters that want a gradient.
    The model is left as it was.
    """
    import torch

    was_training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            outputs, again = model(inputs), model(inputs)
            loss = loss_function(outputs, labels)
    finally:
        for module, training in was_training:
            module.training = training
    found = examine_batch(outputs, labels, loss, again=again, all_classes=all_classes)
    return found if optimizer is None else found + _given_to(optimizer, model)


def _given_to(optimizer: Any, model: Any) -> Diagnosis:
    """Whether every parameter that wants a gradient is in a group of the optimiser, or of one of several."""
    several = isinstance(optimizer, (list, tuple))
    groups = [group for one in (optimizer if several else [optimizer]) for group in one.param_groups]
    known = {id(parameter) for group in groups for parameter in group["params"]}
    wanting = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    left = [name for name, parameter in wanting.items() if id(parameter) not in known]
    who = "Optimisers: they were" if several else "Optimiser: it was"
    fact = f"{who} given {len(wanting) - len(left)} of the {len(wanting)} parameters that want a gradient."
    second = "" if several else " (If there is a second one, give both: [first, second].)"
    evidence = f"{', '.join(left)}: requires_grad is True, and no group of the optimiser has it.{second}"
    found = (Finding("untrained_parameters", True, evidence),) if left else ()
    return Diagnosis((fact,), found, frozenset({"untrained_parameters"}))
