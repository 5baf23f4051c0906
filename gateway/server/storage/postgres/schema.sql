-- Version 1. Times are microseconds since 1970 UTC. Documents and instances are JSON in UTF-8.

CREATE TABLE tenant (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);
INSERT INTO tenant (name) VALUES ('');

-- What has or had an entity id; document NULL: there is only history. hints: attribute -> its plain number or text, the
-- box of its geometry (west, south, east, north), or null: whatever is asked of it, look at the document.
CREATE TABLE subject (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    id text NOT NULL,
    types text[] NOT NULL,
    document bytea,
    expires_us bigint,
    hints jsonb,
    UNIQUE (tenant, id)
) WITH (fillfactor = 70); -- room in each page for the next version: no index changes with the document
CREATE INDEX subject_order ON subject (tenant, key);
CREATE INDEX subject_types ON subject USING gin (types);

CREATE INDEX subject_expires ON subject (expires_us) WHERE expires_us IS NOT NULL;

-- One attribute (and dataset) of a subject through time.
CREATE TABLE series (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject bigint NOT NULL REFERENCES subject (key) ON DELETE CASCADE,
    attribute text NOT NULL,
    dataset text NOT NULL,
    UNIQUE (subject, attribute, dataset)
);

-- mark: 0 observed, 1 written, 2 deleted. value: of a Property that is a plain number. A partition a year, made when it
-- is first written to.
CREATE TABLE sample (
    series bigint NOT NULL,
    at_us bigint NOT NULL,
    mark smallint NOT NULL,
    number bigint NOT NULL,
    created_us bigint NOT NULL,
    modified_us bigint NOT NULL,
    value double precision,
    instance bytea NOT NULL,
    PRIMARY KEY (series, at_us, mark)
) PARTITION BY RANGE (at_us);
CREATE SEQUENCE sample_number;

CREATE TABLE document (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    tenant text NOT NULL,
    id text NOT NULL,
    document bytea NOT NULL,
    UNIQUE (kind, tenant, id)
);

-- Counts the commits that changed documents which servers keep in memory. Its lock puts them in one order.
CREATE TABLE revision (value bigint NOT NULL);
INSERT INTO revision VALUES (0);

-- held_by, held_until_us: the node that is sending it. dead: it was given up.
CREATE TABLE note (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE,
    tenant text NOT NULL,
    subscription text NOT NULL,
    due_us bigint NOT NULL,
    attempts integer NOT NULL,
    body bytea NOT NULL,
    why text NOT NULL,
    dead boolean NOT NULL DEFAULT false,
    held_by text NOT NULL DEFAULT '',
    held_until_us bigint NOT NULL DEFAULT 0
);
CREATE INDEX note_due ON note (due_us) WHERE NOT dead;
CREATE INDEX note_subscription ON note (tenant, subscription, dead, key);

CREATE TABLE stream (
    gateway text NOT NULL,
    id text NOT NULL,
    used_us bigint NOT NULL,
    ranges bytea NOT NULL,
    PRIMARY KEY (gateway, id)
);

CREATE TABLE profiles (
    gateway text NOT NULL,
    hash text NOT NULL,
    put_us bigint NOT NULL,
    document bytea NOT NULL,
    PRIMARY KEY (gateway, hash)
);

CREATE TABLE schema_version (version integer NOT NULL);
INSERT INTO schema_version VALUES (1);
