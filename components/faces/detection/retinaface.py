"""RetinaFace-ResNet50 (Deng et al., CVPR 2020) as trained by retinaface-pytorch.

Flow     frames (B,H,W,3) -> ImageNet mean and std, zeros below and right up to a multiple of 32 -> network
         -> per prior: box, face or not, five landmarks -> scores above min_score -> one box a face
Source   ternaus/retinaface 0.0.7: its network, priors and box decoding are called, nothing is copied
Differs  a frame is never enlarged nor padded to a square, so frames of one size share a batch without waste;
         landmarks stay floats (theirs are cut to whole pixels); its weights are loaded without unpickling code
Size     `faces.max_input_px`. Which smaller one would do was not measured: its trained weights were not at hand
"""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from components import torchvision_ops, weight_files
from components.errors import BadParams, MissingWeights
from components.faces.detection import Face, FaceDetector, Frame, file_digest, shrink
from components.faces.table import Images
from components.params import CropOptions
from components.settings import settings
from components.weight_files import short

FILE = "retinaface_resnet50_2020-07-20-f168fae3c.zip"  # the name ends in the first digits of its sha256
URL = f"https://github.com/ternaus/retinaface/releases/download/0.01/{FILE}"
HASH_PREFIX = "f168fae3c"
VARIABLE = "PERENNIAL_RETINAFACE_WEIGHTS"

OVERLAP = 0.4  # boxes that overlap more are one face: predict_jsons
STRIDE = 32  # of the coarsest level
VARIANCES = (0.1, 0.2)
MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
STD = np.array([0.229, 0.224, 0.225], np.float32) * 255


def build(params: CropOptions, archive: Path | None) -> RetinaFace:  # noqa: ARG001 every file of the catalogue is asked alike
    """With local weights, or fetched by name where there is a network; raises MissingWeights."""
    path = weights() if settings().retinaface_weights else _fetched()
    device = settings().device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return RetinaFace(
            weight_files.read(path),
            file_digest(path),
            min_score=params.min_score,
            max_input_px=params.max_input_px,
            device=device,
        )
    except (MissingWeights, BadParams, RuntimeError) as fault:
        raise MissingWeights(
            f"expected the RetinaFace-ResNet50 state dict of {FILE} at '{path}', found something else "
            f"({short(fault)}). Fetch {URL} and point {VARIABLE} to it."
        ) from fault


class RetinaFace(FaceDetector):
    """Frames of one size go through the network together."""

    name = "retinaface"

    def __init__(
        self,
        state: dict[str, Tensor],
        digest: str,
        *,
        min_score: float,
        max_input_px: int,
        device: str,
        batch: int = 16,
    ) -> None:
        self.weights_digest = digest
        self._min_score = min_score
        self._max_input_px = max_input_px
        self._device = torch.device(device)
        self.batch = batch
        self.accelerators = torch.cuda.device_count() if self._device.type == "cuda" else 0
        self.network = _network()
        self.network.load_state_dict(state)
        self.network.to(self._device).eval()  # in train mode its batch norms would judge a frame by its neighbours

    def detect(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """Every face of each frame with a score of at least `min_score`."""
        inputs = [shrink(frame.pixels, self._max_input_px) for frame in frames]
        same_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for position, (image, _) in enumerate(inputs):
            same_size[image.shape].append(position)
        found: list[list[Face]] = [[] for _ in frames]
        for positions in same_size.values():
            for start in range(0, len(positions), self.batch):
                chosen = positions[start : start + self.batch]
                stretches = [inputs[p][1] for p in chosen]
                faces = self._faces(np.stack([inputs[p][0] for p in chosen]), stretches)
                for position, of_frame in zip(chosen, faces, strict=True):
                    found[position] = of_frame
        return found

    @torch.inference_mode()
    def _faces(self, images: Images, stretches: list[npt.NDArray[np.float64]]) -> list[list[Face]]:
        """Of images of one size (B,h,w,3); on an accelerator they are bytes until they are there."""
        from retinaface.box_utils import decode, decode_landm

        size = _padded(images[0])
        batch = _normalised(torch.from_numpy(images).to(self._device), size)
        boxes, logits, landmarks = self.network(batch)  # (B,P,4), (B,P,2), (B,P,10)
        scores = logits.softmax(-1)[..., 1]  # (B,P)
        priors = _priors(size).to(self._device)  # (P,4)
        found = []
        for i, stretch in enumerate(stretches):
            seen = scores[i] >= self._min_score
            extent = torch.tensor([size[1], size[0]], device=self._device)  # priors run from 0 to 1
            box = decode(boxes[i][seen], priors[seen], VARIANCES) * extent.repeat(2)
            points = decode_landm(landmarks[i][seen], priors[seen], VARIANCES) * extent.repeat(5)
            found.append(_distinct(_numbers(box), _numbers(points), _numbers(scores[i][seen]), stretch))
        return found


def _distinct(
    boxes: npt.NDArray[np.float64],
    landmarks: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
    stretch: npt.NDArray[np.float64],
) -> list[Face]:
    """Non-maximum suppression by OpenCV: torchvision's needs its compiled extension."""
    corners_and_sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    keep = cv2.dnn.NMSBoxes(corners_and_sizes.tolist(), scores.tolist(), 0.0, OVERLAP) if len(boxes) else ()
    return [
        Face(boxes[k] * np.tile(stretch, 2), landmarks[k].reshape(5, 2) * stretch, float(scores[k]))
        for k in np.asarray(keep, int).ravel()
    ]


def _numbers(values: Tensor) -> npt.NDArray[np.float64]:
    return values.double().cpu().numpy()


def _padded(image: Images) -> tuple[int, int]:
    """Height and width, rounded up to whole cells of the coarsest level."""
    height, width = image.shape[:2]
    return -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE


def _normalised(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(B,h,w,3) uint8 -> (B,3,H,W) float32, the added border zero."""
    mean, std = (torch.from_numpy(values).to(images.device) for values in (MEAN, STD))
    pixels = ((images.float() - mean) / std).permute(0, 3, 1, 2)
    height, width = images.shape[1:3]
    return nn.functional.pad(pixels, (0, size[1] - width, 0, size[0] - height)).contiguous()


@cache
def _priors(size: tuple[int, int]) -> Tensor:
    from retinaface.prior_box import priorbox

    priors: Tensor = priorbox(
        min_sizes=[[16, 32], [64, 128], [256, 512]], steps=[8, 16, 32], clip=False, image_size=size
    )
    return priors


def _network() -> nn.Module:
    torchvision_ops.complete()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchvision, for the way retinaface asks for a ResNet without weights
        from retinaface.network import RetinaFace as Network

        network: nn.Module = Network(
            name="Resnet50",
            pretrained=False,
            return_layers={"layer2": 1, "layer3": 2, "layer4": 3},
            in_channels=256,
            out_channels=256,
        )
    return network


def weights() -> Path:
    """The file the variable points to, or the release in torch's cache; raises MissingWeights."""
    path = settings().retinaface_weights or _cached()
    if not path.is_file():
        raise MissingWeights(
            f"face detector 'retinaface' expected {FILE} or its state dict at {VARIABLE}, "
            f"found no file at '{path}'. "
            f"Fetch {URL} (about 100 MB, sha256 {HASH_PREFIX}...), or unset the variable to have it fetched."
        )
    return path


def _cached() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / FILE


def _fetched() -> Path:
    """The release in torch's cache, fetched if it is not there."""
    path = _cached()
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(URL, str(path), hash_prefix=HASH_PREFIX, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as fault:  # no network is an OSError, a wrong hash a RuntimeError
        raise MissingWeights(
            f"face detector 'retinaface' expected {FILE} (about 100 MB, sha256 {HASH_PREFIX}...), found it neither at "
            f"{VARIABLE} nor at '{path}', and it cannot be fetched ({short(fault)}). Either fetch {URL} "
            f"where there is a network and set {VARIABLE} to the file, or open the network and run again. "
            "Face detector 'yunet' needs a file of 230 kB only."
        ) from fault
    return path
