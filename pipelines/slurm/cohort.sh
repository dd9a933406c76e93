#!/bin/bash
# Submit a cohort: a job array over the cases, and the job that merges its parts. --dry-run prints the calls only.
#   pipelines/slurm/cohort.sh [--dry-run] PARTS IN OUT MODEL [SBATCH-OPTION ...]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dry=
if [ "${1:-}" = --dry-run ]; then
  dry=yes
  shift
fi
if [ $# -lt 4 ]; then
  echo "usage: cohort.sh [--dry-run] PARTS IN OUT MODEL [SBATCH-OPTION ...]" >&2
  exit 2
fi
parts=$1 files=("$2" "$3" "$4")
shift 4

submit() { # prints the job's number
  if [ "$dry" ]; then
    printf '%q ' sbatch --parsable "$@" >&2
    echo >&2
    echo JOB
  else
    sbatch --parsable "$@"
  fi
}

array=$(submit --array="0-$((parts - 1))" "$@" "$here/predict.sbatch" "${files[@]}")
merge=$(submit --dependency="afterany:$array" "$@" "$here/merge.sbatch" predict "${files[@]}")
echo "$array $merge"
