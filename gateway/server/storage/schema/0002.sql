-- The compact protocol: what of each stream is on this disk, and what the gateways said of their devices.

-- One life of one outbox. ranges: JSON [[first, last], ...] of sequence numbers, in order; used_us: of the last batch.
CREATE TABLE stream (
    gateway TEXT NOT NULL,
    id TEXT NOT NULL,
    used_us INTEGER NOT NULL,
    ranges BLOB NOT NULL,
    PRIMARY KEY (gateway, id)
) STRICT;

-- document: the message as it came.
CREATE TABLE profiles (
    gateway TEXT NOT NULL,
    hash TEXT NOT NULL,
    put_us INTEGER NOT NULL,
    document BLOB NOT NULL,
    PRIMARY KEY (gateway, hash)
) STRICT;
