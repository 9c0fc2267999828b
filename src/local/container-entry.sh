#!/bin/sh
# First process of a container: runs as root inside the container's fresh mount, PID and UTS namespaces and the pod's
# network namespace, mounts what the container sees differently, then becomes the container's program.
# usage: container-entry.sh POD_DIR CONTAINER_DIR HOSTNAME WORKDIR UID GID PROGRAM [ARG...]
# CONTAINER_DIR/mounts holds one "SOURCE<tab>TARGET<tab>rw|ro" line for each volume mount.
set -eu
umask 022
pod_dir=$1 container_dir=$2 hostname=$3 workdir=$4 uid=$5 gid=$6
shift 6
tab=$(printf '\t')

echo "$hostname" > /proc/sys/kernel/hostname
mount -t tmpfs -o mode=1777 tmpfs /tmp
# Service-account tokens and certificates of this container only.
mount -t tmpfs -o mode=755 tmpfs /run/secrets

# A mount point that this machine lacks is made in a throw-away layer over its nearest parent, never on the host.
layers=' /run/ /tmp/ '
make_mount_point() {
  parent=$(dirname "$1")
  while [ ! -d "$parent" ]; do parent=$(dirname "$parent"); done
  layered=
  for layer in $layers; do case $parent/ in "$layer"*) layered=yes ;; esac; done
  if [ -z "$layered" ]; then
    if [ "$parent" = / ]; then
      echo "mount path $1: this machine has no such top-level directory, and containers share its root" >&2
      exit 126
    fi
    dir=$(mktemp -d "$container_dir/layer.XXXXXX")
    mkdir "$dir/upper" "$dir/work"
    chmod --reference="$parent" "$dir/upper"
    mount -t overlay overlay -o "lowerdir=$parent,upperdir=$dir/upper,workdir=$dir/work" "$parent"
    layers="$layers$parent/ "
  fi
  if [ -d "$2" ]; then mkdir -p "$1"; else mkdir -p "$(dirname "$1")"; : > "$1"; fi
}

# All layers before any mount: a layer hides what was mounted below it.
while IFS="$tab" read -r source target mode; do
  target=$(readlink -m "$target")
  [ -e "$target" ] || make_mount_point "$target" "$source"
done < "$container_dir/mounts"
while IFS="$tab" read -r source target mode; do
  target=$(readlink -m "$target")
  mount --bind "$source" "$target"
  if [ "$mode" = ro ]; then mount -o remount,bind,ro "$target"; fi
done < "$container_dir/mounts"
mount --bind "$pod_dir/resolv.conf" /etc/resolv.conf
mount --bind "$pod_dir/hosts" /etc/hosts

cd "$workdir"
if [ "$uid" = 0 ]; then exec "$@"; fi
exec setpriv --reuid "$uid" --regid "$gid" --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs -- "$@"
