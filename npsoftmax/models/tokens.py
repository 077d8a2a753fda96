"""A network over a window of words: their vectors, side by side, go through dense layers."""

from __future__ import annotations

from npsoftmax.errors import InputError
from npsoftmax.layers import Dense, Dropout, Embedding, Flatten, Layer, ReLU, Sequential
from npsoftmax.models.trunks import logits_layers
from npsoftmax.random import Rng, check_rng


def token_mlp(
    input_shape: tuple[int, ...],
    *,
    rng: Rng,
    words: int = 10_002,
    embedding: int = 64,
    hidden: tuple[int, ...] = (128,),
    dropout: float = 0.0,
    init: str = "default",
    logits: int | None = None,
    relu_logits: bool = False,
) -> Sequential:
    """Each word of the window a row of one table; the rows side by side; a dense layer and a ReLU for each of `hidden`.

    Takes windows (T,) of whole numbers below `words`, which `npsoftmax train` sets to what the data has. embedding:
    length of a row; dropout: of what the head gets.
    Source: Bengio et al., "A neural probabilistic language model", 2003, with ReLU for tanh.
    """
    check_rng(rng)
    if len(input_shape) != 1:
        raise InputError(
            f"model token_mlp takes windows of words, shape (T,), not samples of shape {input_shape}; for images try "
            "--model convnet, for words --data stdlib_tokens."
        )
    layers: dict[str, Layer] = {
        "embedding": Embedding(words, embedding, rng=rng.child("embedding")),
        "flatten": Flatten(),
    }
    features = input_shape[0] * embedding
    for number, width in enumerate(hidden, start=1):
        layers[f"fc{number}"] = Dense(features, width, rng=rng.child(f"fc{number}"), init=init)
        layers[f"relu{number}"] = ReLU()
        features = width
    if dropout != 0:  # Dropout refuses what is no probability
        layers["dropout"] = Dropout(dropout)
    return Sequential(**layers, **logits_layers(features, logits, relu_logits, rng))
