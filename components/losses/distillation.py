"""What a student pays for disagreeing with its teacher: in answers, in features, in how samples relate.

The teacher is never taught: every function detaches what came from it. Everything is computed in float32 or better,
whatever the precision of the networks, because differences of nearly equal logits vanish in half precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from components.losses.precision import wide


def soft_label(student: Tensor, teacher: Tensor, *, tau: float = 2.0) -> Tensor:
    """The teacher's softened answers as targets (Hinton et al. 2015; LwF; CFFD's SLKD).

        L = tau^2 * KL(p || q) = tau^2 * 1/B sum_i sum_c p_ic (log p_ic - log q_ic)
        p = softmax(teacher / tau),  q = softmax(student / tau)

    student, teacher: logits (B, C). Returns (). The target is a distribution; both logarithms are log-softmax, so that
    logits of any size stay finite.
    """
    log_p = F.log_softmax(wide(teacher).detach() / tau, dim=1)
    log_q = F.log_softmax(wide(student) / tau, dim=1)
    return tau**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def sigmoid_answers(student: Tensor, teacher: Tensor) -> Tensor:
    """iCaRL's distillation: every output by itself, with the teacher's as its target (Rebuffi et al. 2017, Alg. 3).

        L = -1/B sum_i sum_c [ g_ic log q_ic + (1 - g_ic) log(1 - q_ic) ],   g = sigmoid(teacher),  q = sigmoid(student)

    student, teacher: logits (B, C). Returns (), the entropy of the teacher's answers where the two agree.
    """
    target = wide(teacher).detach().sigmoid()
    return F.binary_cross_entropy_with_logits(wide(student), target, reduction="none").sum(dim=1).mean()


def mean_square(student: Tensor, teacher: Tensor) -> Tensor:
    """DER's form: the answers themselves, not what they are worth beside one another (Buzzega et al. 2020, Sec. 3).

        L = 1/(B C) sum_i sum_c ( z_ic - h_ic )^2

    student (z), teacher (h): logits (B, C). Returns (). The paper writes the norm over classes; its code takes their mean.
    """
    return F.mse_loss(wide(student), wide(teacher).detach())


def hard_and_soft_label(student: Tensor, teacher: Tensor, labels: Tensor, *, tau: float, alpha: float) -> Tensor:
    """CoReD's and DFIL's mixture of the teacher's answers and the truth.

        L = alpha tau^2 KL(p || q) + (1 - alpha) CE(student, labels)

    student, teacher: logits (B, C); labels (B,). Returns ().
    Differs: the published functions scale the target distribution itself, which adds the constant
    alpha tau^2 log(alpha tau^2) to the value and nothing to the gradient.
    """
    return alpha * soft_label(student, teacher, tau=tau) + (1 - alpha) * F.cross_entropy(wide(student), labels)


def feature(student: Tensor, teacher: Tensor) -> Tensor:
    """Distance of pooled features on the unit sphere.

        L = 1/B sum_i || s_i/|s_i| - t_i/|t_i| ||^2,   s, t = GAP of the maps

    student, teacher (B, C, H, W), or (B, C) pooled already. Returns ().
    """
    return (_unit(student) - _unit(teacher).detach()).square().sum(dim=1).mean()


def feature_mean_square(student: Tensor, teacher: Tensor) -> Tensor:
    """DFIL's form of `feature`: the mean over channels too, hence C times smaller. Shapes as there."""
    return (_unit(student) - _unit(teacher).detach()).square().mean()


def feature_levels(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """CFFD's MFKD: `feature` at every level.

        L = 1/L sum_l feature(f_S^l, f_T^l)

    student, teacher: L maps (B, C_l, H_l, W_l). Returns ().
    """
    return torch.stack([feature(s, t) for s, t in zip(student, teacher, strict=True)]).mean()


def domain_levels(student: Mapping[str, Sequence[Tensor]], teacher: Mapping[str, Sequence[Tensor]]) -> Tensor:
    """Multi-level distillation in every domain (spatial, frequency, …) by itself.

        L = 1/|D| sum_{d in D} feature_levels(student_d, teacher_d)

    student, teacher: `Detection.domains` of networks with the same, at least one, domain. Returns ().
    """
    if not student or set(student) != set(teacher):
        raise ValueError(
            f"expected a student and a teacher with the same domains, found {sorted(student)} and {sorted(teacher)}; "
            "distil levels instead where a detector has no domains"
        )
    return torch.stack([feature_levels(student[name], teacher[name]) for name in sorted(student)]).mean()


def relational(student: Tensor, teacher: Tensor) -> Tensor:
    """How samples lie to one another (after Park et al. 2019 and Tung & Mori 2019): the pairwise structure.

        L = 1/(B (B - 1)) sum_{i != j} ( cos(s_i, s_j) - cos(t_i, t_j) )^2

    student, teacher: embeddings (B, D), or maps (B, C, H, W) that are pooled first; the two widths may differ. Returns (),
    0 for a single sample. Cosines rather than distances: they need no scale, which a student may choose anew.
    """
    s, t = _unit(student), _unit(teacher).detach()
    pairs = max(len(s) * (len(s) - 1), 1)
    with torch.autocast(s.device.type, enabled=False):
        return (s @ s.T - t @ t.T).fill_diagonal_(0).square().sum() / pairs


def confidence_bins(teacher: Tensor, labels: Tensor, *, bins: int = 5) -> Tensor:
    """CoReD's grouping of samples by label and by the teacher's confidence in it.

        bin = label * bins + floor(bins * (p - 1/2) / (1/2)),   -1 where p < 1/2 (the teacher was wrong)

    teacher: logits (B, 2); labels (B,). Returns (B,) long.
    """
    confidence = wide(teacher).softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    step = ((confidence - 0.5) * 2 * bins).floor().clamp(max=bins - 1).long()
    return torch.where(confidence < 0.5, -1, labels * bins + step)


def binned_means(features: Tensor, index: Tensor, *, bins: int) -> tuple[Tensor, Tensor]:
    """Mean (bins, D) and count (bins,) of features (B, D) whose index (B,) falls in each bin; empty bins are 0."""
    belongs = index == torch.arange(bins, device=index.device)[:, None]  # (bins, B)
    count = belongs.sum(dim=1)
    with torch.autocast(features.device.type, enabled=False):
        return belongs.to(features.dtype) @ features / count.clamp(min=1)[:, None], count


def binned(student: Tensor, index: Tensor, means: Tensor, seen: Tensor) -> Tensor:
    """CoReD's feature term: a bin of the student's features stays where the teacher's lay.

        L = sum_{b seen by both} 1/D || mean_{i in b} s_i - means_b ||^2

    student: pooled features (B, D); index: `confidence_bins`; means (bins, D) and seen (bins,) bool of the teacher. Returns ().
    """
    own, count = binned_means(wide(student), index, bins=len(means))
    both = (seen & (count > 0)).to(own.dtype)
    return (both * (own - means.detach()).square().mean(dim=1)).sum()


def _unit(maps: Tensor) -> Tensor:
    """(B, C, …) -> (B, C), pooled over space and scaled to unit length."""
    return F.normalize(wide(maps).flatten(2).mean(dim=2) if maps.dim() > 2 else wide(maps), dim=1)
