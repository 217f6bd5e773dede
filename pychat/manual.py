"""What ``--help`` says below the options."""

MAIN = """\
examples:
  pychat serve                              serve a chat on this machine, and the folder files/
  pychat serve --listen tcp:50000           the same for the whole network
  pychat chat 192.168.1.5 --name alice      join a chat
  pychat files 192.168.1.5                  what is on its shelf
  pychat get 192.168.1.5 report.pdf         get a file from it
  pychat get 192.168.1.5 '*.pdf' -o papers  get several
  pychat put 192.168.1.5 photo.jpg          put one there
  pychat status 192.168.1.5                 how the daemon is doing

`pychat help COMMAND` tells more, and so does `pychat COMMAND --help`.
"""

CHAT = """\
What you type is sent as it is: <set_msg_all>hello all, <set_msg>bob hi there, <get_users>, <listfiles>, <help>.
<download>report.pdf saves the file in the folder; nothing there is overwritten: report (2).pdf. <upload>path/photo.jpg
puts a file of yours on the shelf, as photo.jpg. Both go on beside the chat, also over a new connection when this one
breaks. What is half there is kept when it breaks off: ask again, and it goes on. <transfers> lists what is under way,
with ids; <pause>report.pdf and <continue>report.pdf do that, and <cancel>report.pdf ends one, and removes what there
was of it. Where there are several of that name, say the id, or how it begins.
Ctrl-D or <disconnect> leaves for good; so does Ctrl-C, at once, and gives up downloads. On a half-typed line Ctrl-C
clears that line. Who closes the window stays in the chat, away, and comes back as the same one with the next
pychat chat. The arrow keys move in the line, and bring back what was entered before.

Rooms: <join>#tea makes you a member, and shows what the room is about and what was said there last. <set_msg>#tea hello
says something there, <leave>#tea leaves, <get_rooms> lists all. <history>#tea, <history>bob, <search>words look back.
With the id= of a message <set_msg reply=42>#tea text answers it, <react>42 +1 reacts to it, and <edit>42 text and
<retract>42 change a message of yours or take it back. Also: <unread> counts what you have not read, <mute>#tea keeps a
room quiet, <ignore>bob a person, <away>text says that you are not here, <whois>bob tells of somebody. <help> lists all.

Several lines that you paste behind <set_msg>name, <set_msg_all> or <edit>id are one message, of about 4,000 bytes at
most; Enter sends it. Pasted lines that are commands, each of them, are sent one after the other. (Your terminal marks
what is pasted, if it knows bracketed paste, as most do; otherwise every line is a line of its own.)

When the connection breaks it comes back by itself. Messages that you type meanwhile, and what you say of messages, are
shown as pending, and are sent once there is a connection again; what you missed is told with its time. Other commands
are not sent then: you are told so, and the line stands in your input again. What is still pending when you leave is
sent by the next pychat chat with the same address and name, for which it is kept, with what it takes to be you, in
~/.local/state/pychat (or below XDG_STATE_HOME, or LOCALAPPDATA). With nothing pending you leave for good, and your
rooms too.
Whoever types has read what stood on the screen: then those who wrote it are told <read>.

The input may be a pipe, with one connection and nothing kept:
  printf '<set_msg_all>hi\\n<download>report.pdf\\n' | pychat chat 192.168.1.5 --name bob
sends everything, waits for all answers and files, and leaves.

exit status:
  0    all went well
  1    no connection at the end, or messages are still pending; with a pipe also: a line was answered with <error>,
       a file did not arrive
  2    the command line is wrong
  130  Ctrl-C cut off a download or a pipe (143: SIGTERM did)
"""

GET = """\
It needs no name, and nobody in the chat is told.

A NAME may be a pattern, in quotes: '*.txt', 'photos/**'. * and ? do not match a /, and ** is any number of folders. A
file that is really called so is meant first. A NAME that begins with - comes after --: pychat get 192.168.1.5 -- -x.txt

The digest of each file, verified, goes to standard output in the format of sha256sum:
  pychat get 192.168.1.5 report.pdf | sha256sum -c
With --json it is an object a line: name, bytes, seconds, sha256, lost (datagrams that had to be sent again), via
("udp" or "tcp"), path, resumed (bytes that were here already); for a file that did not arrive: name, error, sentence.

While it arrives the file is called NAME.part, and NAME.part.info says what is there of it. Whatever breaks off leaves
both, also a kill or a power cut, and the same line goes on from there: what is there is checked, and a file that was
changed on the other side meanwhile is begun again. When the connection or the daemon dies under way it is tried again
by itself. Where UDP does not get through, the file comes over TCP.

A file that is here already is compared with that on the shelf, and nothing of it comes again. The same one is a
success; another one is left alone, unless --force says to replace it. So the same line may be said any number of times.

exit status:
  0    all files are there, and their digests agreed
  1    not all are; standard error says why
  2    the command line is wrong
  130  Ctrl-C came first (143: SIGTERM did): what is there is kept
"""

PUT = """\
Who may put files there is the daemon's to say: mostly who is on its own machine (`pychat serve --uploads everyone` lets
everybody). Nothing on the shelf is overwritten. When a file is there all of it was
verified, and everybody in the chat is told of it, and who it is from. What breaks off is kept there for a while, and
the same line goes on from there, as long as the file here is unchanged. When the connection or the daemon dies under
way it is tried again by itself.

The digest of each file goes to standard output in the format of sha256sum, or with --json as an object a line: name,
bytes, seconds, sha256, lost, via, path, resumed; for a file that did not get there: name, error, sentence.

exit status:
  0    all files are on the shelf
  1    not all are; standard error says why
  2    the command line is wrong
  130  Ctrl-C came first (143: SIGTERM did): what is there is kept
"""

FILES = """\
One line a file: its size in bytes, a TAB, its name. With --json it is an object a line: name, bytes.

exit status:
  0    that is the list
  1    there is none; standard error says why
  2    the command line is wrong
  130  Ctrl-C came first (143: SIGTERM did)
  141  whoever was to read the list did not read all of it
"""

STATUS = """\
A line for each number. With --json it is one object, with the names and units of docs/protocol.md: version, up
(seconds), people, away, rooms, messages (the id of the last), connections, limit (of them), too_slow (ended because
they read too slowly), slow (those of them that were ended for --memory-limit), transfers, refused (datagrams), stalls
(turns that held the daemon for more than 10 ms), longest and stalled (ms, of one and of all), cpu (ms), memory (KiB),
descriptors, timers, threads. What a system does not tell is left out.

exit status:
  0    that is how it does
  1    nothing was told; standard error says why: there is no daemon, it is full (it has all the connections that it can
       have), it is stopping, it does not answer, or it is older than <status>
  2    the command line is wrong
  130  Ctrl-C came first (143: SIGTERM did)
  141  whoever was to read it did not read all of it
"""

JOURNAL = """\
examples:
  pychat journal check                  in the folder state/, where `pychat serve` keeps it
  pychat journal check --state /srv/chat
  pychat journal backup                 copy it
  pychat journal check --state COPY     see whether a copy is sound
  pychat journal prune --keep 30d       delete what was said more than 30 days ago

`pychat journal COMMAND --help` tells more.
"""

CHECK = """\
It tells how many messages there are, from when to when, how many people can still come back as who they are, and
whether the index, in which history and search look things up, has all of them. With a file as --state it checks that
one: a copy that `pychat journal backup` made.

exit status:
  0  it is sound
  1  it is damaged, or there is none; standard error says more
  2  the command line is wrong
"""

BACKUP = """\
The copy is complete when it has its name, and nothing is overwritten. To go back to it: stop the daemon, move
journal.sqlite3 away with what is called journal.sqlite3-wal and -shm, and put the copy in its place.

exit status:
  0  there is a copy
  1  there is none; standard error says why
  2  the command line is wrong
"""

PRUNE = """\
Say --keep, --keep-bytes or both; a daemon that was started with the same options does it by itself. The newest message
stays, and so does what waits for somebody who can still come back for it, with all that came after it.

exit status:
  0  done; standard output says how many messages were deleted
  1  not done; standard error says why
  2  the command line is wrong
"""
