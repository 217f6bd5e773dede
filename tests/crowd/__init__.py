"""The real daemon in a crowd: readers that stop, thousands that come back at once, a million commands, busy files.

``make crowd`` runs all of it, which takes half an hour; ``make crowd ARGS="storm pipeline"`` some of it.
`tests.system.test_crowd` runs everything in a short form.  The daemon has processor 0, and all who use it have
processor 1, where there are two.
"""
