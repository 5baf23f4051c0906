-- Documents of every kind but entities, notifications that wait, samples with system dates and numbers.

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

-- mark: 0 observed, 1 written, 2 deleted.
CREATE TABLE sample (
    number INTEGER PRIMARY KEY,
    series INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    mark INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    modified_us INTEGER NOT NULL,
    instance BLOB NOT NULL,
    UNIQUE (series, at_us, mark)
) STRICT;

INSERT INTO sample (series, at_us, mark, created_us, modified_us, instance)
    SELECT series, observed_us, 0, modified_us, modified_us, instance FROM history ORDER BY observed_us;
DROP TABLE history;

ALTER TABLE entity ADD COLUMN expires_us INTEGER;
CREATE INDEX entity_expires ON entity (expires_us) WHERE expires_us IS NOT NULL;
