# SPDX-License-Identifier: Apache-2.0
"""Run one case through a network and keep what its kernels answer in one slice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialPad
from numpy.typing import NDArray
from torch import Tensor, nn

from sfg_med.data.volumes import Volume
from sfg_med.errors import SfgMedError
from sfg_med.model_file import LoadedModel
from sfg_med.networks.blocks import SharingBlock
from sfg_med.report.planes import PLANES, organ_slices
from sfg_med.report.run_files import forward_order, layer_name
from sfg_med.report.sharing_activations import LayerMaps
from sfg_med.report.sharing_files import Floats
from sfg_med.report.sharing_learned import Activations
from sfg_med.sharing import Features
from sfg_med.spec import ModelSpec
from sfg_med.transforms import network_input

AXIAL = PLANES[0]


def activations(model: LoadedModel, volume: Volume, p: Mapping[str, Floats], case: str) -> Activations:
    """Maps of all kernels in one axial slice of one patch, in evaluation mode.

    The patch has the size of the training patches, since the norms depend on what they see, and lies around the middle
    of the bright part of the image; the slice is the one that shows the most of the organs that the network finds.

    Args:
        model: the network.
        volume: the input image.
        p: learned probabilities ``(K, G)`` by layer.
        case: name of the case.
    """
    network, spec = model.network, model.spec
    image, origin = central_patch(volume, spec)
    try:
        with torch.no_grad():
            output = network(image[None])
            height = _slice(output, image, network, spec)
            maps: dict[str, NDArray[np.float32]] = {}
            with _listening(network, p, lambda name, features: maps.update({name: _cut(features, height, image)})):
                network(image[None])
    except RuntimeError as error:
        remedy = "give the model of a network for volumes"
        raise SfgMedError(model.path, "a network that takes this image", str(error)[:200], remedy) from error
    layers = []
    names = list(p)
    labels = network.assignments()
    for name in (names[i] for i in forward_order(names)):
        label = labels[name].numpy()
        own = _own(maps[name], label)
        layers.append(LayerMaps(layer_name(name), p[name], label, own))
    where = origin[2] + height
    grid, size = (
        _product(spec.spacing_mm),
        _product(n * s for n, s in zip(image.shape[1:], spec.spacing_mm, strict=True)),
    )
    about = f"{case}: axial slice {where + 1} in the network's grid of {grid} mm, a patch of {size} mm."
    background = AXIAL.cut(image[0].numpy(), height)
    return Activations(background, layers, network.groups.names, spec.input_name.upper(), about)


def central_patch(volume: Volume, spec: ModelSpec) -> tuple[Tensor, list[int]]:
    """``(1, X, Y, Z)`` around the middle of the bright part, and its first voxel in the network's grid."""
    array = torch.from_numpy(np.ascontiguousarray(volume.array, np.float32))[None]
    whole = network_input(MetaTensor(array, affine=torch.as_tensor(volume.affine)), spec).as_tensor()
    bright = (whole[0] > whole.mean()).nonzero().float()
    middle = bright.mean(0).round().int().tolist()
    starts, ends = [], []
    for size, wanted, centre in zip(whole.shape[1:], spec.patch_size, middle, strict=True):
        start = max(0, min(centre - wanted // 2, size - wanted))
        starts.append(start)
        ends.append(min(size, start + wanted))
    (x, y, z), (x1, y1, z1) = starts, ends
    padded = SpatialPad(spec.patch_size, mode="replicate")(whole[:, x:x1, y:y1, z:z1])
    return torch.as_tensor(padded), starts


def _slice(output: Tensor, image: Tensor, network: Any, spec: ModelSpec) -> int:
    labels: NDArray[Any] | None = None
    values: tuple[int, ...] = ()
    if spec.label_tasks:
        task = spec.label_tasks[0]
        labels = network.split(output)[task.name][0].argmax(0).numpy()
        values = tuple(range(1, task.channels))
    return organ_slices(labels, values, image[0].numpy())[2]


@contextmanager
def _listening(network: nn.Module, layers: Mapping[str, Any], keep: Callable[[str, Features], None]) -> Iterator[None]:
    """Call ``keep`` with the output of each layer's block: after norm and activation, as the next layer reads it."""
    hooks = []
    for name in layers:
        block = network.get_submodule(name.rpartition(".")[0])
        module = block if isinstance(block, SharingBlock) else network.get_submodule(name)
        hooks.append(module.register_forward_hook(lambda _, __, out, name=name: keep(name, out)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _cut(features: Features, height: int, image: Tensor) -> NDArray[np.float32]:
    """``(paths, K, rows, columns)`` of the slice that holds the voxel ``height`` of the image."""
    depth = features.maps[0].shape[-1]
    index = min(depth - 1, height * depth // image.shape[-1])
    planes = [[AXIAL.cut(kernel.float().numpy(), index) for kernel in path[0]] for path in features.maps]
    return np.ascontiguousarray(planes, np.float32)


def _own(maps: NDArray[np.float32], label: NDArray[np.int64]) -> NDArray[np.float32]:
    """Of several paths (the path form) each kernel's map in the path of its group."""
    if len(maps) == 1:
        return maps[0]
    return maps[np.maximum(label, 0), np.arange(len(label))]


def _product(values: Iterable[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def stored_p(network: Any) -> dict[str, Floats]:
    """p by layer as the model file holds it: what was learned, also of kernels that were fixed to a group later."""
    found: dict[str, Floats] = {}
    for name, layer in network.sharing_layers().items():
        found[name] = layer.kernel_groups.distribution().detach().double().numpy()
    return found


def model_of(run: Path) -> Path:
    """The model file of a run's folder."""
    return run / "models" / "model.safetensors"
