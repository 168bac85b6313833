#!/usr/bin/env bash
# Makes the shipped banks, which takes half an hour on one core; benchmarks/measure_banks.sh measures them.
# The banks' cards quote the commands below. Run it from the checkout, with CIFAR-10 in data/, and the faces and
# imagenette224 in ../shared/datasets (or DATASETS=...).
# usage: make_banks.sh [cifar10] [person] [person-low] [person-high] [person-max] [photos-10]      (all by default)
set -euo pipefail

banks=${*:-cifar10 person person-low person-high person-max photos-10}
datasets=${DATASETS:-../shared/datasets}
faces="--dataset folder:$datasets/faces/identities"
# No bank is made on id120 to id157, so that banks can be tested on them. id000 to id023 are the crowd around them.
makers="--classes id02[4-9],id0[3-9]?,id10?,id11?"

set -f # unlearn expands the patterns, not the shell
for bank in $banks; do
  if [[ $bank == person* ]]; then
    how="--set precision=bf16"
    if [[ $bank == person-low ]]; then how="--set family=person"; fi # The shipped person-low was made in fp32.
    unlearn generate $faces $makers --preset "$bank" $how -o "pretrained/$bank.safetensors" --overwrite \
      --set 'dataset-name=Labeled Faces in the Wild (deep-funneled), 96 people' --set 'licence=research use only'
  elif [[ $bank == photos-10 ]]; then
    unlearn generate --dataset "folder:$datasets/imagenette224/train" --image-size 64 --preset photos --set precision=bf16 \
      -o pretrained/photos-10.safetensors --overwrite \
      --set 'dataset-name=imagenette (ten classes of ImageNet), 150 photos of each' --set 'licence=research use only'
  elif [[ $bank == cifar10 ]]; then
    # The colours hold against several networks, and the brightness in grey (docs/results/cifar10.md). The shipped bank's
    # colours were made on 2026-11-21, by an earlier version.
    unlearn generate --dataset cifar10 --data-dir data -o build/colours.safetensors --overwrite
    unlearn generate --dataset cifar10 --data-dir data --train-size 50000 --surrogate fast-w32 --set stop-error=0.01 \
      -o build/brightness.safetensors --overwrite
    unlearn banks mix build/colours.safetensors build/brightness.safetensors --by-colour \
      -o "pretrained/$bank.safetensors" --overwrite
  else
    echo "There is no bank $bank." >&2
    exit 2
  fi
done
python -c 'from pathlib import Path; from unlearn_cli.banks.catalog import write_index; write_index(Path("pretrained"))'
