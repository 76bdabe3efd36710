"""Logs tell what happened, and no secret that happened to lie about."""

import logging

import pytest

from sieis_site.logs import logging_config


@pytest.fixture
def restored():
    yield
    logging_config("auto", "ERROR")


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_fault_is_logged_with_its_traceback_and_without_the_values_that_lay_about(style, capsys, restored):
    logging_config(style, "INFO")

    def connect(parameters):
        raise ConnectionError("the server refused")

    parameters = {"user": "sieis", "password": "hunter2"}
    try:
        connect(parameters)
    except ConnectionError:
        logging.getLogger("sieis_site").exception("part_failed")

    said = capsys.readouterr().err
    assert "the server refused" in said
    assert "in connect" in said
    assert "hunter2" not in said
