"""SQL chooses the same parts as Python, the functions of the migrations included."""

import json

import pytest

from shared.parts import PartKind, Traits, traits
from shared.store.part_sql import joined_text
from tests.store_fixtures import Store

KINDS = [*PartKind, "an unknown kind"]
BODY = json.dumps([{"kind": kind, "text": f"{place} ", "meta": None}
                   for place, kind in enumerate(KINDS)])  # fmt: skip


@pytest.mark.parametrize("trait", Traits._fields[:4])
def test_a_trait_chooses_the_same_parts_in_sql_and_python(store: Store, trait: str) -> None:
    text = joined_text("CAST(:body AS jsonb)", lambda its: bool(getattr(its, trait)))

    [row] = store.db.rows(f"SELECT {text} AS said", body=BODY)

    assert row.said == "".join(
        f"{place} " for place, kind in enumerate(KINDS) if getattr(traits(kind), trait)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_search_index_has_the_words_of_searched_kinds_only(store: Store, kind: str) -> None:
    body = json.dumps([{"kind": kind, "text": "word", "meta": None}])

    [row] = store.db.rows("SELECT message_words(CAST(:body AS jsonb)) <> '' AS found", body=body)

    assert row.found == traits(kind).searched
