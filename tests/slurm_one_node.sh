#!/bin/bash
# A Slurm cluster of this machine alone, for as long as one command runs:
#
#   tests/slurm_one_node.sh .venv/bin/python -m pytest tests/test_launchers.py -m slow
#
# Needs root and Debian's packages: apt-get install slurm-wlm munge
set -euo pipefail

[[ $# -gt 0 ]] || { sed -n '2,/^set/{/^#/p}' "$0"; exit 2; }
for program in munged slurmctld slurmd sbatch; do
    command -v "$program" > /dev/null || PATH+=:/usr/sbin:/sbin
    command -v "$program" > /dev/null || { echo "no $program: apt-get install slurm-wlm munge"; exit 1; }
done

state=$(mktemp -d)
chmod 755 "$state"
daemons=()
stop() {
    kill "${daemons[@]}" 2> /dev/null || true
    wait "${daemons[@]}" 2> /dev/null || true
    rm -rf "$state"
}
trap stop EXIT

start() { # name, command: in the background, its output in a file
    "${@:2}" > "$state/$1.out" 2>&1 &
    daemons+=($!)
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
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
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
