"""The models that ship: every stage from the raw data to a model folder, each skipped where its result lies ready.

Two kinds of recipe: "bundle-pretrained" (`training.assemble.pretrained`) builds on a pretrained network, "bundle"
(`training.assemble.distilled`) on a small one of its own. docs/how-to/train-bundled.md says where the data come from.
"""

from __future__ import annotations

from collections.abc import Mapping

from training.assemble.distilled import Distilled, SmallBundle
from training.assemble.plan import told
from training.assemble.pretrained import Pretrained, PretrainedBundle
from training.assemble.stages import Bundle, Folders, Stages, Telling
from training.kinds import load
from training.loop.checkpoint import below
from training.recipe import Source, read
from vsearch.config import from_dict
from vsearch.errors import ConfigError

KINDS: dict[str, tuple[type[Bundle], type[Stages]]] = {
    "bundle": (SmallBundle, Distilled),
    "bundle-pretrained": (PretrainedBundle, Pretrained),
}


def make(
    source: Source, folders: Folders, device: str = "auto", stages: tuple[str, ...] = (),
    overrides: Mapping[str, str] | None = None, telling: Telling | None = None,
) -> None:  # fmt: skip
    """Run the stages of a bundle's recipe in order, none named: all; first the plan is told.

    Overrides such as "decoder.loop.epochs" reach into a stage. Raises ConfigError for an unknown stage or setting,
    DataError if the data are not there.
    """
    telling = telling or Telling()
    stages_made = prepare(source, folders, device, overrides, telling)
    unknown = [name for name in stages if name not in stages_made.stages]
    if unknown:
        raise ConfigError(f"unknown stage {unknown[0]!r}", f"known: {', '.join(stages_made.stages)}")
    chosen = tuple(name for name in stages_made.stages if name in (stages or stages_made.stages))
    folders.work.mkdir(parents=True, exist_ok=True)
    for line in told(stages_made.plan(chosen)):
        telling.say(line)
    for name in chosen:
        telling.say(f"stage {name}")
        getattr(stages_made, name)()


def prepare(
    source: Source, folders: Folders, device: str = "auto", overrides: Mapping[str, str] | None = None,
    telling: Telling | None = None,
) -> Stages:  # fmt: skip
    """Return the stages of a bundle's recipe, not yet run. Raises ConfigError if it is none or a setting is unknown.

    The recipe's own table `settings` holds overrides of the recipes it names; those given go before them.
    """
    table = read(source)
    if table.get("kind") not in KINDS:
        raise ConfigError(f"{source} is no recipe of kind {' or '.join(map(repr, KINDS))}")
    kind, maker = KINDS[table["kind"]]
    parts = {part: f"{part}." for part in maker.parts}
    given = {key: str(value) for key, value in table.pop("settings", {}).items()} | dict(overrides or {})
    own = {key: value for key, value in given.items() if not key.startswith(tuple(parts.values()))}
    bundle = from_dict(kind, read(table, own))
    recipes = {part: load(getattr(bundle, part), below(given, start)) for part, start in parts.items()}
    return maker(bundle, recipes, folders, device, telling or Telling())
