#!/usr/bin/env bash
# The data and the training of the model that ships with turnout, from the folder that holds
# arabic_commands.tar and fsdd.tar (NeMo manifests with audio). Run it from the project's root with
# turnout[train], espeak-ng and flite installed; stopped and started again, it goes on.
#
#     recipes/commands.sh ../shared/data
set -euo pipefail
source_folder="${1:?usage: recipes/commands.sh FOLDER_WITH_THE_TWO_TARS}"

# A word of a second may not show how wide its band is: it is stated. fsdd's files, at 8 kHz, are
# narrowband all the same.
for corpus in arabic_commands fsdd; do
  [ -d "data/$corpus" ] || { mkdir -p data && tar -xf "$source_folder/$corpus.tar" -C data; }
  [ -d "data/cuts/$corpus" ] ||
    turnout prepare "data/$corpus/manifest.jsonl" --output "data/cuts/$corpus" --bandwidth wideband
done
for words in ar en en_flite; do
  [ -d "data/cuts/synth_$words" ] || {
    turnout synthesize "recipes/words_$words.yaml" --output "data/synth_$words" \
      --split train=1 --seed 1
    mkdir -p "data/cuts/synth_$words"
    cp "data/synth_$words/train.jsonl.gz" "data/cuts/synth_$words/"
  }
done
# Two cores: PyTorch has both, NumPy's matrix products none of their own.
export OPENBLAS_NUM_THREADS=1
turnout train --config recipes/commands.yaml
first=runs/commands/validated second=runs/commands_sounds/validated
python scripts/ship_commands.py runs/commands/model \
  --average $first/step-0000{6500,7000}.safetensors
turnout train --config recipes/commands_sounds.yaml
exec python scripts/ship_commands.py runs/commands_sounds/model \
  --average $first/step-00007000.safetensors $second/step-00000{600,900}.safetensors
