"""The client: a library that speaks the line protocol and fetches files, and the programs on it.

=============  ====================================================================================================
`member`       somebody who stays in a chat over many connections; `observer` is told what happens
`hearing`      what a daemon tells a member, and `seen`, how much of it is where it is seen
`outbox`       what is still to be said, in order and once
`retry`        whether to try again, and when (`backoff`); `farewell`: how an identity that was kept is given up
`store`        what is kept between connections; `files` keeps it in a file, for the next run
`connection`   one connection to a chat: commands, their answers, notices, acknowledgements; `greeting`: its first line
`asking`       one method for each command; `calls` finds their answers
`flow`         how full the buffer of a connection is; `acks`: what was shown, and is to be acknowledged
`answers`      what answers look like, and the ways in which asking fails
`errand`       one file on its way, over as many offers as it takes: `fetch`, `send`, `compare` are the kinds of it
`liveness`     whether an attempt at that is alive; `road`: over which way it goes; `offers`: what a daemon offers
`haul`         several files over one connection, for ``pychat get`` (`get`) and ``pychat put`` (`put`); `lane` is that
`wanted`       which files a pattern means; `naming`: under which name a file is saved; `results`: what a script is told
`render`       what came from a peer, made fit for a terminal
`terminal`     standard input and output without ever blocking the reactor
`keyboard`     a terminal's keys, one by one, of which `editing` makes what is entered; `pasted`: which commands that is
`progress`     how far the files are; `trace` writes down what happens on the network
`program`      runs a coroutine as a program: signals, exit status
`chat`         ``pychat chat``: a script's; `talk` is a person's, `visit` what both need, `downloads` their files
`dispatch`     where what a person typed goes; `unkept`: what goes without a key
`report`       what a person is shown of what happens, `wording` how it is said; `missed`: how much that was
`lookup`       what was said before, for who types ``<history>``, ``<search>`` or ``<join>``
`scripts`      ``pychat files``; `status`: ``pychat status``
=============  ====================================================================================================
"""
