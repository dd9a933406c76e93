#!/bin/sh
# The steps that make /opt/venv, for the Dockerfile and the Apptainer definition alike: install.sh STEP in the source folder.
set -eu
case $1 in
torch)
  # First and exact: an open range would take a build with several GB of GPU libraries into an image for CPUs.
  python3 -m venv /opt/venv
  version=$(sed -n 's/^torch==//p' constraints.txt)
  case ${COMPUTE:?cpu or cuda} in
  cpu) version=$version+cpu ;;
  cuda) ;;
  *) echo "COMPUTE: expected cpu or cuda, found $COMPUTE" >&2 && exit 2 ;;
  esac
  /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "torch==$version"
  ;;
dependencies)
  # ITK's own package would be half of the image; only MONAI's readers of other formats than NIfTI need it, and sfg-med reads
  # them by SimpleITK.
  /opt/venv/bin/python -c "import tomllib
print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" |
    sed '/^itk/d; s/,itk//' >requirements.txt
  /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt --requirement requirements.txt
  ;;
package)
  /opt/venv/bin/pip install --no-cache-dir --no-deps .
  # Bytecode is compiled here, since nothing can write it later. Headers, static libraries and tests are for developers.
  site=$(/opt/venv/bin/python -c "import sysconfig; print(sysconfig.get_paths()['purelib'])")
  rm -rf "$site/torch/include" "$site/torch/share/cmake" "$site/torch/test"
  find "$site" -name '*.a' -delete
  for name in numpy scipy sklearn skimage networkx sympy matplotlib; do
    find "$site/$name" -type d -name tests -prune -exec rm -rf {} +
  done
  mkdir -p /opt/sfg-med
  cp -R configs models docs LICENSE /opt/sfg-med/
  ;;
*)
  echo "install.sh: expected torch, dependencies or package, found $1" >&2
  exit 2
  ;;
esac
