-- What is old is found without looking at everything: the first time of what is in a row of recent (unknown of old rows).

ALTER TABLE recent ADD COLUMN first_us INTEGER NOT NULL DEFAULT -9223372036854775808;
CREATE INDEX recent_first ON recent (first_us, subject);
CREATE INDEX chunk_first ON chunk (first_us, subject);
