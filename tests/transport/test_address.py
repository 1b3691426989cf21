"""Addresses taken apart: what a request line and a Host header say of them. Which may be followed is in `test_secrets.py`."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.transport.address import host_of, hostname_of, origin_form

PIECES = st.text(alphabet="ab9%.:/@[]?#&=;~ 가", max_size=12)


@settings(max_examples=300, deadline=None)
@given(host=st.sampled_from(["a.example", "A.Example:8080", "u:p@a.example", "[2001:db8::1]", "[::1]:81"]), rest=PIECES)
def test_an_address_is_taken_apart_as_the_library_does(host: str, rest: str) -> None:
    url = f"https://{host}/{rest}"
    parts = urlsplit(url)
    assert origin_form(url) == parts.path + (f"?{parts.query}" if "?" in url.partition("#")[0] else "")
    assert host_of(url) == host.rpartition("@")[2]
    assert hostname_of(url) == parts.hostname


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://a.example", "/"),
        ("https://a.example?b=1", "/?b=1"),
        ("https://a.example/x#y?z=1", "/x"),
        ("https://a.example/x?b=1#y", "/x?b=1"),
        ("https://a.example//x", "//x"),
        ("https://a.example/x?b=c?d", "/x?b=c?d"),
    ],
    ids=["no path", "no path but a query", "a fragment with a query", "both", "two slashes", "two question marks"],
)
def test_the_request_line_has_path_and_query_alone(url: str, form: str) -> None:
    assert origin_form(url) == form
