"""A translator's folder from what a training made."""

from __future__ import annotations

from pathlib import Path

from training.data.pairs import read_parallel
from training.kinds import recipe_of
from training.loop.checkpoint import load_best
from training.run_folder import RECIPE
from training.tasks.translate import TranslateRecipe
from vsearch.config import TranslatorConfig
from vsearch.device import resolve
from vsearch.errors import ConfigError, DataError
from vsearch.translation.network import TranslationModel
from vsearch.translation.translator import Translator


def load_translator(run: Path, data: Path, device: str = "cpu") -> Translator:
    """Load the translator that the training in the folder `run` made of the prepared file `data`, for torch.

    Raises DataError if the folder holds none, ConfigError where it trained something else.
    """
    if not (run / RECIPE).is_file():
        raise DataError(f"no recipe.json in {run}", "name the output folder of `training.run.train('translate')`")
    recipe = recipe_of(run)
    if not isinstance(recipe, TranslateRecipe):
        raise ConfigError(f"{run} trained no translator", "name the output folder of `training.run.train('translate')`")
    source, target = read_parallel(data).languages
    config = TranslatorConfig(
        source_language=source.code,
        target_language=target.code,
        source=recipe.source,
        decoder=recipe.decoder,
    )
    model = TranslationModel(config, len(source.vocabulary), len(target.vocabulary))
    load_best(run, model)
    return Translator(model.to(resolve(device)), source, target)


def assemble_translator(run: Path, data: Path, output: Path, *, eight_bits: bool = False) -> TranslatorConfig:
    """Write the folder `output` of the translator in `run`, see `load_translator`; returns its config.

    eight_bits: round its matrices to 8-bit codes, half the bytes of float16.
    """
    return load_translator(run, data).save(output, eight_bits=eight_bits)
