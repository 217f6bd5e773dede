-- Messages, in the order in which they were accepted.  No secondary index: an index in the commit costs more than the
-- row itself.
CREATE TABLE message (
    id             INTEGER PRIMARY KEY,
    time_ms        INTEGER NOT NULL,
    sender         INTEGER NOT NULL,    -- an identity: not a name, which somebody else may have tomorrow
    sender_name    TEXT    NOT NULL,
    recipient      INTEGER,             -- an identity; NULL: everybody
    recipient_name TEXT,
    once           BLOB,
    text           BLOB    NOT NULL
);

-- How often a daemon has started with this file: what keeps the numbers of identities apart.
CREATE TABLE start (
    id      INTEGER PRIMARY KEY,
    time_ms INTEGER NOT NULL
);
