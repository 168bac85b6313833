#!/usr/bin/env bash
# Makes the shipped banks and measures them with three seeds: 20 minutes in all on two cores.
# The cards name the very commands below. Run it from the checkout, with CIFAR-10 in data/ and the faces in
# ../shared/datasets (or FACES=...).
# usage: make_banks.sh [cifar10] [person]      (both by default)
set -euo pipefail

banks=${*:-cifar10 person}
declare -A data make measure
data[cifar10]="--dataset cifar10 --data-dir data"
make[cifar10]=""
measure[cifar10]=""

# id120 to id157 are never used to make a bank: they judge it. 20 photos a person are few, so all make noise.
data[person]="--dataset folder:${FACES:-../shared/datasets/faces/identities} --crop 120 --image-size 64"
make[person]="--classes id0*,id10*,id11* --family person --noise-share 1"
measure[person]="--classes id12*,id13*,id14*,id15* --epochs 60 --batch-size 32"

set -f # the patterns are for unlearn, not for the shell
for bank in $banks; do
  terms=()
  if [[ $bank == person ]]; then
    terms=(--dataset-name 'Labeled Faces in the Wild (deep-funneled), 120 people' --licence 'research use only')
  fi
  unlearn generate ${data[$bank]} ${make[$bank]} "${terms[@]}" -o "pretrained/$bank.safetensors" --overwrite
done
python -c 'from pathlib import Path; from unlearn_cli.banks.catalog import write_index; write_index(Path("pretrained"))'

for bank in $banks; do
  for seed in 0 1 2; do
    unlearn evaluate --bank "$bank" ${data[$bank]} ${measure[$bank]} --seed $seed \
      -o "build/evaluation/$bank-$seed" --record
  done
done
