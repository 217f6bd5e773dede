"""The daemon is killed again and again while people talk; then it is checked that nothing went wrong.

    make chaos ARGS="--kills 50 --seed 7"

===========  ==========================================================================
`storm`      the real daemon, killed and started, and everything that happens to people
`people`     those who come back; `bystanders` cannot
`history`    what was said and what each of them saw
`checker`    what is wrong with a history
`evidence`   what the journal's file and the daemon's log say at the end
`early_ack`  a daemon that accepts too early, to prove the checker
===========  ==========================================================================
"""
