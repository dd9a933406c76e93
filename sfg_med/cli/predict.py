# SPDX-License-Identifier: Apache-2.0
"""``sfg-med predict``: MR in, synthetic CT and organs out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

_IN = typer.Option(
    "--input",
    "-i",
    help="An image, a DICOM series, a folder (walked through all levels), or a CSV list (column image).",
)
_OUT = typer.Option("--output", "-o", help="Folder for the results.")
_MODEL = typer.Option(
    "--model", "-m", help="Model file or folder of a run. Default: $SFG_MED_MODEL, else the demonstration model."
)
_PRECISION = typer.Option(help="auto, fp32, bf16 or fp16. auto: bf16 where the hardware has it.")
_SAMPLES = typer.Option(min=1, help="Draws of the kernels' groups. With N > 1 also writes uncertainty maps.")
_LABELS = typer.Option(help="With --samples: mean (of the probabilities) or mode (of the passes, as in the paper).")
_GROUPS = typer.Option(
    help="Groups of one pass: argmax (likeliest), mean (all, by probability), draw (one draw); model: its own rule."
)
_WHOLE = typer.Option("--whole-image", help="Compute air, too, not only the box around the patient.")
_PARTS = typer.Option("--entropy-parts", help="With --samples: also write both parts of the entropy.")
_SERIES = typer.Option(help="Of DICOM, only series whose description is like this, such as 't2*tra'.")
_DICOM = typer.Option("--dicom", help="Of DICOM series, also write a CT series, RTSTRUCT and DICOM-SEG (x_dicom/).")
_DEIDENTIFY = typer.Option("--deidentify", help="With --dicom: replace patient and UIDs, leave dates out.")

_DEMONSTRATION = (
    "warning: this is the demonstration model, trained on a few simulated patients. It shows how the program works; "
    "it is no clinical model, and on real images its results are wrong. Give your own model with -m."
)


def command(
    source: Annotated[Path, _IN],
    output: Annotated[Path, _OUT],
    model: Annotated[Path | None, _MODEL] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, _PRECISION] = "auto",
    samples: Annotated[int, _SAMPLES] = 1,
    seed: Annotated[int, typer.Option(help="Start of the random numbers for --samples.")] = 0,
    labels_from: Annotated[str, _LABELS] = "mean",
    groups: Annotated[str, _GROUPS] = "model",
    entropy_parts: Annotated[bool, _PARTS] = False,
    whole_image: Annotated[bool, _WHOLE] = False,
    series: Annotated[str, _SERIES] = "",
    dicom: Annotated[bool, _DICOM] = False,
    deidentify: Annotated[bool, _DEIDENTIFY] = False,
    overlap: Annotated[float, typer.Option(min=0.0, max=0.95, help="Part that sliding windows share.")] = 0.5,
    sw_batch_size: Annotated[int, typer.Option(min=1, help="Windows computed at once.")] = 1,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch takes.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Predict finished cases again.")] = False,
    num_parts: Annotated[int, typer.Option(min=1, help="Share the cases among this many processes.")] = 1,
    part_id: Annotated[int, typer.Option(min=0, help="Which part this process takes, from 0.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print failures only.")] = False,
) -> None:
    """Predict synthetic CT and organs for one MR or a cohort. For research only, not for clinical use."""
    called = time.perf_counter()
    names = {"source": "input", "as_json": "json"}
    options = {
        names.get(k, k): str(v) if isinstance(v, Path) else v
        for k, v in locals().items()
        if k not in ("names", "called")
    }
    from sfg_med.model_path import demonstration_model, find_model

    model_file = find_model(model)  # before torch is imported: a wrong path should not take seconds to say
    if model_file == demonstration_model():
        typer.secho(_DEMONSTRATION, err=True, fg="yellow")
    from sfg_med.cli._predict import Terminal, predict

    if part_id >= num_parts:
        raise typer.BadParameter(f"{part_id} is not below --num-parts {num_parts}", param_hint="--part-id")
    if deidentify and not dicom:
        raise typer.BadParameter("only with --dicom: NIfTI files hold no identity", param_hint="--deidentify")
    raise typer.Exit(predict(source, output, model_file, options, Terminal(called, as_json=as_json, quiet=quiet)))
