"""`vsearch prepare ...`: a raw data set becomes the one file that training reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from training.commands.captions import prepare_captions
from training.commands.options import (
    Encoder,
    OutputArgument,
    SideOption,
    TextsOption,
    WordsOption,
    check_encoder,
    preprocess_of,
)
from training.commands.pairs import prepare_pairs
from vsearch.commands.group import expanded
from vsearch.commands.options import DeviceOption, ModelOption, load_words, model_folder
from vsearch.console import out, print_skipped, progress_bar, remark, shown, shown_path
from vsearch.errors import VsearchError

if TYPE_CHECKING:
    import torch

    from training.data.features import Network

NamesOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="Nouns that get vectors, like all of the captions, however rare: imagenet, or a file."
    ),
]

app = typer.Typer(
    name="prepare",
    cls=TyperGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Turn a raw data set into the one file that training reads.

    \b
    Example:
      vsearch prepare captions data/flickr8k captions.h5 --words my-words
    """,
)


@app.command("words")
def prepare_words(
    corpus: Annotated[Path, typer.Argument(metavar="TEXT", help="A paragraph a line, .txt or .txt.xz.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The folder to write.")],
    captions: Annotated[
        Path,
        typer.Option(metavar="SOURCE", help="As `prepare captions` takes it; the train split is learned from, too."),
    ],
    texts: TextsOption = None,
    names: NamesOption = None,
    dim: Annotated[int, typer.Option(min=2, metavar="D", help="Size of a vector.")] = 200,
    min_count: Annotated[int, typer.Option(min=1, metavar="N", help="Rarer words get no vector of their own.")] = 5,
    bucket: Annotated[int, typer.Option(min=1, metavar="N", help="Rows for parts of words.")] = 45_000,
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="Passes over the text.")] = 5,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="With one, a run is repeatable to the bit.")] = 2,
) -> None:
    """Train fastText vectors, and the weights of words in a phrase.

    \b
    Example:
      vsearch prepare words wikipedia.txt.xz my-words --captions data/flickr8k
      vsearch prepare words wikipedia.txt.xz my-words --captions data/flickr8k --texts more.jsonl.gz --names imagenet
    """
    from training.data.sources.broader import read_classes
    from training.data.sources.captions import read_captions
    from training.data.sources.jsonl import read_texts
    from training.data.texts import apart
    from training.data.words import train_words

    photos = read_captions(captions)
    lines = [text for photo in photos if photo.split == "train" for text in photo.captions]
    told = [row for path in texts or [] for row in read_texts(path)]
    lines += [text for row in apart(told, (photo.path.name for photo in photos)) for text in row.captions]
    named = [lemma for name in names or [] for _, lemmas in read_classes(name) for lemma in lemmas]
    remark("training word vectors; fastText does not say how far it is, and a long text takes many minutes")
    train_words(
        corpus, lines, output, dim=dim, min_count=min_count, bucket=bucket, epochs=epochs, threads=threads, named=named
    )  # fmt: skip
    out(shown_path(output))


app.command("captions")(prepare_captions)
app.command("pairs")(prepare_pairs)


@app.command("labels")
def prepare_labels(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="Folder with train/<class>/ and val/, or with Tiny-ImageNet shards."),
    ],
    output: OutputArgument,
    words: WordsOption,
    lemmas: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Names of the classes: `wnid TAB lemma, lemma` a line, or .gz.")
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most so many of each class to train on; default: all.")
    ] = None,
    side: SideOption = 256,
) -> None:
    """Prepare pictures with a class each, and the word vectors of the classes.

    \b
    Example:
      vsearch prepare labels data/tiny-imagenet labels.h5 --words my-words
      vsearch prepare labels imagenet labels.h5 --words my-words --lemmas wordnet-nouns.tsv.gz --per-class 300
    """
    from training.data import labels

    found, space = labels.read_labelled_pictures(source, lemmas), load_words(words)
    with progress_bar("pictures") as show:
        done = labels.prepare_labels(found, output, space, per_class, show, side)
    out(f"{shown_path(output)}: {done.pictures} pictures, {done.classes} classes")
    out(f"  {len(done.subwords)} labels needed subwords, for words outside the dictionary")
    for name, unknown in done.subwords.items():
        out(f"    {shown(name)}: {shown(', '.join(unknown))}")
    for name in done.empty:
        out(f"  left out the class {shown(name)}: no picture to train on")
    print_skipped(done.skipped)


@app.command("scenes")
def prepare_scenes(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDERS...", help="Folders of photos with a labels.jsonl.", show_default=False),
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")],
    words: WordsOption,
    dev_every: Annotated[
        int, typer.Option("--dev-every", min=0, metavar="N", help="Every N-th photo is held back; 0: none.")
    ] = 10,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Also take photos without labels, to be asked about by a classifier.")
    ] = False,
    side: SideOption = 256,
) -> None:
    """Prepare photos with many labels, as COCO and ADE20K have them, and the word vectors of the labels.

    \b
    Example:
      vsearch prepare scenes data/coco data/ade20k --output scenes.h5 --words my-words
    """
    from training.data.scenes import prepare_scenes as run
    from training.data.sources.scenes import read_scenes

    scenes = [scene for folder in folders for scene in read_scenes(folder, unlabelled=unlabelled)]
    with progress_bar("photos") as show:
        done = run(scenes, output, load_words(words), dev_every=dev_every, side=side, progress=show)
    out(f"{shown_path(output)}: {done.pictures} photos, {done.classes} labels")
    print_skipped(done.skipped)


@app.command("classifier")
def prepare_classifier(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="A whole network's: .safetensors or torch's own.")],
    output: OutputArgument,
    words: WordsOption,
    names: Annotated[
        str, typer.Option("--names", metavar="NAME", help="Its classes in order: imagenet, or a file of nouns.")
    ] = "imagenet",
    broader: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Terms for several classes: imagenet, or a file of `numbers TAB lemma, lemma`."
        ),
    ] = None,
) -> None:
    """Prepare the last layer of a pretrained network, and the word vectors of its classes.

    \b
    Example:
      vsearch prepare classifier resnet50.safetensors classifier.h5 --words my-words --broader imagenet
    """
    from training.data.classifier import prepare_classifier as run
    from training.data.sources.broader import read_broader, read_classes
    from vsearch.storage.pretrained import read_weights

    classes = read_classes(names)
    terms = read_broader(broader) if broader else []
    count = run(read_weights(weights), classes, output, load_words(words), terms)
    out(f"{shown_path(output)}: {count} classes")


@app.command("distil")
def prepare_distil(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTOS...", help="Folders of photos.", show_default=False)],
    output: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")],
    labels: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the Tiny-ImageNet shards.")],
    teacher: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the network to learn from.")],
    crops: Annotated[int, typer.Option(min=0, metavar="N", help="Random crops of each photo.")] = 8,
) -> None:
    """Prepare views of photos with what a pretrained network says of each, for training an encoder.

    \b
    Example:
      vsearch prepare distil data/coco --labels data/tiny-imagenet --teacher teacher --output distil.h5
    """
    from training.data.distil import photos_below
    from training.data.distil import prepare_distil as run
    from training.data.labels import read_tiny_imagenet

    shards, paths = read_tiny_imagenet(labels), photos_below(photos)
    if not paths:
        raise VsearchError(f"no photo in {', '.join(map(shown_path, photos))}", "name folders of photos")
    with progress_bar("views") as show:
        run(output, paths, shards.train, shards.classes, teacher, crops, progress=show)
    out(shown_path(output))


@app.command("features")
@expanded
def prepare_features(
    prepared: Annotated[Path, typer.Argument(metavar="FILE", help="A prepared file of captions or labels.")],
    output: OutputArgument,
    grid: Annotated[bool, typer.Option("--grid/--no-grid", help="Keep the cells, too, as captions need.")] = True,
    views: Annotated[int, typer.Option(min=1, metavar="N", help="Views of each picture: mirrored, cropped.")] = 1,
    teacher: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Ask this network instead of a model's encoder.")
    ] = None,
    *,
    other: Encoder,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Compute once what a network sees in every picture of a prepared file.

    \b
    Example:
      vsearch prepare features captions.h5 features.h5 --views 4
      vsearch prepare features labels.h5 label-features.h5 --no-grid
      vsearch prepare features captions.h5 teacher-features.h5 --teacher teacher
      vsearch prepare features captions.h5 resnet-features.h5 --encoder resnet101
    """
    from training.data.features import write_features
    from vsearch.device import resolve

    place = resolve(device)
    if sum(one is not None for one in (teacher, other.encoder, model)) > 1:
        raise typer.BadParameter("--teacher, --encoder and --model exclude each other")
    check_encoder(other)
    network = load_network(teacher, other, model, place)
    with progress_bar("pictures") as show:
        write_features(network, prepared, output, place, grid=grid, views=views, progress=show)
    out(shown_path(output))


def load_network(teacher: Path | None, other: Encoder, model: Path | None, device: torch.device) -> Network:
    """Load the network that features are made with: a teacher, one of torchvision, or a model's encoder."""
    from training.data.features import encoder_network, teacher_network
    from vsearch.storage import modelfolder, pretrained

    if teacher is not None:
        return teacher_network(teacher, device)
    if other.encoder is not None:
        return encoder_network(pretrained.encoder(other.encoder, other.weights), preprocess_of(other), device)
    loaded = modelfolder.load(model_folder(model), str(device))
    return encoder_network(loaded.encoder, loaded.config.preprocess, device)
