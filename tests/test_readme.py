"""The README says what is true now."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from untrained_recon.config import Config, preset_names
from untrained_recon.images import SERIES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def rows(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from rows(field.annotation, f"{prefix}{name}.")
        else:
            yield f"| `{prefix}{name}` | `{field.default}` | {field.description} |"


@pytest.mark.parametrize("row", list(rows(Config)))
def test_configuration_table_is_the_schema(row: str) -> None:
    assert row in README


def test_presets_series_and_the_picture_are_there() -> None:
    for name in preset_names():
        assert f"`{name}`" in README
    for number in SERIES.values():
        assert f"| `image_{number}` |" in README
    assert (Path(__file__).parents[1] / "docs" / "demo.png").exists()
