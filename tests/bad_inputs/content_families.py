# SPDX-License-Identifier: Apache-2.0
"""Intact files whose voxels or grid are no MR of a patient, or an unusual one."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.bad_inputs.bad_file import AFFINE, SHAPE, Corpus, good_image
from tests.bad_inputs.encode import encode, mha, nifti, nrrd

KINDS = ("nii", "nii.gz", "mha", "nrrd")
UNPLACED = ("no_orientation",)


def voxel_types(corpus: Corpus) -> None:
    """Unknown types, colour, complex numbers; every real type is read."""
    for code in (0, 1, 77, 255, 4096):
        corpus.refused("voxel_type", f"unknown{code}.nii", nifti(datatype=code), "known voxel type|one real number")
    corpus.refused("voxel_type", "bitpix.nii", nifti(bitpix=32), "bitpix")
    corpus.refused("voxel_type", "bitpix0.nii", nifti(bitpix=0), "bitpix")
    for name, parts in (("rgb", "RGB"), ("rgba", "RGBA")):
        colour = np.zeros(SHAPE, [(c, "u1") for c in parts])
        corpus.refused("voxel_type", f"{name}.nii", nifti(colour), "colour")
    for name in ("c8", "c16"):
        corpus.refused("voxel_type", f"{name}.nii", nifti(good_image(name)), "one real number")
    for code in ("MET_OTHER", "MET_NONE", "MET_STRING", ""):
        corpus.refused("voxel_type", f"type_{code}.mha", mha(ElementType=code), "known voxel type")
    corpus.refused("voxel_type", "rgb.mha", mha(ElementNumberOfChannels="3"), "one real number")
    corpus.refused("voxel_type", "block.nrrd", nrrd(type="block"), "known voxel type")
    rgb = {"dimension": "4", "sizes": "3 24 22 14", "space_directions": "none (8,0,0) (0,8,0) (0,0,10)"}
    corpus.refused("voxel_type", "rgb.nrrd", nrrd(**rgb), "channels")
    for code in ("u1", "u2", "i4", "u4", "i8", "u8", "f4", "f8"):
        array = good_image(code)
        corpus.read("voxel_type", f"{code}.nii", nifti(array), array.astype("f4") if code == "f8" else array)


def dimensions(corpus: Corpus) -> None:
    """From no axis to seven; those after the third must have length one."""
    image = good_image()
    for axes in range(8):
        shape = (SHAPE + (1,) * 7)[:axes]
        said = "dimensions" if axes == 0 else f"{axes}D"
        content = nifti(dim=[axes, *shape, *(1,) * (7 - axes)])
        if axes < 3:
            corpus.refused("dimensions", f"{axes}d.nii", content, said)
        else:
            corpus.read("dimensions", f"{axes}d.nii", content)
    for axis in range(4, 8):
        several = np.stack([image, image], -1).reshape(*SHAPE, *(1,) * (axis - 4), 2)
        corpus.refused("dimensions", f"two_on_axis{axis}.nii", nifti(several), "several frames")
    corpus.refused("dimensions", "8d.nii", nifti(dim=[8, *SHAPE, 1, 1, 1, 1]), "dimensions")
    corpus.refused("dimensions", "negative.nii", nifti(dim=[3, 24, -22, 14, 1, 1, 1, 1]), "dimensions")
    corpus.refused("dimensions", "none_long.nii", nifti(dim=[3, 24, 0, 14, 1, 1, 1, 1]), "an empty one")
    corpus.refused("dimensions", "2d.mha", mha(NDims="2", DimSize="24 22"), "2D")
    corpus.refused(
        "dimensions", "2d.nrrd", nrrd(dimension="2", sizes="24 22", space_directions="(8,0,0) (0,8,0)"), "2D"
    )
    corpus.refused("dimensions", "frames.mha", mha(NDims="4", DimSize="24 22 7 2"), "several frames")
    for text in ("0", "3.0", "three", ""):
        corpus.refused("dimensions", f"axes_{text}.mha", mha(NDims=text), "NDims")
        corpus.refused("dimensions", f"axes_{text}.nrrd", nrrd(dimension=text), "dimension")
    for axis in range(3):
        array = np.take(image, [7], axis)
        for kind in ("nii", "mha", "nrrd"):
            corpus.read("dimensions", f"slice{axis}.{kind}", encode(kind, array), array, notes=("single_slice",))


def values(corpus: Corpus) -> None:
    """Not a number, infinite, blank, or in a unit of another world."""
    for name, value in (("nan", np.nan), ("inf", np.inf), ("minus_inf", -np.inf)):
        array = good_image("f4")
        array[5, 6, 7] = value
        for kind in KINDS:
            corpus.refused("values", f"{name}.{kind}", encode(kind, array), "1 that are NaN")
    for kind in KINDS:
        corpus.refused("values", f"double.{kind}", encode(kind, good_image("f8") * 1e300), "beyond float32")
        corpus.refused("values", f"zero.{kind}", encode(kind, np.zeros(SHAPE, "i2")), "the value 0 in every voxel")
        ct = (good_image() - 1024).astype("i2")
        corpus.read("values", f"ct.{kind}", encode(kind, ct), ct)
    for scale in (1e-25, 1e-12, 1e-9, 1e-3, 1e6, 1e12, 1e25):
        array = (good_image("f8") * scale).astype("f4")
        corpus.read("values", f"times_{scale:g}.nii.gz", encode("nii.gz", array), array)
    for scale in (1e-44, 1e-35, 1e29, 1e34):
        array = (good_image("f8") * scale).astype("f4")
        corpus.refused("values", f"times_{scale:g}.mha", encode("mha", array), "rescale the image")
    denormal = good_image("f4")
    denormal[0, 0, 0] = 1e-42
    corpus.read("values", "one_denormal.nii", nifti(denormal), denormal)


def scales(corpus: Corpus) -> None:
    """``scl_slope`` and ``scl_inter`` of NIfTI; a slope of zero is no scale."""
    image = good_image()
    for name, slope, inter in (("zero", 0, 5), ("zero_nan", 0, np.nan), ("one", 1, 0)):
        corpus.read("scale", f"{name}.nii", nifti(scl_slope=slope, scl_inter=inter))
    for name, slope, inter in (("half", 0.5, -3), ("negative", -1, 0), ("tiny", 1e-10, 0), ("shift", 1, -1024)):
        array = (image * np.float64(np.float32(slope)) + inter).astype("f4")
        corpus.read("scale", f"{name}.nii", nifti(scl_slope=slope, scl_inter=inter), array)
    for name, slope, inter in (
        ("nan", np.nan, 0),
        ("inf", np.inf, 0),
        ("inter_nan", 1, np.nan),
        ("inter_inf", 2, np.inf),
    ):
        corpus.refused("scale", f"{name}.nii", nifti(scl_slope=slope, scl_inter=inter), "a scale of")
    corpus.refused("scale", "huge.nii", nifti(scl_slope=3e38), "beyond float32")
    corpus.refused("scale", "denormal.nii", nifti(scl_slope=1e-40), "rescale the image")


def geometry(corpus: Corpus) -> None:
    """Voxel sizes, affines and units that are impossible, and unusual ones that are not."""
    for size in (0.0, -8.0, np.nan, np.inf, 1e-30, 1e10):
        said = "voxel size|size of a patient|damaged"
        sizes = (8.0, size, 10.0)
        broken = AFFINE @ np.diag([1, np.nan_to_num(size / 8, posinf=1), 1, 1])
        words = " ".join(map(str, sizes))
        form: Any = {f"srow_{k}": broken[n] for n, k in enumerate("xyz")}
        corpus.refused("geometry", f"size_{size}.nii", nifti(pixdim=[1, *sizes, 0, 0, 0, 0], **form), said)
        corpus.refused("geometry", f"size_{size}.mha", mha(ElementSpacing=words), said)
        directions = f"(8,0,0) (0,{size},0) (0,0,10)"
        if size >= 0 or np.isnan(size):  # a negative one is a flip here
            corpus.refused("geometry", f"size_{size}.nrrd", nrrd(space_directions=directions), said)
    singular, sheared, far = AFFINE.copy(), AFFINE.copy(), AFFINE.copy()
    singular[:3, 1] = 2 * singular[:3, 0]
    sheared[:3, 2] += 0.4 * sheared[:3, 0]
    far[0, 3] = 1e17
    for kind in KINDS:
        corpus.refused("geometry", f"singular.{kind}", encode(kind, affine=singular), "inverted")
        corpus.read("geometry", f"sheared.{kind}", encode(kind, affine=sheared), affine=sheared)
        corpus.refused("geometry", f"far.{kind}", encode(kind, affine=far), "an origin within")
    corpus.refused("geometry", "nan_row.nii", nifti(srow_z=[np.nan] * 4), "finite affine")
    for code, factor in ((1, 1000.0), (3, 0.001)):
        form = {f"srow_{k}": AFFINE[n] / factor for n, k in enumerate("xyz")}
        pixdim = [1, 8 / factor, 8 / factor, 10 / factor, 0, 0, 0, 0]
        corpus.read("geometry", f"unit{code}.nii", nifti(xyzt_units=code, pixdim=pixdim, **form))
        corpus.refused("geometry", f"unit{code}_of_mm.nii", nifti(xyzt_units=code), "size of a patient|an origin")
    for code in (4, 7):
        corpus.refused("geometry", f"unit{code}.nii", nifti(xyzt_units=code), "unit code")
    corpus.refused("geometry", "unit.mha", mha(DistanceUnits="um"), "lengths in mm")
    corpus.refused("geometry", "unit.nrrd", nrrd(space_units='"m" "m" "m"'), "lengths in mm")


def forms(corpus: Corpus) -> None:
    """Where the file lies: two places, none, or an impossible one."""
    other: Any = {"qform_code": 1, "quatern_b": 1.0, "qoffset_x": 99.0}
    corpus.read("forms", "disagree.nii", nifti(**other))
    turned = np.diag([8.0, -8.0, -10.0, 1.0])  # half a turn about x
    turned[0, 3] = 99.0
    pixdim = [1, 8, 8, 10, 0, 0, 0, 0]
    corpus.read("forms", "qform.nii", nifti(sform_code=0, pixdim=pixdim, **other), affine=turned)
    corpus.refused("forms", "quaternion.nii", nifti(sform_code=0, qform_code=1, quatern_b=3.0), "quaternion")
    corpus.refused("forms", "qfac.nii", nifti(sform_code=0, pixdim=[3, *pixdim[1:]], **other), "qfac")
    corpus.read("forms", "qfac0.nii", nifti(sform_code=0, pixdim=[0, *pixdim[1:]], **other), affine=turned)
    for code in (-1, 6, 300):
        corpus.refused("forms", f"sform{code}.nii", nifti(sform_code=code), "sform_code")
        corpus.refused("forms", f"qform{code}.nii", nifti(qform_code=code), "qform_code")
    middle = np.diag([-8.0, 8.0, 10.0, 1.0])
    middle[:3, 3] = -middle.diagonal()[:3] * (np.array(SHAPE) - 1) / 2
    corpus.read("forms", "none.nii", nifti(sform_code=0, pixdim=pixdim), affine=middle, notes=UNPLACED)
    default = np.diag([-8.0, -8.0, 10.0, 1.0])
    corpus.read("forms", "none.mha", mha(TransformMatrix=None, Offset=None), affine=default, notes=UNPLACED)
    plain: Any = {"space_directions": None, "space": None, "space_origin": None}
    corpus.read("forms", "none.nrrd", nrrd(spacings="8 8 10", **plain), affine=default, notes=UNPLACED)
    corpus.refused("forms", "no_size.mha", mha(ElementSpacing=None), "a voxel size")
    corpus.refused("forms", "no_size.nrrd", nrrd(**plain), "a voxel size")
    extension = b"\1\0\0\0" + np.array([2**30, 6], "<i4").tobytes() + b"DOE^JOHN"
    content = nifti(vox_offset=368)
    corpus.read("forms", "bad_extension.nii", content[:348] + extension + content[352:])
