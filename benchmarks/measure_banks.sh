#!/usr/bin/env bash
# Measures the shipped banks and adds the figures to their cards, which takes some ten hours on two cores for all.
# The results are in docs/results/person.md and photos.md. Run it from the checkout, with CIFAR-10 in data/, and the
# faces and photos in ../shared (or SHARED=...). PRECISION=fp32 is for CPUs that do not have avx512_bf16. Its results stay
# in build/evaluation, from where an interrupted run goes on.
# usage: measure_banks.sh [STEP...]      (all by default; see the names below)
set -euo pipefail

SHARED=${SHARED:-../shared}
faces=$SHARED/datasets/faces/identities
things=$SHARED/datasets/imagenette224/train
out=build/evaluation
# The 38 people id120 to id157, on whom no bank was made, are protected five at a time, among 24 others.
crowd="--set classes=id12?,id13?,id14?,id15?,id00?,id01?,id02[0-3] --scale cpu --set precision=${PRECISION:-bf16} --jobs ${JOBS:-2}"
people="$faces $crowd --protect id12?,id13?,id14?,id15?"
few="$people --groups-of 5"
many="$people --groups-of 13 --seeds 1" # fewer trainings, with more people protected at a time
some="$faces $crowd --protect id12?,id13?,id14[0-5] --groups-of 13 --seeds 1" # still fewer trainings, for the attackers
ten="--protect id12[5-9],id13[5-9] --groups-of 5 --seeds 1"
twenty="--protect id12?,id13? --groups-of 5 --seeds 1"
thirteen='id12?,id13[0-2]'
small='--set image-size=64 --set views=3 --set epochs=30 --set batch-size=32 --set precision=bf16'

tune=fine-tune:mobilenet_v2=${NETWORK:-build/recognisers/mobilenet_v2-b0353104.pth}
scratch=scratch,scratch-grey,scratch-jitter,scratch-pipeline,reweight

set -f # unlearn expands the patterns, not the shell
measure() { # output folder, then the arguments of 'unlearn evaluate'
  unlearn evaluate "${@:2}" -o "$out/$1" --record
}
face_bank() { # file options...: make another bank for faces, on the people of the shipped ones
  mkdir -p build
  unlearn generate --dataset "folder:$faces" --classes 'id02[4-9],id0[3-9]?,id10?,id11?' --set precision=bf16 "${@:2}" \
    -o "$1" --overwrite
}
point() { # bank [options...]: measure a point of the frontier, which goes on no card
  unlearn evaluate people "$faces" --bank "$1" $crowd $ten "${@:2}" -o $out/people
  mkdir -p $out/frontier && cp $out/people/report.json "$out/frontier/$(basename "$1" .safetensors)${3:+-$3}.json"
}

crowd_alone() { # link the 62 people into a folder, for programs that take no --classes
  mkdir -p build/crowd
  ln -sfn $(set +f && realpath "$faces"/id1[2-5]? "$faces"/id0[01]? "$faces"/id02[0-3]) build/crowd/
}
apart() { # every second photo of the 38 people, at most twelve of each, to fit patterns to, and all others to judge with
  local folder name photo part number fitted
  rm -rf build/personal
  set +f
  for folder in "$faces"/id1[2-5]? "$faces"/id0[01]? "$faces"/id02[0-3]; do
    name=$(basename "$folder") number=0 fitted=0
    for photo in "$folder"/*; do
      part=rest
      if [[ $name > id119 ]] && ((number % 2 == 1 && fitted < 12)); then part=fit fitted=$((fitted + 1)); fi
      mkdir -p "build/personal/$part/$name" && cp "$photo" "build/personal/$part/$name/"
      number=$((number + 1))
    done
  done
  set -f
}
tree_in() { (set +f && echo "$out/$1"/protected/*); } # the only folder there

steps='cifar10 people low trips victims random keys one-key frames frontier attackers dilution scrubbed one-network things visible'
for step in ${*:-$steps}; do # The steps frozen, existing and max are not among them, since they need other networks.
  case $step in
    cifar10)
      measure cifar10 bank cifar10 --data-dir data --seeds 3 --random-control
      measure cifar10 bank cifar10 --data-dir data --scale cpu --defence gray --random-control
      for defence in reweight gray jpeg:10; do
        measure cifar10 bank cifar10 --data-dir data --scale laptop --defence $defence
      done
      ;;
    people) for bank in person person-high; do measure people people $few --bank $bank; done ;;
    low) measure people people $many --bank person-low ;;
    trips)
      measure people people $few --bank person-high --seeds 1 --trip face:50
      measure people people $some --bank person-high --trip hard
      measure people people $few --bank person-high --seeds 1 --set image-size=32
      ;;
    victims) for bank in person person-high; do measure people people $few --bank $bank --seeds 1 --model vgg11-w16; done ;;
    random) for bank in person-low person person-high; do measure people people $some --bank $bank --random-control; done ;;
    keys) # 30 people, five at a time, with two keys each: 60 keys in twelve trainings; and three people apart
      for seed in 1 2; do
        for whom in 'id12?,id13?,id14?' 'id15[5-7]'; do
          unlearn evaluate people $few --bank person-high --protect "$whom" --seeds 1 --set key-seed=$seed -o $out/keys$seed
        done
      done
      ;;
    one-key) # for twenty people; and with another key for the ten of them who are recognised most
      unlearn evaluate people "$faces" --bank person-high $crowd $twenty --set one-key=yes -o $out/one-key
      unlearn evaluate people "$faces" --bank person-high $crowd $twenty --protect 'id12[0-4],id13[0-4]' --set one-key=yes \
        --set key-seed=1 -o $out/one-key
      ;;
    frames)
      python benchmarks/unanchored.py build/unanchored
      python benchmarks/phone_frames.py "$faces" build/frames 'id1[23]*' --others 'id14*' 'id15*' 'id00*' 'id01*' 'id02[0-3]'
      unlearn evaluate people build/frames --bank person-high $crowd $twenty -o $out/frames
      unlearn evaluate people build/frames --bank build/unanchored/whole.safetensors $crowd $ten -o $out/frames
      ;;
    frontier) # docs/results/person.md has these points for the earlier banks, made with one network
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
      measure people people $some --bank person-high --defence jpeg:30,blur,color-jitter
      measure gray people $many --bank person-high --defence gray
      for bank in person person-low; do measure people people $some --bank $bank --defence gray,color-jitter; done
      unlearn evaluate people $some --bank person-high --protect "$thirteen" --defence adversarial:8 --set epochs=10 \
        -o $out/adversarial
      ;;
    dilution)
      for rate in 0.95 0.8; do
        unlearn evaluate people $some --bank person-high --set poison-rate=$rate -o $out/people
      done
      unlearn evaluate people $some --bank person-high --protect "$thirteen" --set poison-rate=0.99 -o $out/people
      ;;
    scrubbed) # photos cleaned with the bank, the key or the mean photo; and a detector of protected photos
      crowd_alone
      unlearn evaluate people $some --bank person-high --protect "$thirteen" -o $out/thirteen
      for how in span average key; do
        python benchmarks/attackers.py scrub $how build/crowd "$(tree_in thirteen)" build/scrub/$how --bank person-high
        unlearn evaluate copies build/scrub/$how/clean build/scrub/$how/protected \
          --set "protect-classes=$thirteen" --trip face --set views=3 --set image-size=40 --scale cpu --set epochs=20 --set batch-size=32 \
          --set precision=bf16 -o $out/scrub-$how
      done
      python benchmarks/attackers.py detector "$faces" --bank person-high
      ;;
    visible) # needs the step frontier
      made=$(set +f && ls build/person-12.safetensors build/person-16.safetensors build/unanchored/*.safetensors)
      python benchmarks/visible.py "$SHARED" $made
      python benchmarks/visible.py "$SHARED" $made --sheet build/visible.png
      ;;
    existing) # the attackers that exist; NETWORK=mobilenet_v2.pth and JUDGES (benchmarks/export_judges.py) are needed
      trained=$scratch,$tune:last,$tune:whole
      for bank in person-low person person-high person-max; do
        measure table people $people --groups-of 19 --seeds 3 --bank $bank --attacker $trained
        measure table people $people --groups-of 19 --seeds 3 --bank $bank --trip aligned --attacker $scratch
      done
      asked=frozen:dlib,frozen:build/recognisers/face_recognition_sface_2021dec.onnx
      for judge in facenet faceres mobileface; do asked=$asked,frozen:${JUDGES:-build/judges}/$judge.onnx; done
      for bank in person person-max; do
        measure people people $few --seeds 1 --bank $bank --attacker $asked,frozen:student
      done
      measure each people $few --seeds 1 --bank person-max --set form=sample-wise --attacker $asked
      measure each people $people --groups-of 19 --seeds 1 --bank person-max --set form=sample-wise --attacker $trained
      apart
      own="${people/$faces/build/personal/rest} --bank person-max --set fit=build/personal/fit --seeds 1"
      measure personal people $own --groups-of 5 --attacker $asked
      measure personal people $own --groups-of 19 --attacker $trained
      ;;
    max) # what its bound and its colours do, and five people at a time (needs NETWORK, as the step existing)
      measure table people $faces $crowd $twenty --bank person-max --attacker scratch,scratch-grey,scratch-pipeline
      for epsilon in 12 8; do
        unlearn evaluate people $people --groups-of 19 --seeds 1 --bank person-max --epsilon $epsilon \
          --attacker $scratch,$tune:whole -o $out/table
      done
      unlearn banks mix person-high person-max --by-colour --gain 1 -o build/max-16.safetensors --overwrite
      unlearn banks mix person-high person-max --by-colour --gain 0.75 --epsilon 12 -o build/max-12.safetensors --overwrite
      for bank in build/max-16.safetensors build/max-12.safetensors; do
        unlearn evaluate people $people --groups-of 19 --seeds 1 --bank $bank --attacker $scratch -o $out/table
      done
      python benchmarks/visible.py "$SHARED" build/max-16.safetensors build/max-12.safetensors
      ;;
    frozen) for bank in person-low person person-high; do measure people people $few --bank $bank --attacker frozen:dlib; done ;;
    one-network) # one surrogate, with which banks were made until 2026-11-22 (in fp32)
      face_bank build/one.safetensors --preset person-high --surrogate resnet10-w16 --set precision=fp32
      unlearn evaluate people $few --bank build/one.safetensors -o $out/people
      unlearn evaluate people $few --bank build/one.safetensors --seeds 1 --model vgg11-w16 -o $out/people
      ;;
    things)
      unlearn protect "$things" --class-from-folders --bank photos-10 -o build/things
      measure things copies "$things" build/things --bank photos-10 --trip social $small \
        --scale cpu --seeds 3 --random-control
      for defence in gray color-jitter; do
        measure things copies "$things" build/things --bank photos-10 --trip social $small \
          --scale cpu --seeds 1 --defence $defence
      done
      ;;
    *) echo "There is no step $step." >&2; exit 2 ;;
  esac
done
