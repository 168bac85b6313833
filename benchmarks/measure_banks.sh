#!/usr/bin/env bash
# Measures the shipped banks and adds the figures to their cards: some ten hours on two cores, for all.
# docs/results/person.md and photos.md have what came out. Run it from the checkout, with CIFAR-10 in data/ and the
# faces and photos in ../shared (or SHARED=...). What it did is in build/evaluation, so that it goes on after an interruption.
# usage: measure_banks.sh [STEP...]      (all by default; see the names below)
set -euo pipefail

SHARED=${SHARED:-../shared}
faces=$SHARED/datasets/faces/identities
things=$SHARED/datasets/imagenette224/train
out=build/evaluation
# The 38 people id120 to id157, whom no bank was made on, five at a time among 24 others.
crowd="--classes id12?,id13?,id14?,id15?,id00?,id01?,id02[0-3] --scale cpu --precision bf16 --jobs ${JOBS:-2}"
people="--identities $faces $crowd --protect id12?,id13?,id14?,id15?"
few="$people --groups-of 5"
many="$people --groups-of 13 --seeds 1" # fewer trainings, more at a time
some="--identities $faces $crowd --protect id12?,id13?,id14[0-5] --groups-of 13 --seeds 1" # fewer still, for attackers
ten="--protect id12[5-9],id13[5-9] --groups-of 5 --seeds 1"
twenty="--protect id12?,id13? --groups-of 5 --seeds 1"
thirteen='id12?,id13[0-2]'

set -f # the patterns are for unlearn, not for the shell
measure() { # output bank options...
  unlearn evaluate --bank "$2" "${@:3}" -o "$out/$1" --record
}
face_bank() { # file options...: another bank for faces, on the makers of the shipped ones
  mkdir -p build
  unlearn generate --dataset "folder:$faces" --classes 'id02[4-9],id0[3-9]?,id10?,id11?' --set precision=bf16 "${@:2}" \
    -o "$1" --overwrite
}
point() { # bank [options...]: one point of the frontier, which is no part of a card
  unlearn evaluate --bank "$1" --identities "$faces" $crowd $ten "${@:2}" -o $out/people
  mkdir -p $out/frontier && cp $out/people/report.json "$out/frontier/$(basename "$1" .safetensors)${3:+-$3}.json"
}

crowd_alone() { # the 62 in a folder of their own, for what takes no --classes
  mkdir -p build/crowd
  ln -sfn $(set +f && realpath "$faces"/id1[2-5]? "$faces"/id0[01]? "$faces"/id02[0-3]) build/crowd/
}
tree_in() { (set +f && echo "$out/$1"/protected/*); } # the only one there

steps='cifar10 people low trips victims random keys one-key frames frontier attackers dilution scrubbed one-network things visible'
for step in ${*:-$steps}; do # and frozen, which needs packages of its own
  case $step in
    cifar10) measure cifar10 cifar10 --data-dir data --seeds 3 --random-control ;;
    people) for bank in person person-high; do measure people $bank $few; done ;;
    low) measure people person-low $many ;;
    trips)
      measure people person-high $few --seeds 1 --trip face:50
      measure people person-high $some --trip hard
      measure people person-high $few --seeds 1 --image-size 32
      ;;
    victims) for bank in person person-high; do measure people $bank $few --seeds 1 --model vgg11-w16; done ;;
    random) for bank in person-low person person-high; do measure people $bank $some --random-control; done ;;
    keys) # 30 people each time, five at a time: 60 keys in twelve trainings; and the few who are known with any
      for seed in 1 2; do
        for whom in 'id12?,id13?,id14?' 'id15[5-7]'; do
          unlearn evaluate --bank person-high $few --protect "$whom" --seeds 1 --key-seed $seed -o $out/keys$seed
        done
      done
      ;;
    one-key) # of twenty people, and of the ten among them who are named most with another
      unlearn evaluate --bank person-high --identities "$faces" $crowd $twenty --one-key -o $out/one-key
      unlearn evaluate --bank person-high --identities "$faces" $crowd $twenty --protect 'id12[0-4],id13[0-4]' --one-key \
        --key-seed 1 -o $out/one-key
      ;;
    frames)
      python benchmarks/unanchored.py build/unanchored
      python benchmarks/phone_frames.py "$faces" build/frames 'id1[23]*' --others 'id14*' 'id15*' 'id00*' 'id01*' 'id02[0-3]'
      unlearn evaluate --bank person-high --identities build/frames $crowd $twenty -o $out/frames
      unlearn evaluate --bank build/unanchored/whole.safetensors --identities build/frames $crowd $ten -o $out/frames
      ;;
    frontier) # docs/results/person.md has these of the banks before, of one network
      before='--surrogate resnet10-w16'
      python benchmarks/unanchored.py build/unanchored
      for bank in person-low person person-high build/unanchored/whole.safetensors build/unanchored/texture.safetensors; do
        point $bank
      done
      for epsilon in 6 4; do point person-high --epsilon $epsilon; done
      face_bank build/person-0.045.safetensors --preset person --set visibility=0.045 $before
      point build/person-0.045.safetensors
      for epsilon in 12 16; do
        face_bank build/person-$epsilon.safetensors --preset person-high --epsilon $epsilon $before
        point build/person-$epsilon.safetensors
      done
      python benchmarks/frontier.py "$SHARED" $(set +f && echo $out/frontier/*.json) -o docs/results/frontier.png
      ;;
    attackers)
      measure people person-high $some --defence jpeg:30,blur,color-jitter
      measure gray person-high $many --defence gray
      for bank in person person-low; do measure people $bank $some --defence gray,color-jitter; done
      unlearn evaluate --bank person-high $some --protect "$thirteen" --defence adversarial:8 --epochs 10 \
        -o $out/adversarial
      ;;
    dilution)
      for rate in 0.95 0.8; do
        unlearn evaluate --bank person-high $some --poison-rate $rate -o $out/people
      done
      unlearn evaluate --bank person-high $some --protect "$thirteen" --poison-rate 0.99 -o $out/people
      ;;
    scrubbed) # cleaned by those who know the bank, the key, or what everybody looks like; and told from others
      crowd_alone
      unlearn evaluate --bank person-high $some --protect "$thirteen" -o $out/thirteen
      for how in span average key; do
        python benchmarks/attackers.py scrub $how build/crowd "$(tree_in thirteen)" build/scrub/$how --bank person-high
        unlearn evaluate --clean build/scrub/$how/clean --protected build/scrub/$how/protected \
          --protect-classes "$thirteen" --trip face --views 3 --image-size 40 --scale cpu --epochs 20 --batch-size 32 \
          --precision bf16 -o $out/scrub-$how
      done
      python benchmarks/attackers.py detector "$faces" --bank person-high
      ;;
    visible) # after 'frontier'
      made=$(set +f && ls build/person-12.safetensors build/person-16.safetensors build/unanchored/*.safetensors)
      python benchmarks/visible.py "$SHARED" $made
      python benchmarks/visible.py "$SHARED" $made --sheet build/visible.png
      ;;
    frozen) # after 'attackers': pip install dlib-bin face_recognition_models 'setuptools<80'
      crowd_alone
      python benchmarks/frozen_features.py build/crowd "$(tree_in gray)"
      ;;
    one-network) # as surrogate, which the banks were made with until 2026-11-22 (then in fp32)
      face_bank build/one.safetensors --preset person-high --surrogate resnet10-w16 --precision fp32
      unlearn evaluate --bank build/one.safetensors $few -o $out/people
      unlearn evaluate --bank build/one.safetensors $few --seeds 1 --model vgg11-w16 -o $out/people
      ;;
    things)
      unlearn protect "$things" --class-from-folders --bank photos-10 -o build/things
      measure things photos-10 --clean "$things" --protected build/things --image-size 64 --trip social --views 3 \
        --scale cpu --epochs 30 --batch-size 32 --precision bf16 --seeds 3 --random-control
      for defence in gray color-jitter; do
        measure things photos-10 --clean "$things" --protected build/things --image-size 64 --trip social --views 3 \
          --scale cpu --epochs 30 --batch-size 32 --precision bf16 --seeds 1 --defence $defence
      done
      ;;
  esac
done
