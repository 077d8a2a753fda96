"""Schedules: PyTorch's values to 1e-12, pure functions of the step, errors; and early stopping."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npsoftmax.errors import InputError
from npsoftmax.training.early_stopping import EarlyStopping
from npsoftmax.training.schedules import SCHEDULES, make_schedule

EXAMPLES = {
    "constant": {},
    "step": {"step_size": 2, "gamma": 0.5},
    "cosine": {"floor": 1e-3, "warmup": 3},
    "linear": {},
    "one_cycle": {},
}


def curve(schedule, total):
    return [schedule(step) for step in range(total)]


def torch_curve(make_scheduler, total, lr=0.1):
    """Learning rate and momentum that a PyTorch scheduler, stepped after each batch, gives each step."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr, momentum=0.9)
    scheduler, values = make_scheduler(torch.optim.lr_scheduler, optimizer), []
    for step in range(total):
        values.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        if step < total - 1:
            scheduler.step()
    return values


# ---------------------------------------------------------------- against PyTorch
@pytest.mark.oracle
@pytest.mark.parametrize(
    ("epochs", "options"),
    [
        (100, {}),  # 100 epochs of 313 batches is the published run
        (3, {"pct_start": 0.45, "div_factor": 10.0, "final_div_factor": 100.0}),
        (2, {"base_momentum": 0.7, "max_momentum": 0.9, "pct_start": 0.1}),
    ],
)
def test_one_cycle_as_pytorch(epochs, options):
    def make(schedulers, optimizer):
        return schedulers.OneCycleLR(optimizer, max_lr=0.01, total_steps=313 * epochs, **options)

    ours = curve(make_schedule("one_cycle", 0.01, 313, epochs, **options), 313 * epochs)
    theirs = torch_curve(make, 313 * epochs)
    assert max(abs(a[0] - b[0]) for a, b in zip(ours, theirs, strict=True)) < 1e-12
    assert max(abs(a[1] - b[1]) for a, b in zip(ours, theirs, strict=True)) < 1e-12
    assert ours[0] == pytest.approx(theirs[0], rel=1e-12)
    assert ours[-1] == pytest.approx(theirs[-1], rel=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("total", [1, 2, 3, 4, 7, 11])
def test_one_cycle_as_pytorch_over_a_few_steps(total):
    theirs = torch_curve(lambda s, o: s.OneCycleLR(o, max_lr=0.01, total_steps=total), total)
    for mine, expected in zip(curve(make_schedule("one_cycle", 0.01, total, 1), total), theirs, strict=True):
        assert mine == pytest.approx(expected, rel=1e-12)


@pytest.mark.oracle
def test_step_as_pytorch():
    theirs = torch_curve(lambda s, o: s.StepLR(o, step_size=3 * 5, gamma=0.3), 60)
    ours = curve(make_schedule("step", 0.1, 5, 12, step_size=3, gamma=0.3), 60)
    assert [lr for lr, _ in ours] == pytest.approx([lr for lr, _ in theirs], rel=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("warmup", [0, 7])
def test_cosine_as_pytorch(warmup):
    total = 60
    theirs = torch_curve(lambda s, o: s.CosineAnnealingLR(o, T_max=total - warmup, eta_min=1e-3), total - warmup)
    ours = curve(make_schedule("cosine", 0.1, 5, 12, floor=1e-3, warmup=warmup), total)
    assert [lr for lr, _ in ours[warmup:]] == pytest.approx([lr for lr, _ in theirs], rel=1e-12)


# ---------------------------------------------------------------- by hand
def test_one_cycle_by_hand():
    schedule = make_schedule("one_cycle", 1.0, 10, 10)
    assert schedule(0) == pytest.approx((1 / 25, 0.95))
    assert schedule(29) == pytest.approx((1.0, 0.85))  # .3 · 100 - 1
    assert schedule(64) == pytest.approx(((1 + 1 / 25e4) / 2, 0.9))  # half-way down
    assert schedule(99) == pytest.approx((1 / 25e4, 0.95))


def test_a_rise_of_no_length_starts_at_the_top():
    assert make_schedule("one_cycle", 1.0, 10, 1, pct_start=0.1)(0) == (1.0, 0.85)


def test_one_cycle_may_leave_the_momentum_alone():
    assert {m for _, m in curve(make_schedule("one_cycle", 1.0, 10, 2, cycle_momentum=False), 20)} == {None}


def test_step_by_hand():
    schedule = make_schedule("step", 1.0, 4, 5, step_size=2, gamma=0.1)
    assert [lr for lr, _ in curve(schedule, 20)] == pytest.approx([1.0] * 8 + [0.1] * 8 + [0.01] * 4)


def test_warm_up_rises_linearly_to_the_learning_rate():
    rates = [lr for lr, _ in curve(make_schedule("cosine", 1.0, 10, 2, warmup=4), 20)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[4:]))
    assert rates[12] == pytest.approx(0.5)  # half-way from 4 to 20


def test_linear_by_hand():
    rates = [lr for lr, _ in curve(make_schedule("linear", 1.0, 10, 2, pct_start=0.2), 20)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[12] == pytest.approx(0.5) and rates[-1] == pytest.approx(1 / 16)
    rates = [lr for lr, _ in curve(make_schedule("linear", 2.0, 10, 1, pct_start=0.5, start=0.2, end=0.1), 10)]
    assert rates == pytest.approx([0.72, 1.04, 1.36, 1.68, 2.0, 2.0, 1.64, 1.28, 0.92, 0.56])
    assert make_schedule("linear", 1.0, 4, 1, pct_start=0)(0) == (1.0, None)


# ---------------------------------------------------------------- all of them
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_a_pure_function_of_the_step(name):
    one = make_schedule(name, 0.1, 5, 6, **EXAMPLES[name])
    other = make_schedule(name, 0.1, 5, 6, **EXAMPLES[name])
    forwards = curve(one, 30)
    assert [other(step) for step in reversed(range(30))] == forwards[::-1]
    assert all(0 < lr <= 0.1 + 1e-15 for lr, _ in forwards)
    assert max(lr for lr, _ in forwards) == pytest.approx(0.1)
    assert all((momentum is None) == (name != "one_cycle") for _, momentum in forwards)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("step", [-1, 30])
def test_steps_outside_the_run_are_refused(name, step):
    with pytest.raises(InputError, match=rf"step {step} is outside .*\(0 to 29\)"):
        make_schedule(name, 0.1, 5, 6, **EXAMPLES[name])(step)


@settings(deadline=None)
@given(steps_per_epoch=st.integers(1, 20), epochs=st.integers(1, 20), pct_start=st.floats(0, 0.99))
def test_one_cycle_stays_within_its_bounds(steps_per_epoch, epochs, pct_start):
    total = steps_per_epoch * epochs
    values = curve(make_schedule("one_cycle", 1.0, steps_per_epoch, epochs, pct_start=pct_start), total)
    assert all(4e-6 - 1e-12 <= lr <= 1 + 1e-12 and 0.85 - 1e-12 <= m <= 0.95 + 1e-12 for lr, m in values)
    assert values[-1] == pytest.approx((4e-6, 0.95))


# ---------------------------------------------------------------- errors
def test_an_unknown_schedule_is_named_with_its_neighbours():
    with pytest.raises(InputError, match=r"unknown schedule 'cosin'.*'cosine'.*Known: constant"):
        make_schedule("cosin", 0.1, 5, 6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("constant", {"gamma": 0.1}, "takes no options"),
        ("step", {"gama": 0.1}, "'gamma'"),
        ("step", {"step_size": 0.5}, "a whole number"),
        ("step", {"step_size": 0}, "step_size of the schedule is 0"),
        ("step", {"gamma": 0.0}, "gamma of the schedule is 0.0"),
        ("cosine", {"floor": 0.2}, "floor of the schedule is 0.2"),
        ("cosine", {"warmup": 30}, "from 0 to 29 steps"),
        ("cosine", {"warmup": -1}, "warmup of the schedule is -1"),
        ("one_cycle", {"pct_start": 1.0}, "pct_start of the schedule is 1.0"),
        ("one_cycle", {"div_factor": 0}, "div_factor of the schedule"),
        ("one_cycle", {"final_div_factor": -1.0}, "final_div_factor of the schedule"),
        ("one_cycle", {"max_momentum": 1.0}, "max_momentum of the schedule"),
        ("one_cycle", {"base_momentum": 0.96}, "base_momentum of the schedule"),
    ],
)
def test_wrong_options(name, options, message):
    with pytest.raises(InputError, match=message):
        make_schedule(name, 0.1, 5, 6, **options)


@pytest.mark.parametrize(
    ("lr", "steps_per_epoch", "epochs", "message"),
    [
        (0.0, 5, 6, "learning rate"),
        (float("inf"), 5, 6, "learning rate"),
        (float("nan"), 5, 6, "learning rate"),
        (0.1, 0, 6, "steps_per_epoch"),
        (0.1, 5, 0, "epochs"),
    ],
)
def test_wrong_runs(lr, steps_per_epoch, epochs, message):
    with pytest.raises(InputError, match=message):
        make_schedule("constant", lr, steps_per_epoch, epochs)


# ---------------------------------------------------------------- early stopping
@pytest.mark.parametrize(
    ("options", "values", "stops"),
    [
        ({"patience": 2}, [0.1, 0.3, 0.2, 0.3, 0.4], 3),  # an equal value is no improvement
        ({"patience": 2}, [0.1, 0.3, 0.2, 0.4, 0.3], None),
        ({"patience": 1, "mode": "min"}, [2.0, 1.0, 1.5], 2),
        ({"patience": 2, "min_delta": 0.1}, [0.5, 0.55, 0.59], 2),
        ({"patience": 2, "min_delta": 0.1, "mode": "min"}, [0.5, 0.45, 0.3, 0.25], None),
        ({"patience": 2}, [0.5, float("nan"), float("nan")], 2),
        ({"patience": 2}, [float("nan"), 0.1, 0.2], None),
    ],
)
def test_early_stopping(options, values, stops):
    stopping = EarlyStopping(**options)
    said = [stopping.update(value) for value in values]
    assert (said.index(True) if True in said else None) == stops


def test_early_stopping_goes_on_where_it_was():
    first = EarlyStopping(3)
    fresh = json.dumps(first.state())
    for value in (0.5, 0.4):
        first.update(value)
    second = EarlyStopping(3)
    second.load_state(json.loads(json.dumps(first.state())))
    assert [second.update(0.4), second.update(0.4)] == [False, True]
    second.load_state(json.loads(fresh))
    assert second.update(0.1) is False and second.best == 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 0}, "patience of early stopping is 0"),
        ({"patience": 1, "min_delta": -0.1}, "min_delta of early stopping is -0.1"),
        ({"patience": 1, "mode": "maximum"}, "unknown mode of early stopping 'maximum'"),
    ],
)
def test_wrong_early_stopping(options, message):
    with pytest.raises(InputError, match=message):
        EarlyStopping(**options)
