"""Data sets, batches, augmentation and normalisation."""

from npsoftmax.data.ahead import made_ahead
from npsoftmax.data.augment import AUGMENTATIONS, get_augmentation
from npsoftmax.data.batches import Batches
from npsoftmax.data.dataset import Dataset, training_split
from npsoftmax.data.load import DATASETS, find_dataset, load_dataset
from npsoftmax.data.normalize import NORMALIZATIONS, Normalization, fit_normalization
from npsoftmax.data.split import stratified_subset, train_validation_split
from npsoftmax.data.synthetic import make_synthetic100

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "NORMALIZATIONS",
    "Batches",
    "Dataset",
    "Normalization",
    "find_dataset",
    "fit_normalization",
    "get_augmentation",
    "load_dataset",
    "made_ahead",
    "make_synthetic100",
    "stratified_subset",
    "train_validation_split",
    "training_split",
]
