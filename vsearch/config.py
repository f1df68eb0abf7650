"""What a model is made of, as frozen dataclasses; an unknown key or a value of the wrong type is an error."""

from __future__ import annotations

import dataclasses
import math
import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, Union

from vsearch.errors import ConfigError

T = TypeVar("T")
WIDEST_BEAM = 100  # hypotheses kept for a caption: memory grows with it


@dataclass(frozen=True)
class Range:
    """Where a number of a setting lies, or each of several: from `least` to `most`, above `above`, below `below`.

    For `Annotated[int, Range(1, 1000)]`. `message` and `hint` say what is wrong with a value outside; NaN always is.
    """

    least: float = -math.inf
    most: float = math.inf
    message: str = "must lie between {least:g} and {most:g}, not {value:g}"
    hint: str = ""
    above: float = -math.inf
    below: float = math.inf

    def check(self, value: float, where: str) -> None:
        """Raise ConfigError, about the setting `where`, for a value that lies outside."""
        if not (self.least <= value <= self.most and self.above < value < self.below):
            told = self.message.format(least=self.least, most=self.most, value=value)
            raise ConfigError(f"{where} {told}", self.hint)


CANNOT_BE = "cannot be {value}"
IS = "is {value}"
Share = Annotated[float, Range(0, 1)]
Size = Annotated[int, Range(1, 65_536)]
SizeOrNone = Annotated[int, Range(0, 65_536)]
Count = Annotated[int, Range(0, 1_000_000)]
Dim = Annotated[int, Range(1, 8192)]


@dataclass(frozen=True)
class PreprocessConfig:
    """Pictures are squashed to `side` x `side` pixels, then normalised per channel (range 0 to 1)."""

    side: Annotated[int, Range(8, 2048)] = 160
    mean: Annotated[tuple[float, float, float], Range(-10, 10)] = (0.485, 0.456, 0.406)
    std: Annotated[tuple[float, float, float], Range(1e-3, 1e3)] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class EncoderConfig:
    """A torchvision backbone by name."""

    name: str = "resnet18"
    width: Annotated[int, Range(1, 1024)] = 64  # channels of the first stage; another only for resnet18 and resnet34


@dataclass(frozen=True)
class DeviseConfig:
    """The head from pooled features to a unit vector of `dim` in word-vector space."""

    hidden: Size = 1024
    dropout: Share = 0.2
    dim: Dim = 200
    classes: Count = 0  # of the pretrained classifier whose probabilities are a second branch; 0: the paper's head


@dataclass(frozen=True)
class DecoderConfig:
    """A caption decoder and how it is searched."""

    kind: str = "soft"  # soft | adaptive | rnn | lstm | gru
    cell: str = "lstm"  # of kind soft: lstm | gru
    embed: Size = 300
    hidden: Size = 512
    attention: Size = 512
    scoring: str = "additive"  # additive | tanh | dot
    dropout: Share = 0.5
    gate: bool = True
    memory_dropout: Share = 0.0  # share of the memory's channels left out in training
    tied: bool = False  # the output layer shares the embedding's matrix
    cells: SizeOrNone = 0  # of kind soft: channels that the memory is mapped to first; 0: it stays as it is
    vector: SizeOrNone = 0  # of kind soft: size of the picture's vector among words, next to the memory; 0: none
    centroids: Count = 0  # with a vector: of captions, onto which it is projected; 0: it stays as it is
    centroid_temperature: Annotated[float, Range(1e-6, 1e3)] = 0.02  # the smaller, the fewer centroids count
    max_len: Annotated[int, Range(1, 1000)] = 20
    beam: Annotated[int, Range(1, WIDEST_BEAM)] = 5
    length_power: Annotated[float, Range(-10, 10)] = 0.7
    block_repeats: bool = False  # no word right after itself, no pair of words twice
    agreement: Annotated[float, Range(-1000, 1000)] = 0.0  # weight of the place among words: see captions.rerank


@dataclass(frozen=True)
class SourceConfig:
    """The encoder of a translator's source sentences; `hidden` is of each direction."""

    cell: str = "gru"  # gru | lstm
    embed: Size = 300
    hidden: Size = 512
    layers: Annotated[int, Range(1, 64)] = 1
    bidirectional: bool = True
    dropout: Share = 0.3


@dataclass(frozen=True)
class TranslatorConfig:
    """A translator. Its decoder attends to the source's states (kind soft), or starts from the last one (lstm, gru)."""

    kind: str = "translator"
    source_language: str = "fr"
    target_language: str = "en"
    source: SourceConfig = field(default_factory=SourceConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    longest: Annotated[int, Range(1, 10_000)] = 100  # pieces of a source sentence; longer ones are refused
    identity: str = ""
    format: int = 1


@dataclass(frozen=True)
class WordsConfig:
    """The word vectors of the model: file name, its sha256, dimensions."""

    file: str = "words.bin"
    sha256: str = ""
    dim: Dim = 200


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

    Raises ConfigError naming the key that is unknown, missing or of the wrong type, and a value that is none of the
    words of a `Literal` or outside the `Range` of an `Annotated`.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where or cls.__name__} must be a table of settings, not {reprlib.repr(mapping)}")
    hints = typing.get_type_hints(cls, include_extras=True)
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in mapping:
        if key not in known:
            raise ConfigError(f"unknown setting {_join(where, key)!r}", f"known here: {', '.join(known)}")
    values = {key: _convert(hints[key], value, _join(where, key)) for key, value in mapping.items()}
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


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Convert `value` to the type `hint`, without guessing: only int to float and list to tuple are converted."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _ranged(_convert(args[0], value, where), args[1], where)
    if origin is Literal:
        return _one_of(args, _convert(type(args[0]), value, where), where)
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


def _ranged(value: Any, within: Range, where: str) -> Any:
    """Return a number, several of them, or None. Raises ConfigError if one of them lies outside the range."""
    for one in value if isinstance(value, tuple) else (value,):
        if one is not None:
            within.check(one, where)
    return value


def _one_of(words: tuple[str, ...], value: str, where: str) -> str:
    """Return a word of a vocabulary. Raises ConfigError for another one."""
    if value not in words:
        raise ConfigError(f"{where} is {value!r}", f"known: {', '.join(words)}")
    return value
