#!/bin/sh
# install.sh WHEELS DIR: installs wheels by the pip among them, takes out what nothing at run time reads (headers,
# programs, tests), and compiles what is left, because the containers' root is read-only.
set -eu
pip=$(echo "$1"/pip-*.whl)
mkdir "$1/wanted"
mv "$1"/*.whl "$1/wanted"
mv "$1/wanted/${pip##*/}" "$1"
python3 "$pip/pip" install --quiet --no-index --no-deps --no-compile --target "$2" "$1"/wanted/*.whl
cd "$2"
rm -rf bin share torch/include torch/test torch/lib/*test*.so
for program in torch/bin/*; do
    case $program in */torch_shm_manager) ;; *) rm -rf "$program" ;; esac # torch imports only where this one is
done
find . -type d -name tests -prune -exec rm -rf {} +
find . \( -name '*.pyi' -o -name '*.a' \) -delete
python3 -m compileall -q -j 0 . >/dev/null || : # some packages keep templates that are not quite Python
