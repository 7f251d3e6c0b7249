#!/bin/sh
# Say the ten digits in English and in Russian with the voices of espeak-ng, one WAV file each:
#   sh speak_digits.sh FOLDER      makes FOLDER/en/0/en-us-f1-140.wav … FOLDER/ru/9/ru-m7-220.wav
# Debian has the program: apt-get install espeak-ng. It works as well unpacked, without root, where
# the system has libasound2 and libpulse0:
#   apt-get download espeak-ng espeak-ng-data libespeak-ng1 libpcaudio0 libsonic0
#   for one in *.deb; do dpkg -x "$one" root; done
#   export PATH="$PWD/root/usr/bin:$PATH" LD_LIBRARY_PATH="$PWD/root/usr/lib/x86_64-linux-gnu"
#   export ESPEAK_DATA_PATH="$LD_LIBRARY_PATH"
set -eu
folder=${1:?the folder to write to is missing}
command -v espeak-ng >/dev/null || { echo "espeak-ng is missing: see the head of $0" >&2; exit 2; }

say() { # language, accents, words from zero to nine
  language=$1 accents=$2
  shift 2
  digit=0
  for word; do
    mkdir -p "$folder/$language/$digit"
    for accent in $accents; do
      for voice in f1 f2 f3 f4 f5 m1 m2 m3 m4 m5 m6 m7; do
        for speed in 140 180 220; do
          espeak-ng -v "$accent+$voice" -s "$speed" \
            -w "$folder/$language/$digit/$accent-$voice-$speed.wav" "$word"
        done
      done
    done
    digit=$((digit + 1))
  done
}

say en "en-us en-gb en-gb-scotland" zero one two three four five six seven eight nine
say ru "ru" ноль один два три четыре пять шесть семь восемь девять
