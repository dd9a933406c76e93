# SPDX-License-Identifier: Apache-2.0
"""Helpers of the report tests: small prediction folders, decoded pictures, parsed pages."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from sfg_med.spec import ModelSpec

SHAPE = (24, 20, 18)
AFFINE = np.diag([-2.0, -2.0, 4.0, 1.0])


class Page(HTMLParser):
    """Text, attributes and balance of tags of a page."""

    VOID = frozenset({"meta", "br", "link", "img", "image", "input", "path", "use", "rect", "circle", "line"})

    def __init__(self, source):
        super().__init__()
        self.text, self.attributes, self.open, self.unbalanced = [], [], [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if tag not in self.VOID and (not self.open or self.open.pop() != tag):
            self.unbalanced.append(tag)

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())

    def values(self, name):
        return [value for _, key, value in self.attributes if key == name]


def check_self_contained(source):
    """Nothing on the page points outside it, and its tags are balanced."""
    page = Page(source)
    assert not page.unbalanced
    assert not page.open
    links = [*page.values("href"), *page.values("src"), *page.values("xlink:href")]
    assert all(link.startswith(("data:image/", "#")) for link in links)
    for link in links:
        assert link.startswith("#") or decode_picture(link).size
    assert not re.search(r"https?:|//\w|@import|<script[^>]*src|<link", re.sub(r"base64,[\w+/=\s]+", "", source))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", source))
    return page


def decode_picture(uri):
    kind, _, payload = uri.partition(";base64,")
    assert kind in ("data:image/jpeg", "data:image/png")
    image = Image.open(io.BytesIO(base64.b64decode("".join(payload.split()), validate=True)))
    image.load()
    return np.asarray(image).astype(float)


@pytest.fixture
def decode():
    return decode_picture


@pytest.fixture
def self_contained():
    return check_self_contained


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def organs():
    labels = np.zeros(SHAPE, np.uint8)
    for value in range(1, 6):
        labels[4 * value - 2 : 4 * value + 1, 6:12, 5:11] = value
    return labels


@pytest.fixture
def predicted(tmp_path):
    """A dataset ``data`` and what predict would have left in ``out``: two cases done, one failed."""
    generator = np.random.default_rng(0)
    spec, cases = ModelSpec(), []
    for name, flags in (("case1", ["fov_edge:bladder"]), ("case<2>", [])):
        ct = generator.integers(-1000, 1200, SHAPE).astype(np.int16)
        folder = tmp_path / "data" / name
        save(folder / "mr.nii.gz", generator.integers(0, 800, SHAPE).astype(np.int16))
        save(folder / "ct.nii.gz", ct)
        save(folder / "seg.nii.gz", organs())
        save(tmp_path / "out" / name / "mr_ct.nii.gz", (ct + 10).astype(np.int16))
        save(tmp_path / "out" / name / "mr_seg.nii.gz", organs())
        names = spec.label_tasks[0].labels
        measures = {f"volume_ml_{organ}": 30.0 + i for i, organ in enumerate(names)}
        measures |= {f"mean_hu_{organ}": 41.25 for organ in names if organ != "rectum"}
        cases.append(
            {
                "case": name,
                "status": "done",
                "skipped": False,
                "error": "",
                "input": str(folder / "mr.nii.gz"),
                "seconds": 4.25,
                "files": {"ct": f"{name}/mr_ct.nii.gz", "seg": f"{name}/mr_seg.nii.gz"},
                "measures": measures,
                "flags": flags,
            }
        )
    failed = {
        "case": "broken",
        "status": "failed",
        "error": "a line about a <broken> file",
        "input": "/x/broken.nii",
    }
    cases.append({**cases[0], **failed, "files": {}, "measures": {}, "flags": []})
    manifest = {
        "updated": "2026-11-22T01:40:12+00:00",
        "versions": {"sfg_med": "0.1.0", "torch": "2.13.0"},
        "device": {"name": "cpu", "description": "x86_64", "precision": "bf16"},
        "options": {"input": str(tmp_path / "data"), "samples": 1},
        "seed": 0,
        "model": {"path": "/m/model.safetensors", "sha256": "0123abcd" * 8, "spec": spec.to_dict()},
        "summary": {"cases": 3, "done": 2, "failed": 1, "skipped": 0},
        "cases": cases,
    }
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path
