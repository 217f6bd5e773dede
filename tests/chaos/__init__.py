"""The daemon is killed again and again while people talk; then it is checked that nothing went wrong.

    make chaos ARGS="--kills 50 --seed 7"

=============  ======================================================================================
`storm`        everything that happens to people, and to the real `daemon`, which is killed and started
`people`       those who come back, and their `wishes` of rooms; `bystanders` cannot
`history`      what was said, what each of them saw, and what was kept of it
`checker`      what is wrong with a history; it tells `faults`
`audience`     who was to be shown what; `stays` are memberships and silences
`evidence`     what the journal's file and the daemon's log say at the end
`early_ack`    a daemon that accepts too early, to prove the checker
`leak`         one that shows what is said in a room to who has left it
`forget`       one that forgets at a kill who is in a room
=============  ======================================================================================
"""
