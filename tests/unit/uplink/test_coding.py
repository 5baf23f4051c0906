"""In which coding bodies go: learned, never a loop."""

from __future__ import annotations

import gzip

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gateway.uplink.coding import WORTH_BYTES, Coding, parse

BODY = b'{"id":"urn:x:1"}' * 100


def test_accept_encoding() -> None:
    assert parse("zstd, gzip") == {"zstd", "gzip"}
    assert parse("GZIP;q=0.5, zstd ; q=0, br") == {"gzip"}
    assert parse("identity, x-gzip;q=1.000") == {"identity", "gzip"}
    assert parse("") == frozenset()


def test_the_best_of_what_is_offered() -> None:
    coding = Coding()
    coding.renewed()
    coding.answered("identity", 200, "zstd, gzip")
    assert coding.choose(len(BODY)) == "zstd"
    assert coding.choose(WORTH_BYTES - 1) == "identity"
    coding.answered("identity", 200, "identity")
    assert coding.choose(len(BODY)) == "identity"


def test_a_server_that_says_nothing_is_offered_gzip_once() -> None:
    coding = Coding()
    assert coding.choose(len(BODY)) == "gzip"
    assert coding.answered("gzip", 400, None), "the same body goes plain"
    assert coding.choose(len(BODY)) == "identity"
    coding.renewed()
    assert coding.choose(len(BODY)) == "gzip"
    assert not coding.answered("gzip", 204, None)
    assert not coding.answered("gzip", 400, None), "proven: then it is the body"


def test_415_says_what_else() -> None:
    coding = Coding()
    coding.answered("identity", 200, "zstd, gzip")
    assert coding.answered("zstd", 415, "gzip")
    assert coding.choose(len(BODY)) == "gzip"
    assert coding.answered("gzip", 415, None)
    assert coding.choose(len(BODY)) == "identity"


def test_push_back_says_nothing_of_the_coding() -> None:
    coding = Coding()
    assert not coding.answered("gzip", 503, None)
    assert coding.choose(len(BODY)) == "gzip"


def test_a_server_that_falls_over_is_met_once() -> None:
    coding = Coding()
    coding.broke("gzip")
    coding.renewed()
    assert coding.choose(len(BODY)) == "identity"
    coding.renewed()
    assert coding.choose(len(BODY)) == "gzip"


@given(
    st.lists(
        st.tuples(st.sampled_from([200, 204, 400, 413, 415, 500, 503]), st.sampled_from([None, "zstd", "gzip", ""]))
    )
)
def test_no_loop(answers: list[tuple[int, str | None]]) -> None:
    """Each time that a body must go again it goes in a coding that was not refused on this connection."""
    coding = Coding()
    refused: set[str] = set()
    for status, accepts in answers:
        name = coding.choose(len(BODY))
        assert name not in refused
        if coding.answered(name, status, accepts):
            refused.add(name)
    assert "identity" not in refused


@given(st.binary(max_size=2000), st.booleans())
def test_bodies_come_out_again(body: bytes, sparing: bool) -> None:
    coding = Coding(sparing=sparing)
    assert zstandard.ZstdDecompressor().decompress(coding.encode(body, "zstd")) == body
    assert gzip.decompress(coding.encode(body, "gzip")) == body
    assert coding.encode(body, "gzip") == coding.encode(body, "gzip"), "byte for byte the same when sent again"
    assert coding.encode(body, "identity") is body
