# SPDX-License-Identifier: Apache-2.0
"""Whether a folder of predictions is whole: ``python pipelines/slurm/check_cohort.py IN OUT [REFERENCE]``.

Every input is done and has its files, once; nothing half-written is left; the manifest, the table and the page name all
cases. With REFERENCE, the output of an undisturbed call, every volume must be the same byte for byte.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np

from sfg_med.data.atomic import MARK


def problems(source: Path, output: Path, reference: Path | None = None) -> list[str]:
    """What is wrong, in words.

    Args:
        source: dataset folder; its ``mr`` volumes were predicted.
        output: what ``sfg-med predict`` wrote.
        reference: the same, by another call.
    """
    found = []
    wanted = sorted(path.parent.name for path in source.glob("*/mr.nii.gz"))
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    done = [record["case"] for record in manifest["cases"] if record["status"] == "done"]
    with (output / "cases.csv").open(newline="", encoding="utf-8") as file:
        rows = [row["case"] for row in csv.DictReader(file)]
    for name, cases in (("manifest.json", done), ("cases.csv", rows)):
        folders = [case.split("/")[0] for case in cases]
        if sorted(folders) != wanted:
            missing, extra = Counter(wanted) - Counter(folders), Counter(folders) - Counter(wanted)
            found.append(f"{name}: missing {sorted(missing)}, too many {sorted(extra)}")
    page = (output / "qc.html").read_text(encoding="utf-8")
    found += [f"qc.html: no {case}" for case in wanted if case not in page]
    found += [f"half a file: {path}" for path in output.rglob(f"*{MARK}*")]
    volumes = sorted(path.relative_to(output) for path in output.rglob("*.nii.gz"))
    expected = sorted(Path(case, f"mr_{kind}.nii.gz") for case in wanted for kind in ("ct", "seg"))
    if volumes != expected:
        found.append(f"volumes: missing {set(expected) - set(volumes)}, too many {set(volumes) - set(expected)}")
    for path in volumes:
        np.asarray(nib.Nifti1Image.from_filename(output / path).dataobj)  # a truncated file raises
        if reference is not None and (output / path).read_bytes() != (reference / path).read_bytes():
            found.append(f"{path}: other bytes than in {reference}")
    return found


if __name__ == "__main__":
    wrong = problems(*map(Path, sys.argv[1:]))
    print("\n".join(wrong) or "the cohort is whole")
    sys.exit(1 if wrong else 0)
