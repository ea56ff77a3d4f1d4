"""The page on compatibility names every fact that `make verify-wso2` looks at, and no other."""

import re
from pathlib import Path
from typing import cast

from pydantic import SecretStr

from ev_service.clock import SystemClock
from wso2_provisioning.backends import DEFAULT_BACKENDS
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.verification.context import VerificationContext
from wso2_provisioning.verification.runner import build_all_rows
from wso2_terms.artifacts import load_artifacts

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "compatibility.md"
BACKENDS = dict.fromkeys(DEFAULT_BACKENDS, "http://127.0.0.1:9")
CLEANED_UP = "what is left of all this"
"""Looked at after all others, when it is known."""


def test_every_row_of_the_verification_stands_on_the_page() -> None:
    assert _rows() - _list_image_facts() == set()


def test_every_row_on_the_page_is_looked_at() -> None:
    assert _list_image_facts() - _rows() == set()


def _rows() -> set[str]:
    settings = ProvisioningSettings(wso2_admin_password=SecretStr("never-sent"), evapp_password=SecretStr("never-sent"))
    # Rows are only listed: nothing is asked of anybody.
    site = VerificationContext(
        cast("HttpClient", None), settings, load_artifacts(ROOT / "wso2", BACKENDS), SystemClock()
    )
    rows = build_all_rows(site, echo=None, echo_url=None, metrics_log=None)
    return {CLEANED_UP, *(row.name for row in rows)}


def _list_image_facts() -> set[str]:
    """Return the texts between backticks in the column `image` of every table."""
    named: set[str] = set()
    for table in re.findall(r"(?m)^\| fact .*\| image \|\n(?:\|.*\n)+", PAGE.read_text(encoding="utf-8")):
        for line in table.splitlines()[2:]:
            named |= set(re.findall(r"`([^`]+)`", line.rstrip(" |").rpartition(" | ")[2]))
    return named
