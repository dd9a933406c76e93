# SPDX-License-Identifier: Apache-2.0
"""Pictures must show the patient the right way round, whatever the file's orientation."""

import itertools
import re

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff

from sfg_med.data.orientation import to_ras
from sfg_med.report.pictures import Window, outline, slice_uri
from sfg_med.report.planes import PLANES, obliquity_degrees, organ_slices

CODES = [
    "".join(sides[i] for i in order)
    for order in itertools.permutations(range(3))
    for sides in itertools.product("RL", "AP", "SI")
]
SHAPE, SPACING = (6, 8, 10), (1.0, 2.0, 3.0)


def _patient(code):
    """A volume with one bright voxel far to the left, front and top, stored in any of the 48 orientations."""
    ras = np.zeros(SHAPE)
    ras[0, -1, -1] = 1
    turn = axcodes2ornt(tuple(code))
    transform = nib.orientations.ornt_transform(axcodes2ornt("RAS"), turn)
    stored = nib.orientations.apply_orientation(ras, transform)
    return stored, np.diag([*SPACING, 1.0]) @ inv_ornt_aff(transform, SHAPE)


@pytest.mark.parametrize("code", CODES)
def test_radiological_orientation(code):
    volume, spacing = to_ras(*_patient(code))
    assert volume.shape == SHAPE
    assert spacing == pytest.approx(SPACING)
    axial, coronal, sagittal = PLANES
    # first row is anterior or superior; the patient's left is the last column, and in the sagittal plane
    # anterior is the first
    assert np.argwhere(axial.cut(volume, 9)).tolist() == [[0, 5]]
    assert np.argwhere(coronal.cut(volume, 7)).tolist() == [[0, 5]]
    assert np.argwhere(sagittal.cut(volume, 0)).tolist() == [[0, 0]]


def test_marks_and_pixel_sizes():
    assert [plane.marks for plane in PLANES] == [tuple("RLAP"), tuple("RLSI"), tuple("APSI")]
    assert [plane.pixel_mm(SPACING) for plane in PLANES] == [(2, 1), (3, 1), (3, 2)]


def test_obliquity():
    angle = np.radians(20)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert obliquity_degrees(turn @ np.diag([-1, 2, 3, 1.0])) == pytest.approx(20)
    assert obliquity_degrees(np.diag([-1, 2, 3, 1.0])) == 0


def test_slices_show_the_most_organs():
    labels = np.zeros((20, 20, 20), int)
    labels[2:12, 2:9, 2:9] = 1
    labels[10:14, 8:15, 8:16] = 2
    right, anterior, superior = organ_slices(labels, (1, 2), labels)
    assert (right in (10, 11), anterior, superior) == (True, 8, 8)
    image = np.zeros((20, 20, 20))
    image[4:7, 10:13, 15:18] = 5
    assert organ_slices(np.zeros_like(labels), (1, 2), image) == (5, 11, 16)
    assert organ_slices(None, (), image) == (5, 11, 16)


def test_outline_lies_on_the_borders_of_pixels_in_mm():
    picture = np.zeros((10, 12), bool)
    picture[3:7, 2:9] = True
    pairs = re.findall(r"([\d.]+),([\d.]+)", outline(picture, (2.0, 0.5)))
    corners = np.array(pairs, dtype=float)
    # columns 2 to 8 of 0.5 mm and rows 3 to 6 of 2 mm
    assert corners.min(0) == pytest.approx((1.0, 6.0), abs=0.06)
    assert corners.max(0) == pytest.approx((4.5, 14.0), abs=0.06)
    assert outline(np.zeros((4, 4), bool), (1, 1)) == ""


def test_window_maps_values_to_grey(decode):
    ramp = np.repeat(np.linspace(-300, 400, 64)[None], 64, 0)
    pixels = decode(slice_uri(ramp, Window(-160, 240, "W 400 L 40")))
    expected = np.clip((ramp + 160) / 400, 0, 1) * 255
    assert pixels.shape == (64, 64)
    assert np.abs(pixels - expected).max() < 8


def test_large_pictures_shrink_and_unknown_is_black(decode):
    picture = np.full((700, 350), np.nan)
    pixels = decode(slice_uri(picture, Window(-1, 1, "", "HU", "RdBu_r")))
    assert pixels.shape == (320, 160, 3)
    assert pixels.max() < 5
