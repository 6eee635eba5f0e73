#!/usr/bin/env bash
# Makes a bare Debian 12 ready for `make trial`: Docker, Python, and a kernel that shapes links in every way the
# testbed knows. As root. The VM lane runs it in a root file system that is not booted yet, the Vagrantfile in a
# machine that is.
set -euo pipefail

packages=(ca-certificates debootstrap docker.io iproute2 iptables kmod make procps python3 python3-venv rsync)
# What Docker's networks and the shaper ask of the kernel; a container may not load modules itself.
modules=(br_netfilter bridge cls_u32 ifb iptable_nat nf_nat overlay sch_htb sch_netem veth xt_addrtype xt_conntrack
    xt_MASQUERADE)

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}"
mkdir -p /etc/modules-load.d
printf '%s\n' "${modules[@]}" >/etc/modules-load.d/testbed.conf
if [[ -d /run/systemd/system ]]; then
    systemctl restart systemd-modules-load.service docker.service
    # Whoever logs in to the VM may use Docker without being root.
    ! id vagrant >/dev/null 2>&1 || usermod --append --groups docker vagrant
fi
