"""The README says what is true now."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from untrained_recon.config import DEFAULT_PRESET, load_config, preset_names
from untrained_recon.images import SERIES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def rows(section: BaseModel, prefix: str = "") -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from rows(value, f"{prefix}{name}.")
        else:
            yield f"| `{prefix}{name}` | `{value}` | {field.description} |"


@pytest.mark.parametrize("row", list(rows(load_config(DEFAULT_PRESET))))
def test_configuration_table_is_the_schema_with_the_default_preset(row: str) -> None:
    assert row in README


def test_presets_series_and_the_picture_are_there() -> None:
    for name in preset_names():
        assert f"`{name}`" in README
    for number in SERIES.values():
        assert f"| `image_{number}` |" in README
    assert (Path(__file__).parents[1] / "docs" / "demo.png").exists()
