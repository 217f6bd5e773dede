"""The client: a library that speaks the line protocol and fetches files, and the programs on it.

=============  ====================================================================================================
`member`       somebody who stays in a chat over many connections; `observer` is told what happens
`outbox`       what is still to be said, in order and once; `backoff`: when to try again
`store`        what is kept between connections; `files` keeps it in a file, for the next run
`connection`   one connection to a chat: commands, their answers, notices, acknowledgements
`asking`       one method for each command; `calls` finds their answers, `flow` how full the buffer is
`answers`      what answers look like, and the ways in which asking fails
`fetch`        a file on offer, over UDP, into a folder; `part` is the file on its way
`naming`       under which name a file is saved
`render`       what came from a peer, made fit for a terminal
`terminal`     standard input and output without ever blocking the reactor
`progress`     how far the downloads are
`program`      runs a coroutine as a program: signals, exit status
`chat`         ``pychat chat``: a script's; `talk` is a person's, `visit` what both need, `downloads` their files
`scripts`      ``pychat get`` and ``pychat files``
=============  ====================================================================================================
"""
