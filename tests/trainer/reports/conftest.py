import pytest


@pytest.fixture(autouse=True, scope="module")
def pictures_of_reports(every_picture):
    """Reports are drawn whole where they are tested."""
