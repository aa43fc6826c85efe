#!/usr/bin/env bash
#SBATCH --job-name=cosweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# One Ray over all nodes of the allocation, and the sweep on it: sbatch cluster/slurm.sh SWEEP.yaml [--set path=value]...
# Whole nodes only: at its end `ray symmetric-run` stops every Ray of its user on them.
set -euo pipefail
: "${1:?usage: sbatch cluster/slurm.sh SWEEP.yaml [--set path=value]...}"

# The batch script runs on the first node; HEAD_IP overrides the choice where nodes have several networks.
address="${HEAD_IP:-$(hostname --all-ip-addresses | cut -d ' ' -f 1)}:6379"
# A token for this job only, by the environment, which other users cannot read.
RAY_AUTH_TOKEN="$(python3 -I -c 'import secrets; print(secrets.token_hex(32))')"
# PYTHONSAFEPATH: no Python file of the folder that the job runs in is taken for a library.
export PYTHONSAFEPATH=1 RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
# Nodes of a large allocation start at different times; Ray waits 30 s for them by default.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT="${RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT:-300}"

outcome="$(mktemp)"
# shellcheck disable=SC2016  # the inner shell expands them
# --cpu-bind=none: a node's one task is Ray, whose workers are to use all cores, not the one a task is bound to.
# --wait: the first node ends with the sweep, the others would notice a minute later.
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --cpu-bind=none --wait=10 \
    ray symmetric-run \
    --address "$address" \
    --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_ON_NODE" \
    --num-gpus "${SLURM_GPUS_ON_NODE:-0}" \
    -- env RAY_ADDRESS="$address" bash -c 'cosweep run "$@"; echo "$?" > "$0"' "$outcome" "$@" ||
    true  # with several nodes `ray symmetric-run` may end with 1 after a sweep that ended with 0, as its Ray goes under it
status="$(cat "$outcome")"
exit "${status:-1}"
