"""A server that is named and away is one line within seconds, which names the variable and the address."""

from __future__ import annotations

import pytest

from components.errors import PerennialError
from components.tracking import connect
from flows import engine


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("postgresql+psycopg2://ada:secret@127.0.0.1:9/books", "postgresql+psycopg2://127.0.0.1:9/books"),
    ],
)
def test_mlflow_that_is_away_is_said_with_its_variable_and_no_password(tmp_path, address, shown):
    with pytest.raises(PerennialError, match="found nobody that answers") as caught:
        connect(tmp_path, address)
    said = str(caught.value)
    assert f"PERENNIAL_TRACKING_URI='{shown}'" in said and "secret" not in said and "\n" not in said


def test_a_prefect_server_that_is_away_is_said_before_anything_is_done():
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(PerennialError, match=r"PREFECT_API_URL='http://127\.0\.0\.1:9/api', found none"),
        engine.beside(),
    ):
        pytest.fail("nobody answers there")
