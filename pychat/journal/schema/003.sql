-- What a message is besides a text to somebody.  NULL is the common 0, which takes no bytes.
ALTER TABLE message ADD COLUMN kind    INTEGER;    -- pychat.vocabulary.Kind
ALTER TABLE message ADD COLUMN ref     INTEGER;    -- the message that it is about
ALTER TABLE message ADD COLUMN blocked INTEGER;    -- 1: never shown to its recipient

ALTER TABLE identity ADD COLUMN personal BLOB NOT NULL DEFAULT x'';

-- Rooms and who is in them: what the messages that join, leave and set a topic amount to.
CREATE TABLE room (
    id       INTEGER PRIMARY KEY,    -- negative: message.recipient has it
    name     TEXT    NOT NULL,
    topic    BLOB    NOT NULL,
    topic_by TEXT    NOT NULL,
    topic_ms INTEGER NOT NULL
);

-- The number of the newest room that there ever was, so that none is given twice.
CREATE TABLE last_room (
    id INTEGER NOT NULL
);
INSERT INTO last_room VALUES (0);

-- Memberships change rarely, so that here an index does not cost a message anything.
CREATE TABLE stay (
    identity INTEGER NOT NULL,
    room     INTEGER NOT NULL,
    joined   INTEGER NOT NULL,    -- the message that joined; what has a higher id is hers
    left_id  INTEGER,             -- up to and including this one; NULL: she is a member
    PRIMARY KEY (identity, room, joined)
) WITHOUT ROWID;
CREATE INDEX stay_room ON stay (room);
CREATE INDEX stay_left ON stay (left_id) WHERE left_id IS NOT NULL;
CREATE INDEX stay_lasts ON stay (left_id) WHERE left_id IS NULL;

-- Which messages were edited or taken back, and by what; rare, too.
CREATE TABLE change (
    ref  INTEGER NOT NULL,
    id   INTEGER NOT NULL,
    kind INTEGER NOT NULL,    -- of the message with this id
    PRIMARY KEY (ref, id)
) WITHOUT ROWID;
CREATE INDEX change_retract ON change (kind, ref) WHERE kind = 2;
