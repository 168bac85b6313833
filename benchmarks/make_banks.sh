#!/usr/bin/env bash
# Makes the shipped banks and measures them: each card names the commands below, 20 minutes in all on two cores.
# Run it from the checkout, with CIFAR-10 in data/ and the faces in ../shared/datasets (or FACES=...).
set -euo pipefail

faces=folder:${FACES:-../shared/datasets/faces/identities}
work=build/evaluation

if [[ ${1:-all} != measure ]]; then
  unlearn generate --dataset cifar10 --data-dir data -o pretrained/cifar10.safetensors --overwrite
  # id120 to id157 are never used to make a bank: they judge it. 20 photos a person are few, so all make noise.
  unlearn generate --dataset "$faces" --classes 'id0*,id10*,id11*' --crop 120 --image-size 64 \
    --family person --noise-share 1 --dataset-name 'Labeled Faces in the Wild (deep-funneled), 120 people' \
    --licence 'research use only' -o pretrained/person.safetensors --overwrite
  python -c 'from pathlib import Path; from unlearn_cli.banks.catalog import write_index; write_index(Path("pretrained"))'
fi

for seed in 0 1 2; do
  unlearn evaluate --bank cifar10 --dataset cifar10 --data-dir data --seed $seed -o $work/cifar10-$seed --record
  unlearn evaluate --bank person --dataset "$faces" --classes 'id12*,id13*,id14*,id15*' --crop 120 --image-size 64 \
    --epochs 60 --batch-size 32 --seed $seed -o $work/person-$seed --record
done
