# SPDX-License-Identifier: Apache-2.0
"""The job scripts, as far as they can be checked without a queue; pipelines/slurm/try.sh runs them on one."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SLURM = ROOT / "pipelines" / "slurm"
SCRIPTS = sorted([*SLURM.glob("*.sh"), *SLURM.glob("*.sbatch"), *(ROOT / "docker").glob("*.sh")])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_clean(path: Path) -> None:
    shell = "sh" if path.read_text().startswith("#!/bin/sh") else "bash"
    done = subprocess.run([shell, "-n", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_cohort_is_an_array_and_a_job_that_waits_for_it() -> None:
    command = [SLURM / "cohort.sh", "--dry-run", "8", "/in put", "/out", "model", "--partition=gpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    array, merge = done.stderr.splitlines()
    assert array.split() == [
        *("sbatch", "--parsable", "--array=0-7", "--partition=gpu", str(SLURM / "predict.sbatch")),
        *("/in\\", "put", "/out", "model"),
    ]
    assert "--dependency=afterany:JOB" in merge
    assert merge.rstrip().endswith(f"{SLURM / 'merge.sbatch'} predict /in\\ put /out model")


@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        ("predict.sbatch", ["IN", "OUT", "M", "--samples", "4"], "--num-parts 4 --part-id 2 --json --samples 4"),
        ("compare.sbatch", ["D", "OUT", "steps=9"], "--num-parts 4 --part-id 2 steps=9"),
        ("merge.sbatch", ["compare", "OUT", "--seeds", "0"], "--collect-only --out OUT --seeds 0"),
    ],
)
def test_jobs_call_what_they_should(tmp_path: Path, script: str, arguments: list[str], expected: str) -> None:
    """With a srun that prints its arguments, in the third of four tasks of an array that starts at 1."""
    run = tmp_path / "srun"
    run.write_text('#!/bin/sh\necho "$@"\n')
    run.chmod(0o755)
    environment = {
        **{"PATH": f"{tmp_path}:/usr/bin:/bin", "SFG_MED_RUN": "apptainer exec image.sif"},
        **{"SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_JOB_ID": "1"},
    }
    done = subprocess.run(
        ["bash", SLURM / script, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("apptainer exec image.sif ")
    assert expected in done.stdout


def test_a_killed_task_is_queued_again_and_a_wrong_call_is_not(tmp_path: Path) -> None:
    for name, text in (("srun", 'exit "$CODE"'), ("scontrol", 'echo "scontrol $*"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    for code, restarts, again in ((137, 0, True), (137, 3, False), (2, 0, False), (1, 0, False), (0, 0, False)):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "CODE": str(code)}
        done = subprocess.run(
            ["bash", SLURM / "predict.sbatch", "IN", "OUT", "M"],
            **{"capture_output": True, "text": True, "check": False},
            env={**environment, "SLURM_RESTART_COUNT": str(restarts)},
        )
        assert done.returncode == code
        assert ("scontrol requeue 7" in done.stdout) == again
