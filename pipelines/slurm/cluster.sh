# shellcheck shell=bash
# A Slurm cluster of two nodes on this machine, for trying the job scripts: sourced by try.sh. Needs Debian's slurm-wlm and
# munge, and root.
#   start_cluster FOLDER CPUS    all its files lie in FOLDER, CPUS are those of a node; stop_cluster ends what was started

start_cluster() {
  local folder=$1 cpus=$2 host node
  host=$(hostname -s)
  mkdir -p "$folder"/{munge,state,spool,log}
  chmod 700 "$folder/munge"
  chmod 755 "$folder"
  head -c 1024 /dev/urandom >"$folder/munge/key"
  chmod 400 "$folder/munge/key"
  munged --force --foreground --socket="$folder/munge.socket" --key-file="$folder/munge/key" \
    --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" 2>"$folder/log/munged" &
  cluster_pids=($!)
  export SLURM_CONF=$folder/slurm.conf
  cat >"$SLURM_CONF" <<EOF
ClusterName=try
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
AuthType=auth/munge
# a job that is queued again waits as long as its credential lives: 2 minutes by default
AuthInfo=socket=$folder/munge.socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/state/slurmctld.pid
SlurmdPidFile=$folder/state/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=30
MinJobAge=86400
SlurmdParameters=config_overrides
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=16818 CPUs=$cpus State=UNKNOWN
NodeName=node2 NodeHostname=$host NodeAddr=127.0.0.1 Port=16819 CPUs=$cpus State=UNKNOWN
PartitionName=try Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
  until [ -S "$folder/munge.socket" ]; do sleep 0.1; done
  slurmctld -D -i >/dev/null 2>&1 &
  cluster_pids+=($!)
  for node in node1 node2; do
    mkdir -p "$folder/spool/$node"
    slurmd -D -N "$node" >/dev/null 2>&1 &
    cluster_pids+=($!)
  done
  for _ in $(seq 60); do
    [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && return
    sleep 1
  done
  echo "the cluster did not start; see $folder/log" >&2
  return 1
}

stop_cluster() {
  local pid
  scancel --user=root 2>/dev/null || true
  for _ in $(seq 40); do # a step that outlives its slurmd would stay
    [ -n "$(squeue -h 2>/dev/null)" ] || break
    sleep 1
  done
  for pid in "${cluster_pids[@]}"; do
    kill "$pid" 2>/dev/null || true
  done
  wait "${cluster_pids[@]}" 2>/dev/null || true
}

wait_for() { # wait_for SECONDS COMMAND...: until the command succeeds
  local seconds=$1
  shift
  for _ in $(seq "$((seconds * 2))"); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.5
  done
  echo "not within $seconds s: $*" >&2
  return 1
}

ended() { # ended JOB...: no task of them is queued or runs
  local job
  for job in "$@"; do
    [ -z "$(squeue -h -j "$job" -t PENDING,RUNNING,COMPLETING,REQUEUED,SUSPENDED 2>/dev/null)" ] || return 1
  done
}

state() { # state JOB: COMPLETED, FAILED, ...
  scontrol show job "$1" | sed -n 's/ *JobState=\([A-Z_]*\).*/\1/p' | head -n 1
}
