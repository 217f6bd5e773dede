-- How identities stand: how far each has come, and what lets her come back.  No secondary index, as with the messages.
CREATE TABLE identity (
    id      INTEGER PRIMARY KEY,
    name    TEXT    NOT NULL,
    joined  INTEGER NOT NULL,    -- she is owed what has a higher id
    sent    INTEGER NOT NULL,
    acked   INTEGER NOT NULL,
    read    INTEGER NOT NULL,
    left_id INTEGER,             -- the newest id when she ended; NULL: she lives
    plain   INTEGER NOT NULL,
    resumes INTEGER NOT NULL,
    bot     INTEGER NOT NULL,
    token   BLOB    NOT NULL,    -- SHA-256; empty: none
    spare   BLOB    NOT NULL,
    time_ms INTEGER NOT NULL     -- when this was written
);
