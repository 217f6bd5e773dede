"""The client: a library that speaks the line protocol and fetches files, and the programs on it.

=============  ==========================================================================
`connection`   one connection to a chat: commands, their answers, notices, acknowledgements
`answers`      what answers look like, and the ways in which asking fails
`fetch`        a file on offer, over UDP, into a folder; `part` is the file on its way
`naming`       under which name a file is saved
`render`       what came from a peer, made fit for a terminal
`terminal`     standard input and output without ever blocking the reactor
`progress`     how far the downloads are
`program`      runs a coroutine as a program: signals, exit status
`chat`         ``pychat chat``
`scripts`      ``pychat get`` and ``pychat files``
=============  ==========================================================================
"""
