"""What the terms of a loss are, in a line each, for whoever reads a page; the formulas are those of `components.losses`."""

from __future__ import annotations

from collections.abc import Mapping

TERMS: Mapping[str, str] = {
    "loss": "the sum of the other terms, as it was minimised",
    "cross_entropy": "how wrong genuine-or-forged was on the faces of the batch",
    "alignment": "embeddings of one class lie near one another on the sphere",
    "centre": "genuine faces gather around a centre, forged ones stay away from it",
    "dark": "answers on remembered faces stay those that were given when they were kept",
    "decision": "the line between genuine and forged holds for every task that is remembered",
    "distillation": "the student answers, or feels, as whoever teaches it",
    "dkd": "features of picture and spectrum stay those of the teacher",
    "domain": "which forgery a face was made with",
    "ewc": "weights that older tasks need stay where they were",
    "feature": "embeddings stay those of the teacher",
    "fusion": "blends of two forgeries are told by their shares",
    "hscl": "picture and spectrum of one class are pulled together, of two apart",
    "identity": "genuine features stay those of a network that knows faces",
    "isolation": "each task keeps its own region among the embeddings",
    "knowledge": "answers stay those of the teacher",
    "mask": "where in the face the forgery lies",
    "mfkd": "feature maps stay those of the teacher, level by level",
    "orthogonality": "what is learned stands at right angles to what the trunk knew",
    "pseudo_forged": "genuine faces that were disturbed on purpose are called forged",
    "replayed": "how wrong genuine-or-forged was on remembered faces",
    "rkd": "distances between the faces of a batch stay those of the teacher",
    "slkd": "answers, softened, stay those of the teacher",
    "soft_label": "answers, softened, stay those of the teacher",
    "spectral": "the singular values of the weights stay those of the trunk",
    "supcon": "embeddings of one class are pulled together, of two apart",
    "uniformity": "embeddings spread over the sphere",
}
"""By the name a detector or a strategy gives its term; a term that is not here stands on the page without a word."""
