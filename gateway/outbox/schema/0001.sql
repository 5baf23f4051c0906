-- Version 1. Times are integer nanoseconds; "mono" is the kernel's monotonic clock of one boot.

CREATE TABLE state (               -- exactly one row
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    stream      TEXT    NOT NULL,  -- random id of this outbox's life
    last_seq    INTEGER NOT NULL,  -- highest sequence number that was committed or given up
    reserved_to INTEGER NOT NULL,  -- up to here numbers may be in use in memory: at start the gap is a crash's cost
    crash_cost  INTEGER NOT NULL,  -- readings that crashes cost at most, all together
    crashes     INTEGER NOT NULL,
    depth       INTEGER NOT NULL,  -- readings in the table block
    placed      INTEGER NOT NULL,  -- readings dated by estimate, because their boot never knew the time
    boot        INTEGER NOT NULL,  -- row of the boot that wrote last
    mono_ns     INTEGER NOT NULL   -- when it wrote last
);

CREATE TABLE boot (                -- in the order in which the boots happened
    id          INTEGER PRIMARY KEY,
    boot_id     TEXT    NOT NULL UNIQUE,
    offset_ns   INTEGER,           -- UTC = mono + offset; NULL: not known yet; never changed once set
    placed      INTEGER NOT NULL,  -- 1: the offset is an estimate
    last_mono_ns INTEGER NOT NULL  -- the latest instant known of this boot
);

CREATE TABLE block (               -- readings in stream order, one or a few blocks a commit
    first_seq   INTEGER PRIMARY KEY,
    last_seq    INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    undated     INTEGER NOT NULL,  -- how many of them carry a boot's time instead of a date
    boot        INTEGER NOT NULL,
    mono_ns     INTEGER NOT NULL,  -- when it was written, for its age
    crc         INTEGER NOT NULL,  -- CRC-32 of body
    body        BLOB    NOT NULL   -- see gateway/outbox/codec.py
);

CREATE TABLE made (                -- readings that entered, by device
    device      TEXT PRIMARY KEY,
    readings    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE dropped (             -- readings that entered and were given up, by reason
    reason      TEXT PRIMARY KEY,
    readings    INTEGER NOT NULL
) WITHOUT ROWID;
