# SPDX-License-Identifier: Apache-2.0
"""``overview.png`` shows something in each of its panels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb

from sfg_med.data.simulation import simulate_case
from sfg_med.preparation.case import Prepared
from sfg_med.preparation.images import Image, affine_of, image_like, to_image
from sfg_med.preparation.overview import write_overview
from tests.preparation.test_images import volume

ROWS = 3


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    man = simulate_case(2, (10.0, 10.0, 10.0))
    grid = to_image(volume(man.affine, man.mr.shape))
    np.testing.assert_allclose(affine_of(grid), man.affine, atol=1e-4)

    def placed(array: np.ndarray) -> Image:
        return image_like(array, grid)

    images = {role: placed(getattr(man, role)) for role in ("mr", "ct", "seg", "mask")}
    return Prepared(images, before=placed(np.roll(man.mask, 2, axis=0)), after=images["mask"])


def _picture(path: Path, prepared: Prepared) -> np.ndarray:
    write_overview(path, "case", prepared)
    return image.imread(path)[..., :3]


def _share(pixels: np.ndarray, colour: str) -> float:
    return float((np.abs(pixels - to_rgb(colour)).max(axis=-1) < 0.1).mean())


def test_every_panel_shows_something_of_its_own(tmp_path: Path, prepared: Prepared) -> None:
    picture = _picture(tmp_path / "x.png", prepared)
    alone = _picture(tmp_path / "mr.png", Prepared({k: v for k, v in prepared.images.items() if k != "ct"}))
    # a fixed width for each column, and half an inch
    assert picture.shape[1] / alone.shape[1] == pytest.approx((4 * 3.5 + 0.5) / (3.5 + 0.5), rel=0.02)
    columns = [np.array_split(column, ROWS) for column in np.array_split(picture, 4, axis=1)]
    panels = [[panel.mean(axis=-1) for panel in column] for column in columns]
    assert min(panel.std() for column in panels for panel in column) > 0.3, (
        "a panel without an image has 0.15 by its frame and words"
    )
    width = min(panel.shape[1] for column in panels for panel in column)
    for row in range(ROWS):
        for first in range(3):
            for second in range(first + 1, 4):
                difference = panels[first][row][:, :width] - panels[second][row][:, :width]
                assert np.abs(difference).mean() > 0.08, "the MR twice differs by 0.06 to 0.09"
    # outlines of the CT as it was and as it is are in the last column (an organ of the first one is orange, too)
    for row in range(ROWS):
        assert [_share(columns[n][row], "tab:orange") > 5e-4 for n in range(1, 4)] == [False, False, True]
        assert _share(columns[3][row], "tab:cyan") > 5e-4
