#!/usr/bin/env bash
# Two machines in network namespaces, a link between them, and a Slurm batch script on the first: two_nodes.sh SCRIPT...
# Runs in mount, network and process namespaces of its own, so all of it is gone when it ends, and `ray stop`,
# which stops every Ray that it sees, sees these two only.
set -euo pipefail
mount -t tmpfs none /run
for node in one two; do
    ip netns add "$node"
    ip -n "$node" link set lo up
done
ip link add link1 netns one type veth peer name link2 netns two
ip -n one addr add 10.9.0.1/24 dev link1
ip -n two addr add 10.9.0.2/24 dev link2
ip -n one link set link1 up
ip -n two link set link2 up
PATH="$(dirname "$0")/bin:$PATH"
exec ip netns exec one "$@"
