#!/bin/bash
# A Slurm cluster of this machine alone, for as long as one command runs; by default:
#
#   tests/slurm_one_node.sh python -m pytest tests/test_launchers.py -m slow
#
# Needs root, Debian's packages (apt-get install slurm-wlm munge) and pip install '.[slurm]'.
# The node has six CPUs at least for Slurm, so that six jobs run at once on any machine.
set -euo pipefail

cd "$(dirname "$0")/.."
[[ $# -gt 0 ]] || set -- python -m pytest tests/test_launchers.py -m slow
[[ $(id -u) == 0 ]] || { echo "run it as root, which starts Slurm's daemons"; exit 1; }
for program in munged slurmctld slurmd sbatch; do
    command -v "$program" > /dev/null || PATH+=:/usr/sbin:/sbin
    command -v "$program" > /dev/null || { echo "no $program: apt-get install slurm-wlm munge"; exit 1; }
done

# The daemons and all that they start live in a process namespace, which ends with its first process.
if [[ -z ${SLURM_STATE:-} ]]; then
    SLURM_STATE=$(mktemp -d)
    export SLURM_STATE TMPDIR=$SLURM_STATE
    chmod 755 "$SLURM_STATE"
    unshare --pid --fork --kill-child --mount-proc bash "$PWD/tests/slurm_one_node.sh" "$@" &
    inside=$!
    stop() {
        kill -KILL "$inside" 2> /dev/null || true
        wait "$inside" 2> /dev/null || true
        rm -rf "$SLURM_STATE" 2> /dev/null || { sleep 2; rm -rf "$SLURM_STATE"; }
    }
    trap stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    wait "$inside"
    exit
fi

state=$SLURM_STATE

start() { # name, command: in the background, its output in a file
    "${@:2}" > "$state/$1.out" 2>&1 &
}

dd if=/dev/urandom of="$state/key" bs=1024 count=1 status=none
chmod 400 "$state/key"
start munged munged --foreground --force --key-file="$state/key" --socket="$state/munge" \
    --pid-file="$state/munged.pid" --seed-file="$state/seed" --log-file="$state/munged.log"

cat > "$state/slurm.conf" << END
ClusterName=one
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$state/munge
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
StateSaveLocation=$state/controller
SlurmdSpoolDir=$state/node
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldPort=16817
SlurmdPort=16818
SlurmdParameters=config_overrides
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(($(nproc) > 6 ? $(nproc) : 6)) RealMemory=$(awk "/MemTotal/ {print int(\$2 / 1024)}" /proc/meminfo) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF=$state/slurm.conf
mkdir "$state/controller" "$state/node"
start slurmctld slurmctld -D -f "$SLURM_CONF"
start slurmd slurmd -D -f "$SLURM_CONF"

for _ in {1..30}; do
    if sinfo --noheader --states=idle 2> /dev/null | grep -q idle; then
        "$@"
        exit
    fi
    sleep 1
done
echo "the node did not come up:"
tail -n 20 "$state"/*.out
exit 1
