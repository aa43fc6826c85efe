"""Pixel quantities."""

from __future__ import annotations

import pytest

from cosweep.units import format_pixels, parse_pixels


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("8/255", 8 / 255),
        (" 8 / 255 ", 8 / 255),
        ("2.5/255", 2.5 / 255),
        ("0/255", 0.0),
        ("255/255", 1.0),
        ("1/2", 0.5),
        ("0.03", 0.03),
        ("5e-4", 5e-4),
        (0, 0.0),
        (1, 1.0),
        (0.25, 0.25),
    ],
)
def test_a_number_or_a_fraction_is_read(written: object, value: float) -> None:
    parsed = parse_pixels(written)
    assert parsed == value
    assert isinstance(parsed, float)


@pytest.mark.parametrize("levels", range(256))
def test_a_fraction_reads_as_the_float_nearest_to_the_quotient(levels: int) -> None:
    assert parse_pixels(f"{levels}/255") == levels / 255


# Python's float() reads the first of these: underscores, full-width digits, infinity.
@pytest.mark.parametrize(
    "written",
    [
        "1_000",
        "\uff11\uff12",
        "8/\uff12\uff15\uff15",
        "inf",
        "nan",
        "0x10",
        "eight",
        "",
        "8/",
        "/255",
        "8/0",
        "8/255/2",
        True,
        False,
        None,
        [8],
        {"beta": 1},
    ],
)
def test_anything_else_is_refused_and_quoted(written: object) -> None:
    with pytest.raises(ValueError, match=r"expected a number or a fraction such as 8/255, got"):
        parse_pixels(written)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8 / 255, "8/255"),
        (10 / 255, "10/255"),
        (100 / 255, "100/255"),
        (1.0, "255/255"),
        (2.5 / 255, "2.5/255"),
        (0.0, "0"),
        (-0.0, "0"),
        (1e-9, "0"),
        (-1e-9, "0"),
        (-4 / 255, "-4/255"),
    ],
)
def test_a_quantity_prints_in_grey_levels(value: float, text: str) -> None:
    assert format_pixels(value) == text


@pytest.mark.parametrize("levels", range(1, 256))
def test_what_prints_reads_back(levels: int) -> None:
    assert parse_pixels(format_pixels(levels / 255)) == levels / 255
