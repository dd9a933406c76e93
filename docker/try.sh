#!/bin/bash
# Builds the image without a Docker engine, by Debian's buildah, and predicts in it as a cluster would: read-only, without
# a network, as a user that the image does not know. About ten minutes, as root.
#   docker/try.sh [FOLDER]       FOLDER for all files; default: a new one under /tmp, removed if all went well
# Environment:
#   BASE     a root file system with python3 and venv, as of: debootstrap --variant=minbase
#            --include=python3,python3-venv,ca-certificates bookworm BASE; made if absent (Debian's mirror is asked)
#   WHEELS   a folder of wheels, to spare downloads; without it pip downloads them while the image is built
#   VOLUMES  a folder of volumes to predict; without it two simulated men
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for command in buildah debootstrap sfg-med unshare; do
  if ! command -v "$command" >/dev/null; then
    echo "skipped: $command is not installed"
    exit 0
  fi
done
work=$(realpath -m "${1:-$(mktemp -d /tmp/sfg-image.XXXXXX)}")
mkdir -p "$work"
base=${BASE:-$work/base}
user=12345:12345

buildah_() { buildah --storage-driver vfs --root "$work/storage" --runroot "$work/run" "$@"; }
say() { echo "$(date +%T) $*"; }
cleanup() {
  local code=$?
  [ ! -d "${image:-}" ] || buildah_ umount "$container" >/dev/null
  if [ $# -eq 0 ] && [ $code -eq 0 ] && [ "$keep" = no ]; then rm -rf "$work"; fi
  exit $code
}
keep=$([ $# -gt 0 ] && echo yes || echo no)
trap cleanup EXIT

[ -d "$base/usr" ] || debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$base"
container=$(buildah_ from scratch)
buildah_ add -q "$container" "$base" / >/dev/null
buildah_ commit -q --rm "$container" sfg-base >/dev/null
say "base image: $(du -sm "$base" | cut -f1) MB"

options=()
if [ "${WHEELS:-}" ]; then
  options+=(--volume "$WHEELS:/wheels:ro" --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels)
fi
commit=$(git -C "$root" describe --always --dirty --abbrev=40 --exclude='*')
buildah_ bud --isolation chroot --format docker -f "$root/docker/Dockerfile" -t sfg-med --build-arg BASE_IMAGE=localhost/sfg-base \
  --build-arg COMPUTE=cpu --build-arg COMMIT="$commit" --build-arg VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")" \
  "${options[@]}" "$root" >"$work/build.log" 2>&1 || { tail -n 20 "$work/build.log"; exit 1; }
container=$(buildah_ from sfg-med)
image=$(buildah_ mount "$container")
say "image: $(du -sm "$image" | cut -f1) MB"
buildah_ inspect --format '{{.Docker.Config.Labels}} entrypoint {{.Docker.Config.Entrypoint}} user {{.Docker.Config.User}}' "$container"

# What "run --read-only --network none --user 12345:12345 -v IN:/in:ro -v OUT:/out --tmpfs /tmp ENTRYPOINT" does, by hand:
# buildah's own run leaves the root file system writable. SFG_TRY_TMP=no leaves /tmp read-only as well.
# The image's environment comes from the image.
mapfile -t environment < <(buildah_ inspect --format '{{range .Docker.Config.Env}}{{println .}}{{end}}' "$container" | grep .)
in_image() { # in_image IN OUT COMMAND...
  local input=$1 output=$2
  shift 2
  # shellcheck disable=SC2016  # the inner shell has these variables
  IMAGE=$image IN=$input OUT=$output RUN_AS=$user TMP=${SFG_TRY_TMP:-yes} \
    unshare --net --mount --pid --fork bash -c '
      set -e
      mount --bind "$IMAGE" "$IMAGE"
      mount -t tmpfs tmpfs "$IMAGE/mnt"
      mkdir "$IMAGE/mnt/in" "$IMAGE/mnt/out"
      mount --bind "$IN" "$IMAGE/mnt/in"
      mount -o remount,bind,ro "$IMAGE/mnt/in"
      mount --bind "$OUT" "$IMAGE/mnt/out"
      mount -t proc proc "$IMAGE/proc"
      mount --bind /dev "$IMAGE/dev"
      if [ "$TMP" = yes ]; then mount -t tmpfs -o mode=1777 tmpfs "$IMAGE/tmp"; fi
      mount -o remount,bind,ro "$IMAGE"
      unset IMAGE IN OUT TMP
      exec "$@"' inside env -i "${environment[@]}" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" \
    chroot --userspec="$user" "$image" "$@"
}

mkdir -p "$work/in" "$work/out" "$work/host"
if [ "${VOLUMES:-}" ]; then
  cp -RLn "$VOLUMES"/. "$work/in/"
elif [ ! -f "$work/in/case000/mr.nii.gz" ]; then
  sfg-med simulate --out "$work/in" --cases 2 --seed 7 --quiet
fi
chown "$user" "$work/out"
chmod -R a+rX "$work/in"
chmod a+x "$work"
in_image "$work/in" "$work/out" sh -c 'id; touch /opt/x /tmp/x' || true
say "health: $(in_image "$work/in" "$work/out" sfg-med info --json | head -c 200)"
start=$(date +%s%N)
in_image "$work/in" "$work/out" sfg-med predict -i /mnt/in -o /mnt/out --threads 1 --json --overwrite >"$work/predict.json"
say "predict in the image: $((($(date +%s%N) - start) / 1000000)) ms for $(cat "$work/predict.json")"
sfg-med predict -i "$work/in" -o "$work/host" --threads 1 --overwrite --quiet 2>/dev/null
find "$work/host" -name '*.nii.gz' | while read -r file; do
  cmp "$file" "$work/out/${file#"$work/host/"}"
done
say "the image's volumes are those of the host, byte for byte: $(find "$work/host" -name '*.nii.gz' | wc -l) files"
[ -z "$(find "$image" -xdev -newer "$work/predict.json" -type f | head -n 1)" ] || { say "FAILED: the image was written to"; exit 1; }
say "all went well"
