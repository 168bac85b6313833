#!/usr/bin/env bash
# Measures the shipped banks and adds the figures to their cards: some five hours on two cores, for all.
# The cards hold seed 0 of the steps person, person-high and (thirteen at a time) person-low so far.
# Run it from the checkout, with CIFAR-10 in data/ and the faces in ../shared/datasets (or FACES=...). What it did is
# in build/evaluation, so that it goes on after an interruption.
# usage: measure_banks.sh [STEP...]      (all by default; see the names below)
set -euo pipefail

# The 38 people id120 to id157, whom no bank was made on, five at a time among 24 others.
people="--identities ${FACES:-../shared/datasets/faces/identities}"
people+=" --classes id12?,id13?,id14?,id15?,id00?,id01?,id02[0-3] --protect id12?,id13?,id14?,id15?"
people+=" --scale cpu --precision bf16 --jobs ${JOBS:-2}"
few="$people --groups-of 5"
many="$people --groups-of 13 --seeds 1" # for attackers: fewer trainings, more at a time

set -f # the patterns are for unlearn, not for the shell
measure() { # output bank options...
  unlearn evaluate --bank "$2" "${@:3}" -o "build/evaluation/$1" --record
}

for step in ${*:-cifar10 person person-high person-low trips victims keys one-key attackers dilution}; do
  case $step in
    cifar10) measure cifar10 cifar10 --data-dir data --seeds 3 ;;
    person | person-high | person-low) measure people "$step" $few ;;
    trips)
      for bank in person person-high; do
        measure people $bank $few --seeds 1 --trip face:50
        measure people $bank $few --seeds 1 --trip hard
        measure people $bank $few --seeds 1 --image-size 32
      done
      ;;
    victims) measure people person-high $few --seeds 1 --model vgg11-w16 ;;
    keys)
      for seed in 1 2; do # 30 people each time, five at a time: 60 keys in twelve trainings
        unlearn evaluate --bank person $few --protect 'id12?,id13?,id14?' --seeds 1 --key-seed $seed \
          -o build/evaluation/people
      done
      ;;
    one-key) unlearn evaluate --bank person $few --seeds 1 --one-key -o build/evaluation/people ;;
    attackers)
      defences=none,gray,jpeg:30,blur,color-jitter,adversarial:8,orthogonal-projection
      for bank in person person-high; do
        unlearn evaluate --bank $bank $many --defence $defences -o build/evaluation/attackers
      done
      ;;
    dilution)
      for rate in 0.99 0.95 0.8; do
        unlearn evaluate --bank person $many --poison-rate $rate -o build/evaluation/attackers
      done
      ;;
  esac
done
