"""Masking is the same wherever the chunks are cut, and leaves everything else as it was; the rules for keys and addresses."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.errors import SettingsError
from assets.protocols.kernel import Auth
from assets.transport.address import Follow, redirect, refusal
from assets.transport.secrets import Secrets, normalise_key

_AUTH = Auth(kind="query_key", name="k", secret="AGENCY_KEY")
_KEYS = st.text(st.sampled_from("aB9+/=-_ %é"), min_size=8, max_size=24).filter(lambda k: k == k.strip())


def _secrets(key: str) -> Secrets:
    return Secrets({"AGENCY_KEY": key}, feed="kr.x.y", auth=_AUTH)


def _forms(key: str) -> list[str]:
    once = quote(key, safe="")
    return [key, once, once.lower() if key.islower() else once, quote(once, safe=""), key.replace("/", "\\/"), quote(key, safe="/")]


def test_a_place_that_the_feed_does_not_declare_is_sent_as_it_stands() -> None:
    """An answer may name the place of another feed's key in an address that is asked next."""
    values = {"AGENCY_KEY": "k" * 20, "OTHER_KEY": "o" * 20}
    known = Secrets(values, feed="kr.x.y", auth=_AUTH, declared='{"a": "{secret:THIRD_KEY}"}')
    assert known.fill_url("https://a.example/?k={secret:OTHER_KEY}") == "https://a.example/?k=%7Bsecret%3AOTHER_KEY%7D"
    assert known.fill_header("{secret:OTHER_KEY}") == "{secret:OTHER_KEY}"
    with pytest.raises(SettingsError, match="the key that the agency issued"):
        known.fill_url("https://a.example/?k={secret:THIRD_KEY}")


@given(st.data())
def test_masking_does_not_depend_on_chunk_borders(data: st.DataObject) -> None:
    key = data.draw(_KEYS)
    noise = st.binary(max_size=40) | st.sampled_from([f.encode()[:-1] for f in _forms(key)])
    parts = data.draw(st.lists(st.sampled_from([f.encode() for f in _forms(key)]) | noise, max_size=8))
    body = b"".join(parts)
    whole = _secrets(key).body_masker()
    expected = whole.feed(body) + whole.flush()
    assert len(expected) == len(body)
    for form in _forms(key):
        assert form.encode() not in expected
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    masker = _secrets(key).body_masker()
    out = b"".join(masker.feed(body[a:b]) for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)) + masker.flush()
    assert out == expected
    assert masker.hits == whole.hits


def test_the_longest_form_is_masked_byte_by_byte() -> None:
    key = "++//==++/"
    body = b"<" + "".join(f"&#x{ord(c):x};" for c in key).encode() + b">"
    masker = _secrets(key).body_masker()
    out = b"".join(masker.feed(body[i : i + 1]) for i in range(len(body))) + masker.flush()
    assert out == b"<" + b"*" * (len(body) - 2) + b">"


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_body_without_the_key_is_untouched(body: bytes, cut: int) -> None:
    key = "Zz9Zz9Zz9Zz9Zz9Zz9"
    masker = _secrets(key).body_masker()
    out = masker.feed(body[:cut]) + masker.feed(body[cut:]) + masker.flush()
    assert out == (body if key.encode() not in body else out)
    assert masker.hits == 0 or key.encode() in body


@given(_KEYS)
def test_text_is_redacted_in_every_form_and_filled_once(key: str) -> None:
    secrets = _secrets(key)
    url = secrets.fill_url("http://h/{secret:AGENCY_KEY}/x")
    assert url == f"http://h/{quote(key, safe='')}/x"
    for form in _forms(key):
        assert secrets.redact(f"<{form}>") == f"<{'*' * len(form.encode())}>"
        assert secrets.carries(f"<{form}>")
    assert secrets.redact("{secret:AGENCY_KEY}") == "***"


def test_a_short_public_key_does_not_alter_bodies_but_leaves_no_trace_elsewhere() -> None:
    secrets = _secrets("sample")
    masker = secrets.body_masker()
    assert masker.feed(b"a sample of rows") + masker.flush() == b"a sample of rows"
    assert secrets.redact("http://h/sample/1") == "http://h/******/1"


@pytest.mark.parametrize("raw", ["ab%2", "ab%zz", "100%", "ab%252B", "ab%2Bc%"])
def test_a_broken_encoding_is_refused_without_showing_the_key(raw: str) -> None:
    with pytest.raises(SettingsError) as caught:
        normalise_key(raw, name="AGENCY_KEY", percent_encoded=True)
    assert raw not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert "AGENCY_KEY" in str(caught.value)


def test_both_forms_of_a_portal_key_become_one() -> None:
    assert normalise_key("a%2Bb%2Fc%3D%3D", name="K", percent_encoded=True) == "a+b/c=="
    assert normalise_key("a+b/c==", name="K", percent_encoded=True) == "a+b/c=="
    assert normalise_key("a%2Bb", name="K", percent_encoded=False) == "a%2Bb"


@pytest.mark.parametrize(
    ("ip", "private", "allowed"),
    [
        ("8.8.8.8", False, True),
        ("2606:4700::1111", False, True),
        ("10.0.0.1", False, False),
        ("10.0.0.1", True, True),
        ("172.31.255.255", True, True),
        ("100.64.0.1", False, False),
        ("fd12::1", True, True),
        ("::ffff:10.0.0.1", False, False),
        ("::ffff:10.0.0.1", True, True),
        ("2002:7f00:1::", True, False),
        ("64:ff9b::7f00:1", True, False),
        ("127.0.0.1", True, False),
        ("::1", True, False),
        ("0.0.0.0", True, False),
        ("169.254.169.254", True, False),
        ("169.254.1.1", True, False),
        ("::ffff:169.254.169.254", True, False),
        ("fd00:ec2::254", True, False),
        ("100.100.100.200", True, False),
        ("fe80::1%eth0", True, False),
        ("224.0.0.1", True, False),
        ("255.255.255.255", True, False),
        ("240.0.0.1", True, False),
        ("192.0.2.1", True, False),
        ("198.18.0.1", True, False),
    ],
)
def test_addresses(ip: str, private: bool, allowed: bool) -> None:
    assert (refusal(ip, allow_private=private) is None) is allowed


@given(st.ip_addresses())
def test_every_address_gets_an_answer_and_private_is_the_only_thing_that_the_switch_changes(ip: object) -> None:
    strict, lenient = refusal(str(ip), allow_private=False), refusal(str(ip), allow_private=True)
    if strict is None:
        assert lenient is None
    if strict is not None and lenient is None:
        assert "private" in strict


@given(st.text(max_size=60))
def test_a_redirect_never_leaves_the_allowed_hosts(location: str) -> None:
    decision = redirect("https://agency.example/a", location, hosts=("files.example",), followed=0)
    if isinstance(decision, Follow):
        assert decision.url.startswith(("https://agency.example", "https://files.example"))


@given(st.text(st.characters(exclude_categories=()), max_size=30), st.text(st.characters(exclude_categories=()), max_size=30))
def test_any_text_can_be_masked(before: str, after: str) -> None:
    """Half of a pair, which JSON may hold, too."""
    auth = Auth(kind="query_key", name="key", secret="AGENCY_KEY")
    secrets = Secrets({"AGENCY_KEY": "a-long-enough-key"}, feed="kr.x.y", auth=auth)
    secrets.fill_url("{secret:AGENCY_KEY}")
    assert "a-long-enough-key" not in secrets.redact(f"{before}a-long-enough-key{after}")
    assert secrets.carries(f"{before}a-long-enough-key{after}")
