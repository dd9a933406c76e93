#!/bin/bash
# The job scripts on a Slurm cluster that this script starts on this machine and stops again (about 20 minutes, as root):
#   pipelines/slurm/try.sh [FOLDER]      FOLDER for all files; default: a new one under /tmp, removed if all went well
# PARTS=cohort, train, compare or scaling: only that part. Needs Debian's slurm-wlm and munge, and sfg-med, python and torchrun on the PATH.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$(dirname "$here")")
for command in slurmctld slurmd munged sfg-med torchrun; do
  if ! command -v "$command" >/dev/null; then
    echo "skipped: $command is not installed"
    exit 0
  fi
done
work=$(realpath -m "${1:-$(mktemp -d /tmp/sfg-slurm.XXXXXX)}")
mkdir -p "$work/logs"
# shellcheck source=cluster.sh disable=SC1091
source "$here/cluster.sh"
export OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES="" PYTHONPATH=$root
part=${PARTS:-all}

say() { echo "$(date +%T) $*"; }
fail() {
  say "FAILED: $*"
  exit 1
}
lines() { grep -c . "$1" 2>/dev/null || true; }
has_done() { # has_done MANIFEST N: at least so many cases are done
  python - "$@" <<'EOF'
import json, sys
sys.exit(sum(r["status"] == "done" for r in json.load(open(sys.argv[1]))["cases"]) < int(sys.argv[2]))
EOF
}
iteration() { # iteration RUN N: the training has passed iteration N
  [ -f "$1/history.csv" ] && [ "$(tail -n 1 "$1/history.csv" | sed 's/,.*//;s/[^0-9]//g;s/^$/0/')" -ge "$2" ]
}
started() { [ -n "$(find "$1" -name last.pt)" ]; } # started RUNS: some run has a checkpoint
same_weights() { # same_weights RUN RUN
  python - "$@" <<'EOF'
import sys, torch
a, b = (torch.load(f"{run}/checkpoints/last.pt", weights_only=True)["network"] for run in sys.argv[1:])
sys.exit(any(not torch.equal(a[k], b[k]) for k in a))
EOF
}

demonstration() { python -c 'from sfg_med.model_path import demonstration_model as m; print(m())'; }

try_cohort() {
  local model array merge
  model=$(demonstration)
  say "cohort: 24 volumes, an array of 4 tasks; one task is killed, one is requeued"
  sfg-med predict -i "$work/data" -o "$work/reference" -m "$model" --threads 1 --quiet 2>/dev/null
  cd "$work/logs"
  read -r array merge < <("$here/cohort.sh" 4 "$work/data" "$work/out" "$model")
  wait_for 900 has_done "$work/out/manifest.part-1-of-4.json" 1
  scancel --signal=KILL "${array}_1"
  wait_for 900 has_done "$work/out/manifest.part-2-of-4.json" 1
  scontrol requeue "${array}_2"
  wait_for 900 ended "$array" "$merge"
  grep -l "queued again" sfg-predict-"$array"_1.log || fail "the killed task was not queued again"
  python "$here/check_cohort.py" "$work/data" "$work/out" "$work/reference" || fail "the cohort is not whole"
  [ "$(state "$merge")" = COMPLETED ] || fail "the merging job is $(state "$merge")"
}

TINY=(network::channels='[4,8]' network::strides='[2]' network::kernel_sizes='[3,3]' patch_size='[32,32,16]' spacing_mm='[10,10,10]'
  precision=fp32 num_workers=1)

try_train() {
  local job again options=("${TINY[@]}" steps=160 steps_per_epoch=40 val_interval=2)
  say "training: two nodes with a process each; an undisturbed run, and one that gets a time limit and a requeue"
  cd "$work/logs"
  job=$(sbatch --parsable --nodes=2 "$here/train.sbatch" "$work/data" "$work/whole" "${options[@]}")
  wait_for 900 ended "$job"
  [ "$(state "$job")" = COMPLETED ] || fail "the undisturbed run is $(state "$job")"
  again=$(sbatch --parsable --nodes=2 "$here/train.sbatch" "$work/data" "$work/cut" "${options[@]}")
  wait_for 900 iteration "$work/cut" 20
  scancel --signal=USR1 --batch "$again" # what Slurm sends ahead of the time limit
  wait_for 900 grep -q "time limit" "sfg-train-$again.log"
  wait_for 900 iteration "$work/cut" 80
  scontrol requeue "$again" # what a preemption does
  wait_for 900 test -f "$work/cut/models/model.safetensors"
  wait_for 60 ended "$again"
  [ "$(state "$again")" = COMPLETED ] || fail "the disturbed run is $(state "$again")"
  say "starts of the disturbed run: $(grep -c '"time":' "$work/cut/run.json")"
  same_weights "$work/whole" "$work/cut" || fail "the disturbed run has other weights"
}

try_compare() {
  local array merge options=(--strategies "hard-sharing,sfg" --seeds "0,1")
  say "compare: an array of 2 tasks, one of which is killed"
  cd "$work/logs"
  array=$(sbatch --parsable --array=0-1 "$here/compare.sbatch" "$work/data" "$work/compare" "${options[@]}" --threads 1 \
    --steps 60 steps_per_epoch=20 "${TINY[@]}")
  merge=$(sbatch --parsable --dependency="afterany:$array" "$here/merge.sbatch" compare "$work/compare" "${options[@]}")
  wait_for 900 started "$work/compare/runs"
  scancel --signal=KILL "${array}_0"
  wait_for 900 ended "$array" "$merge"
  [ "$(state "$merge")" = COMPLETED ] || fail "the merging job is $(state "$merge")"
  [ "$(lines "$work/compare/results.csv")" = 5 ] || fail "results.csv has $(lines "$work/compare/results.csv") lines, not 5"
  grep -l "queued again" sfg-compare-"$array"_*.log || fail "the killed task was not queued again"
}

try_scaling() {
  local tasks start array merge times=()
  say "scaling: 48 volumes (24 simulated men, each twice) by one task and by two, a CPU each"
  sfg-med simulate --out "$work/men" --cases 24 --seed 6 --field-of-view whole --jobs 2 --quiet
  for man in "$work"/men/case*; do
    for copy in a b; do
      mkdir -p "$work/larger/$(basename "$man")$copy"
      ln -sf "$man/mr.nii.gz" "$work/larger/$(basename "$man")$copy/mr.nii.gz"
    done
  done
  cd "$work/logs"
  for tasks in 1 2; do
    rm -rf "$work/scaled$tasks"
    start=$(date +%s%N)
    read -r array merge < <("$here/cohort.sh" "$tasks" "$work/larger" "$work/scaled$tasks" "$(demonstration)" --cpus-per-task=1)
    wait_for 1800 ended "$array"
    times+=($((($(date +%s%N) - start) / 1000000)))
    wait_for 900 ended "$merge"
    python "$here/check_cohort.py" "$work/larger" "$work/scaled$tasks" || fail "the cohort of $tasks is not whole"
  done
  say "scaling: ${times[0]} ms by one task, ${times[1]} ms by two, start to end: $((100 * times[0] / times[1])) % of the throughput"
  [ $((10 * times[0])) -ge $((17 * times[1])) ] || fail "two tasks have less than 1.7 times the throughput of one"
}

trap stop_cluster EXIT
start_cluster "$work/cluster" 2
say "cluster: $(sinfo -h -o '%D nodes, %C CPUs (allocated/idle/other/total)')"
[ -d "$work/data" ] || sfg-med simulate --out "$work/data" --cases 24 --seed 5 --spacing 6 --quiet
for name in cohort train compare scaling; do
  if [ "$part" = all ] || [ "$part" = "$name" ]; then "try_$name"; fi
done
say "all went well"
[ $# -gt 0 ] || { cd / && rm -rf "$work"; }
