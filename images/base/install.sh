#!/bin/sh
# install.sh WHEELS DIR: installs wheels by the pip among them and checks each by the hashes in pins.txt there, takes
# out what nothing at run time reads (headers, programs, tests), and compiles what is left, because the containers'
# root is read-only. What was installed stays written down in DIR/wheels.sha256.
set -eu
pip=$(echo "$1"/pip-*.whl)
sed -i '/^pip==/d' "$1/pins.txt"
python3 "$pip/pip" install --quiet --no-index --no-deps --no-compile --require-hashes \
    --find-links "$1" --target "$2" -r "$1/pins.txt"
rm "$pip"
(cd "$1" && sha256sum -- *.whl) >"$2/wheels.sha256"
cd "$2"
rm -rf bin share torch/include torch/test torch/lib/*test*.so
for program in torch/bin/*; do
    case $program in */torch_shm_manager) ;; *) rm -rf "$program" ;; esac # torch imports only where this one is
done
find . -type d -name tests -prune -exec rm -rf {} +
find . \( -name '*.pyi' -o -name '*.a' \) -delete
python3 -m compileall -q -j 0 . >/dev/null || : # some packages keep templates that are not quite Python
