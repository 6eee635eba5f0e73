#!/bin/bash
# The first process of the VM: kernel file systems, the project as it is now (a tar on the second disk), then
# guest.sh with the job named on the kernel's command line. The results go as a tar to the third disk.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
# Several of these the initrd has mounted already.
mountpoint -q /proc || mount -t proc proc /proc
mountpoint -q /sys || mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
mountpoint -q /run || mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup
hostname vm
ip link set lo up
xargs -a /etc/modules-load.d/testbed.conf modprobe -a

mkdir -p /tmp/results /testbed
tar -xf /dev/vdb -C /testbed
[[ $(</proc/cmdline) =~ testbed\.job=([a-z]+) ]]
cd /testbed || exit 1
tests/vm/guest.sh "${BASH_REMATCH[1]}" /tmp/results 2>&1 | tee /tmp/results/console.log
echo "${PIPESTATUS[0]}" >/tmp/results/status
tar -cf /dev/vdc -C /tmp/results .
sync
mount -o remount,ro /
echo o >/proc/sysrq-trigger
sleep 60
