-- What one person said to everybody, one plain text right behind the other: several messages in one row.
CREATE TABLE run (
    last        INTEGER PRIMARY KEY,    -- the ids of its messages follow each other, from first to last
    first       INTEGER NOT NULL,
    time_ms     INTEGER NOT NULL,
    sender      INTEGER NOT NULL,
    sender_name TEXT    NOT NULL,
    texts       TEXT    NOT NULL,       -- a JSON array
    CHECK (last - first BETWEEN 1 AND 63)
);

-- All messages, however they are kept.  Whoever looks for ids bounds last as well, or all runs are read.
CREATE VIEW entry (
    id, last, time_ms, sender, sender_name, recipient, recipient_name, once, text, kind, ref, blocked
) AS
SELECT id, id, time_ms, sender, sender_name, recipient, recipient_name, once, text, kind, ref, blocked FROM message
UNION ALL
SELECT
    run.first + said.key, run.last, run.time_ms, run.sender, run.sender_name, NULL, NULL, NULL,
    CAST(said.value AS BLOB), NULL, NULL, NULL
FROM run, json_each(run.texts) AS said;
