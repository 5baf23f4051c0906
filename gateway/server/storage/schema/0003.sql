-- A log of what was written, current state and history behind it; documents of every kind but entities; notifications.

-- What the newest commit left: its number, and the next numbers of subjects and samples.
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    next_subject INTEGER NOT NULL,
    next_sample INTEGER NOT NULL
) STRICT;

-- One row a commit, until all of it is in the tables. body: see log.py.
CREATE TABLE log (
    seq INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

-- Current state, as far as seq; document NULL: there is none, but history.
CREATE TABLE current (
    subject INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    expires_us INTEGER,
    document BLOB
) STRICT;

INSERT INTO current (subject, seq, document)
    SELECT key, 0, document FROM subject LEFT JOIN entity ON entity.subject = key;
CREATE INDEX current_expires ON current (expires_us) WHERE expires_us IS NOT NULL;
ALTER TABLE subject ADD COLUMN live INTEGER NOT NULL DEFAULT 1;
UPDATE subject SET live = key IN (SELECT subject FROM entity);
DROP TABLE entity;
DROP TABLE entity_type;

-- Changes of history in their order that are not in chunks yet. size: how many. body: see changes.py.
CREATE TABLE recent (
    key INTEGER PRIMARY KEY,
    subject INTEGER NOT NULL,
    size INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE INDEX recent_subject ON recent (subject, size);

INSERT INTO recent (subject, size, body)
    SELECT subject, count(*), CAST(json_group_array(json_array(
        0, attribute, dataset, observed_us, 0, number, modified_us, modified_us, CAST(instance AS TEXT))) AS BLOB)
    FROM (
        SELECT series.subject, attribute.iri AS attribute, ifnull(dataset.iri, '') AS dataset, observed_us, modified_us,
            instance, row_number() OVER (ORDER BY series, observed_us) AS number,
            row_number() OVER (PARTITION BY series ORDER BY observed_us) / 500 AS part, series
        FROM history JOIN series ON series.key = series
        JOIN name AS attribute ON attribute.key = series.attribute
        LEFT JOIN name AS dataset ON dataset.key = series.dataset
    ) GROUP BY series, part;

INSERT INTO state (id, seq, next_subject, next_sample)
    SELECT 1, 0, (SELECT ifnull(max(key), 0) + 1 FROM subject), (SELECT count(*) + 1 FROM history);
DROP TABLE history;
DROP TABLE series;

-- Samples of one series between two times, in columns (chunks.py). The chunks of a series do not overlap.
CREATE TABLE chunk (
    key INTEGER PRIMARY KEY,
    subject INTEGER NOT NULL,
    attribute INTEGER NOT NULL,
    dataset INTEGER NOT NULL,
    first_us INTEGER NOT NULL,
    last_us INTEGER NOT NULL,
    size INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE INDEX chunk_series ON chunk (subject, attribute, dataset, first_us, last_us, size);

CREATE TABLE document (
    key INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    document BLOB NOT NULL,
    UNIQUE (kind, tenant, id)
) STRICT;

INSERT INTO document (kind, tenant, id, document) SELECT 'subscription', tenant, id, document FROM subscription;
DROP TABLE subscription;

-- held_by, held_until_us: the node that is sending it. dead: it was given up.
CREATE TABLE note (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    subscription TEXT NOT NULL,
    due_us INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    body BLOB NOT NULL,
    why TEXT NOT NULL,
    dead INTEGER NOT NULL DEFAULT 0,
    held_by TEXT NOT NULL DEFAULT '',
    held_until_us INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX note_due ON note (dead, due_us);
CREATE INDEX note_subscription ON note (tenant, subscription, dead, key);
