"""A decoder for searching against the plain one, word by word."""

from __future__ import annotations

import pytest
import torch

from vsearch.config import DecoderConfig
from vsearch.networks.decoder import Decoder
from vsearch.networks.decoders import KINDS, build_decoder
from vsearch.networks.fast.decoder import QuickDecoder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("half", [False, True])
def test_steps_are_those_of_the_plain_decoder(kind: str, half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven pictures of three hypotheses, in blocks of two pictures; in bfloat16 the same within its digits."""
    monkeypatch.setattr("vsearch.networks.fast.cpu.BLOCK", 2 * 3 * 4 * 9)
    torch.manual_seed(3)
    plain = build_decoder(DecoderConfig(kind=kind, embed=8, hidden=7, attention=9), 6, 11).eval()
    quick = QuickDecoder(plain, half)
    both: list[Decoder | QuickDecoder] = [plain, quick]
    memory, rows = torch.randn(7, 4, 6), torch.arange(7).repeat_interleave(3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        states = [decoder.start(memory).select(rows) for decoder in both]
        for token in torch.randint(4, 11, (5, 21)):
            found = []
            for n, decoder in enumerate(both):
                logits, states[n], attention = decoder.step(token, states[n])
                found.append((logits, attention))
            (logits, attention), (others, other) = found
            assert others.dtype == torch.float32
            torch.testing.assert_close(others, logits, atol=0.03 if half else 1e-5, rtol=0)
            if attention is not None and other is not None:
                torch.testing.assert_close(other, attention, atol=0.03 if half else 1e-5, rtol=0)
            assert (attention is None) == (other is None)
    names = {name.split(".")[0] for name in plain.state_dict()}
    assert names == {name.split(".")[1] for name in quick.state_dict()}
