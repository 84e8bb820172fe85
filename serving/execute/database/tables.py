"""The journal's tables. All text is JSON in ASCII, so that every database can hold every string."""

from __future__ import annotations

from sqlalchemy import Column, Double, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData()

turns = Table(
    "polycall_turns",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("caller", String(128), nullable=False),
    Column("idempotency_key", String(255)),
    Column("digest", String(64)),
    Column("state", String(16), nullable=False),
    Column("token", String(64)),  # the holder's
    Column("lease_until_s", Double, nullable=False),  # until when a running turn counts as held, in seconds since 1970
    Column("created_s", Double, nullable=False),
    Column("answer", Text),
    UniqueConstraint("caller", "idempotency_key"),
    Index("polycall_turns_by_age", "created_s"),
)

rounds = Table(
    "polycall_rounds",
    metadata,
    Column("turn_id", String(64), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("record", Text, nullable=False),
)

calls = Table(
    "polycall_calls",
    metadata,
    Column("turn_id", String(64), primary_key=True),
    Column("id", String(255), primary_key=True),
    Column("round", Integer, nullable=False),
    Column("name", String(128), nullable=False),
    Column("arguments", Text, nullable=False),
    Column("repeatable", Integer, nullable=False),
    Column("started_s", Double, nullable=False),
    Column("ended_s", Double),
    Column("result", Text),  # empty while nobody knows how the call ended
)

kept = Table(
    "polycall_kept",
    metadata,
    Column("caller", String(128), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("record", Text, nullable=False),
    Column("taken_by", String(64)),  # the turn that acted on it
    Column("created_s", Double, nullable=False),
    Index("polycall_kept_by_age", "created_s"),
)
