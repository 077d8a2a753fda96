"""What to say when a step does not fit the memory of a device."""

from __future__ import annotations

from pathlib import Path

from npsoftmax.training.session import Session


def fitting_batch_size(session: Session) -> int | None:
    """The largest half, quarter, … of the batch size of which a step fits the device: found by trying. None if none.

    The running averages of batch norm are changed by it.
    """
    size = session.config.batch_size // 2
    while size and not _fits(session, size):
        size //= 2
    return size or None


def _fits(session: Session, size: int) -> bool:
    session.backend.free_memory()
    x, t, samples = next(session.train.epoch(0))
    rng = session.rng.child("noise").at(0, samples[:size])
    try:
        _, cache = session.model.loss(x[:size], t[:size], train=True, rng=rng)
        session.model.backward(cache)
        session.backend.synchronize()
    except session.backend.out_of_memory:
        return False
    return True


def out_of_memory_message(session: Session, run: Path, graphs: bool) -> str:
    """A sentence with what would fit: found by trying, where no other process would have to try too.

    graphs: whether steps were graphs, which hold memory beside that of a shorter last batch and of evaluation.
    """
    config, size = session.config, session.group.size
    start = f"a step of --batch-size {config.batch_size} does not fit the memory of device {session.backend.device}. "
    if size > 1:
        return start + f"{size} processes share it; choose a smaller one, or more processes. Saved before: {run}."
    fitting = fitting_batch_size(session)
    if fitting is None:
        return start + "Not even one image does; choose a smaller model, or --backend numpy."
    by_hand = ", and perhaps this one without the memory of graphs: --no-graph" if graphs else ""
    return start + f"--batch-size {fitting} does (tried){by_hand}. What was saved before stands in {run}."
