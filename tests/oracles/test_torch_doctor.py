"""`doctor_torch` on models of PyTorch, wired rightly and wrongly."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax import doctor, doctor_torch

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

nn, functional = torch.nn, torch.nn.functional


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(32, 6, generator=generator), torch.arange(32) % 20


def network(*last):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 20), *last)


def wide(model):
    """Scores further from each other than those of a new network."""
    with torch.no_grad():
        model[2].weight *= 20
    return model


WIRINGS = {
    "right": (network(), nn.CrossEntropyLoss(), ()),
    "log-softmax and NLL": (network(nn.LogSoftmax(dim=1)), nn.NLLLoss(), ()),
    "a label smoothed": (network(), nn.CrossEntropyLoss(label_smoothing=0.1), ()),
    "class weights": (network(), nn.CrossEntropyLoss(weight=torch.linspace(0.1, 3, 20)), ()),
    "hinge": (network(), nn.MultiMarginLoss(), ()),
    "softmax twice": (network(nn.Softmax(dim=1)), nn.CrossEntropyLoss(), ("double_softmax",)),
    "NLL of probabilities": (network(nn.Softmax(dim=1)), nn.NLLLoss(), ("probabilities_for_logarithms",)),
    "NLL of scores": (network(), nn.NLLLoss(reduction="none"), ("scores_for_logarithms",)),
    "the batch's axis": (network(nn.LogSoftmax(dim=0)), nn.NLLLoss(), ("batch_axis",)),
}


@pytest.mark.parametrize("wiring", WIRINGS)
def test_a_model_is_read_as_it_is_wired(wiring, batch):
    model, loss_function, named = WIRINGS[wiring]
    model = wide(model).train()
    told = doctor_torch(model, *batch, loss_function, torch.optim.SGD(model.parameters(), lr=0.1))
    assert told.named == named
    assert model.training and model[0].training


def test_dropout_that_stays_on_is_noise_in_evaluation(batch):
    class Always(nn.Module):
        def forward(self, x):
            return functional.dropout(x, 0.5)  # training=True is its default

    told = doctor_torch(nn.Sequential(*network()[:2], Always(), network()[2]), *batch, nn.CrossEntropyLoss())
    assert told.named == ("noise_in_evaluation",)
    assert doctor_torch(network(nn.Dropout()), *batch, nn.CrossEntropyLoss()).named == ()


def test_a_head_that_the_optimiser_was_not_given_is_named(batch):
    model = network()
    told = doctor_torch(model, *batch, nn.CrossEntropyLoss(), torch.optim.SGD(model[0].parameters(), lr=0.1))
    assert told.named == ("untrained_parameters",) and "2.weight, 2.bias" in str(told)
    for parameter in model[2].parameters():
        parameter.requires_grad = False  # frozen on purpose
    told = doctor_torch(model, *batch, nn.CrossEntropyLoss(), torch.optim.SGD(model[0].parameters(), lr=0.1))
    assert told.named == ()


def test_tensors_are_taken_with_their_gradients_and_in_bfloat16(batch):
    x, y = batch
    outputs = wide(network())(x)
    losses = nn.CrossEntropyLoss(reduction="none")(outputs, y)
    assert "cross entropy" in doctor(outputs, y, losses).facts[-1]
    assert doctor(outputs.bfloat16(), y, losses.mean()).named == ()


def test_state_dicts_are_snapshots():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        model[0].weight += 1
    told = doctor(before=before, after=model.state_dict())
    assert told.named == ("untrained_parameters",) and "2.weight: 240 numbers" in str(told)
    np.testing.assert_array_equal(before["2.weight"], model.state_dict()["2.weight"])


def test_two_optimisers_together_have_all_parameters(batch):
    model, loss = network(), nn.CrossEntropyLoss()
    first = torch.optim.SGD(model[0].parameters(), 0.1)
    second = torch.optim.Adam(model[2].parameters())
    assert doctor_torch(model, *batch, loss, [first, second]).named == ()
    told = doctor_torch(model, *batch, loss, first)
    assert told.named == ("untrained_parameters",)
    assert "[first, second]" in str(told)


def test_probabilities_in_bfloat16_are_known_as_such_and_prove_nothing(batch):
    x, y = batch
    p = wide(network())(x).softmax(1).detach()
    told = doctor(p.bfloat16(), y, functional.cross_entropy(p.bfloat16().float(), y, reduction="none"))
    assert "probabilities" in told.facts[0]
    assert told.named == ()
    assert told.possible == ("double_softmax",)
