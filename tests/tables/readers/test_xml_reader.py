"""XML: record elements, attributes, lists; entities refused; memory that does not grow with the file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.errors import UnreadableSource

from .reading import opened, order, rows_of


def at(path: Path, data: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(data.encode(encoding) if isinstance(data, str) else data)
    return path


def test_attributes_children_lists_namespaces(tmp_path: Path) -> None:
    path = at(
        tmp_path / "f",
        """<?xml version="1.0"?><!-- c --><x:r xmlns:x="urn:x" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><meta><row>no</row></meta>
        <x:rows n="1"><x:row id="7"><x:a>1</x:a><t>p</t><t>q</t><g k="v"><h>z</h></g><e/><n xsi:nil="true"/>
        <c><![CDATA[<b>]]></c></x:row><x:row id="8">own text<a u="m">5</a></x:row></x:rows></x:r>""",
    )
    asked = order("@id", "a", "t", "g.h", "g.@k", "e", "n", "c", "a.@u", "#text", "g", missing="null")
    assert rows_of(opened(path, asked, format="xml", records_path="r/rows/row")) == [
        ("7", "1", '["p","q"]', "z", "v", "", None, "<b>", None, None, '{"@k":"v","h":"z"}'),
        ("8", "5", None, None, None, None, None, None, "m", "own text", None),
    ]


def test_a_real_page_in_cp949_with_its_own_declaration(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="EUC-KR"?><response><body><items><item><이름>똠방</이름></item></items></body></response>'
    stream = opened(at(tmp_path / "f", text, "cp949"), order("이름"), format="xml", records_path="response/body/items/item")
    assert rows_of(stream) == [("똠방",)]
    assert stream.encoding == "cp949"


def test_nothing_and_nowhere(tmp_path: Path) -> None:
    path = at(tmp_path / "f", "<r><items/></r>")
    assert rows_of(opened(path, order("a"), format="xml", records_path="r/items/item")) == []
    with pytest.raises(UnreadableSource, match="no element at 'r/rows/row'"):
        rows_of(opened(path, order("a"), format="xml", records_path="r/rows/row"))


BOMB = "<!DOCTYPE r [" + '<!ENTITY a0 "x">' + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12)) + "]>"


@pytest.mark.parametrize(
    "text",
    [
        BOMB + "<r><row><a>&a11;</a></row></r>",
        BOMB + '<r z="&a11;"><row><a>1</a></row></r>',
        '<!DOCTYPE r [<!ENTITY f SYSTEM "file:///etc/hostname">]><r><row><a>&f;</a></row></r>',
        '<!DOCTYPE r [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x">%p;]><r><row><a>1</a></row></r>',
        "<r><row><a>1</a></row>",
        "<r><row><a>1</b></row></r>",
        "<r>" + "<row>" * 100_000,
        "<r><row><a>&nope;</a></row></r>",
        "<r",
    ],
)
def test_hostile_documents(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnreadableSource):
        rows_of(opened(at(tmp_path / "f", text), order("a"), format="xml", records_path="r/row"))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            *[st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"], max_codepoint=0xFFFD), max_size=8)] * 2
        ),
        max_size=15,
    )
)
def test_what_is_written_is_read_back(rows: list[tuple[str, str]]) -> None:
    text = "<r><row></row>" + "".join(f"<row x={quoteattr(a)}><b>{escape(b)}</b></row>" for a, b in rows) + "</r>"
    with tempfile.TemporaryDirectory() as folder:
        path = at(Path(folder) / "f", text)
        got = rows_of(opened(path, order("@x", "b", missing="null"), format="xml", records_path="r/row"))
    assert got == [(None, None), *rows]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    import resource
    import subprocess
    import sys

    path = tmp_path / "f"
    with path.open("w") as file:
        file.write("<r><rows>")
        for i in range(600_000):
            file.write(f"<row><a>{i}</a><b>{'x' * 60}</b></row><skip>{i}</skip>")
        file.write("</rows></r>")
    code = (
        "import sys, resource\nfrom pathlib import Path\n"
        "from assets.tables.readers.open import open_rows\nfrom assets.tables.readers.batches import Order\n"
        "from assets.tables.readers.spec import FileShape\nimport assets.tables.readers.xml_reader\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "s = open_rows(Path(sys.argv[1]), FileShape(format='xml', records_path='r/rows/row'), Order(('a', 'b')))\n"
        "n = sum(b.num_rows for b in s.batches)\n"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    assert resource.getpagesize() > 0
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, capture_output=True, text=True, check=True)
    rows, grown_kb = map(int, done.stdout.split())
    assert rows == 600_000
    assert grown_kb * 1024 < path.stat().st_size
