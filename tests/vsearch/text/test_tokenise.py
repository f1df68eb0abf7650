from __future__ import annotations

import unicodedata

import pytest

from vsearch.text.tokenise import tokenise

CAPTION = "Two dogs , one in a T-shirt , jump over a \"fence\" ; the dog 's ball is #1 & isn't caught !"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A black dog and a spotted dog are fighting .", "a black dog and a spotted dog are fighting"),
        ("snow-covered T-shirt", "snow covered t shirt"),
        ("a dog 's face", "a dog's face"),
        ("they do n't know", "they don't know"),
        ("the dogs ' owner", "the dogs owner"),
        ("'sailor' in 'quotes'", "sailor in quotes"),
        ("don’t", "don't"),
        ("mp3 player, 2 boys, 50cc", "mp 3 player 2 boys 50 cc"),
        ("under_scored <b>", "under scored b"),
        ("a child 's-toy", "a child's toy"),
        ("", ""),
        (" .,;!? - ' \t\n", ""),
    ],
)
def test_splits_into_words(text: str, tokens: str) -> None:
    assert tokenise(text) == tokens.split()


def test_a_flickr_caption_leaves_no_punctuation() -> None:
    tokens = tokenise(CAPTION)
    assert all(any(c.isalnum() for c in token) for token in tokens)
    assert not set("".join(tokens)) & set('.,;"!?#&()-')
    assert tokens[-6:] == ["dog's", "ball", "is", "1", "isn't", "caught"]


def test_composed_and_decomposed_accents_are_the_same_word() -> None:
    decomposed = unicodedata.normalize("NFD", "Café ÉLAN")
    assert decomposed != "Café ÉLAN"
    assert tokenise(decomposed) == tokenise("Café ÉLAN") == ["café", "élan"]


def test_an_accent_that_has_no_composed_form_stays_inside_its_word() -> None:
    assert tokenise("x\u0301yz") == ["x\u0301yz"]
    assert tokenise("İzmir") == ["i\u0307zmir"]  # the lower case of a dotted capital I is two characters


@pytest.mark.parametrize("text", [CAPTION, "do n't stop 's here", "the dogs ' 's", "İstanbul’s mp3"])
def test_tokenising_twice_changes_nothing(text: str) -> None:
    once = tokenise(text)
    assert tokenise(" ".join(once)) == once
