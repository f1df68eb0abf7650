"""`vsearch translate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.commands.options import BeamOption, DeviceOption, ForceOption, TranslatorOption, check_drawing
from vsearch.console import out, out_json, remark

if TYPE_CHECKING:
    from vsearch.translation.translator import Translator

app = typer.Typer(rich_markup_mode=None)


@app.command()
def translate(
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="Sentences, each in quotes.", show_default=False)
    ],
    source: Annotated[str, typer.Option("--from", metavar="LANGUAGE", help="Of the text: de, en or fr.")],
    target: Annotated[str, typer.Option("--to", metavar="LANGUAGE", help="To translate into.")] = "en",
    translator: TranslatorOption = None,
    beam: BeamOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per sentence.")] = False,
    attention: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw what each word looked at (one sentence).")
    ] = None,
    force: ForceOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Translate sentences.

    --attention replaces an earlier drawing of vsearch, but no other file unless --force.

    \b
    Example:
      vsearch translate "un bateau à moteur" --from fr
      vsearch translate "un chien court." "une plage." --from fr --to en --translator my-translator --json
      vsearch translate "un chien court." --from fr --attention alignment.png
    """
    check_attention(texts, attention, force=force)
    loaded = load_translator(source, target, translator, device)
    found = loaded.translate(texts, beam)
    if unknown := dict.fromkeys(word for text in texts for word in loaded.source.unknown(text)):
        remark(f"not known to the translator: {', '.join(unknown)}")
    if attention is not None:
        from vsearch.drawing.alignment import draw_translation

        draw_translation(found[0], attention)
    if as_json:
        rows = [(text, one, round(one.log_probability, 4)) for text, one in zip(texts, found, strict=True)]
        out_json([{"text": t, "translation": o.text, "log_probability": p} for t, o, p in rows])
    else:
        for one in found:
            out(one.text)


def check_attention(texts: list[str], attention: Path | None, *, force: bool) -> None:
    """Raise BadParameter or VsearchError if what is to be drawn cannot be."""
    if attention is not None and len(texts) > 1:
        raise typer.BadParameter("--attention draws one sentence at a time")
    if attention is not None:
        check_drawing(attention, force=force)


def load_translator(source: str, target: str, folder: Path | None, device: str) -> Translator:
    """Load the translator in `folder`, or the bundled one between these languages."""
    from vsearch.translation.translator import Translator, find

    return Translator.load(find(source, target, folder), device)
