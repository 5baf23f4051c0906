-- The server's store, version 1. Times are microseconds since 1970 UTC. JSON is UTF-8 text in BLOBs.

CREATE TABLE tenant (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

INSERT INTO tenant (key, name) VALUES (1, '');

-- Attribute IRIs, type IRIs and datasetIds, each written once.
CREATE TABLE name (
    key INTEGER PRIMARY KEY,
    iri TEXT NOT NULL UNIQUE
) STRICT;

-- What ever had an entity id: outlives the entity, because its history does. types: JSON array of IRIs.
CREATE TABLE subject (
    key INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    types TEXT NOT NULL,
    UNIQUE (tenant, id)
) STRICT;

-- Current state: one JSON document per entity, names expanded.
CREATE TABLE entity (
    subject INTEGER PRIMARY KEY,
    document BLOB NOT NULL
) STRICT;

CREATE TABLE entity_type (
    tenant INTEGER NOT NULL,
    type INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    PRIMARY KEY (tenant, type, subject)
) STRICT, WITHOUT ROWID;

-- One attribute (and dataset) of one subject through time; dataset 0 is the default instance.
CREATE TABLE series (
    key INTEGER PRIMARY KEY,
    subject INTEGER NOT NULL,
    attribute INTEGER NOT NULL,
    dataset INTEGER NOT NULL,
    UNIQUE (subject, attribute, dataset)
) STRICT;

-- Clustered by identity: writing the same series and time again replaces, so a batch sent twice is in history once.
CREATE TABLE history (
    series INTEGER NOT NULL,
    observed_us INTEGER NOT NULL,
    modified_us INTEGER NOT NULL,
    instance BLOB NOT NULL,
    PRIMARY KEY (series, observed_us)
) STRICT, WITHOUT ROWID;

CREATE TABLE subscription (
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    document BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
