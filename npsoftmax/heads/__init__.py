"""Softmax heads. `HEADS` is the table that the command line, the tests and the documentation run over."""

from npsoftmax.errors import unknown_name
from npsoftmax.heads.adaptive import AdaptiveHead
from npsoftmax.heads.arcface import ArcFaceHead
from npsoftmax.heads.base import ClassInfo, Head, LegacyWiringWarning, top_k
from npsoftmax.heads.cosine import CosineHead
from npsoftmax.heads.flat import FlatHead, LogSoftmaxHead, SoftmaxHead
from npsoftmax.heads.focal import FocalHead, GeneralisedCrossEntropyHead
from npsoftmax.heads.gumbel import GumbelSoftmaxHead, LogGumbelSoftmaxHead
from npsoftmax.heads.harmonic import HarmonicHead
from npsoftmax.heads.hierarchical import HierarchicalHead
from npsoftmax.heads.imbalance import BalancedHead, LDAMHead
from npsoftmax.heads.legacy_flat import (
    LegacyBatchAxisSoftmaxHead,
    LegacyDoubleGumbelHead,
    LegacyDoubleSoftmaxHead,
    LegacyNLLOnProbabilitiesHead,
    LegacySoftmax1UnshiftedHead,
    LegacyTaylorUnloggedHead,
)
from npsoftmax.heads.legacy_tree import (
    LegacyAdaptiveUntrainedHead,
    LegacyHeap128Head,
    LegacyHierarchicalMissingStepHead,
)
from npsoftmax.heads.margin import HingeHead, SMSoftmaxHead, SMTaylorSoftmaxHead
from npsoftmax.heads.nce import NCEHead
from npsoftmax.heads.ordinal import OrdinalHead
from npsoftmax.heads.sampled import SampledSoftmaxHead
from npsoftmax.heads.sigmoid import SigmoidHead
from npsoftmax.heads.sink import SinkHead
from npsoftmax.heads.sparsemax import Entmax15Head, EntmaxHead, SparsemaxHead
from npsoftmax.heads.taylor import LogTaylorSoftmaxHead, SphericalHead, TaylorSoftmaxHead

HEADS: dict[str, type[Head]] = {
    "softmax": SoftmaxHead,
    "log_softmax": LogSoftmaxHead,
    "gumbel_softmax": GumbelSoftmaxHead,
    "log_gumbel_softmax": LogGumbelSoftmaxHead,
    "taylor_softmax": TaylorSoftmaxHead,
    "log_taylor_softmax": LogTaylorSoftmaxHead,
    "sm_softmax": SMSoftmaxHead,
    "sm_taylor_softmax": SMTaylorSoftmaxHead,
    "spherical": SphericalHead,
    "sparsemax": SparsemaxHead,
    "entmax15": Entmax15Head,
    "entmax": EntmaxHead,
    "hierarchical": HierarchicalHead,
    "adaptive": AdaptiveHead,
    "sampled": SampledSoftmaxHead,
    "nce": NCEHead,
    "balanced": BalancedHead,
    "ldam": LDAMHead,
    "focal": FocalHead,
    "generalised_cross_entropy": GeneralisedCrossEntropyHead,
    "cosine": CosineHead,
    "arcface": ArcFaceHead,
    "harmonic": HarmonicHead,
    "sink": SinkHead,
    "ordinal": OrdinalHead,
    "hinge": HingeHead,
    "sigmoid": SigmoidHead,
    "legacy_double_softmax": LegacyDoubleSoftmaxHead,
    "legacy_double_gumbel": LegacyDoubleGumbelHead,
    "legacy_nll_on_probabilities": LegacyNLLOnProbabilitiesHead,
    "legacy_taylor_unlogged": LegacyTaylorUnloggedHead,
    "legacy_batch_axis_softmax": LegacyBatchAxisSoftmaxHead,
    "legacy_softmax1_unshifted": LegacySoftmax1UnshiftedHead,
    "legacy_heap128": LegacyHeap128Head,
    "legacy_hierarchical_missing_step": LegacyHierarchicalMissingStepHead,
    "legacy_adaptive_untrained": LegacyAdaptiveUntrainedHead,
}

__all__ = [
    "HEADS",
    "ClassInfo",
    "FlatHead",
    "Head",
    "LegacyWiringWarning",
    "head_class",
    "top_k",
]


def head_class(name: str) -> type[Head]:
    """The head called `name`; InputError gives the nearest names."""
    if not isinstance(name, str) or name not in HEADS:
        raise unknown_name("head", name, HEADS)
    return HEADS[name]
