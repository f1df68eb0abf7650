"""What a model is made of, as frozen dataclasses; an unknown key or a value of the wrong type is an error."""

from __future__ import annotations

import dataclasses
import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, Union

from vsearch.errors import ConfigError

T = TypeVar("T")
Limits = Mapping[str, tuple[float, float]]  # the least and the greatest value of a number that comes from a file
WIDEST_BEAM = 100  # hypotheses kept for a caption: memory grows with it


@dataclass(frozen=True)
class PreprocessConfig:
    """Pictures are squashed to `side` x `side` pixels, then normalised per channel (range 0 to 1)."""

    LIMITS: ClassVar[Limits] = {"side": (8, 2048), "mean": (-10, 10), "std": (1e-3, 1e3)}

    side: int = 160
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class EncoderConfig:
    """A torchvision backbone by name."""

    LIMITS: ClassVar[Limits] = {"width": (1, 1024)}

    name: str = "resnet18"
    width: int = 64  # channels of the first stage; other than 64 only for resnet18 and resnet34, which grow with it


@dataclass(frozen=True)
class DeviseConfig:
    """The head from pooled features to a unit vector of `dim` in word-vector space."""

    LIMITS: ClassVar[Limits] = {
        "hidden": (1, 65_536),
        "dropout": (0, 1),
        "dim": (1, 8192),
        "classes": (0, 1_000_000),
    }

    hidden: int = 1024
    dropout: float = 0.2
    dim: int = 200
    classes: int = 0  # of the pretrained classifier whose probabilities are a second branch; 0: the paper's head


@dataclass(frozen=True)
class DecoderConfig:
    """A caption decoder and how it is searched."""

    LIMITS: ClassVar[Limits] = {
        **dict.fromkeys(("embed", "hidden", "attention"), (1, 65_536)),
        **dict.fromkeys(("dropout", "memory_dropout"), (0, 1)),
        **dict.fromkeys(("cells", "vector"), (0, 65_536)),
        "centroids": (0, 1_000_000),
        "centroid_temperature": (1e-6, 1e3),
        "max_len": (1, 1000),
        "beam": (1, WIDEST_BEAM),
        "length_power": (-10, 10),
        "agreement": (-1000, 1000),
    }

    kind: str = "soft"  # soft | adaptive | rnn | lstm | gru
    cell: str = "lstm"  # of kind soft: lstm | gru
    embed: int = 300
    hidden: int = 512
    attention: int = 512
    scoring: str = "additive"  # additive | tanh | dot
    dropout: float = 0.5
    gate: bool = True
    memory_dropout: float = 0.0  # share of the memory's channels left out in training
    tied: bool = False  # the output layer shares the embedding's matrix
    cells: int = 0  # of kind soft: channels that the memory is mapped to before anything else; 0: it stays as it is
    vector: int = 0  # of kind soft: size of the picture's vector among words, next to the memory; 0: none
    centroids: int = 0  # with a vector: of captions, onto which it is projected; 0: it stays as it is
    centroid_temperature: float = 0.02  # of the projection: the smaller, the fewer centroids count
    max_len: int = 20
    beam: int = 5
    length_power: float = 0.7
    block_repeats: bool = False  # no word right after itself, no pair of words twice
    agreement: float = 0.0  # what it counts that a caption lies near its picture among words: see captions.rerank


@dataclass(frozen=True)
class SourceConfig:
    """The encoder of a translator's source sentences; `hidden` is of each direction."""

    LIMITS: ClassVar[Limits] = {
        **dict.fromkeys(("embed", "hidden"), (1, 65_536)),
        "layers": (1, 64),
        "dropout": (0, 1),
    }

    cell: str = "gru"  # gru | lstm
    embed: int = 300
    hidden: int = 512
    layers: int = 1
    bidirectional: bool = True
    dropout: float = 0.3


@dataclass(frozen=True)
class TranslatorConfig:
    """A translator. Its decoder attends to the source's states (kind soft), or starts from the last one (lstm, gru)."""

    LIMITS: ClassVar[Limits] = {"longest": (1, 10_000)}

    kind: str = "translator"
    source_language: str = "fr"
    target_language: str = "en"
    source: SourceConfig = field(default_factory=SourceConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    longest: int = 100  # pieces of a source sentence; longer ones are refused
    identity: str = ""
    format: int = 1


@dataclass(frozen=True)
class WordsConfig:
    """The word vectors of the model: file name, its sha256, dimensions."""

    LIMITS: ClassVar[Limits] = {"dim": (1, 8192)}

    file: str = "words.bin"
    sha256: str = ""
    dim: int = 200


@dataclass(frozen=True)
class ModelConfig:
    """A whole model; `identity` is empty until the model is saved."""

    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    devise: DeviseConfig | None = None
    decoder: DecoderConfig | None = None
    words: WordsConfig | None = None
    identity: str = ""
    format: int = 1


def from_dict(cls: type[T], mapping: Mapping[str, Any], where: str = "") -> T:
    """Build the dataclass `cls` from a mapping, nested dataclasses included.

    Raises ConfigError naming the key that is unknown, missing or of the wrong type.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where or cls.__name__} must be a table of settings, not {reprlib.repr(mapping)}")
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in mapping:
        if key not in known:
            raise ConfigError(f"unknown setting {_join(where, key)!r}", f"known here: {', '.join(known)}")
    values = {key: _convert(hints[key], value, _join(where, key)) for key, value in mapping.items()}
    for key, (low, high) in getattr(cls, "LIMITS", {}).items():
        _check_range(values.get(key), low, high, _join(where, key))
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{where or cls.__name__}: {error}") from None


def to_dict(instance: Any) -> dict[str, Any]:
    """Turn a dataclass into plain tables, lists, strings and numbers, fit for JSON: the inverse of `from_dict`."""
    table: dict[str, Any] = {}
    for f in dataclasses.fields(instance):
        value = getattr(instance, f.name)
        if dataclasses.is_dataclass(value):
            value = to_dict(value)
        table[f.name] = list(value) if isinstance(value, tuple) else value
    return table


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _check_range(value: Any, low: float, high: float, where: str) -> None:
    """Raise ConfigError for a number, or one of several, that does not lie from `low` to `high`; NaN never does."""
    for one in value if isinstance(value, tuple) else (value,):
        if one is not None and not low <= one <= high:
            raise ConfigError(f"{where} must lie between {low:g} and {high:g}, not {one:g}")


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Convert `value` to the type `hint`, without guessing: only int to float and list to tuple are converted."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type[Any], hint), value, where)
    if origin is tuple:
        items = list(value) if isinstance(value, list | tuple) else None
        variadic = len(args) == 2 and args[1] is Ellipsis
        if items is None or (not variadic and len(items) != len(args)):
            size = "" if variadic else f"{len(args)} "
            raise ConfigError(f"{where} must be a list of {size}values, not {reprlib.repr(value)}")
        kinds = [args[0]] * len(items) if variadic else args
        return tuple(_convert(a, v, where) for a, v in zip(kinds, items, strict=True))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a table, not {reprlib.repr(value)}")
        return {k: _convert(args[1], v, _join(where, k)) for k, v in value.items()}
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where} must be {getattr(hint, '__name__', hint)}, not {reprlib.repr(value)}")
    return value
