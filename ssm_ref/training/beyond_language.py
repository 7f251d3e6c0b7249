"""Data and models of sound, time series and DNA, by the names that a config gives them."""

from collections.abc import Mapping
from typing import Any

from ssm_ref.audio.audio_mamba import AudioMamba, AudioMambaConfig
from ssm_ref.genomics.caduceus import Caduceus, CaduceusClassifier, CaduceusConfig
from ssm_ref.time_series.s_mamba import (
    LinearForecaster,
    LinearForecasterConfig,
    SMamba,
    SMambaConfig,
)
from ssm_ref.time_series.series_classifier import SeriesClassifier, SeriesClassifierConfig
from ssm_ref.training.genomes import CodingDna, MaskedDna
from ssm_ref.training.linear import (
    LettersAround,
    LettersAroundConfig,
    LinearSeries,
    LinearSeriesConfig,
    LinearSound,
    LinearSoundConfig,
    WordsOfDna,
    WordsOfDnaConfig,
)
from ssm_ref.training.recordings import Recordings
from ssm_ref.training.series import ClassifiedSeries, Forecast

DATA: Mapping[str, type[Any]] = {
    "forecast": Forecast,
    "classified_series": ClassifiedSeries,
    "masked_dna": MaskedDna,
    "coding_dna": CodingDna,
    "recordings": Recordings,
}
# The config class of each model and the class that it makes.
MODELS: Mapping[str, tuple[type[Any], type[Any]]] = {
    "audio_mamba": (AudioMambaConfig, AudioMamba),
    "caduceus": (CaduceusConfig, Caduceus),
    "caduceus_classifier": (CaduceusConfig, CaduceusClassifier),
    "s_mamba": (SMambaConfig, SMamba),
    "linear_forecaster": (LinearForecasterConfig, LinearForecaster),
    "series_classifier": (SeriesClassifierConfig, SeriesClassifier),
    "linear_sound": (LinearSoundConfig, LinearSound),
    "linear_series": (LinearSeriesConfig, LinearSeries),
    "words_of_dna": (WordsOfDnaConfig, WordsOfDna),
    "letters_around": (LettersAroundConfig, LettersAround),
}
