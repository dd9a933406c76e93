# SPDX-License-Identifier: Apache-2.0
"""One volume in, every task's volume out, in the grid of the input; one model serves any number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from numpy.typing import NDArray

from sfg_med.allocator import tune_allocator
from sfg_med.data.volumes import Volume
from sfg_med.devices import autocast, choose_device, choose_precision
from sfg_med.errors import SfgMedError
from sfg_med.inference.body import Box, air, body_box, whole
from sfg_med.inference.native_grid import NativeGrid
from sfg_med.inference.passes import Passes, average_passes
from sfg_med.inference.posterior import drawn_groups, has_posterior, likeliest_groups, mean_groups
from sfg_med.inference.prediction import Prediction, restore
from sfg_med.networks import MultiTaskNetwork
from sfg_med.transforms import network_input, steady_affine

if TYPE_CHECKING:
    from sfg_med.model_file import LoadedModel

GROUPS = ("model", "argmax", "mean", "draw")


@dataclass(frozen=True)
class Prepared:
    """A case on the network's grid.

    Args:
        image: (1, X', Y', Z') float32, normalised.
        affine: (4, 4) of the network's grid, to RAS millimetres.
        grid: the input's grid.
        body: box of the image that holds the patient.
    """

    image: torch.Tensor
    affine: NDArray[np.float64]
    grid: NativeGrid
    body: Box


class Predictor:
    """Applies a model to volumes of any orientation, voxel size and shape.

    Args:
        model: network and specification.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (bf16 where the hardware has it, unless ``sfg-med export`` found that it changes the model's
            predictions), ``fp32``, ``bf16`` or ``fp16``.
        overlap: part of the sliding window, 0 to below 1, that neighbours share.
        sw_batch_size: windows computed at once.
        samples: draws of the kernels' groups. With one, a stochastic network runs in its deterministic mode.
        seed: start of the random numbers; each case has its own stream, whatever ran before it.
        labels_from: ``mean`` takes the class with the highest mean probability over the draws, ``mode`` the
            class that was the best in most draws, as the paper does.
        groups: how a single pass decides the kernels' groups: ``argmax`` takes each kernel's likeliest group (or the
            one it is fixed in), ``mean`` all of them by their probabilities, ``draw`` one draw; ``model`` is the
            network's own rule, ``argmax`` unless its policy says otherwise. Several samples are always draws.
        entropy_parts: split the entropy of organs, too, into what the passes disagree about and what each is unsure of.
        whole_image: visit air, too; otherwise only windows of the box around the patient are computed, and there is air
            elsewhere.
        details: also return class probabilities, and for one pass the standard deviation that the network predicts.

    Raises:
        SfgMedError: for an unknown device or precision, or draws of a network that has learned no groups.

    Example:
        >>> predictor = Predictor(load_model(Path("models/model.safetensors")))  # doctest: +SKIP
        >>> hu = predictor.predict(read_volume("mr.nii.gz")).images["ct"]  # doctest: +SKIP
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        device: str = "auto",
        precision: str = "auto",
        overlap: float = 0.5,
        sw_batch_size: int = 1,
        samples: int = 1,
        seed: int = 0,
        labels_from: str = "mean",
        groups: str = "model",
        entropy_parts: bool = False,
        whole_image: bool = False,
        details: bool = False,
    ) -> None:
        tune_allocator()
        self.model = model
        self.spec = model.spec
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        if precision == "auto" and not model.metadata.get("checks", {}).get("bf16", {}).get("accepted", True):
            self.precision = "fp32"  # what sfg-med export has measured
        self.samples, self.seed, self.labels_from = samples, seed, labels_from
        self.entropy_parts, self.details = entropy_parts, details
        self.whole_image = whole_image
        self.groups = self._groups_rule(groups)
        self._check(overlap, sw_batch_size)
        self.network = model.network.eval().to(self.device)
        self._overlap, self._sw_batch_size = overlap, sw_batch_size

    def predict(self, volume: Volume, *, case: str = "") -> Prediction:
        """Predict every task.

        Args:
            volume: the MR.
            case: name that chooses the case's random numbers, together with the seed.

        Returns:
            Volumes in the grid of the input.
        """
        prepared = self.prepare(volume)
        return self.finish(self.run(prepared, case=case), prepared)

    @torch.no_grad()
    def prepare(self, volume: Volume) -> Prepared:
        """The first of three steps, which may run for several cases at a time: what the network sees.

        Raises:
            SfgMedError: for an image that is too small.
        """
        self._check_size(volume)
        x, y, z = volume.array.shape
        grid = NativeGrid(steady_affine(volume.affine), (x, y, z))
        image = network_input(_as_tensor(volume), self.spec)
        voxels = image.as_tensor()
        box = whole(voxels) if self.whole_image else body_box(voxels, self.spec.spacing_mm, self.spec.patch_size)
        return Prepared(voxels, np.asarray(image.affine, np.float64), grid, box)

    @torch.no_grad()
    def run(self, prepared: Prepared, *, case: str = "") -> Passes:
        """The second step: all passes of the network over a prepared case."""
        image = prepared.image[(slice(None), *prepared.body)].to(self.device)[None]
        outputs = (self._in_place(output, prepared) for output in self._outputs(image, case))
        vote = self.labels_from == "mode"
        return average_passes(outputs, self.spec, vote=vote, entropy_parts=self.entropy_parts)

    @torch.no_grad()
    def finish(self, passes: Passes, prepared: Prepared) -> Prediction:
        """The last step: back to the grid of the input. Takes ``passes`` apart."""
        return restore(passes, self.spec, prepared.affine, prepared.grid, details=self.details)

    def _in_place(self, output: torch.Tensor, prepared: Prepared) -> torch.Tensor:
        """The output for the whole image: around the patient there is air."""
        shape = prepared.image.shape[1:]
        if output.shape[1:] == shape:
            return output
        everywhere = air(self.spec, len(output)).to(output)[:, None, None, None].repeat(1, *shape)
        everywhere[(slice(None), *prepared.body)] = output
        return everywhere

    def _outputs(self, image: torch.Tensor, case: str) -> Iterator[torch.Tensor]:
        generator = torch.Generator(device="cpu").manual_seed(_case_seed(self.seed, case))
        for _ in range(self.samples):
            # one draw holds for all windows: a draw for each window would show as seams
            with self._decided_groups(generator):
                yield self._slide(image)

    def _decided_groups(self, generator: torch.Generator) -> AbstractContextManager[None]:
        if self.groups == "draw":
            return drawn_groups(self.network, generator)
        if not isinstance(self.network, MultiTaskNetwork) or self.groups == "model":
            return nullcontext()
        return mean_groups(self.network) if self.groups == "mean" else likeliest_groups(self.network)

    def _slide(self, image: torch.Tensor) -> torch.Tensor:
        """(C, X, Y, Z) float32 output for a (1, 1, X, Y, Z) image."""
        inferer = SlidingWindowInferer(
            roi_size=self.spec.patch_size,
            sw_batch_size=self._sw_batch_size,
            overlap=self._overlap,
            mode="gaussian",
            padding_mode="replicate",  # as training pads small cases
        )
        return inferer(image, self._window)[0]

    def _window(self, window: torch.Tensor) -> torch.Tensor:
        with autocast(self.precision, self.device):
            output = self.network(window)
        # a copy: MONAI weights the windows in place, and a network may return (a view of) its input
        return output.to(torch.float32, copy=True)

    def _check_size(self, volume: Volume) -> None:
        largest = float(np.max(np.multiply(volume.array.shape, volume.spacing_mm)))
        needed = 2 * max(self.spec.spacing_mm)
        if largest < needed:
            found = f"one of {largest:.3g} mm"
            raise SfgMedError(volume.path, f"a field of view of at least {needed:g} mm", found, "check the voxel size")

    def _check(self, overlap: float, sw_batch_size: int) -> None:
        if len(self.spec.volume_tasks) < len(self.spec.tasks):
            found = ", ".join(f"{task.name} ({task.contents})" for task in self.spec.tasks)
            raise SfgMedError(self.model.path, "a model that returns images and organs", found, "use another model")
        if not 0 <= overlap < 1:
            raise SfgMedError("--overlap", "0 or more and below 1", str(overlap), "0.5 is usual")
        if sw_batch_size < 1 or self.samples < 1:
            found = f"{min(sw_batch_size, self.samples)}"
            raise SfgMedError("--samples and --sw-batch-size", "at least 1", found, "give a positive number")
        if self.labels_from not in ("mean", "mode"):
            raise SfgMedError("--labels-from", "mean or mode", repr(self.labels_from), "choose one of them")
        if self.samples > 1 and self.groups != "draw":
            raise SfgMedError("--groups", "draw, where --samples is above 1", self.groups, "leave one of the two out")
        if self.groups in ("mean", "draw") and not has_posterior(self.model.network):
            asked = f"--samples {self.samples}" if self.samples > 1 else f"--groups {self.groups}"
            expected = f"a model with learned groups for {asked}"
            remedy = "use --samples 1 without --groups, or the stochastic model that it was made from"
            raise SfgMedError(self.model.path, expected, "one without, so that all draws are the same", remedy)

    def _groups_rule(self, groups: str) -> str:
        if groups not in GROUPS:
            raise SfgMedError("--groups", f"one of {', '.join(GROUPS)}", repr(groups), "choose one of them")
        network = self.model.network
        stochastic = isinstance(network, MultiTaskNetwork) and network.policy.eval_mode == "gumbel"
        if groups == "model" and (self.samples > 1 or stochastic):
            return "draw"
        return groups


def _as_tensor(volume: Volume) -> MetaTensor:
    array = np.ascontiguousarray(volume.array, np.float32)
    return MetaTensor(torch.from_numpy(array)[None], affine=torch.as_tensor(steady_affine(volume.affine)))


def _case_seed(seed: int, case: str) -> int:
    """63-bit seed from seed and case name only: neither order nor sharding changes a result."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{case}".encode(errors="surrogateescape")).digest()[:8], "big") >> 1
