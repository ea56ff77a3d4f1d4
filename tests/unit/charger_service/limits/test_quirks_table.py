"""What is known of makes of chargers, and how an entry of CHARGERS_FILE stands above it."""

from pathlib import Path
from typing import Any

import pytest

from charger_service.ports import ChargerModel, LimitPurpose, Quirks, RateUnit
from charger_service.quirks import FROM_FILE, QUIRKS, QuirkRow, find_quirks, quirks_of

pytestmark = pytest.mark.anyio

MAKES = [
    ("ABB", "CDT_TACW11::NET_WIFI", Quirks(autostart=True, stack_level=0)),
    ("abb ", "cdt_tacw22::net_wifi", Quirks(autostart=True, stack_level=0)),
    ("ABB", "Terra 54", Quirks()),
    ("", "ACChargePoint", Quirks(rate_unit=RateUnit.WATTS)),
    ("Acme", "ACChargePoint", Quirks()),
    (
        "Phoenix Contact GmbH & Co. KG",
        "EV-CC-AC1-M3-CBC-RCM-ETH-3PN-SER",
        Quirks(remote_start_configuration={"AuthorizeRemoteTxRequests": "false", "FreeMode": "true"}),
    ),
    ("Timxon", "A0", Quirks(limit_purpose=LimitPurpose.TX_DEFAULT)),
    ("United Chargers", "GRS-*", Quirks(autostart=True)),
    ("ZJBENY", "BCP-B2N-L", Quirks(autostart=True)),
    ("Acme", "One", Quirks()),
]
DOCS = Path(__file__).parents[4] / "docs" / "chargers.md"


@pytest.mark.parametrize(("vendor", "model", "quirks"), MAKES)
def test_a_make_has_the_quirks_of_its_rows(vendor: str, model: str, quirks: Quirks) -> None:
    assert quirks_of(ChargerModel(vendor, model), Quirks()) == quirks


def test_every_row_is_tried_above() -> None:
    makes = [ChargerModel(vendor, model) for vendor, model, _ in MAKES]

    assert [row for row in QUIRKS if not any(row.is_of(make) for make in makes)] == []


def test_the_file_stands_above_the_table_field_by_field() -> None:
    known = find_quirks(ChargerModel("ABB", "CDT_TACW11"), Quirks(stack_level=1, rate_unit=RateUnit.WATTS))

    assert {quirk.name: (quirk.value, quirk.source) for quirk in known} == {
        "autostart": (True, "https://github.com/evcc-io/evcc/pull/31444"),
        "rate_unit": (RateUnit.WATTS, FROM_FILE),
        "stack_level": (1, FROM_FILE),
    }


def test_of_a_charger_that_says_nothing_of_itself_only_the_file_is_known() -> None:
    assert quirks_of(None, Quirks(autostart=False)) == Quirks(autostart=False)


@pytest.mark.parametrize("row", QUIRKS, ids=lambda row: f"{row.vendor or '(none)'} {row.model}")
def test_a_row_has_a_source_and_is_in_the_docs(row: QuirkRow) -> None:
    (quirk,) = find_quirks(None, row.quirks)
    cells = [row.vendor or "(empty)", row.model, f"`{quirk.name}: {quirk.value_text}`", row.reason, f"<{row.source}>"]

    assert row.source.startswith("https://")
    assert f"| {' | '.join(cells).replace('*', chr(92) + '*')} |" in DOCS.read_text(encoding="utf-8").splitlines()


async def test_a_charger_shows_its_quirks_and_where_they_are_known_from(house: Any) -> None:
    house.limits.events.on_boot("CP-1", ChargerModel("ABB", "CDT_TACW11::NET_WIFI"))

    shown = house.limits.views.charger("CP-1").quirks
    assert [(one.quirk, one.value) for one in shown] == [("autostart", "true"), ("stack_level", "0")]
    assert all(one.source.startswith("https://") for one in shown)
    assert house.limits.views.charger("CP-2").quirks is None
