#!/bin/busybox sh
# The first process of the guest. It mounts what the tests expect, loads the modules, runs each test program, and says on
# the first serial port what happened, in lines that begin with "@". The kernel's own messages go to the second port.
/bin/busybox --install -s /bin
# Both processors are one thread of the emulator: tests side by side would only wait for each other.
export PATH=/tools:/bin HOME=/tmp RUST_BACKTRACE=1 RUST_TEST_THREADS=1

mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t bpf bpf /sys/fs/bpf
mount -t securityfs security /sys/kernel/security
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
ln -s /proc/self/fd /dev/fd
exec </dev/null >/dev/ttyS0 2>&1
stty -F /dev/ttyS0 -onlcr

# What the emulator's processor is late for is no fault of the kernel; a task that hangs is.
echo 120 >/proc/sys/kernel/hung_task_timeout_secs
echo 60 >/proc/sys/kernel/watchdog_thresh
echo 1 >/proc/sys/kernel/panic_on_oops
ulimit -n 65536
ip link set lo up

without=
for word in $(cat /proc/cmdline); do
    case $word in penstock.without=*) without=,${word#*=}, ;; esac
done

is_without() {
    case $without in *,$1,*) return 0 ;; esac
    return 1
}

release=$(uname -r)
echo "@kernel $release"
echo "@lockdown $(sed 's/.*\[\(.*\)\].*/\1/' /sys/kernel/security/lockdown)"
for module in $(cat "/modules/$release/order"); do
    if [ "$module" = tls.ko ] && is_without ktls; then continue; fi
    # A module that finds no such processor, or is there already, is not needed; kTLS is.
    if ! insmod "/modules/$release/$module" 2>/dev/null && [ "$module" = tls.ko ]; then
        echo "@broken kTLS does not load"
    fi
done

# busybox's shell prefers its own setpriv, which can do less, unless a path is given.
# Runs a command with what it may have: no right to load programs, or a user of its own.
restricted() {
    if is_without capabilities; then
        rights=-all,+bpf,+net_admin
        if is_without sockmap; then rights=-all; fi
        /tools/setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=$rights --inh-caps=$rights \
            --ambient-caps=$rights --no-new-privs "$@"
    elif is_without sockmap; then
        /tools/setpriv --bounding-set=-bpf,-net_admin,-perfmon,-sys_admin "$@"
    else
        "$@"
    fi
}

if [ -e /bench/run ]; then
    sh /bench/run
    echo "@status $?"
fi
if [ -e /suites/order ]; then
    echo 'kernel: {sockmap: auto}' >/tmp/everything.yaml
    restricted penstock doctor --config /tmp/everything.yaml | tee /tmp/doctor
    for acceleration in ktls splice sockmap steering; do
        echo "@found $acceleration $(awk -v name=$acceleration '$1 == name { print $2 }' /tmp/doctor)"
    done
fi
for suite in $(cat /suites/order 2>/dev/null); do
    echo "@suite $suite"
    restricted "/suites/$suite"
    echo "@status $?"
done
echo "@end"
# Setting a terminal waits until all that was written to it is out.
stty -F /dev/ttyS0 onlcr
reboot -f
