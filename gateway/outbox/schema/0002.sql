-- Version 2: priorities, a tail of what is acknowledged, counts in the one row that every commit writes anyway.
-- The new columns of "block" stand behind the body: so no block is written again for them.

ALTER TABLE block ADD COLUMN priority INTEGER NOT NULL DEFAULT 1;  -- 0: alarms, 1: all else
ALTER TABLE block ADD COLUMN acked    INTEGER NOT NULL DEFAULT 0;  -- since when the server has it: UTC s, 1: not known
CREATE INDEX alarm ON block (first_seq) WHERE priority = 0 AND acked = 0;
CREATE INDEX tail  ON block (first_seq) WHERE acked > 0;

ALTER TABLE state ADD COLUMN made       TEXT    NOT NULL DEFAULT '{}';  -- readings that entered, by device
ALTER TABLE state ADD COLUMN dropped    TEXT    NOT NULL DEFAULT '{}';  -- those that were given up, by reason
ALTER TABLE state ADD COLUMN gaps       TEXT    NOT NULL DEFAULT '[]';  -- [[first, last], ...]: what crash_cost counts
ALTER TABLE state ADD COLUMN tail_bytes INTEGER NOT NULL DEFAULT 0;     -- of the bodies of acknowledged blocks
ALTER TABLE state ADD COLUMN floor      INTEGER NOT NULL DEFAULT 0;     -- no block of live readings before it waits
ALTER TABLE state ADD COLUMN span       INTEGER NOT NULL DEFAULT 0;     -- numbers from first to last of the widest block

UPDATE state SET
    made = (SELECT json_group_object(device, readings) FROM made),
    dropped = (SELECT json_group_object(reason, readings) FROM dropped),
    span = (SELECT coalesce(max(last_seq - first_seq + 1), 0) FROM block);
DROP TABLE made;
DROP TABLE dropped;
