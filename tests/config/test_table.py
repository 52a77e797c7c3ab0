"""PSAPs from a CSV table: rows become paths, errors name row and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.configured import load_plain, plain
from psapwatch.config.errors import BadConfig
from psapwatch.config.shape import Config

HEADER = "id,name,path,firewall,uri"


def load_table(text: str, folder: Path) -> Config:
    """Load the small configuration with its PSAPs in a table."""
    (folder / "psaps.csv").write_text(text, encoding="utf-8")
    written = plain()
    del written["psaps"]
    return load_plain(written | {"psap_files": ["psaps.csv"]}, str(folder / "psapwatch.yml"))


def errors_of(text: str, folder: Path) -> list[tuple[int, str, str]]:
    """Return line, key and message of what is wrong with a table."""
    with pytest.raises(BadConfig) as refused:
        load_table(text, folder)
    assert all(error.file == str(folder / "psaps.csv") for error in refused.value.errors)
    return [(error.line, error.key, error.message) for error in refused.value.errors]


def test_a_row_says_all_that_yaml_can(tmp_path: Path) -> None:
    """Every column goes to its key."""
    table = (
        "id,name,path,firewall,uri,kind,answered_by,business_line,consent,every,turn,"
        "short_interval_agreed,commissioned,expect_name,alternates,lat,lon,"
        "attributes.county,path_attributes.carrier\n"
        '"ma-boston","Boston, Police",east,fw-east,sip:psap1.example.gov,sip,sbc,+1 617 555 0100,'
        "MoU 2026-014,30s,1/2,true,false,Boston PD,Cambridge ECC|Quincy PD,42.3601,-71.0589,"
        "Suffolk,x\n"
    )
    config = load_table(table, tmp_path)
    (path,) = config.paths
    psap = path.psap
    assert (psap.name, psap.business_line) == ("Boston, Police", "+1 617 555 0100")
    assert (path.key, path.answered_by, path.attributes) == (
        "ma-boston/east",
        "sbc",
        (("carrier", "x"),),
    )
    assert psap.attributes == (("county", "Suffolk"),)
    assert psap.location == (42.3601, -71.0589)
    assert (psap.expected_name, psap.alternates) == ("Boston PD", ("Cambridge ECC", "Quincy PD"))
    assert psap.agreement is not None
    assert psap.agreement.every_s == 30.0
    assert psap.agreement.turn == (1, 2)
    assert psap.agreement.short_interval_agreed


def test_rows_with_one_id_are_paths_of_one_psap(tmp_path: Path) -> None:
    """Further rows may leave out, or repeat, what the first said of the PSAP."""
    config = load_table(
        f"{HEADER}\n"
        "ma-boston,Boston,east,fw-east,sip:psap1.example.gov\n"
        "ma-quincy,Quincy,,fw-east,sip:psap2.example.gov\n"
        "ma-boston,,west,fw-east,sip:psap3.example.gov\n"
        "ma-boston,Boston,south,fw-east,sip:psap4.example.gov\n",
        tmp_path,
    )
    assert [psap.id for psap in config.psaps] == ["ma-boston", "ma-quincy"]
    assert [path.key for path in config.paths] == [
        "ma-boston/east",
        "ma-boston/west",
        "ma-boston/south",
        "ma-quincy/fw-east",
    ]


def test_rows_may_end_as_windows_ends_them_and_be_empty(tmp_path: Path) -> None:
    """A byte order mark, CRLF and blank lines, as spreadsheets write them, change nothing."""
    table = f"\ufeff{HEADER}\r\n\r\nma-boston,Boston,,fw-east,sip:psap1.example.gov\r\n,,,,\r\n"
    assert [path.key for path in load_table(table, tmp_path).paths] == ["ma-boston/fw-east"]


def test_the_line_is_right_after_a_cell_of_two_lines(tmp_path: Path) -> None:
    """A quoted line break makes a row of two lines; errors still name the row's first."""
    table = (
        f'{HEADER}\nma-boston,"Boston\nPolice",,fw-east,sip:psap1.example.gov\n'
        "ma-quincy,Quincy,,fw-east,tel:911\n"
    )
    assert [(line, key) for line, key, _ in errors_of(table, tmp_path)] == [(2, "name"), (4, "uri")]


@pytest.mark.parametrize(
    ("table", "line", "key", "message"),
    [
        ("", 1, "(file)", "has no column id, name, firewall, uri"),
        (f'{HEADER}\nma-boston,"Bos"ton,,,\n', 2, "(file)", "is not CSV: ',' expected after '\"'"),
        (f"{HEADER}\nma-boston,Boston\n", 2, "(row)", "has 2 cells where the header has 5 columns"),
        (
            f"{HEADER}\nma-boston,,,fw-east,sip:psap1.example.gov\n",
            2,
            "name",
            "is required: as people call it",
        ),
        (
            f"{HEADER}\ncontrol,Boston,,fw-east,sip:psap1.example.gov\n",
            2,
            "id",
            "control is reserved for checks of our own responders",
        ),
    ],
)
def test_an_error_names_row_and_column(
    table: str, line: int, key: str, message: str, tmp_path: Path
) -> None:
    """What is wrong with a table is told where it stands in the table."""
    assert errors_of(table, tmp_path) == [(line, key, message)]
